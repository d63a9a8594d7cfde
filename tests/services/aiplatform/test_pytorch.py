"""PyTorch models: archives of TorchServe's archiver, served by their handler, without Java."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions
from tests.environments import ENVIRONMENTS

from portico.cli import logs
from portico.sandbox import environments
from portico.sandbox.installer import Teller
from portico.services.aiplatform.custom.environments import interpreter_of
from portico.services.aiplatform.custom.training_images import resolve

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
TRAINING = "us-docker.pkg.dev/vertex-ai/training/pytorch-cpu.2-4:latest"
SERVING = "us-docker.pkg.dev/vertex-ai/prediction/pytorch-cpu.2-4:latest"
MAKE = """
import torch
from network import Doubled

model = Doubled()
with torch.no_grad():
    model.line.weight.fill_(2.0)
    model.line.bias.fill_(1.0)
torch.save(model.state_dict(), "weights.pth")
torch.jit.script(model).save("scripted.pt")
"""
NETWORK = """
import torch

class Doubled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(1, 1)

    def forward(self, x):
        return self.line(x)
"""
HANDLER = """
import json
import os
import torch
from ts.torch_handler.base_handler import BaseHandler

class Words(BaseHandler):
    def initialize(self, context):
        super().initialize(context)
        folder = context.system_properties["model_dir"]
        with open(os.path.join(folder, "names.json")) as file:
            self.names = json.load(file)

    def preprocess(self, requests):
        rows = []
        for one in requests:
            text = one.get("data")
            text = text.decode("utf-8") if isinstance(text, (bytes, bytearray)) else text
            rows.append([float(len(text))])
        return torch.tensor(rows)

    def postprocess(self, outputs):
        return [{"name": self.names[str(int(one))], "value": one} for one in outputs.flatten().tolist()]
"""
FUNCTION = """
import torch
from network import Doubled

model = None

def handle(data, context):
    global model
    if model is None:
        model = Doubled()
        model.load_state_dict(torch.load("weights.pth", weights_only=True))
        return None
    return model(torch.tensor([[float(one)] for one in data])).flatten().tolist()
"""


@pytest.fixture(scope="module")
def archives(portico: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """gs:// of two archives, `scripted` and `eager`."""
    from google.cloud import storage

    _, exact = interpreter_of(resolve(TRAINING, ""), ENVIRONMENTS, Teller())
    asked = [f"torch=={exact}", "torch-model-archiver", "numpy"]
    python = environments.environment(asked, environments.find_python(["3.11"]), ENVIRONMENTS)
    folder = tmp_path_factory.mktemp("torch")
    files = {"network.py": NETWORK, "make.py": MAKE, "words.py": HANDLER, "plain.py": FUNCTION}
    for name, text in {**files, "names.json": '{"7": "seven", "11": "eleven"}'}.items():
        (folder / name).write_text(text)
    subprocess.run([python, "make.py"], cwd=folder, check=True, timeout=240)
    bucket = storage.Client(project="test-project").create_bucket("pytorch-made")
    made = {
        "scripted": [
            "--serialized-file",
            "scripted.pt",
            "--handler",
            "words.py",
            "--extra-files",
            "names.json",
        ],
        "eager": ["--serialized-file", "weights.pth", "--handler", "plain.py", "--extra-files", "network.py"],
    }
    for name, options in made.items():
        Path(folder / name).mkdir()
        archiver = [python.parent / "torch-model-archiver", "--model-name", "model", "--version", "1.0"]
        subprocess.run([*archiver, "--export-path", name, *options], cwd=folder, check=True, timeout=240)
        bucket.blob(f"{name}/model.mar").upload_from_filename(str(folder / name / "model.mar"))
    return f"gs://{bucket.name}"


def deployed(aiplatform: Any, uri: str) -> tuple[Any, Any]:
    model = aiplatform.Model.upload(
        display_name="torch", artifact_uri=uri, serving_container_image_uri=SERVING
    )
    return model, model.deploy(machine_type="n1-standard-4")


def test_an_archives_handler_answers(portico: Any, aiplatform: Any, archives: str) -> None:
    model, endpoint = deployed(aiplatform, f"{archives}/scripted")
    try:
        word = {"data": {"b64": base64.b64encode(b"abc").decode()}}
        told = endpoint.predict([word, {"data": "hello"}]).predictions
        assert told == [{"name": "seven", "value": 7.0}, {"name": "eleven", "value": 11.0}]
        with pytest.raises(exceptions.BadRequest, match="The handler raised KeyError: '3'"):
            endpoint.predict([{"data": "a"}])
        said = logs.as_json(portico.home, endpoint.name, follow=False)["log"]
        assert "is the closest that installs" in said or "==2.4" in said
    finally:
        endpoint.undeploy_all()
    from google.cloud import storage

    client = storage.Client(project="test-project").bucket(archives.removeprefix("gs://"))
    client.blob("rows.jsonl").upload_from_string('{"data": "abc"}\n{"data": "hello"}\n')
    job = model.batch_predict(
        job_display_name="torch", gcs_source=f"{archives}/rows.jsonl", gcs_destination_prefix=f"{archives}/out",
        machine_type="n1-standard-4",
    )  # fmt: skip
    found = [line for blob in job.iter_outputs() for line in blob.download_as_text().splitlines()]
    assert sorted(json.loads(line)["prediction"]["value"] for line in found) == [7.0, 11.0]


def test_a_function_is_a_handler_too(aiplatform: Any, archives: str) -> None:
    _, endpoint = deployed(aiplatform, f"{archives}/eager")
    try:
        assert endpoint.predict([1, 2.5]).predictions == pytest.approx([3.0, 6.0])
    finally:
        endpoint.undeploy_all()
