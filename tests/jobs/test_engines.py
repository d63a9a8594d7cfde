"""What every engine does: the conformance of `jobs/engines/protocol.py`. A new engine is added to ENGINES."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests import environments, waiting

from portico.jobs import worker
from portico.jobs.engines.local import LocalProcesses
from portico.jobs.engines.protocol import Ended, Engine
from portico.jobs.engines.ray.engine import RayCluster
from portico.store import jobs
from portico.store.database import Database

MakeEngine = Callable[[Path], Engine]
ENGINES = ["local", pytest.param("ray", marks=pytest.mark.slow)]
ASKS = jobs.Resources(cores=1.0, memory=1 << 20)


@pytest.fixture(params=ENGINES)
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> MakeEngine:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    if request.param == "local":
        return lambda home: LocalProcesses(home, ["kinds_here"])
    address = request.getfixturevalue("ray_cluster").address

    def on_ray(home: Path) -> Engine:
        environments.share(home)
        return RayCluster(home, ["kinds_here"], address)

    return on_ray


@pytest.fixture
def engine(make: MakeEngine, tmp_path: Path) -> Iterator[Engine]:
    engine = make(tmp_path)
    ready(engine)
    yield engine
    engine.close()


def ready(engine: Engine) -> None:
    """Looks until the engine knows what there is."""
    waiting.until(lambda: engine.poll() or any(one.free.holds(ASKS) for one in engine.machines()), "machines")


@pytest.fixture
def leased(add: Any, database: Database) -> Callable[[str, str], str]:
    def lease(id: str, kind: str) -> str:
        add(id, kind)
        with database.write() as connection:
            job = jobs.get(connection, id)
            assert job is not None
            jobs.lease(connection, job, "scheduler", 1.0, 60)
        return id

    return lease


@pytest.fixture
def pid(tmp_path: Path, until: Any) -> Callable[[str], int]:
    """The process of a job that says which it is, once it does."""

    def said(id: str) -> int:
        file = worker.job_folder(tmp_path, id) / "pid"
        return int(until(lambda: file.exists() and file.read_text()))

    return said


def test_jobs_run_and_each_end_is_told_once(engine, leased, read, until):
    assert engine.machines()[0].free.holds(ASKS) and not engine.running() and not engine.poll()
    engine.start(leased("1", "here.quick"), ASKS)
    assert list(engine.running()) == ["1"]
    told = until(engine.poll)
    assert told == [Ended("1", "exit status 0")]
    assert (read("1").state, read("1").result) == ("SUCCEEDED", "done")
    assert not engine.running() and not engine.poll()
    engine.start(leased("2", "here.quick"), ASKS)
    assert [ended.job for ended in until(engine.poll)] == ["2"]


def test_a_job_asked_to_stop_stops_and_one_ended_now_is_ended(engine, leased, database, read, until, pid):
    engine.stop("nobody")
    engine.start(leased("1", "here.patient"), ASKS)
    pid("1")
    with database.write() as connection:
        jobs.request_cancel(connection, "1")
    engine.stop("1")
    assert [ended.job for ended in until(engine.poll)] == ["1"]
    assert read("1").state == "CANCELLED"

    engine.start(leased("2", "here.deaf"), ASKS)
    running = psutil.Process(pid("2"))
    engine.stop("2")
    assert list(engine.running()) == ["2"]
    engine.stop("2", now=True)
    (ended,) = until(engine.poll)
    assert ended.job == "2" and ended.cause  # it has failed: the engine is well
    assert read("2").state == "RUNNING" and not running.is_running()


def test_a_job_asked_to_stop_before_it_has_begun_stops(engine, leased, database, read, until):
    engine.start(leased("1", "here.patient"), ASKS)
    with database.write() as connection:
        jobs.request_cancel(connection, "1")
    engine.stop("1")
    assert [ended.job for ended in until(engine.poll)] == ["1"]
    assert read("1").state in ("CANCELLED", "RUNNING")  # RUNNING: it was ended before its worker was there


def test_what_runs_after_a_restart_is_adopted_and_nothing_else_runs(make, tmp_path, leased, until, pid):
    first = make(tmp_path)
    ready(first)
    first.start(leased("1", "here.patient"), ASKS)
    process = psutil.Process(pid("1"))
    first.close()
    second = make(tmp_path)
    try:
        adopted = second.adopt({"1": ASKS, "unknown": ASKS})
        if "unknown" in adopted:  # it is found out that it does not run
            assert until(second.poll) == [Ended("unknown", "")]
            adopted.discard("unknown")
        assert adopted <= {"1"} and set(second.running()) == adopted
        if not adopted:
            until(lambda: not process.is_running())
        for job in adopted:
            second.stop(job, now=True)
            assert [ended.job for ended in until(second.poll)] == [job]
    finally:
        second.close()
