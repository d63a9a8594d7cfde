"""Runs one leased job to its end, wherever an engine put it: in a child process or in a thread."""

from __future__ import annotations

import contextlib
import logging
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import Clock
from portico.errors import Cancelled, PorticoError, rpc_status
from portico.ids import Ids
from portico.jobs import held
from portico.jobs.engines import machine
from portico.jobs.kinds import KINDS, Crowded, Held, Wait, moved
from portico.sandbox import walled
from portico.store import jobs
from portico.store.backend import DatabaseAway
from portico.store.beside import Beside, beside
from portico.store.database import Database
from portico.store.jobs import Job
from portico.store.sockets import run_folder

log = logging.getLogger(__name__)

_NOTE_EVERY = 0.5  # seconds between two written notes of progress


@dataclass(slots=True)
class Context:
    """What a job's handler is given."""

    home: Path
    database: Database
    clock: Clock
    ids: Ids
    job: Job
    should_stop: Callable[[], bool]
    """True once the job's cancellation was asked for, or its host is going down."""
    say: Callable[[str], None] = field(default=lambda text: None)
    """Writes a line into the job's log."""
    unspent: bool = False
    """Set by what neither computed in this process nor changed it for good: another job of the kind may run in it."""
    _noted: float = field(default=-1e9)

    @property
    def folder(self) -> Path:
        """The job's own scratch folder. It survives a retry, so work can be resumed."""
        return job_folder(self.home, self.job.id)

    @property
    def cores(self) -> int:
        """How many cores it may use: on a machine of a cluster those that it asked for."""
        asked = int(self.job.cores) if machine.elsewhere(self.home) else os.cpu_count()
        return max(1, asked or 1)

    def progress(self, fraction: float, message: str) -> None:
        """Shows how far the job is (0 to 1), and stops it here when that was asked for."""
        now = self.clock.monotonic()
        if now - self._noted >= _NOTE_EVERY:
            self._noted = now
            with self.database.write() as connection:
                jobs.note(connection, self.job.id, min(max(fraction, 0.0), 1.0), message)
        self.check()

    def check(self) -> None:
        """
        Raises:
            Cancelled: the job shall stop.
        """
        if self.should_stop():
            raise Cancelled("The job was cancelled.")


def job_folder(home: Path, job_id: str) -> Path:
    return home / "jobs" / job_id


def log_path(home: Path, job_id: str) -> Path:
    return job_folder(home, job_id) / "log.txt"


def tell(home: Path, job_id: str, words: str) -> None:
    """A line in the log of a job that does not run."""
    path = log_path(home, job_id)
    with contextlib.suppress(OSError):  # a full disk takes a line of the log, not the scheduler
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            print(time.strftime("%Y-%m-%d %H:%M:%S"), words, file=file)


class _Lines:
    """Writes into the log; what comes first tells what runs."""

    def __init__(self, write_line: Callable[[str], None], head: str) -> None:
        self._write_line, self._head = write_line, head

    def __call__(self, text: str) -> None:
        if self._head:
            head, self._head = self._head, ""
            self._write_line(head)
        self._write_line(text)


_recorders: list[Callable[[Context], Beside | None]] = []


def record_by(recorder: Callable[[Context], Beside | None]) -> None:
    """Beside what each run of a job writes, what `recorder` makes for it is written too."""
    _recorders[:] = [recorder]


def run(context: Context, write: Callable[[str], None]) -> None:
    """Runs the handler of `context.job` and records its end."""
    walled.note_in(run_folder(context.home))
    token = beside.set(_recorders[0](context) if _recorders else None)
    try:
        _run(context, write)
    finally:
        beside.reset(token)


def _run(context: Context, write: Callable[[str], None]) -> None:
    job, kind = context.job, KINDS[context.job.kind]
    write_line = context.say = _Lines(write, f"{kind.name} {job.resource}: attempt {job.attempts}")
    state: jobs.State = "SUCCEEDED"
    result: Any = None
    error: PorticoError | None = None
    try:
        context.check()
        result = kind.load()(context)
    except Cancelled as cancelled:
        state, error = "CANCELLED", cancelled
    except Crowded as crowded:
        write_line(str(crowded))
        with context.database.write() as connection:
            if _owned(connection, job):
                job.attempts -= 1  # nor is that its fault
                job.memory = max(job.memory, crowded.memory)
                jobs.requeue(connection, job)
        return
    except Held as busy:
        held.note(context.home, job.id, busy.path)
        result = Wait(context.clock.now() + held.AT_MOST, why=busy.why)
    except DatabaseAway as away:  # nobody can be told how it ended: so it has not
        write_line(away.message)
        raise
    except PorticoError as known:
        state, error = "FAILED", known
    except Exception as unexpected:
        write_line(traceback.format_exc())
        state, error = "FAILED", _internal(context.home, unexpected)
    if state == "CANCELLED" and not _cancel_requested(context):
        write_line("interrupted; it will be run again")
        with context.database.write() as connection:
            if _owned(connection, job):
                job.attempts -= 1  # the host goes down: not the job's fault
                jobs.requeue(connection, job)
        return
    if isinstance(result, Wait):
        if not result.why or result.why != job.message:  # which was told
            write_line(result.why or "waits")
        with context.database.write() as connection:
            if _owned(connection, job):
                jobs.meter(connection, job, context.clock.now())
                jobs.wait(connection, job, result.until, result.beside, result.why, result.limit)
        return
    if state == "SUCCEEDED":
        try:
            end(context.database, job, state, context.clock.now(), result=result)
        except DatabaseAway:
            raise
        except PorticoError as known:  # what it made can't be registered: the name was taken meanwhile, …
            state, error = "FAILED", known
        except Exception as unexpected:
            write_line(traceback.format_exc())
            state, error = "FAILED", _internal(context.home, unexpected)
    write_line(f"{state.lower()}" + (f": {error.message}" if error else ""))
    if error is not None:
        end(context.database, job, state, context.clock.now(), error=error)


def end(
    database: Database,
    mine: Job,
    state: jobs.State,
    now: float,
    *,
    result: Any = None,
    error: PorticoError | None = None,
) -> None:
    """Ends a job, and in the same transaction what follows it. Once only: a job that has ended stays so, and
    whoever lost it (another attempt has begun, or will) changes nothing."""
    with database.write() as connection:
        if not _owned(connection, mine):
            return
        job = jobs.get(connection, mine.id)
        assert job is not None
        jobs.end(connection, job, state, now, result=result, error=rpc_status(error) if error else None)
        moved(connection, job, now)


def lost(database: Database, mine: Job) -> bool:
    """Whether another attempt has `mine`, or will."""
    with database.read() as connection:
        job = jobs.get(connection, mine.id)
        return job is None or (job.state not in jobs.ENDED and _claim(job) != _claim(mine))


def _owned(connection: Connection, mine: Job) -> bool:
    """Whether `mine`, as it was read, is still what is to be done: in the same state, by the same attempt."""
    job = jobs.get(connection, mine.id)
    return job is not None and job.state not in jobs.ENDED and _claim(job) == _claim(mine)


def _claim(job: Job) -> tuple[str, str | None, int]:
    return job.state, job.owner, job.attempts


def _cancel_requested(context: Context) -> bool:
    with context.database.read() as connection:
        job = jobs.get(connection, context.job.id)
    return job is not None and job.cancel_requested


def _internal(home: Path, unexpected: Exception) -> PorticoError:
    from portico.errors import Internal
    from portico.store import disk

    if disk.is_full(unexpected):
        return disk.exhausted(home)
    message = f"{type(unexpected).__name__}: {unexpected}"
    with contextlib.suppress(Exception):
        log.error("job failed: %s", message)
    return Internal(f"The job failed unexpectedly ({message}); its log has the details.")
