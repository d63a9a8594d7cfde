"""A job that waits for its children, or for a time, holds nothing meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from portico.ids import RandomIds
from portico.jobs import worker
from portico.jobs.engines.protocol import Ended, Machine
from portico.jobs.scheduler import Scheduler
from portico.store import jobs
from portico.store.database import Database
from portico.store.jobs import Resources

pytestmark = pytest.mark.usefixtures("either_store")


class Clock:
    time = 100.0

    def now(self) -> float:
        return self.time

    monotonic = now


class OneCore:
    """An engine of one core, whose jobs have run when `step` returns; their ends are told by the next `poll`."""

    def __init__(self, home: Path, database: Database, clock: Clock) -> None:
        self._parts = (home, database, clock, RandomIds())
        self._database = database
        self.turns: list[str] = []
        self._told: list[str] = []

    def machines(self) -> list[Machine]:
        free = Resources(cores=1.0 - len(self._told), memory=1 << 30)
        return [Machine(Resources(cores=1.0, memory=1 << 30), free)]

    def start(self, job: str, asks: Resources, kind: str = "") -> None:
        with self._database.read() as connection:
            leased = jobs.get(connection, job)
        assert leased is not None
        self.turns.append(leased.kind)
        self._told.append(job)
        worker.run(worker.Context(*self._parts, leased, lambda: False), lambda line: None)

    def running(self) -> list[str]:
        return self._told

    def poll(self) -> list[Ended]:
        told, self._told = self._told, []
        return [Ended(job, "exit status 0") for job in told]

    def stop(self, job: str, *, now: bool = False) -> None: ...

    def adopt(self, jobs: Mapping[str, Resources]) -> set[str]:
        return set()

    def waitables(self) -> list[object]:
        return []

    def close(self) -> None: ...


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(tmp_path: Path, database: Database, clock: Clock) -> OneCore:
    return OneCore(tmp_path, database, clock)


@pytest.fixture
def scheduler(tmp_path: Path, database: Database, clock: Clock, engine: OneCore) -> Scheduler:
    return Scheduler(tmp_path, database, clock, RandomIds(), engine)


def step(scheduler: Scheduler) -> None:
    scheduler._collect()
    scheduler._wake_due()
    scheduler._start_queued()


def test_a_parent_that_waits_leaves_its_core_to_its_children(scheduler, engine, add, read):
    add("p", "here.parent")
    step(scheduler)
    assert (read("p").state, read("p").owner, read("p").attempts) == ("WAITING", None, 0)
    step(scheduler)
    assert engine.turns == ["here.parent", "here.quick"] and read("p").state == "WAITING"
    for _ in range(3):
        step(scheduler)
    assert engine.turns == ["here.parent", "here.quick", "here.quick", "here.parent"]
    assert (read("p").state, read("p").result, read("p").attempts) == ("SUCCEEDED", ["done", "done"], 1)


def test_a_job_waits_for_a_time(scheduler, engine, clock, database, read):
    with database.write() as connection:
        jobs.insert(
            connection, id="1", kind="here.later", resource="r", payload={"until": 150.0}, now=1.0
        )  # fmt: skip
    for _ in range(3):
        step(scheduler)
    assert read("1").state == "WAITING" and len(engine.turns) == 1
    clock.time = 151.0
    step(scheduler)
    assert (read("1").state, read("1").result) == ("SUCCEEDED", "late")


def test_who_waits_is_cancelled_with_its_children(scheduler, engine, database, add, read):
    add("p", "here.parent")
    step(scheduler)
    with database.write() as connection:
        jobs.request_cancel(connection, "p")
        children = [child.id for child in jobs.children(connection, "p")]
    step(scheduler)
    assert [read(id).state for id in ("p", *children)] == ["CANCELLED"] * 3
    assert engine.turns == ["here.parent"]


def test_what_a_parent_that_fails_has_started_ends(scheduler, database, add, read):
    add("p", "here.quick")
    add("c", "here.quick", parent="p")
    with database.write() as connection:
        job = jobs.get(connection, "p")
        assert job is not None
        jobs.end(connection, job, "FAILED", 2.0)
    step(scheduler)
    assert read("c").state == "CANCELLED"


def test_a_job_with_nothing_to_wait_for_is_queued_at_once(database, add, read):
    add("p", "here.parent")
    with database.write() as connection:
        job = jobs.get(connection, "p")
        assert job is not None
        jobs.lease(connection, job, "s", 1.0, 60)
        jobs.wait(connection, job, None)
    assert (read("p").state, read("p").attempts) == ("QUEUED", 0)
