"""`portico logs`: the log of a job, found by its own id or by what it works on."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from portico.cli.progress import bar
from portico.clock import rfc3339
from portico.errors import NotFound
from portico.host.address import running
from portico.jobs.worker import log_path
from portico.store import backend, jobs
from portico.store.database import Database
from portico.store.home import check
from portico.store.jobs import ENDED, Job
from portico.store.tables.jobs import jobs as table

_POLL = 0.3  # seconds between two looks at a log that grows


def show(home: Path, wanted: str, follow: bool) -> None:
    """Prints the log of the job `wanted`; with `follow`, until the job has ended.

    Raises:
        NotFound: there is no such job.
    """
    with _opened(home) as database:
        job = find(database, wanted)
        with bar() if follow else _silent() as progress:
            for text in _pieces(database, home, job.id, follow, progress):
                sys.stdout.write(text)
                sys.stdout.flush()


def as_json(home: Path, wanted: str, follow: bool) -> dict[str, Any]:
    """The job `wanted` with its whole log; with `follow`, once it has ended.

    Raises:
        NotFound: there is no such job.
    """
    with _opened(home) as database:
        job_id = find(database, wanted).id
        log = "".join(_pieces(database, home, job_id, follow, lambda fraction, sentence: None))
        job = _read(database, job_id)
    times = {"create_time": job.create_time, "start_time": job.start_time, "end_time": job.end_time}
    return {
        "id": job.id,
        "kind": job.kind,
        "resource": job.resource,
        "state": job.state,
        "attempts": job.attempts,
        "lost": job.lost,
        "progress": job.progress,
        "message": job.message,
        "error": job.error,
        **{name: None if value is None else rfc3339(value) for name, value in times.items()},
        "log": log,
    }


def find(database: Database, wanted: str) -> Job:
    """The job with the id `wanted`, or the newest of the resource with that name or last part of a name.

    Raises:
        NotFound: there is none.
    """
    with database.read() as connection:
        job = jobs.get(connection, wanted)
        if job is not None:
            return job
        names = sa.select(table.c.resource).where(table.c.resource.endswith(f"/{wanted}", autoescape=True))
        newest = names.order_by(table.c.create_time.desc()).limit(1)
        found = jobs.of_resource(connection, wanted) or jobs.of_resource(
            connection, connection.execute(newest).scalar() or wanted
        )
    if not found:
        raise NotFound(f"There is no job {wanted!r}, and no resource of that name that a job worked on.")
    return found[0]


def _pieces(database: Database, home: Path, job_id: str, follow: bool, progress: Any) -> Iterator[str]:
    """The text of the log, as far as it has come."""
    position = 0
    path = log_path(home, job_id)
    while True:
        job = _read(database, job_id)  # before the file: what an ended job wrote is then in it
        progress(job.progress, job.message)
        if path.exists():
            with path.open("rb") as file:
                file.seek(position)
                new = file.read()
            whole = len(new) if job.state in ENDED or not follow else new.rfind(b"\n") + 1
            position += whole
            if whole:
                yield new[:whole].decode("utf-8", "replace")
        if job.state in ENDED or not follow:
            return
        time.sleep(_POLL)


def _read(database: Database, job_id: str) -> Job:
    with database.read() as connection:
        job = jobs.get(connection, job_id)
    if job is None:
        raise NotFound(f"The job {job_id} is gone.")
    return job


@contextmanager
def _opened(home: Path) -> Iterator[Database]:
    if backend.of(home).look().absent:
        raise NotFound(f"There is nothing on {home}: Portico has not run there yet.")
    if running(home) is None:
        check(home)
    database = Database(home)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def _silent() -> Iterator[Any]:
    yield lambda fraction, sentence: None
