"""Training images that `docker build` under `portico exec` has made: custom jobs, trials and trainings run them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions
from tests.services.aiplatform.test_reruns import rerun

from portico.client.api import Client

IMAGE = "us-docker.pkg.dev/test-project/own/trainer:v1"

DOCKERFILE = """
FROM python:3.11-slim
WORKDIR /root
RUN pip install six && mkdir /root/trainer
COPY trainer /root/trainer
COPY words.txt /data/words.txt
ENV WORDS=/data/words.txt MOOD=fine
ENTRYPOINT ["python", "-m", "trainer.task"]
CMD ["--times=1"]
"""

TASK = """
import argparse, json, os, pathlib, pkg_resources, six
parser = argparse.ArgumentParser()
parser.add_argument("--times", type=int)
parser.add_argument("--rate", type=float, default=0.5)
told = parser.parse_args()
found = {
    "words": pathlib.Path(os.environ["WORDS"]).read_text().split() * told.times,
    "mood": os.environ["MOOD"], "more": os.environ.get("MORE"), "here": sorted(os.listdir()),
}
pathlib.Path("made.txt").write_text("it may write where it runs")
place = pathlib.Path(os.environ["AIP_MODEL_DIR"].replace("gs://", "/gcs/"))
place.mkdir(parents=True, exist_ok=True)
(place / "found.json").write_text(json.dumps(found))
if os.environ.get("CLOUD_ML_TRIAL_ID"):
    metric = {"timestamp": 1.0, "trial": os.environ["CLOUD_ML_TRIAL_ID"], "loss": str(told.rate), "global_step": "1"}
    pathlib.Path(os.environ["CLOUD_ML_HP_METRIC_FILE"]).write_text(json.dumps(metric))
"""


def docker(portico: Any, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "portico.cli.main", "exec", "--home", str(portico.home), "--", "docker"]
    return subprocess.run([*command, *words], capture_output=True, text=True, **options)


@pytest.fixture(scope="module")
def image(portico: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("trainer")
    files = {
        "Dockerfile": DOCKERFILE, "trainer/__init__.py": "", "trainer/task.py": TASK, "words.txt": "one two",
    }  # fmt: skip
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    built = docker(portico, "build", "-t", IMAGE, str(folder))
    assert built.returncode == 0, built.stderr
    return IMAGE


def pools(image: str, **container: Any) -> list[dict[str, Any]]:
    spec = {"image_uri": image, **container}
    return [{"machine_spec": {"machine_type": "n1-standard-4"}, "replica_count": 1, "container_spec": spec}]


def job_of(aiplatform: Any, bucket: Any, image: str, folder: str, **container: Any) -> Any:
    return aiplatform.CustomJob(
        display_name="own", worker_pool_specs=pools(image, **container), staging_bucket=f"gs://{bucket.name}",
        base_output_dir=f"gs://{bucket.name}/{folder}",
    )  # fmt: skip


def test_its_entrypoint_runs_among_its_files(aiplatform: Any, bucket: Any, image: str) -> None:
    job_of(aiplatform, bucket, image, "own").run()
    found = json.loads(bucket.blob("own/model/found.json").download_as_text())
    assert found == {"words": ["one", "two"], "mood": "fine", "more": None, "here": ["trainer"]}


def test_arguments_are_in_the_place_of_its_own(aiplatform: Any, bucket: Any, image: str) -> None:
    env = [{"name": "MORE", "value": "told"}, {"name": "MOOD", "value": "better"}]
    job_of(aiplatform, bucket, image, "args", args=["--times", "2"], env=env).run()
    found = json.loads(bucket.blob("args/model/found.json").download_as_text())
    assert (found["words"], found["mood"], found["more"]) == (["one", "two", "one", "two"], "better", "told")


def test_a_training_makes_a_model_of_what_it_saved(aiplatform: Any, bucket: Any, image: str) -> None:
    job = aiplatform.CustomContainerTrainingJob(
        display_name="own", container_uri=image, staging_bucket=f"gs://{bucket.name}",
        model_serving_container_image_uri="us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest",
    )  # fmt: skip
    with pytest.raises(RuntimeError, match=r"model\.joblib"):  # it ran, and saved no such thing
        job.run(args=["--times", "1"], base_output_dir=f"gs://{bucket.name}/training", replica_count=1)
    assert bucket.blob("training/model/found.json").exists()


def test_trials_run_it(aiplatform: Any, bucket: Any, image: str) -> None:
    tuning = aiplatform.HyperparameterTuningJob(
        display_name="own", custom_job=job_of(aiplatform, bucket, image, "trials", args=["--times", "1"]),
        metric_spec={"loss": "minimize"}, max_trial_count=2, parallel_trial_count=2,
        parameter_spec={"rate": aiplatform.hyperparameter_tuning.DoubleParameterSpec(0.1, 0.9, "linear")},
    )  # fmt: skip
    tuning.run()
    assert [trial.state.name for trial in tuning.trials] == ["SUCCEEDED", "SUCCEEDED"]
    assert all(
        trial.final_measurement.metrics[0].value == trial.parameters[0].value for trial in tuning.trials
    )


def test_a_rerun_runs_the_image_that_the_first_ran(
    portico: Any, aiplatform: Any, bucket: Any, image: str, tmp_path: Path
) -> None:
    """`image` is built anew under its name meanwhile."""
    for name, text in (("Dockerfile", DOCKERFILE), ("words.txt", "one"), ("trainer/task.py", TASK)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    again = f"{image}-again"
    assert docker(portico, "build", "-t", again, str(tmp_path)).returncode == 0
    job = job_of(aiplatform, bucket, again, "first", args=["--times", "1"])
    job.run()
    (tmp_path / "words.txt").write_text("others")
    assert docker(portico, "build", "-t", again, str(tmp_path)).returncode == 0
    client = Client(portico.url, project="test-project")
    found = rerun(client, job.resource_name)
    client.close()
    assert found["identical"] is True, found


def test_an_image_that_nobody_built_says_what_runs(aiplatform: Any, bucket: Any, image: str) -> None:
    with pytest.raises(exceptions.BadRequest, match="docker build"):
        job_of(aiplatform, bucket, image.replace("v1", "v9"), "none").run()


def test_without_a_command_it_is_refused(portico: Any, aiplatform: Any, bucket: Any, tmp_path: Path) -> None:
    built = docker(portico, "build", "-t", "own-silent", "-f-", str(tmp_path), input="FROM python:3.11\n")
    assert built.returncode == 0, built.stderr
    with pytest.raises(RuntimeError, match="no ENTRYPOINT or CMD"):
        job_of(aiplatform, bucket, "own-silent", "silent").run()
