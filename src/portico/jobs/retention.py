"""What ended work leaves behind goes after a stated time, and earlier where there is too much of it, the oldest first.

| what | goes when it has been of no use for | or all of it together is more than |
|---|---|---|
| a job's scratch | 1 day | 10 GiB |
| a job's log | 30 days | 2 GiB |
| an operation that is done | 30 days | 10,000 operations |
| a Python environment | 30 days | 20 GiB |

Nothing that was of use within the last hour goes for its size, and never what the caller says is still named.
Jobs' rows stay: they are small, and say what was done.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.jobs import lines, worker
from portico.sandbox import environments
from portico.store import jobs, operations
from portico.store.database import Database
from portico.store.sizes import size_of
from portico.store.tables.jobs import jobs as jobs_table
from portico.store.tables.resources import operations as operations_table

What = Literal["scratch", "log", "operation", "environment"]


@dataclass(frozen=True, slots=True)
class Kept:
    """How long (seconds) and how much of it in all (bytes; operations: how many) is kept."""

    age: float
    size: int


DAY = 24 * 3600.0
KEPT: dict[What, Kept] = {
    "scratch": Kept(1 * DAY, 10 << 30),
    "log": Kept(30 * DAY, 2 << 30),
    "operation": Kept(30 * DAY, 10_000),
    "environment": Kept(30 * DAY, 20 << 30),
}
_NEW = 3600.0  # seconds
_MOST = 500  # rows in one transaction


@dataclass(frozen=True, slots=True)
class Named:
    """What is still named, and never goes. `resources`: what jobs worked on; `environments`: their folders."""

    resources: Callable[[Connection], set[str]]
    environments: Callable[[], set[Path]]


@dataclass(frozen=True, slots=True)
class Left:
    """One thing that may go. `name` is a job's id, an operation's name or a folder; `since` (seconds since the epoch)
    is when it was last of use; `size` in bytes."""

    what: What
    name: str
    since: float
    size: int


def sweep(
    home: Path, database: Database, now: float, named: Named, *, dry_run: bool = False,
    kept: dict[What, Kept] = KEPT,
) -> list[Left]:  # fmt: skip
    """Removes what is kept no longer, and says what that was; with `dry_run` only says it. Safe beside a server."""
    with database.read() as connection:
        names = named.resources(connection)
        ended = _ended(home, connection, names)
        left = list(_operations(connection, names))
    left += [one for job_id, since in ended for one in _of_job(home, job_id, since)]
    left += [
        Left("environment", str(one.path), one.last_used, one.size)
        for one in environments.kept(home / "envs")
    ]
    gone = [one for what in kept for one in _no_longer(kept[what], [o for o in left if o.what == what], now)]
    if any(one.what == "environment" for one in gone):
        needed = {str(path) for path in named.environments()}
        gone = [one for one in gone if one.name not in needed]
    if not dry_run:
        _remove(home, database, gone)
    return gone


def _no_longer(kept: Kept, left: Iterable[Left], now: float) -> list[Left]:
    ordered = sorted(left, key=lambda one: -one.since)
    total, gone = 0, []
    for one in ordered:
        weight = 1 if one.what == "operation" else one.size
        old = one.since < now - kept.age
        too_much = total + weight > kept.size and one.since < now - _NEW
        if old or too_much:
            gone.append(one)
        total += 0 if old else weight
    return gone


def _ended(home: Path, connection: Connection, names: set[str]) -> list[tuple[str, float]]:
    """The jobs that have a folder and ended, with the time."""
    found = []
    for folder in (home / "jobs").glob("*"):
        job = jobs.get(connection, folder.name)
        if job is not None and job.state in jobs.ENDED and job.resource not in names:
            found.append((job.id, job.end_time or job.create_time))
    return found


def _of_job(home: Path, job_id: str, since: float) -> Iterable[Left]:
    logs = _logs(home, job_id)
    size = sum(log.stat().st_size for log in logs if log.exists())
    yield Left("log", job_id, since, size)
    if any(entry not in logs for entry in worker.job_folder(home, job_id).iterdir()):
        yield Left("scratch", job_id, since, size_of(worker.job_folder(home, job_id)) - size)


def _logs(home: Path, job_id: str) -> list[Path]:
    return [worker.log_path(home, job_id), lines.path_of(worker.job_folder(home, job_id))]


def _operations(connection: Connection, names: set[str]) -> Iterable[Left]:
    table = operations_table
    worked = table.outerjoin(jobs_table, table.c.job == jobs_table.c.id)
    size = sa.func.length(table.c.metadata) + sa.func.coalesce(sa.func.length(table.c.response), 0)
    chosen = sa.select(table.c.name, table.c.update_time, size, jobs_table.c.resource).select_from(worked)
    for name, since, length, resource in connection.execute(chosen.where(table.c.done)):
        if resource not in names:
            yield Left("operation", name, since, length)


def _remove(home: Path, database: Database, gone: list[Left]) -> None:
    for one in gone:
        if one.what == "scratch":
            _remove_scratch(home, one.name)
        elif one.what == "environment":
            environments.remove(Path(one.name), unused_since=one.since)
    for one in gone:
        if one.what == "log":  # after its scratch, so that the folder goes with it
            for log in _logs(home, one.name):
                log.unlink(missing_ok=True)
            folder = worker.job_folder(home, one.name)
            if folder.exists() and not any(folder.iterdir()):
                folder.rmdir()
    done = [one.name for one in gone if one.what == "operation"]
    for start in range(0, len(done), _MOST):
        with database.write() as connection:
            operations.delete_named(connection, done[start : start + _MOST])


def _remove_scratch(home: Path, job_id: str) -> None:
    logs = _logs(home, job_id)
    for entry in worker.job_folder(home, job_id).iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry not in logs:
            entry.unlink(missing_ok=True)
