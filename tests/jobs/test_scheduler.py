"""What the scheduler does with rows, without a server."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from portico.clock import SystemClock
from portico.ids import RandomIds
from portico.jobs.engines.protocol import Ended
from portico.jobs.scheduler import Scheduler
from portico.store import jobs
from portico.store.database import Database


class Pretended:
    """An engine that only notes what it is told to run."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.left: set[str] = set()

    def free(self) -> bool:
        return True

    def start(self, job: str) -> None:
        self.started.append(job)

    def running(self) -> list[str]:
        return self.started

    def poll(self) -> list[Ended]:
        return []

    def stop(self, job: str, *, now: bool = False) -> None:
        pass

    def adopt(self, jobs: Iterable[str]) -> set[str]:
        adopted = self.left & set(jobs)
        self.started += adopted
        return adopted

    def waitables(self) -> list[object]:
        return []

    def close(self) -> None:
        pass


@pytest.fixture
def engine() -> Pretended:
    return Pretended()


@pytest.fixture
def scheduler(tmp_path: Path, database: Database, engine: Pretended) -> Scheduler:
    return Scheduler(tmp_path, database, SystemClock(), RandomIds(), engine)


def lease(database: Database, id: str, until: float) -> None:
    with database.write() as connection:
        job = jobs.get(connection, id)
        assert job is not None
        jobs.lease(connection, job, "another", until - 60, 60)


def test_a_job_whose_lease_ran_out_is_taken_again(database, scheduler, engine, add, read):
    now = SystemClock().now()
    add("gone", "here.quick")
    add("held", "here.quick")
    lease(database, "gone", now - 1)
    lease(database, "held", now + 3600)
    scheduler._take_lapsed()
    assert (read("gone").state, read("gone").lost, read("held").state) == ("QUEUED", 1, "RUNNING")
    scheduler._start_queued()
    assert engine.started == ["gone"]


def test_leases_of_what_runs_are_renewed(database, scheduler, engine, add, read):
    add("1", "here.quick")
    scheduler._start_queued()
    with database.write() as connection:
        jobs.renew(connection, ["1"], 5.0)  # as if long ago
    scheduler._renew()
    scheduler._take_lapsed()
    assert read("1").state == "RUNNING" and read("1").lease_until > SystemClock().now()


def test_what_an_engine_adopts_goes_on_and_the_rest_is_run_again(database, scheduler, engine, add, read):
    for id in ("1", "2"):
        add(id, "here.quick")
        lease(database, id, 100.0)
    engine.left = {"1"}
    scheduler._sweep()
    scheduler._take_lapsed()
    assert (read("1").state, read("1").attempts, read("1").owner) == ("RUNNING", 1, "another")
    assert (read("2").state, read("2").lost) == ("QUEUED", 1)
