"""What a job's code writes to AIP_TENSORBOARD_LOG_DIR is an experiment of its TensorBoard, also while it runs."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import aiplatform_v1 as v1
from tests.waiting import until

from portico.ml import event_files
from portico.ml.event_files import Value

PLAIN = "python:3.11"
ACCOUNT = "trainer@test-project.iam.gserviceaccount.com"
EVENTS = Path(__file__).parent / "events"
SCRIPT = """
import base64, os, pathlib, sys, time
logs = pathlib.Path(os.environ["AIP_TENSORBOARD_LOG_DIR"].replace("gs://", "/gcs/"))
def put(name, data):
    path = logs / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
if len(sys.argv) < 2:
    put("train/events.out.tfevents.1", base64.b64decode(TENSORFLOW))
put("a/b_c/events.out.tfevents.2", base64.b64decode(TORCH))
put("train/notes.txt", b"nothing of TensorBoard's")
put("odd/events.out.tfevents.5", base64.b64decode(ODD))
put("bad/events.out.tfevents.3", b"\\x80\\x04 no event file")
if len(sys.argv) > 1:  # a file of somebody else
    (logs / "stolen").mkdir()
    (logs / "stolen/events.out.tfevents").symlink_to(sys.argv[1])
    put("train/events.out.tfevents.1", base64.b64decode(TENSORFLOW))
    time.sleep(600)
put("events.out.tfevents.4", base64.b64decode(TORCH)[:-5])
"""


def odd() -> str:
    """A file with what no time series takes, and one value that it does."""

    def value(tag: str, data: bytes = b"") -> Value:
        return Value(tag, 1, float("nan"), "SCALAR", "scalars", data, scalar=3.0)

    values = [value("t" * 129), value(""), value("data", bytes(70_000)), value("loss")]
    return base64.b64encode(event_files.header(1.0) + event_files.record(values)).decode()


@pytest.fixture
def board(aiplatform: Any) -> Any:
    made = aiplatform.Tensorboard.create(display_name="jobs")
    yield made
    made.delete()


@pytest.fixture
def job(aiplatform: Any, bucket: Any) -> Any:
    def of(*arguments: str) -> Any:
        tensorflow, torch = (
            base64.b64encode((EVENTS / f"{name}.tfevents").read_bytes()).decode()
            for name in ("tensorflow", "tensorboardx")
        )
        script = f"TENSORFLOW, TORCH, ODD = {tensorflow!r}, {torch!r}, {odd()!r}\n{SCRIPT}"
        container = {"image_uri": PLAIN, "command": ["python", "-c", script, *arguments]}
        pool = {
            "machine_spec": {"machine_type": "n1-standard-4"},
            "replica_count": 1,
            "container_spec": container,
        }
        return aiplatform.CustomJob(
            "logs", [pool], base_output_dir=f"gs://{bucket.name}/out", staging_bucket=f"gs://{bucket.name}"
        )

    return of


def losses(aiplatform: Any, board: Any, job: Any, run: str) -> list[tuple[int, float]]:
    """Of the run; none as long as it is not there."""
    try:
        found = aiplatform.TensorboardRun(
            run, tensorboard_id=board.name, tensorboard_experiment_id=job.resource_name.rpartition("/")[2]
        )
    except exceptions.NotFound:
        return []
    read = found.read_time_series_data()
    return [(p.step, round(p.scalar.value, 3)) for p in read["loss"].values] if "loss" in read else []


def test_a_jobs_event_files_are_an_experiment(portico, aiplatform, board, job):
    done = job()
    done.run(tensorboard=board.resource_name, service_account=ACCOUNT)
    job_id = done.resource_name.rpartition("/")[2]
    experiment = aiplatform.TensorboardExperiment(job_id, board.name)
    assert (experiment.display_name, experiment.gca_resource.source) == ("logs", done.resource_name)
    runs = {one.display_name: one for one in aiplatform.TensorboardRun.list(experiment.resource_name)}
    assert set(runs) == {"train", "a-b-c", "default", "odd"}
    assert losses(aiplatform, board, done, "train") == [(0, 1.0), (1, 0.5), (2, 0.333)]
    assert losses(aiplatform, board, done, "a-b-c") == [(0, 2.0), (1, 1.0), (2, 0.667)]
    assert losses(aiplatform, board, done, "default") == [(0, 2.0), (1, 1.0), (2, 0.667)]
    assert losses(aiplatform, board, done, "odd") == [(1, 3.0)]
    series = {
        one.display_name: one for one in aiplatform.TensorboardTimeSeries.list(runs["train"].resource_name)
    }
    assert {name: one.gca_resource.plugin_name for name, one in series.items()} == {
        "loss": "scalars", "epoch_accuracy": "scalars", "weights": "histograms", "note": "text", "picture": "images",
    }  # fmt: skip
    read = runs["train"].read_time_series_data()
    ids = [blob.id for blob in read["picture"].values[0].blobs.values]
    client = v1.TensorboardServiceClient(client_options={"api_endpoint": portico.url}, transport="rest")
    answers = client.read_tensorboard_blob_data(
        request={"time_series": series["picture"].resource_name, "blob_ids": ids}
    )
    assert [blob.data[:4] for answer in answers for blob in answer.blobs] == [b"3", b"2", b"\x89PNG"]
    table = aiplatform.get_experiment_df(job_id).set_index("run_name")
    assert set(table.index) == set(runs) and set(table["state"]) == {"COMPLETE"}
    assert table["time_series_metric.loss"]["odd"] == 3.0
    logs = [path.read_text() for path in portico.home.glob("jobs/*/log.txt")]
    (log,) = [text for text in logs if job_id in text]
    assert "tfevents.3: at byte 0 there is no record" in log and "TensorBoard: 23 points of 15" in log
    assert "1 to 128 characters" in log and "beyond 65 KiB" in log


def test_they_are_seen_while_it_runs(aiplatform, board, job):
    running = job(str(EVENTS / "tensorflow.tfevents"))
    running.submit(tensorboard=board.resource_name, service_account=ACCOUNT)
    until(lambda: len(losses(aiplatform, board, running, "train")) == 3, "the points are there")
    running._sync_gca_resource()
    assert running.state.name == "JOB_STATE_RUNNING"
    running.cancel()
    until(lambda: running._sync_gca_resource() or running.state.name == "JOB_STATE_CANCELLED", "it has ended")
    assert len(losses(aiplatform, board, running, "a-b-c")) == 3
    assert losses(aiplatform, board, running, "stolen") == []


@pytest.mark.slow
def test_a_training_jobs_too(aiplatform, board, bucket, tmp_path):
    path = tmp_path / "task.py"
    data = base64.b64encode((EVENTS / "tensorflow.tfevents").read_bytes()).decode()
    path.write_text(
        "import base64, os\n"
        "folder = os.environ['AIP_TENSORBOARD_LOG_DIR'].replace('gs://', '/gcs/')\n"
        "os.makedirs(folder + 'train')\n"
        f"open(folder + 'train/events.out.tfevents', 'wb').write(base64.b64decode({data!r}))\n"
    )
    training = aiplatform.CustomTrainingJob(
        "t", str(path), PLAIN, staging_bucket=f"gs://{bucket.name}", requirements=[]
    )
    training.run(
        base_output_dir=f"gs://{bucket.name}/o", tensorboard=board.resource_name, service_account=ACCOUNT
    )
    assert losses(aiplatform, board, training, "train") == [(0, 1.0), (1, 0.5), (2, 0.333)]


def test_a_tensorboard_is_checked_when_it_is_asked_for(aiplatform, board, job):
    with pytest.raises(exceptions.BadRequest, match="serviceAccount is required"):
        job().submit(tensorboard=board.resource_name)
    with pytest.raises(exceptions.NotFound, match="Tensorboard"):
        job().submit(tensorboard=board.resource_name + "1", service_account=ACCOUNT)
    with pytest.raises(exceptions.BadRequest, match="is not in"):
        elsewhere = board.resource_name.replace("us-central1", "europe-west4")
        job().submit(tensorboard=elsewhere, service_account=ACCOUNT)
