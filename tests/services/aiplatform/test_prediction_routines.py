"""Custom prediction routines: Google's client builds, uploads and serves them unchanged, by `portico exec`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.environments import ENVIRONMENTS

from portico.sandbox import environments

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
PREDICTOR = """
import json
import os
from google.cloud.aiplatform.prediction.predictor import Predictor
from google.cloud.aiplatform.utils import prediction_utils

class Scaled(Predictor):
    def load(self, artifacts_uri):
        assert artifacts_uri.startswith("gs://") and artifacts_uri == os.environ["AIP_STORAGE_URI"]
        prediction_utils.download_model_artifacts(artifacts_uri)
        self.factor = json.load(open("factor.json"))

    def preprocess(self, prediction_input):
        return [float(one) for one in prediction_input["instances"]]

    def predict(self, instances):
        return [self.factor * one for one in instances]

    def postprocess(self, prediction_results):
        return {"predictions": prediction_results}
"""
HANDLER = """
import csv
from fastapi import Response
from google.cloud.aiplatform.prediction.handler import PredictionHandler

class Csv(PredictionHandler):
    async def handle(self, request):
        if request.headers["content-type"] != "text/csv":
            return await super().handle(request)
        body = (await request.body()).decode()
        [row] = csv.reader([body])
        told = self._predictor.predict([float(one) for one in row])
        return Response(content=",".join(map(str, told)), media_type="text/csv")
"""
SCRIPT = """
import os
import sys
sys.path.insert(0, "src")
from google.cloud import aiplatform, storage
from google.cloud.aiplatform.prediction import LocalModel
from predictor import Scaled
from handler import Csv

aiplatform.init(project="test-project", location="us-central1")
bucket = storage.Client().create_bucket("routines-" + sys.argv[1])
bucket.blob("model/factor.json").upload_from_string("2.5")

local = LocalModel.build_cpr_model(
    "src", "us-central1-docker.pkg.dev/test-project/routines/scaled", predictor=Scaled, handler=Csv,
    requirements_path="src/requirements.txt", base_image="python:3.11",
)
os.makedirs("artifacts", exist_ok=True)
with open("artifacts/factor.json", "w") as file:
    file.write("3")
with local.deploy_to_local_endpoint(artifact_uri="artifacts", credential_path="none") as here:
    assert here.run_health_check().status_code == 200
    told = here.predict(request='{"instances": [2]}', headers={"Content-Type": "application/json"})
    assert told.json() == {"predictions": [6.0]}, told.text
    told = here.predict(request="1,2", headers={"Content-Type": "text/csv"})
    assert told.text == "3.0,6.0", told.text
    here.print_container_logs()
assert not [one for one in aiplatform.Endpoint.list() if one.display_name.startswith("local-")]
copied = local.copy_image("us-central1-docker.pkg.dev/test-project/routines/copied:v2")
copied.push_image()
local.push_image()
model = aiplatform.Model.upload(
    local_model=local, display_name="scaled", artifact_uri=f"gs://{bucket.name}/model",
)
bucket.blob("model/factor.json").upload_from_string("7")  # after the upload: nothing of the model's any more
endpoint = model.deploy(machine_type="n1-standard-2")
assert endpoint.predict(["1", 2]).predictions == [2.5, 5.0]
raw = endpoint.raw_predict(b"1,4", {"content-type": "text/csv"})
assert raw.text == "2.5,10.0" and raw.headers["content-type"].startswith("text/csv"), raw.text
assert list(endpoint.stream_raw_predict(b"1,4", {"content-type": "text/csv"})) == [b"2.5,10.0"]
try:
    endpoint.predict(["one"])
except Exception as error:
    assert "could not convert string to float" in str(error), error
else:
    raise AssertionError
bucket.blob("batch.jsonl").upload_from_string("1\\n2\\n")
job = model.batch_predict(
    job_display_name="b", gcs_source=f"gs://{bucket.name}/batch.jsonl", machine_type="n1-standard-2",
    gcs_destination_prefix=f"gs://{bucket.name}/out",
)
found = [line for blob in job.iter_outputs() for line in blob.download_as_text().splitlines()]
assert sorted(found) == ['{"instance":1,"prediction":2.5}', '{"instance":2,"prediction":5.0}'], found
endpoint.undeploy_all()
model.delete()
print("served")
"""


@pytest.mark.parametrize("version", ["2.7.0", "1.165.0"])
def test_a_routine_is_built_and_served(portico: Any, tmp_path: Path, version: str) -> None:
    asked = [f"google-cloud-aiplatform[prediction]=={version}"]
    python = environments.environment(asked, environments.find_python(["3.11"]), ENVIRONMENTS)
    source = tmp_path / "src"
    source.mkdir()
    (source / "predictor.py").write_text(PREDICTOR)
    (source / "handler.py").write_text(HANDLER)
    (source / "requirements.txt").write_text(asked[0] + "\n")
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "portico.cli.main", "exec", "--home", str(portico.home), "--"]
    told = subprocess.run(
        [*command, str(python), "script.py", version.replace(".", "-")],
        cwd=tmp_path, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert told.returncode == 0 and "served" in told.stdout, told.stdout[-3000:] + told.stderr[-3000:]
