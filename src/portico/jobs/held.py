"""Jobs that wait for a lock: who waits for which, and who may go on.

A waiting job is a file below HOME/run/held, named by its id, which holds the path of the lock's file. It is written
before the job's turn ends and goes when the job is queued again, so that no end of a lock is missed; whoever has it
may be killed, for a lock ends with its process.
"""

from __future__ import annotations

from pathlib import Path

from portico.sandbox import environments
from portico.store import jobs
from portico.store.database import Database

AT_MOST = 60.0  # seconds after which a job looks for itself


def note(home: Path, job_id: str, lock: Path) -> None:
    """That a job is going to wait for the lock of a file."""
    folder = _folder(home)
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / f".{job_id}"
    made.write_text(str(lock))
    made.replace(folder / job_id)  # the scheduler may read at any moment


def wake(home: Path, database: Database) -> None:
    """Queues the jobs that wait for a lock that is free."""
    try:
        found = {path: path.read_text() for path in _folder(home).iterdir() if not path.name.startswith(".")}
    except FileNotFoundError:
        return
    # One that says nothing is what a crash of the machine left: the job looks for itself.
    free = {lock for lock in set(found.values()) if not lock or not environments.is_locked(Path(lock))}
    for path, lock in found.items():
        if lock not in free:
            continue
        with database.write() as connection:
            job = jobs.get(connection, path.name)
            ready = job is not None and job.state == "WAITING"
            if ready:
                jobs.wake(connection, [path.name])
        if ready or job is None or job.state != "RUNNING":  # one that runs has not ended its turn yet
            path.unlink(missing_ok=True)


def _folder(home: Path) -> Path:
    return home / "run" / "held"
