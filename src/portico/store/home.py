"""Whether a home's database is the one that belongs to its files: asked at each start, before anything is changed.

A database that is missing, emptied, damaged, older than its files or of another home is refused. Nothing on the disk
is then touched, and nothing is ever swept but what was made in a run that this very database has recorded.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.errors import FailedPrecondition, PorticoError
from portico.store import disk, mark
from portico.store.database import Database
from portico.store.mark import Mark
from portico.store.tables.home import home as _home
from portico.store.tables.home import runs as _runs

FOLDERS = ("objects", "models", "warehouse/segments", "warehouse/evidence")
_ROWS = (
    "resources",
    "storage_buckets",
    "storage_objects",
    "jobs",
)  # one of them has a row once a home is used


class RefusedHome(FailedPrecondition):
    """The message says what is wrong and how to recover."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a sound database says: `id` is empty where it was never started by a Portico that gives ids."""

    id: str
    writes: int
    used: bool


def check(home: Path) -> None:
    """
    Raises:
        RefusedHome: the database is not the one that belongs to the home's files. Nothing was changed.
    """
    known = _mark(home)
    files = has_files(home)
    path = home / "portico.db"
    lost = files or (known is not None and known.writes > 0)
    size = path.stat().st_size if path.exists() else 0
    if size == 0:  # SQLite would delete the write-ahead log that belongs to it
        if lost or _size(home / "portico.db-wal"):
            raise _refused(home, "is empty" if path.exists() else "is missing")
        return
    with _kept_log(home):
        _compare(home, look(home), known, files)


def _compare(home: Path, found: Found, known: Mark | None, files: bool) -> None:
    """The database with what the home says of itself."""
    newest = known is not None and found.id == known.id and found.writes >= known.writes
    if not found.used and (files or (known is not None and known.writes > 0)) and not newest:
        raise _refused(home, "holds nothing")
    if known is None:
        if found.id and files:
            raise _refused(home, "may be another home's (home.id is missing)", accept=True)
    elif not found.id:
        if known.writes > 0:
            raise _refused(home, "is another home's, or older than the home's id", accept=True)
    elif found.id != known.id:
        raise _refused(home, "is another home's", accept=True)
    elif not newest:
        missing = known.writes - found.writes
        words = (
            f"lacks the last {missing:,} of its {known.writes:,} writes (is portico.db-wal lost or damaged?)"
        )
        raise _refused(home, words, accept=True)


def look(home: Path) -> Found:
    """Reads a database that is there, and checks its structure.

    Raises:
        RefusedHome: it is damaged.
    """
    with contextlib.closing(_open(home)) as connection:
        try:
            sound = connection.execute("PRAGMA quick_check(1)").fetchone()
            if sound != ("ok",):
                raise sqlite3.DatabaseError(str(sound[0]).replace("\n", " "))
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            used = any(
                connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone()
                for table in _ROWS
                if table in tables
            )
            row = connection.execute("SELECT id, writes FROM home").fetchone() if "home" in tables else None
        except sqlite3.DatabaseError as error:
            raise broken(home, error) from None
    return Found(row[0], row[1], used) if row else Found("", 0, used)


def integrity(home: Path) -> str:
    """What a whole check of the database finds, its first fault; "" when it is sound."""
    with contextlib.closing(_open(home)) as connection:
        try:
            found = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
        except sqlite3.DatabaseError as error:
            return str(error)
    return "" if found == "ok" else found.replace("\n", " ")


def broken(home: Path, error: sqlite3.DatabaseError) -> PorticoError:
    """What a failure of SQLite's on this home means, in words."""
    if disk.failed_for_room(home, error):
        return disk.exhausted(home)
    if isinstance(error, sqlite3.OperationalError):
        return RefusedHome(
            f"The database {home / 'portico.db'} can't be read ({error}). Nothing was changed. Look whether the disk "
            "is well, whether this user may read and write the file, and whether another program holds it."
        )
    return _refused(home, f"is damaged ({error})")


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
        disk.begin(home)
    finally:
        database.close()


def accept(home: Path) -> None:
    """Takes the database as it is: from now on it is this home's, whatever the files say. Deletes nothing.

    Raises:
        RefusedHome: it is missing, empty or damaged.
    """
    if not _size(home / "portico.db"):
        raise _refused(home, "is missing or empty")
    look(home)
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
    """Brings all that was written into `portico.db` itself. For the last process of a home, when it stops."""
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
            f"{mark.path(home)} is damaged. Put it back from a copy, or, when you know that portico.db is this "
            f"home's newest, take it as it is with: portico check --accept --home {home}"
        ) from None


def _open(home: Path) -> sqlite3.Connection:
    """Makes nothing that is not there."""
    name = quote(str((home / "portico.db").absolute()))
    return sqlite3.connect(f"file:{name}?mode=rw", uri=True, timeout=30)


@contextlib.contextmanager
def _kept_log(home: Path) -> Iterator[None]:
    """Keeps the write-ahead log where the block fails, as `portico.db-wal.kept`: SQLite deletes it with the last
    connection, damaged or not."""
    log, kept = home / "portico.db-wal", home / "portico.db-wal.kept"
    before = _size(log) > 0 and not kept.exists()
    if before:
        try:
            os.link(log, kept)
        except OSError:  # a file system without links
            shutil.copyfile(log, kept)
    yield
    if before:
        kept.unlink()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _refused(home: Path, words: str, *, accept: bool = False) -> RefusedHome:
    ways = [
        "put portico.db back, together with the portico.db-wal that belongs to it",
        "or restore a backup into a new home (portico restore BACKUP --home NEW), or begin anew with another --home",
    ]
    if accept:
        ways.append(
            "or, when what it lacks is lost for good, take this database as it is, which deletes no file: "
            f"portico check --accept --home {home}"
        )
    return RefusedHome(
        f"The database of {home} {words}, and the home's files need it. Nothing was changed. To recover, "
        + "; ".join(ways)
        + "."
    )
