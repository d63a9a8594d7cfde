"""aiplatform.autolog(), with the MLflow that the client's extra names."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from google.cloud import aiplatform_v1 as v1

from portico.sandbox import environments

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

FITS = """
import sys
from google.cloud import aiplatform
from sklearn.linear_model import Ridge
settings = {"project": "autologs", "location": "us-central1", "api_endpoint": sys.argv[1], "api_transport": "rest"}
aiplatform.init(experiment="fits", **settings)
aiplatform.autolog()
xs, ys = [[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0]
Ridge(alpha=0.5).fit(xs, ys)
with aiplatform.start_run("mine"):
    Ridge(alpha=2.0).fit(xs, ys)
    aiplatform.log_metrics({"own": 7})
aiplatform.autolog(disable=True)
"""


def test_fits_are_runs_of_the_experiment(portico: Any, aiplatform: Any, tmp_path: Path) -> None:
    needed = [
        f"google-cloud-aiplatform=={v1.__version__}",
        "mlflow==2.16.0",
        "scikit-learn==1.5.2",
        "setuptools<80",
    ]
    python = environments.environment(needed, "3.11", portico.home / "envs")
    command = [str(python), "-W", "ignore", "-c", FITS, portico.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    aiplatform.init(
        project="autologs", location="us-central1", api_endpoint=portico.url, api_transport="rest"
    )
    frame = aiplatform.get_experiment_df("fits").set_index("run_name")
    assert len(frame) == 2 and set(frame["state"]) == {"COMPLETE"}
    (made,) = set(frame.index) - {"mine"}
    assert made.startswith("sklearn-")
    assert [float(frame.loc[one, "param.alpha"]) for one in (made, "mine")] == [0.5, 2.0]
    assert (frame["metric.training_r2_score"] > 0.5).all() and frame.loc["mine", "metric.own"] == 7
