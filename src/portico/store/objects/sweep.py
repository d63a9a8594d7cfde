"""Removes what crashes have left under `objects/`, and sessions that nobody resumed within a week."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from portico.store import home as home_store
from portico.store import mark
from portico.store.database import Database
from portico.store.objects import files as objects_files
from portico.store.objects import generations as objects
from portico.store.objects import uploads as objects_uploads


def sweep(database: Database, home: Path, now: float) -> int:
    """Removes the files that no row needs, no living process is writing, and that were made in a run of this very
    database: of others it can't know whose they are. `now`: seconds since the epoch.

    Safe beside running servers and jobs. Takes one short read transaction for each of at most 256
    directories; call it at start, beside the work. Returns how many files went.
    """
    removed = forget_uploads(database, home, now)
    with database.read() as connection:
        runs = home_store.runs(connection)
    root = home / "objects"
    for directory in sorted(root.iterdir()) if root.is_dir() else ():
        low = directory.name
        names = {entry.name for entry in os.scandir(directory) if mark.run_of(entry.name) in runs}
        for file in names - _needed(database, low, low + "g"):  # "g" sorts after every hexadecimal digit
            removed += _remove_if_left(database, home, file)
    return removed


def forget_uploads(database: Database, home: Path, now: float) -> int:
    """Forgets the sessions that nobody finished within a week; call it every hour. Returns how many files went."""
    stale: list[str] = []
    with database.write() as connection:
        objects_uploads.grow_older(connection, now)
        for upload in objects_uploads.expired(connection):
            stale += objects_uploads.cancel(connection, upload)
    objects_files.remove(home, stale)
    return len(stale)


def _needed(database: Database, low: str, high: str) -> set[str]:
    with database.read() as connection:
        return objects.files_with_rows(connection, low, high) | objects_uploads.files_with_rows(
            connection, low, high
        )


def _remove_if_left(database: Database, home: Path, file: str) -> int:
    try:
        fd = os.open(objects_files.path_of(home, file), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its writer may have committed and let go since the listing: with the lock in hand, look again.
        if _needed(database, file, file + "g"):
            return 0
        objects_files.remove(home, [file])
        return 1
    except BlockingIOError:
        return 0
    finally:
        os.close(fd)
