"""Whether a home's database is the one that belongs to its files: asked at each start, before anything is changed.

A database that is missing, emptied, damaged, older than its files or of another home is refused. Nothing on the disk
is then touched, and nothing is ever swept but what was made in a run that this very database has recorded.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.store import backend, mark
from portico.store.backend import Backend, Found, refused
from portico.store.backend import RefusedHome as RefusedHome
from portico.store.database import Database
from portico.store.mark import Mark
from portico.store.tables.home import home as _home
from portico.store.tables.home import runs as _runs

FOLDERS = ("objects", "models", "warehouse/segments", "warehouse/evidence")


def check(home: Path) -> None:
    """
    Raises:
        RefusedHome: the database is not the one that belongs to the home's files. Nothing was changed.
        FailedPrecondition, Unavailable: it can't be used, or does not answer.
    """
    known = _mark(home)
    files = has_files(home)
    store = backend.of(home)
    with store.kept():
        found = store.look()
        if not found.absent:
            _compare(home, store, found, known, files)
        elif files or found.used or (known is not None and known.writes > 0):
            raise refused(home, store.restored_by, found.absent)


def _compare(home: Path, store: Backend, found: Found, known: Mark | None, files: bool) -> None:
    """The database with what the home says of itself."""
    newest = known is not None and found.id == known.id and found.writes >= known.writes
    words, accept = "", True
    if not found.used and (files or (known is not None and known.writes > 0)) and not newest:
        words, accept = "holds nothing", False
    elif known is None:
        if found.id and (files or store.elsewhere):
            words = "may be another home's (home.id is missing)"
    elif not found.id:
        if known.writes > 0:
            words = "is another home's, or older than the home's id"
    elif found.id != known.id:
        words = "is another home's"
    elif not newest:
        missing = known.writes - found.writes
        words = f"lacks the last {missing:,} of its {known.writes:,} writes ({store.lost_how})"
    if words:
        raise refused(home, store.restored_by, words, accept=accept)


def begin(home: Path, now: float) -> None:
    """Begins a run on a home that `check` has let pass; gives it an id where it has none. Makes the tables and the
    reserve of disk."""
    database = Database(home)
    try:
        database.create_tables()
        known = mark.read(home)
        with database.read() as connection:
            row = connection.execute(sa.select(_home)).first()
        if known is None:
            # Before the row: a database that has an id has this file beside it.
            known = Mark(row.id if row else secrets.token_hex(16), mark.NO_RUN, 0)
            mark.write(home, known)
        run = secrets.token_hex(4)
        with database.write() as connection:
            if row is None:
                connection.execute(sa.insert(_home).values(id=known.id, writes=0))
            connection.execute(sa.insert(_runs).values(token=run, started=now))
            connection.execute(sa.update(_home).values(writes=_home.c.writes + 1))
        with database.read() as connection:
            writes = connection.execute(sa.select(_home.c.writes)).scalar_one()
        mark.write(home, Mark(known.id, run, writes))
        backend.of(home).begin_room()
    finally:
        database.close()


def accept(home: Path) -> None:
    """Takes the database as it is: from now on it is this home's, whatever the files say. Deletes nothing.

    Raises:
        RefusedHome: it is missing, empty or damaged.
    """
    store = backend.of(home)
    if store.look().absent:
        raise refused(home, store.restored_by, "is missing or empty")
    database = Database(home)
    try:
        database.create_tables()
        known = Mark(secrets.token_hex(16), mark.NO_RUN, 1)
        with database.write() as connection:
            connection.execute(sa.delete(_home))
            connection.execute(sa.delete(_runs))
            connection.execute(sa.insert(_home).values(id=known.id, writes=known.writes))
        mark.write(home, known)
    finally:
        database.close()


def end(home: Path) -> None:
    """For the last process of a home, when it stops."""
    database = Database(home)
    try:
        database.checkpoint()
    finally:
        database.close()


def runs(connection: Connection) -> set[str]:
    """The tokens of the runs that this database has recorded: `mark.run_of` a file that it may sweep is among them."""
    return set(connection.execute(sa.select(_runs.c.token)).scalars())


def has_files(home: Path) -> bool:
    """Whether anything is there that only a database gives a meaning."""
    return any(names for folder in FOLDERS for _, _, names in os.walk(home / folder))


def _mark(home: Path) -> Mark | None:
    try:
        return mark.read(home)
    except ValueError:
        raise RefusedHome(
            f"{mark.path(home)} is damaged. Put it back from a copy, or, when you know that the database is this "
            f"home's newest, take it as it is with: portico check --accept --home {home}"
        ) from None
