"""An unmodified MLflow client, in an environment of its own, logs, registers and loads; what it registered serves."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from tests.environments import ENVIRONMENTS
from uv import find_uv_bin

from portico.client.settings import settings

pytestmark = pytest.mark.slow

REQUIREMENTS = ("mlflow>=3.17,<4", "scikit-learn", "skops")


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python of an environment with MLflow's client."""
    folder = ENVIRONMENTS / "mlflow-client"
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    with (ENVIRONMENTS / "mlflow-client.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        python = folder / "bin" / "python"
        if not (folder / "made").exists():
            subprocess.run([find_uv_bin(), "venv", "-q", "--clear", "-p", sys.executable, folder], check=True)
            subprocess.run([find_uv_bin(), "pip", "install", "-q", "-p", python, *REQUIREMENTS], check=True)
            (folder / "made").touch()
    return python


def test_the_client_logs_and_what_it_registers_serves(portico, aiplatform, python):
    name = f"mlflow-{uuid.uuid4().hex[:8]}"
    uri = f"{settings(portico.home)['MLFLOW_TRACKING_URI']}/projects/test-project/locations/us-central1"
    environment = os.environ | {"MLFLOW_TRACKING_URI": uri, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    command = [python, "-W", "ignore", Path(__file__).with_name("client.py"), name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["experiment"] == name and told["params"] == "1.0" and told["outputs"] == 1
    assert told["runs"] == ["fit", "grid", "saved"] and told["children"] == 2
    assert told["history"] == [1, 1 / 2, 1 / 3] and told["big"] == 1000 and told["text"] == "said"
    assert {"notes", "skops/MLmodel", "skops/model.skops"} < set(told["artifacts"])
    assert told["data sets"] == ["dataset"]
    assert told["status"] == "READY" and told["loaded"] == "LogisticRegression" and told["logged models"] == 2
    assert told["predicted"] == told["by id"]

    frame = aiplatform.get_experiment_df(name).set_index("run_name")
    assert {"fit", "grid", "saved"} < set(frame.index) and set(frame["state"]) == {"COMPLETE"}
    assert frame.loc["fit", "metric.training_score"] == told["score"]
    assert frame.loc["saved", "time_series_metric.loss"] == pytest.approx(1 / 3)
    for kind in ("skops", "auto"):
        (model,) = aiplatform.Model.list(filter=f'display_name="{name}-{kind}"')
        endpoint = model.deploy(machine_type="n1-standard-2")
        assert endpoint.predict(told["rows"]).predictions == told["predicted"]
        endpoint.delete(force=True)
