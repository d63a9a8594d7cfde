"""Trainings repeated from their pins: the same files by hash, and what can't be repeated refused with words."""

from __future__ import annotations

import platform
import subprocess
import sys
from typing import Any

import pytest
from google.cloud.aiplatform.hyperparameter_tuning import DoubleParameterSpec
from tests.waiting import until

from portico.client.api import Client
from portico.errors import FailedPrecondition, NotFound
from portico.sandbox import environments
from portico.sandbox.installer import Teller
from portico.services.aiplatform.custom.environments import python_again
from portico.services.aiplatform.reruns import pins

PLAIN = "python:3.11"
COMMAND = [sys.executable, "-m", "portico.cli.main"]


@pytest.fixture
def client(portico: Any) -> Any:
    made = Client(portico.url, project="test-project")
    yield made
    made.close()


def rerun(client: Client, name: str) -> dict[str, Any]:
    """A rerun's end."""
    made = client.rerun(name)
    assert made["first"] == name and made["name"] != name

    def ended() -> Any:
        found = client.rerun_of(made["name"])
        return found if found["state"] in ("SUCCEEDED", "FAILED", "CANCELLED") else None

    found: dict[str, Any] = until(ended, "the rerun has ended")
    return found


def test_automl_is_repeated_by_its_plan(portico, aiplatform, bucket, client):
    blob = bucket.blob("data.csv")
    rows = "".join(f"{n % 7},{n % 5},{n % 7 * 2 + n % 5}\n" for n in range(300))
    blob.upload_from_string(f"a,b,y\n{rows}", content_type="text/csv")
    dataset = aiplatform.TabularDataset.create(display_name="sums", gcs_source=f"gs://{bucket.name}/data.csv")
    training = aiplatform.AutoMLTabularTrainingJob(
        display_name="sums",
        optimization_prediction_type="regression",
        column_specs={"a": "auto", "b": "auto"},
    )
    model = training.run(dataset=dataset, target_column="y", budget_milli_node_hours=1,
                         model_display_name="adder")  # fmt: skip
    blob.upload_from_string("a,b,y\n", content_type="text/csv")  # it is the first generation that counts
    dataset.delete()
    found = rerun(client, training.resource_name)
    assert found["identical"] is True, found
    assert {one["name"] for one in found["files"]} == {"forest.txt", "model.json"}
    assert all(one["first"] == one["again"] and len(one["again"]) == 64 for one in found["files"])
    [again] = aiplatform.Model.list(filter='display_name="adder (rerun)"')
    assert again.resource_name != model.resource_name and again.version_id == "1"
    # In the lineage it is a run of its own, which knows the first.
    asked = f'metadata.trainingPipeline.string_value="{found["name"]}"'
    [run] = aiplatform.Execution.list(filter=asked)
    assert run.metadata["rerunOf"] == training.resource_name and run.metadata["identical"] is True
    inputs = {one.uri: one.metadata.get("generation") for one in run.get_input_artifacts()}
    assert f"gs://{bucket.name}/data.csv" in inputs
    assert any(uri.endswith(f"{model.resource_name}@1") for uri in inputs)


SCRIPT = """
import glob, json, os, random, sys
out = os.environ["AIP_MODEL_DIR"].replace("gs://", "/gcs/")
os.makedirs(out, exist_ok=False)
bucket = out.split("/")[2]
words = set(open(f"/gcs/{bucket}/in/words.txt").read().split())
names = sorted(os.path.basename(one) for one in glob.glob(f"/gcs/{bucket}/in/*"))
json.dump({"words": list(words), "names": names}, open(out + "model.json", "w"))
open(f"/gcs/{bucket}/elsewhere.txt", "w").write("a note")
if "--noisy" in sys.argv:
    open(out + "noise.bin", "wb").write(os.urandom(8))
"""


def job_of(aiplatform: Any, bucket: Any, *args: str) -> Any:
    bucket.blob("in/words.txt").upload_from_string("one two three four five six seven")
    bucket.blob("in/unread.txt").upload_from_string("nobody reads it")
    container = {"image_uri": PLAIN, "command": ["python", "-c", SCRIPT], "args": list(args)}
    pools = [{"machine_spec": {"machine_type": "n1-standard-4"}, "container_spec": container}]
    job = aiplatform.CustomJob("mine", pools, base_output_dir=f"gs://{bucket.name}/out",
                               staging_bucket=f"gs://{bucket.name}")  # fmt: skip
    job.run(sync=True)
    return job


def test_a_custom_job_is_repeated_from_what_it_saw(portico, aiplatform, bucket, client):
    job = job_of(aiplatform, bucket)
    first = bucket.get_blob("in/words.txt").generation
    written = bucket.get_blob("elsewhere.txt").generation
    asked = f'metadata.customJob.string_value="{job.resource_name}"'
    [run] = aiplatform.Execution.list(filter=asked)
    read = {one.uri: one.metadata.get("generation") for one in run.get_input_artifacts()}
    assert read == {f"gs://{bucket.name}/in/words.txt": str(first)}  # and not what it did not open
    assert run.metadata["seeds"] == {"PYTHONHASHSEED": "0"}
    assert run.metadata["environments"][0]["python"].startswith("3.11.")
    # The world goes on.
    bucket.blob("in/words.txt").upload_from_string("eight nine")
    bucket.blob("in/new.txt").upload_from_string("it was not there")
    found = rerun(client, job.resource_name)
    assert found["identical"] is True, found
    assert [one["name"] for one in found["files"]] == [
        "model/model.json",
        f"gs://{bucket.name}/elsewhere.txt",
    ]
    assert all(one["first"] == one["again"] for one in found["files"])
    # Nothing of the first is overwritten.
    short = found["name"].rpartition("/")[2]
    assert bucket.get_blob("elsewhere.txt").generation == written
    assert bucket.get_blob(f"reruns/{short}/elsewhere.txt").download_as_text() == "a note"
    assert bucket.get_blob(f"out/reruns/{short}/model/model.json")
    [again] = aiplatform.Execution.list(filter=f'metadata.customJob.string_value="{found["name"]}"')
    assert again.metadata["rerunOf"] == job.resource_name
    assert {one.uri for one in again.get_input_artifacts()} == {
        f"gs://{bucket.name}/in/words.txt", f"gs://{bucket.name}/out/model",
    }  # fmt: skip
    job.delete()
    assert rerun(client, found["name"])["identical"] is True


def test_what_differs_is_named(portico, aiplatform, bucket, client):
    job = job_of(aiplatform, bucket, "--noisy")
    done = subprocess.run(
        [*COMMAND, "rerun", job.resource_name.rpartition("/")[2], "--home", str(portico.home)],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.startswith("model/")}
    assert lines["model/model.json"][-1] == "same" and lines["model/noise.bin"][-1] == "differs"
    assert lines["model/noise.bin"][1] != lines["model/noise.bin"][2]
    assert "not identical: what differs is named above" in done.stdout


def test_what_cant_be_repeated_is_refused_with_words(portico, aiplatform, bucket, client):
    bad = aiplatform.CustomJob("bad", [{"machine_spec": {"machine_type": "n1-standard-4"}, "container_spec": {
        "image_uri": PLAIN, "command": ["python", "-c", "raise SystemExit(3)"]}}],
        staging_bucket=f"gs://{bucket.name}")  # fmt: skip
    bad.submit()
    until(lambda: bad.state.name == "JOB_STATE_FAILED", "it has failed")
    with pytest.raises(FailedPrecondition, match="is FAILED: only a training that has succeeded"):
        client.rerun(bad.resource_name)
    with pytest.raises(NotFound):
        client.rerun(bad.resource_name + "0")
    with pytest.raises(FailedPrecondition, match="repeats no other training"):
        client.rerun_of(bad.resource_name)
    done = subprocess.run(
        [*COMMAND, "rerun", "no such job", "--home", str(portico.home)],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "There is no training 'no such job'" in done.stderr


TRAINER = """
import glob, os, random
random.seed(1)
rows = [line for path in sorted(glob.glob(os.environ["AIP_TRAINING_DATA_URI"].replace("gs://", "/gcs/")))
        for line in open(path)]
out = os.environ["AIP_MODEL_DIR"].replace("gs://", "/gcs/")
os.makedirs(out)
open(out + "model.txt", "w").write(f"{len(rows)} rows {random.random()}")
"""


def test_a_pipeline_of_ones_own_code_is_repeated_with_its_exported_data(portico, aiplatform, bucket, client):
    rows = "".join(f"{number},{3 * number + 1}\n" for number in range(100))
    bucket.blob("rows.csv").upload_from_string("x,y\n" + rows)
    dataset = aiplatform.TabularDataset.create("rows", gcs_source=f"gs://{bucket.name}/rows.csv")
    job = aiplatform.CustomContainerTrainingJob(
        "own", PLAIN, command=["python", "-c", TRAINER], staging_bucket=f"gs://{bucket.name}",
        model_serving_container_image_uri="us-docker.pkg.dev/portico/prediction/lightgbm-cpu.4-7:latest",
    )  # fmt: skip
    model = job.run(dataset, model_display_name="line", base_output_dir=f"gs://{bucket.name}/made")
    bucket.blob("rows.csv").upload_from_string("x,y\n")
    for blob in list(bucket.list_blobs()):
        if "/training-" in blob.name:
            blob.delete()  # what was exported, and read
    found = rerun(client, job.resource_name)
    assert found["identical"] is True, found
    assert [one["name"] for one in found["files"]] == ["model/model.txt"]
    [again] = aiplatform.Model.list(filter='display_name="line (rerun)"')
    short = found["name"].rpartition("/")[2]
    assert again.uri == f"gs://{bucket.name}/made/reruns/{short}/model" != model.uri


def test_a_trial_is_repeated_with_its_parameters(portico, aiplatform, bucket, client):
    script = """
import os, sys
out = os.environ["AIP_MODEL_DIR"].replace("gs://", "/gcs/")
os.makedirs(out)
open(out + "model.txt", "w").write(" ".join(sys.argv[1:]) + os.environ["CLOUD_ML_TRIAL_ID"])
open("/var/hypertune/output.metrics", "w").write('{"score": 1}')
"""
    container = {"image_uri": PLAIN, "command": ["python", "-c", script]}
    pools = [{"machine_spec": {"machine_type": "n1-standard-4"}, "container_spec": container}]
    each = aiplatform.CustomJob("trial", pools, base_output_dir=f"gs://{bucket.name}/out",
                                staging_bucket=f"gs://{bucket.name}")  # fmt: skip
    job = aiplatform.HyperparameterTuningJob(
        "tuned", each, {"score": "maximize"}, {"rate": DoubleParameterSpec(min=0.1, max=1.0, scale="log")},
        max_trial_count=2, parallel_trial_count=1,
    )  # fmt: skip
    job.run()
    found = rerun(client, job.trials[1].custom_job)
    assert found["identical"] is True, found
    done = subprocess.run(
        [*COMMAND, "rerun", job.resource_name, "--home", str(portico.home)],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "as many trainings as trials; repeat one of these: 1 (" in done.stderr


@pytest.mark.slow
def test_an_environment_that_is_gone_is_made_again_of_the_same_versions(tmp_path):
    interpreter = environments.find_python(["3.11"])
    recorded = {
        "image": "python:3.11", "key": "gone", "interpreter": interpreter,
        "packages": ["joblib==1.4.2", "threadpoolctl==3.5.0"],
    }  # fmt: skip
    said: list[str] = []
    python = python_again(recorded, tmp_path, Teller(said.append))
    assert environments.installed(python) == recorded["packages"]
    assert "python:3.11: its environment is gone; one of the same 2 packages is made" in said
    assert python_again({**recorded, "key": python.parents[1].name}, tmp_path, Teller()) == python
    with pytest.raises(FailedPrecondition, match="cannot be made"):
        python_again({**recorded, "packages": ["joblib==0.0.1.never"]}, tmp_path, Teller())


def test_what_is_not_as_it_was_is_said():
    record = {
        "machine": dict(pins.machine()),
        "python": platform.python_version(),
        "versions": {"numpy": "0.1"},
    }
    record["machine"]["processor"] = "an abacus"
    found = pins.changed(record)
    assert len(found) == 2 and found[0].startswith("the processor was an abacus and is ")
    assert found[1].startswith("numpy was 0.1 and is ")
    gone = {"machine": pins.machine(), "environments": [{"interpreter": "/no/python", "python": "3.11.1"}]}
    assert pins.changed(gone) == ["Python was 3.11.1 and is not there any more"]
