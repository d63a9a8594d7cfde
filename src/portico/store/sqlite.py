"""SQLite: `HOME/portico.db` in WAL mode, so that nothing has to be set up."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection

from portico.errors import PorticoError
from portico.store import disk
from portico.store.backend import Found, RefusedHome, refused

# The number of this write, in the home's own row (`store/home.py`).
_COUNT = "UPDATE home SET writes = writes + 1 RETURNING writes"
_ROWS = (
    "resources",
    "storage_buckets",
    "storage_objects",
    "jobs",
)  # one of them has a row once a home is used


class _Connection(sqlite3.Connection):
    """One whose transactions end. SQLite goes on reading what it read while a statement is not read to its end: the
    next transaction would see what was then, and could not write."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reading: weakref.WeakSet[sqlite3.Cursor] = weakref.WeakSet()

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        made = super().cursor(*args, **kwargs)
        self._reading.add(made)
        return made

    def end_reading(self) -> None:
        for one in list(self._reading):
            one.close()


class SQLite:
    restored_by = "put portico.db back, together with the portico.db-wal that belongs to it"
    lost_how = "is portico.db-wal lost or damaged?"
    errors: tuple[type[Exception], ...] = (sa.exc.DatabaseError, sqlite3.DatabaseError)
    elsewhere = False

    def __init__(self, home: Path) -> None:
        self._home = home
        self._path = home / "portico.db"

    def engine(self) -> sa.Engine:
        made = sa.create_engine(
            f"sqlite:///{self._path}",
            connect_args={"timeout": 30, "check_same_thread": False, "factory": _Connection},
            pool_size=8,
            max_overflow=56,
        )
        event.listen(made, "connect", _configure)
        return made

    def begin_read(self, held: Any) -> None:
        held.execute("BEGIN")

    def begin_write(self, held: Any) -> int:
        held.execute("BEGIN IMMEDIATE")
        return int(held.total_changes)

    def commit(self, held: Any, begun: Any, counted: bool) -> int | None:
        number = held.execute(_COUNT).fetchone() if counted and held.total_changes != begun else None
        held.execute("COMMIT")
        return int(number[0]) if number else None

    def rollback(self, held: Any) -> bool:
        held.end_reading()
        if held.in_transaction:
            held.execute("ROLLBACK")
        return True

    def begin_room(self) -> None:
        disk.begin(self._home)

    def room(self) -> AbstractContextManager[None]:
        return disk.lent(self._home)

    def meaning(self, error: BaseException) -> PorticoError | None:
        return disk.exhausted(self._home) if disk.failed_for_room(self._home, error) else None

    def refusal(self, error: BaseException) -> PorticoError:
        cause = getattr(error, "orig", None) or error
        if disk.failed_for_room(self._home, error):
            return disk.exhausted(self._home)
        if isinstance(cause, sqlite3.OperationalError):
            return RefusedHome(
                f"The database {self._path} can't be read ({cause}). Nothing was changed. Look whether the disk "
                "is well, whether this user may read and write the file, and whether another program holds it."
            )
        return refused(self._home, self.restored_by, f"is damaged ({cause})")

    def look(self) -> Found:
        if not self._size():  # SQLite would delete the write-ahead log that belongs to it
            absent = "is empty" if self._path.exists() else "is missing"
            return Found(used=self._size("-wal") > 0, absent=absent)
        try:
            return self._found()
        except sqlite3.DatabaseError as error:
            raise self.refusal(error) from None

    def _found(self) -> Found:
        with contextlib.closing(self._open()) as connection:
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
        return Found(row[0], row[1], used) if row else Found(used=used)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keeps the write-ahead log where the block fails, as `portico.db-wal.kept`: SQLite deletes it with the last
        connection, damaged or not."""
        log, kept = self._home / "portico.db-wal", self._home / "portico.db-wal.kept"
        before = self._size() > 0 and self._size("-wal") > 0 and not kept.exists()
        if before:
            try:
                os.link(log, kept)
            except OSError:  # a file system without links
                shutil.copyfile(log, kept)
        yield
        if before:
            kept.unlink()

    def integrity(self) -> str:
        with contextlib.closing(self._open()) as connection:
            try:
                found = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
            except sqlite3.DatabaseError as error:
                return str(error)
        return "" if found == "ok" else found.replace("\n", " ")

    def checkpoint(self, connection: Connection) -> None:
        """All that was written is then in `portico.db` itself."""
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def copy_to(self, target: Path) -> None:
        with (
            contextlib.closing(sqlite3.connect(self._path, timeout=30)) as source,
            contextlib.closing(sqlite3.connect(target, isolation_level=None)) as made,
        ):
            source.backup(made)
            made.execute("PRAGMA journal_mode=DELETE")

    def take(self, source: Path) -> None:
        source.rename(self._path)

    def hold(self, lost: Callable[[str], None]) -> AbstractContextManager[None]:
        return contextlib.nullcontext()  # the home's own lock tells

    def _open(self) -> sqlite3.Connection:
        """Makes nothing that is not there."""
        name = quote(str(self._path.absolute()))
        return sqlite3.connect(f"file:{name}?mode=rw", uri=True, timeout=30)

    def _size(self, end: str = "") -> int:
        path = self._path.with_name(self._path.name + end)
        return path.stat().st_size if path.exists() else 0


def _configure(connection, _record) -> None:  # type: ignore[no-untyped-def]
    connection.isolation_level = None  # we write BEGIN ourselves
    cursor = connection.cursor()
    # FULL: a commit that was answered is on the disk, also after power is lost.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-8000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
