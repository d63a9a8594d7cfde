"""Jobs of model monitors outlive their server; mail about what they find goes out when there is somebody to take it."""

from __future__ import annotations

import time

import pytest
from tests.services.test_mail import Mailbox
from tests.waiting import until

from .conftest import IMAGE, train_booster
from .monitored import alerts, csv_of, monitor, points, put, rows


@pytest.fixture
def own(new_portico, monkeypatch):
    """A server of the test's own whose mail goes to a mailbox of the test's own; a model, and a bucket."""
    from google.cloud import aiplatform, storage

    mailbox = Mailbox()
    monkeypatch.setenv("PORTICO_SMTP", f"smtp://127.0.0.1:{mailbox.server_address[1]}")
    server = new_portico().start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(server.home / "credentials.json"))
    monkeypatch.setattr(aiplatform.initializer.global_config, "_credentials", None)
    aiplatform.init(
        project="test-project", location="us-central1", api_endpoint=server.url, api_transport="rest"
    )
    bucket = storage.Client(project="test-project").create_bucket("own")
    bucket.blob("model/model.txt").upload_from_string(train_booster().model_to_string())
    model = aiplatform.Model.upload(
        display_name="trees", artifact_uri="gs://own/model", serving_container_image_uri=IMAGE
    )
    yield server, model, bucket, mailbox
    server.stop()
    mailbox.shutdown()
    mailbox.server_close()


def ended(watched, count: int) -> list[str]:
    """The states of the jobs of a monitor, once all `count` of them have ended."""

    def states() -> list[str] | None:
        states = [job.state.name for job in watched.list_jobs()]
        waiting = {"JOB_STATE_PENDING", "JOB_STATE_RUNNING"} & set(states)
        return states if len(states) == count and not waiting else None

    return until(states, f"{count} jobs have ended")


def submit(watched, target, **more) -> None:
    """Makes a job, and does not wait for it as the client does."""
    parent = watched.resource_name
    job = {"model_monitoring_spec": {"objective_spec": {"target_dataset": target._as_proto()}, **more}}
    watched.api_client.create_model_monitoring_job(parent=parent, model_monitoring_job=job)


def test_anomalies_are_mailed(own):
    server, model, bucket, mailbox = own
    from vertexai.resources.preview.ml_monitoring.spec import NotificationSpec

    mailbox.failures = 1
    watched = monitor(
        model,
        put(bucket, "training.csv", csv_of(rows(0, 2000))),
        notification_spec=NotificationSpec(
            user_emails=["one@example.com", "two@example.com"],
            notification_channels=["projects/p/notificationChannels/1"],
            enable_cloud_logging=True,
        ),
    )
    submit(watched, put(bucket, "same.csv", csv_of(rows(1, 2000))))
    submit(watched, put(bucket, "moved.csv", csv_of(rows(2, 2000, shift=2.0))))
    assert ended(watched, 2) == ["JOB_STATE_SUCCEEDED"] * 2
    until(lambda: len(mailbox.messages) >= 2, "two mails have come")
    told = {line.partition(":")[2] for line in mailbox.recipients}
    assert told == {"<one@example.com>", "<two@example.com>"} and len(mailbox.messages) == 2
    assert all("jensen_shannon_divergence of 'a'" in " ".join(m.split()) for m in mailbox.messages)
    logs = [path.read_text() for path in server.home.glob("jobs/*/log.txt")]
    (text,) = [text for text in logs if "anomaly" in text]
    assert '"statsName":"a"' in text and "projects/p/notificationChannels/1" in text


@pytest.mark.slow
def test_jobs_and_schedules_outlive_the_server(own):
    server, model, bucket, _ = own
    watched = monitor(model, put(bucket, "training.csv", csv_of(rows(0, 200_000))))
    target = put(bucket, "moved.csv", csv_of(rows(2, 200_000, shift=2.0)))
    schedule = watched.create_schedule(display_name="minutes", cron="* * * * *", target_dataset=target)
    for pause in (0.1, 0.6):  # a job that its worker loses three times has failed
        submit(watched, target)
        time.sleep(pause)
        server.kill()
        server.start()
    until(lambda: watched.get_schedule(schedule.name).started_run_count >= 1, "the schedule has run")
    watched.pause_schedule(schedule.name)
    count = 2 + watched.get_schedule(schedule.name).started_run_count
    assert ended(watched, count) == ["JOB_STATE_SUCCEEDED"] * count
    assert len(points(watched)["a"]) == count and alerts(watched) == ["a"] * count
