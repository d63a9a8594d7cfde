"""`portico logs`, of a server that has jobs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from portico.jobs.worker import log_path
from portico.store import jobs
from portico.store.database import Database


@pytest.fixture
def database(portico: Any) -> Iterator[Database]:
    made = Database(portico.home)
    yield made
    made.close()


@pytest.fixture
def pipeline() -> str:
    return f"projects/p/locations/l/trainingPipelines/{uuid.uuid4().hex}"


@pytest.fixture
def named(database: Database, portico: Any, pipeline: str) -> Callable[[str], str]:
    """The ids of an old and a new job of the pipeline; of other words, themselves."""
    ids = {word: f"{word}-{pipeline[-32:]}" for word in ("old", "new")}
    add(database, portico.home, ids["old"], pipeline, "first\n", now=1.0)
    add(database, portico.home, ids["new"], pipeline, "one\ntwo\n", now=2.0)
    return lambda word: ids.get(word) or {"pipeline": pipeline, "77": pipeline[-32:]}.get(word) or word


def add(database: Database, home: Path, job_id: str, resource: str, log: str, now: float) -> None:
    """A job that waits, so that no scheduler ends it."""
    with database.write() as connection:
        jobs.insert(connection, id=job_id, kind="train", resource=resource, payload={}, now=now)
        job = jobs.get(connection, job_id)
        assert job is not None
        jobs.lease(connection, job, "a test", now, 60.0)
        jobs.wait(connection, job, 1e12)
    before = os.umask(0o077)  # as the server's
    log_path(home, job_id).parent.mkdir(parents=True)
    log_path(home, job_id).write_text(log)
    os.umask(before)


def end(database: Database, job_id: str) -> None:
    with database.write() as connection:
        job = jobs.get(connection, job_id)
        assert job is not None
        jobs.end(connection, job, "FAILED", 3.0, error={"code": 3, "message": "no rows"})


def logs(home: Path, *args: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "portico.cli.main", "logs", "--home", str(home), *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("wanted", "log"),
    [("old", "first\n"), ("new", "one\ntwo\n"), ("pipeline", "one\ntwo\n"), ("77", "one\ntwo\n")],
)
def test_a_job_is_found(named: Callable[[str], str], portico: Any, wanted: str, log: str) -> None:
    assert logs(portico.home, named(wanted)).communicate(timeout=240) == (log, "")


@pytest.mark.parametrize("wanted", ["7", "%", "nothing", ""])
def test_what_is_not_there(named: Callable[[str], str], portico: Any, wanted: str) -> None:
    process = logs(portico.home, wanted)
    output, complaint = process.communicate(timeout=240)
    assert (process.returncode, output) == (1, "")
    assert complaint.startswith("portico: There is no job")
    assert complaint.count("\n") == 1


def test_without_a_server_there_is_nobody_to_ask(tmp_path: Path) -> None:
    output, complaint = logs(tmp_path, "77").communicate(timeout=240)
    assert output == "" and complaint.startswith(
        f"portico: Portico does not run on {tmp_path}. Start it with"
    )


def test_follow_until_the_job_has_ended(
    named: Callable[[str], str], database: Database, portico: Any
) -> None:
    process = logs(portico.home, named("77"), "--follow")
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["one\n", "two\n"]
    with log_path(portico.home, named("new")).open("a") as file:
        file.write("three ü\nwithout an end")
    assert process.stdout.readline() == "three ü\n"
    assert process.poll() is None
    end(database, named("new"))
    assert process.communicate(timeout=240) == ("without an end", "")
    assert process.returncode == 0


def test_a_long_log_comes_in_pieces(named: Callable[[str], str], database: Database, portico: Any) -> None:
    written = "".join(f"line {number} ü\n" for number in range(150_000)) + "the end"
    log_path(portico.home, named("old")).write_text(written)
    end(database, named("old"))
    assert logs(portico.home, named("old")).communicate(timeout=240) == (written, "")


def test_json_tells_how_the_job_ended(
    named: Callable[[str], str], database: Database, portico: Any, pipeline: str
) -> None:
    process = logs(portico.home, named("new"), "--follow", "--json")
    end(database, named("new"))
    found = json.loads(process.communicate(timeout=240)[0])
    assert (found["state"], found["log"]) == ("FAILED", "one\ntwo\n")
    assert found["error"] == {"code": 3, "message": "no rows"}
    assert (found["id"], found["resource"]) == (named("new"), pipeline)
    assert found["end_time"] == "1970-01-01T00:00:03.000000Z"
