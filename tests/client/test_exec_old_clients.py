"""`portico exec` with Vertex AI's clients from before they spoke REST, in Pythons of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.environments import ENVIRONMENTS

from portico.sandbox import environments

_SCRIPT = """
import sys
from google.api_core import exceptions
from google.cloud import aiplatform, storage

bucket = storage.Client(project="old-project").create_bucket(sys.argv[1])
bucket.blob("m/model.txt").upload_from_filename("model.txt")
bucket.blob("rows.csv").upload_from_string("a,b\\n1,2\\n3,4\\n")
aiplatform.init(project="old-project", location="us-central1", staging_bucket=bucket.name)
model = aiplatform.Model.upload(
    display_name="trees", artifact_uri="gs://" + sys.argv[1] + "/m", labels={"of": sys.argv[1]},
    serving_container_image_uri="us-docker.pkg.dev/portico/prediction/lightgbm-cpu.4-7:latest",
)
assert model.labels == {"of": sys.argv[1]}, model.labels
listed = aiplatform.Model.list(filter='labels.of="' + sys.argv[1] + '"')
assert [one.resource_name for one in listed] == [model.resource_name]
model.update(display_name="more trees")
assert aiplatform.Model(model.resource_name).display_name == "more trees"
endpoint = model.deploy(machine_type="n1-standard-2")
told = endpoint.predict([{"a": 0.5, "b": -1.0}])
assert len(told.predictions) == 1 and told.deployed_model_id
endpoint.delete(force=True)
try:
    aiplatform.Model("projects/old-project/locations/us-central1/models/1")
except exceptions.NotFound as error:
    assert "models/1" in str(error)
else:
    raise AssertionError("there is no such model")
dataset = aiplatform.TabularDataset.create("rows", gcs_source="gs://" + sys.argv[1] + "/rows.csv")
assert dataset.metadata_schema_uri.endswith("tabular_1.0.0.yaml")
aiplatform.init(experiment=sys.argv[1])
aiplatform.start_run("one")
aiplatform.log_params({"rate": 0.5})
aiplatform.log_metrics({"loss": 1.5})
[row] = aiplatform.get_experiment_df(sys.argv[1]).to_dict("records")
assert (row["param.rate"], row["metric.loss"]) == (0.5, 1.5)
print("done")
"""

_MODEL = """
import lightgbm, numpy as np
x = np.random.default_rng(0).normal(size=(200, 2))
data = lightgbm.Dataset(x, x[:, 0], feature_name=["a", "b"])
lightgbm.train({"objective": "regression", "verbose": -1, "num_threads": 1}, data, 5).save_model("model.txt")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "needed", "python"),
    [
        # Without REST, as all before 2024.
        ("without-rest", ["google-cloud-aiplatform==1.38.1", "pandas<2.3", "setuptools<81"], "3.11"),
        # With REST, beside a google-api-core whose operations the client can't ask for by it.
        ("with-old-core", ["google-cloud-aiplatform==1.91.0", "google-api-core==2.10.2", "protobuf==3.20.3",
                           "pandas<2.3", "setuptools<81"], "3.11"),
    ],
)  # fmt: skip
def test_a_script_runs_unchanged(
    portico: Any, tmp_path: Path, name: str, needed: list[str], python: str
) -> None:
    interpreter = environments.environment(needed, python, ENVIRONMENTS)
    subprocess.run([sys.executable, "-c", _MODEL], cwd=tmp_path, check=True)
    command = [sys.executable, "-m", "portico.cli.main", "exec", "--home", str(portico.home), "--"]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GOOGLE_")}
    done = subprocess.run(
        [*command, str(interpreter), "-W", "ignore", "-c", _SCRIPT, f"old-{name}"],
        capture_output=True, text=True, timeout=400, check=False, cwd=tmp_path, env=clean,
    )  # fmt: skip
    assert done.stdout.endswith("done\n"), done.stderr
