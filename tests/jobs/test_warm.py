"""The warm server's children: which of them run another job."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from portico.jobs import worker
from portico.jobs.engines.local import LocalProcesses
from portico.store import jobs
from portico.store.database import Database

ASKS = jobs.Resources(cores=1.0, memory=1 << 20)
Run = Callable[..., jobs.Job]


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalProcesses]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    engine = LocalProcesses(tmp_path, ["kinds_here"])
    yield engine
    engine.close()


@pytest.fixture
def run(engine: LocalProcesses, add: Any, read: Any, until: Any, database: Database) -> Run:
    def ran(id: str, kind: str, said: bool = True) -> jobs.Job:
        add(id, kind)
        with database.write() as connection:
            jobs.lease(connection, jobs.get(connection, id), "scheduler", 1.0, 60)  # type: ignore[arg-type]
        engine.start(id, ASKS, kind if said else "")
        assert [one.job for one in until(engine.poll)] == [id]
        return read(id)

    return ran


def test_what_left_its_process_as_it_was_is_followed_there_by_another_of_its_kind(run, tmp_path):
    first = run("1", "here.light").result
    assert run("2", "here.light").result == first
    assert run("3", "here.light", said=False).result != first
    assert (
        worker.log_path(tmp_path, "2").exists() and "succeeded" in worker.log_path(tmp_path, "2").read_text()
    )
    run("4", "here.quick")
    assert run("5", "here.light").result == first


def test_what_did_not_ends_with_its_process(run, until):
    assert run("1", "here.quick").state == "SUCCEEDED"
    (server,) = [one for one in psutil.Process().children() if "portico.jobs.warm" in one.cmdline()]
    until(lambda: not server.children())


def test_one_that_was_killed_while_it_waited_is_replaced(run, until):
    first = run("1", "here.light").result
    os.kill(first, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(first))
    again = run("2", "here.light")
    assert again.state == "SUCCEEDED" and again.result != first


def test_a_signal_that_came_too_late_does_not_stop_the_next(run):
    """It makes it begin anew: nobody asked to cancel it."""
    first = run("1", "here.light").result
    os.kill(first, signal.SIGTERM)
    again = run("2", "here.light")
    assert (again.state, again.attempts) == ("QUEUED", 0)


@pytest.mark.slow
def test_one_that_waits_long_ends(run, until):
    first = run("1", "here.light").result
    until(lambda: not psutil.pid_exists(first))


@pytest.mark.slow
def test_none_runs_jobs_for_ever(run):
    found = [run(str(number), "here.light") for number in range(250)]
    assert {one.state for one in found} == {"SUCCEEDED"}
    assert len({one.result for one in found}) == 2
