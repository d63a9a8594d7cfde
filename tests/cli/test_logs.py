"""`portico logs`, on a store with a job in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tests.waiting import until

from portico.jobs.worker import log_path
from portico.store import jobs
from portico.store.database import Database

PIPELINE = "projects/p/locations/l/trainingPipelines/77"


@pytest.fixture
def database(tmp_path: Path) -> Database:
    made = Database(tmp_path)
    made.create_tables()
    add(made, tmp_path, "old", "first\n", now=1.0)
    add(made, tmp_path, "new", "one\ntwo\n", now=2.0)
    return made


def add(database: Database, home: Path, job_id: str, log: str, now: float) -> None:
    with database.write() as connection:
        jobs.insert(connection, id=job_id, kind="train", resource=PIPELINE, payload={}, now=now)
    log_path(home, job_id).parent.mkdir(parents=True)
    log_path(home, job_id).write_text(log)


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
    [("old", "first\n"), ("new", "one\ntwo\n"), (PIPELINE, "one\ntwo\n"), ("77", "one\ntwo\n")],
)
def test_a_job_is_found(database: Database, tmp_path: Path, wanted: str, log: str) -> None:
    assert logs(tmp_path, wanted).communicate(timeout=240) == (log, "")


@pytest.mark.parametrize("wanted", ["7", "%", "nothing", ""])
def test_what_is_not_there(database: Database, tmp_path: Path, wanted: str) -> None:
    process = logs(tmp_path, wanted)
    output, complaint = process.communicate(timeout=240)
    assert (process.returncode, output) == (1, "")
    assert complaint.startswith("portico: There is no job")
    assert complaint.count("\n") == 1


def test_follow_until_the_job_has_ended(database: Database, tmp_path: Path) -> None:
    process = logs(tmp_path, "77", "--follow")
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["one\n", "two\n"]
    with log_path(tmp_path, "new").open("a") as file:
        file.write("three ü\nwithout an end")
    assert process.stdout.readline() == "three ü\n"
    assert process.poll() is None
    end(database, "new")
    assert process.communicate(timeout=240) == ("without an end", "")
    assert process.returncode == 0


def test_json_tells_how_the_job_ended(database: Database, tmp_path: Path) -> None:
    process = logs(tmp_path, "new", "--follow", "--json")
    opened = psutil.Process(process.pid).open_files
    until(lambda: any("portico.db" in file.path for file in opened()), "it has looked for the job")
    end(database, "new")
    found = json.loads(process.communicate(timeout=240)[0])
    assert (found["state"], found["log"]) == ("FAILED", "one\ntwo\n")
    assert found["error"] == {"code": 3, "message": "no rows"}
    assert found["resource"] == PIPELINE
    assert found["end_time"] == "1970-01-01T00:00:03.000000Z"
