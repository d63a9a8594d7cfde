"""Durable jobs where it is narrow: early cancellations, names that are taken meanwhile, attempts that were lost."""

from __future__ import annotations

import pytest
import world
from tests.waiting import until
from wire import Wire

from portico.clock import SystemClock
from portico.errors import Internal
from portico.ids import RandomIds
from portico.jobs import kinds, worker
from portico.jobs.engines.local import LocalProcesses
from portico.jobs.kinds import JobKind
from portico.jobs.scheduler import Scheduler
from portico.store import jobs
from portico.store.database import Database

L = "projects/jobs/locations/us-central1"


@pytest.fixture(scope="module")
def wire(portico):
    wire = Wire(portico.url)
    yield wire
    wire.close()


def test_a_training_cancelled_at_once_ends_at_once(wire):
    dataset = world.make_dataset(wire, L, world.make_bucket(wire))
    training = world.make_training(wire, L, dataset, budget=1000)
    world.good(wire("POST", f"/v1/{training}:cancel", {}))

    def cancelled():
        state = wire("GET", f"/v1/{training}").json["state"]
        waiting = ("PIPELINE_STATE_CANCELLING", "PIPELINE_STATE_PENDING", "PIPELINE_STATE_RUNNING")
        assert state in ("PIPELINE_STATE_CANCELLED", *waiting)
        return state == "PIPELINE_STATE_CANCELLED"

    until(cancelled, "the training is cancelled")


def test_of_two_uploads_of_one_name_one_fails_with_a_reason(wire):
    bucket = world.make_bucket(wire)
    model = {
        "displayName": "trees",
        "artifactUri": f"gs://{bucket}/model",
        "containerSpec": {"imageUri": world.IMAGE},
    }
    body = {"model": model, "modelId": world.fresh_name("model")}
    started = [wire("POST", f"/v1/{L}/models:upload", body) for _ in range(4)]
    running = [world.good(answer) for answer in started if answer.status == 200]
    ended = []
    for operation in running:
        wait = f"/v1/{operation['name']}:wait?timeout=60s"
        ended.append(
            until(lambda wait=wait: (o := world.good(wire("POST", wait, {}))).get("done") and o, wait)
        )
    assert all(o["done"] for o in ended)
    assert sum("response" in o for o in ended) == 1
    for failed in (o["error"] for o in ended if "error" in o):
        assert failed["code"] == 6 and "already exists" in failed["message"]
    assert all(answer.status == 409 for answer in started if answer.status != 200)


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path)
    database.create_tables()
    yield database
    database.close()


@pytest.fixture
def followed(monkeypatch):
    seen: list[str] = []
    kind = JobKind("test.kind", "nowhere:run", lambda connection, job, now: seen.append(job.state))
    monkeypatch.setitem(kinds.KINDS, "test.kind", kind)
    return seen


def test_an_attempt_that_was_given_up_changes_nothing_any_more(database, followed):
    with database.write() as connection:
        jobs.insert(connection, id="1", kind="test.kind", resource="r", payload={}, now=1.0)
        first = jobs.get(connection, "1")
        jobs.lease(connection, first, "scheduler-1", 1.0, 60)
    with database.write() as connection:  # its worker is lost; the next scheduler leases the job again
        again = jobs.get(connection, "1")
        jobs.requeue(connection, again)
    worker.end(database, first, "SUCCEEDED", 2.0, result="late")
    with database.write() as connection:
        assert jobs.get(connection, "1").state == "QUEUED"
        jobs.lease(connection, again, "scheduler-2", 3.0, 60)
    worker.end(database, first, "FAILED", 4.0, error=Internal("late"))
    assert followed == []
    worker.end(database, again, "SUCCEEDED", 5.0, result="right")
    worker.end(database, again, "FAILED", 6.0, error=Internal("twice"))
    with database.read() as connection:
        ended = jobs.get(connection, "1")
    assert (ended.state, ended.result, ended.error) == ("SUCCEEDED", "right", None)
    assert followed == ["SUCCEEDED"]


def attempt(database: Database) -> jobs.Job:
    """The job "1", leased once more."""
    with database.write() as connection:
        job = jobs.get(connection, "1")
        jobs.lease(connection, job, "scheduler", 1.0, 60)
    return job


def now(database: Database) -> jobs.Job:
    with database.read() as connection:
        return jobs.get(connection, "1")


@pytest.fixture
def scheduler(tmp_path, database, followed):
    with database.write() as connection:
        jobs.insert(connection, id="1", kind="test.kind", resource="r", payload={}, now=1.0)
    return Scheduler(tmp_path, database, SystemClock(), RandomIds(), LocalProcesses(tmp_path, []))


def test_a_machine_that_goes_down_is_not_counted_as_a_worker_that_fails(database, scheduler):
    for _ in range(10):
        attempt(database)
        scheduler._sweep()  # what a scheduler that starts finds RUNNING went down with the last one
        assert now(database).state == "QUEUED"
    for _ in range(2):
        attempt(database)
        scheduler._lost("1", "signal 11")
        assert now(database).state == "QUEUED"
    attempt(database)
    scheduler._lost("1", "signal 11")
    ended = now(database)
    assert (ended.state, ended.attempts, ended.lost) == ("FAILED", 13, 10)
    assert "worker failed 3 times (signal 11)" in ended.error["message"]
    assert "went down 10 times" in ended.error["message"]


def test_a_job_that_always_goes_down_with_the_server_ends(database, scheduler):
    for _ in range(29):
        attempt(database)
        scheduler._sweep()
    assert now(database).state == "QUEUED"
    attempt(database)
    scheduler._sweep()
    assert now(database).state == "FAILED"
    assert "The machine or the server went down 30 times" in now(database).error["message"]


def test_workers_that_go_down_with_the_warm_server_have_not_failed(
    tmp_path, database, scheduler, monkeypatch
):
    engine = scheduler._engine
    engine._pids["1"] = 0
    attempt(database)
    engine._server_lost()
    scheduler._collect()
    assert (now(database).state, now(database).lost) == ("QUEUED", 1)
