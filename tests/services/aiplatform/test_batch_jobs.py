"""Batch jobs that don't run smoothly: cancelled, killed, large; and models in replica processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time

import psutil
import pytest
from google.api_core import exceptions
from tests.waiting import until

from .test_batch_prediction import booster, files_of, lines, model, predict, quick  # noqa: F401

ROW = '{"a":0.5,"b":-1.0,"city":"Rome"}\n'
MANY = 200_000
WAITING = ("JOB_STATE_QUEUED", "JOB_STATE_PENDING", "JOB_STATE_RUNNING", "JOB_STATE_CANCELLING")


def submitted(aiplatform, bucket, model, data):  # noqa: F811
    bucket.blob("rows.jsonl").upload_from_string(data)
    return aiplatform.BatchPredictionJob.submit(
        job_display_name="many",
        model_name=model.resource_name,
        gcs_source=f"gs://{bucket.name}/rows.jsonl",
        gcs_destination_prefix=f"gs://{bucket.name}/out",
    )


def until_it_is(job, state):
    def come():
        now = job.state.name
        assert now in (state, *WAITING)
        return now == state

    until(come, f"the job is {state}")


def worker_of(portico):
    """The process that runs a job: a child of the warm server."""
    for pid in portico.pids():
        try:
            process = psutil.Process(pid)
            if "portico.jobs.warm" in process.cmdline() and "portico.jobs.warm" in process.parent().cmdline():
                return process
        except psutil.NoSuchProcess:
            pass
    return None


def half_done(portico):
    """The process of the running job, once it has written a megabyte."""

    def writing():
        worker = worker_of(portico)
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
            opened = worker.open_files() if worker else []
            if any(file.mode != "r" and os.path.getsize(file.path) > 1 << 20 for file in opened):
                return worker
        return None

    return until(writing, "a job has written a megabyte")


def test_a_running_job_is_cancelled_and_leaves_nothing(portico, aiplatform, bucket, model):  # noqa: F811
    job = submitted(aiplatform, bucket, model, ROW * MANY)
    until_it_is(job, "JOB_STATE_RUNNING")
    with pytest.raises(exceptions.BadRequest, match="has not ended"):
        job.delete()
    half_done(portico)
    job.cancel()
    until_it_is(job, "JOB_STATE_CANCELLED")
    assert job.error.code == 1 and job.end_time
    assert list(bucket.list_blobs(prefix="out/")) == []
    job.delete()


def test_a_job_whose_process_is_killed_runs_again_and_writes_once(
    portico, aiplatform, bucket, model  # noqa: F811
):  # fmt: skip
    job = submitted(aiplatform, bucket, model, ROW * MANY)
    until_it_is(job, "JOB_STATE_RUNNING")
    os.kill(half_done(portico).pid, signal.SIGKILL)
    job.wait_for_completion()
    assert job.completion_stats.successful_count == MANY
    names = sorted(blob.name.rpartition("/")[2] for blob in bucket.list_blobs(prefix="out/"))
    assert names == ["prediction.errors_stats-00000-of-00001", "prediction.results-00000-of-00001"]
    assert len(files_of(job)["prediction.results-00000-of-00001"].splitlines()) == MANY


@pytest.fixture
def own_portico(new_portico, monkeypatch):
    """A server of the test's own, at which the official clients point."""
    from google.cloud import aiplatform

    server = new_portico().start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(server.home / "credentials.json"))
    monkeypatch.setattr(aiplatform.initializer.global_config, "_credentials", None)
    aiplatform.init(
        project="test-project", location="us-central1", api_endpoint=server.url, api_transport="rest"
    )
    yield server
    server.stop()


@pytest.mark.slow
def test_a_job_outlives_the_whole_server(own_portico):
    from google.cloud import aiplatform, storage

    from .conftest import IMAGE, train_booster

    bucket = storage.Client(project="test-project").create_bucket("kills")
    bucket.blob("model/model.txt").upload_from_string(train_booster().model_to_string())
    trees = aiplatform.Model.upload(
        display_name="trees",
        artifact_uri="gs://kills/model",
        serving_container_image_uri=IMAGE,
    )
    job = submitted(aiplatform, bucket, trees, '{"a":1,"b":2,"c":3}\n' * 1_000_000)
    until_it_is(job, "JOB_STATE_RUNNING")
    for pause in (0.5, 1.5):
        time.sleep(pause)
        own_portico.kill()
        own_portico.start()
    job.wait_for_completion()
    assert len(files_of(job)["prediction.results-00000-of-00001"].splitlines()) == 1_000_000
    # The two attempts' unfinished files are gone: input, model and two outputs are left.
    left = [path for path in (own_portico.home / "objects").glob("*/*") if path.is_file()]
    assert len(left) == 4


@pytest.mark.slow
def test_memory_does_not_grow_with_the_input(portico, aiplatform, bucket, model):  # noqa: F811
    peaks = []
    for rows in (300_000, 3_000_000):
        job = submitted(aiplatform, bucket, model, ROW * rows)
        peak = 0
        while not job.end_time:
            worker = worker_of(portico)
            try:
                peak = max(peak, worker.memory_full_info().pss if worker else 0)
            except psutil.NoSuchProcess:
                pass
            time.sleep(0.05)
        assert job.state.name == "JOB_STATE_SUCCEEDED"
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 64 * 2**20, peaks


FIT = """
import sys, joblib, numpy
from sklearn.linear_model import LinearRegression
x = numpy.random.RandomState(0).rand(200, 3)
joblib.dump(LinearRegression().fit(x, x @ [1.0, 2.0, 3.0] + 4.0), sys.argv[1])
"""


@pytest.mark.slow
def test_a_scikit_learn_model_predicts_in_replicas_of_its_own(portico, aiplatform, bucket, predict, tmp_path):  # noqa: F811
    import subprocess

    from google.protobuf import json_format, struct_pb2

    from portico.sandbox import environments
    from portico.services.aiplatform.images import resolve

    image = "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-5:latest"
    serving = resolve(image)
    python = environments.environment(
        serving.requirements, environments.find_python(serving.pythons), portico.home / "envs"
    )
    subprocess.run([str(python), "-c", FIT, str(tmp_path / "model.joblib")], check=True)
    bucket.blob("linear/model.joblib").upload_from_filename(str(tmp_path / "model.joblib"))
    linear = aiplatform.Model.upload(
        display_name="linear", artifact_uri=f"gs://{bucket.name}/linear", serving_container_image_uri=image
    )
    rows = [[0.1, 0.2, 0.3], [1, 1, 1], ["x", 1, 1], [0, 0]]
    data = "".join(json.dumps(row) + "\n" for row in rows)
    more = {
        "model": linear.resource_name,
        "dedicated_resources": {
            "machine_spec": {"machine_type": "n1-standard-2"},
            "starting_replica_count": 2,
        },
    }
    job, files = predict(data, **more)
    found = lines(files["prediction.results-00000-of-00001"])
    assert [one["instance"] for one in found] == rows[:2]
    assert [one["prediction"] for one in found] == pytest.approx([5.4, 10.0])
    errors = lines(files["prediction.errors_stats-00000-of-00001"])
    assert [one["instance"] for one in errors] == rows[2:]
    assert "instances[2]" in errors[0]["error"]["message"]
    assert job.completion_stats.failed_count == 2
    _, files = predict("p,q,r\n0.1,0.2,0.3\n1,1,1\n", "csv", "jsonl", **more)
    found = lines(files["prediction.results-00000-of-00001"])
    assert [one["instance"] for one in found] == rows[:2]
    objects = [dict(zip("pqr", row, strict=True)) for row in rows[:2]]
    _, files = predict(
        "".join(json.dumps(row) + "\n" for row in objects), "jsonl", "csv",
        instance_config={"instance_type": "array", "included_fields": ["p", "q", "r"]}, **more,
    )  # fmt: skip
    text = files["prediction.results-00000-of-00001.csv"].decode().splitlines()
    assert text[0] == "p,q,r,prediction" and len(text) == 3
    explained = {"sampled_shapley_attribution": {"path_count": 10}}
    metadata = {
        "inputs": {"x": {"encoding": "BAG_OF_FEATURES", "index_feature_mapping": ["p", "q", "r"],
                         "input_baselines": [json_format.ParseDict([0, 0, 0], struct_pb2.Value())]}},
        "outputs": {"y": {}},
    }  # fmt: skip
    _, files = predict(
        data, generate_explanation=True,
        explanation_spec={"parameters": explained, "metadata": metadata}, **more,
    )  # fmt: skip
    (first, _) = lines(files["explanation.results-00000-of-00001"])
    (attribution,) = first["explanation"]["attributions"]
    assert attribution["instanceOutputValue"] == pytest.approx(5.4)
    from portico.store import replicas
    from portico.store.database import Database

    database = Database(portico.home)
    with database.read() as connection:
        assert [s for s in replicas.load_all(connection) if s.spec.id.startswith("batch-")] == []
    database.close()
