"""TFX itself: a pipeline of its components that its runner for Vertex AI compiles, in an environment that has it."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.environments import ENVIRONMENTS
from tests.services.aiplatform.pipelines_run import states
from tests.services.aiplatform.test_tfx_pipelines import made
from tests.services.aiplatform.tfx_ir import IMAGE
from tests.services.aiplatform.tfx_source import MODULE, PROGRAM

from portico.sandbox import environments
from portico.services.aiplatform.pipelines.components import images

SERVING = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"
BLESSED = "latest_blessed_model_resolver-model"


def python() -> Path:
    """The Python of the environment that tasks run in."""
    image = images.base_of(IMAGE).python
    assert image is not None
    interpreter = environments.find_python(image.pythons)
    return environments.environment([*image.common, "pip"], interpreter, ENVIRONMENTS)


def penguins() -> str:
    """Lines of penguins: the longer its flipper, the likelier it is heavy."""
    chance, lines = random.Random(0), ["bill,flipper,island,heavy"]
    for _ in range(600):
        flipper, island = chance.gauss(200, 14), chance.choice(["Biscoe", "Dream", "Torgersen"])
        heavy = flipper + chance.gauss(0, 6) + 5 * (island == "Biscoe") > 202
        lines.append(f"{chance.gauss(44, 5):.1f},{flipper:.0f},{island},{heavy:d}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def compiled(portico, bucket, tmp_path):
    """What TFX compiles, by the schema it is to write; `endpoint` is that to which the model is deployed."""

    def compile_it(endpoint: str, newer: str) -> str:
        for name, source in (("module.py", MODULE), ("program.py", PROGRAM)):
            (tmp_path / name).write_text(source)
        root = f"gs://{bucket.name}"
        command = [
            sys.executable,
            "-m",
            "portico.cli.main",
            "exec",
            "--home",
            str(portico.home),
            "--",
            str(python()),
        ]
        command += [
            "-W",
            "ignore",
            "program.py",
            f"{root}/root",
            f"{root}/data",
            "module.py",
            f"{root}/serving",
        ]
        subprocess.run([*command, endpoint, SERVING, newer, f"out{newer}"], cwd=tmp_path, check=True)
        return str(tmp_path / f"out{newer}" / "pipeline.json")

    return compile_it


def run(aiplatform, bucket, template: str, name: str) -> Any:
    job = aiplatform.PipelineJob(
        display_name=name, template_path=template, pipeline_root=f"gs://{bucket.name}/root",
        job_id=f"{name}-{bucket.name.rpartition('-')[2]}",
    )  # fmt: skip
    job.submit()
    job.wait()
    return job


@pytest.mark.slow
@pytest.mark.timeout(
    3600
)  # seconds: its environments are made, and each of its components imports TensorFlow
def test_a_pipeline_of_tfx_trains_blesses_and_deploys(compiled, aiplatform, bucket, submit_pipeline):
    bucket.blob("data/rows.csv").upload_from_string(penguins())
    endpoint = f"penguins-{bucket.name.rpartition('-')[2]}"
    first = run(aiplatform, bucket, compiled(endpoint, ""), "tfx-penguins")
    assert set(states(first).values()) == {"SUCCEEDED"}
    assert made(first, "CsvExampleGen", "examples").metadata["split_names"] == '["train", "eval"]'
    blessing = made(first, "Evaluator", "blessing").metadata
    assert blessing["blessed"] == 1 and "baseline_model_id" not in blessing
    assert any(blob.name.endswith("/saved_model.pb") for blob in bucket.list_blobs(prefix="serving/"))
    [served] = aiplatform.Endpoint.list(filter=f'display_name="{endpoint}"')
    [deployed] = served.list_models()
    assert aiplatform.Model(deployed.model).uri.startswith(f"gs://{bucket.name}/root/")

    again = run(aiplatform, bucket, compiled("", "2.1"), "tfx-again")  # its specs of schemaVersion 2.1.0
    assert set(states(again).values()) == {"SUCCEEDED"}
    assert made(again, BLESSED + "-resolver", "model").name == made(first, "Trainer", "model").name
    assert (
        made(again, "Evaluator", "blessing").metadata["baseline_model_id"]
        == made(first, "Trainer", "model").name
    )
