"""The one door to durable state: short write transactions, one at a time across processes; free reads.

Contract, for every backend (`store/backend.py`):
- `write()` is atomic and durable when its block ends: a `kill -9` at any later moment loses nothing.
  Writers queue for a lock, so none starves and none sees "database is locked".
- `read()` sees one consistent snapshot, and every write that ended before it began, by any process.
- The number of the last write stands in the database and beside it (`store/mark.py`), so that a lost log is noticed.
- A write that finds the disk full is ResourceExhausted; a database that does not answer is DatabaseAway, and the next
  block that finds it again goes on with it.
- Blocks are short: no network, no computing, no waiting inside them.
- Safe for threads and for processes; not shared across a fork (open after it).
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.errors import PorticoError
from portico.store import backend, mark, migrations
from portico.store.backend import DatabaseAway
from portico.store.beside import beside
from portico.store.tables import metadata
from portico.store.tables.home import change_counter

_AGAIN = 0.2  # seconds between two tries of a patient one


class Database:
    """The database of `home`. While it is away a block waits for it so long as `patience` says, in seconds."""

    def __init__(self, home: Path, patience: float = 0.0) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._backend = backend.of(home)
        self._engine = self._backend.engine()
        self._patience = patience
        self._mutex = threading.Lock()
        self._lock_fd = os.open(home / "portico.db.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._count_fd = mark.open_count(home)

    def create_tables(self) -> None:
        """Creates the tables, columns and indexes that are missing, as homes of an older Portico lack them.

        A column that is added to a table later must be nullable or have a server default.
        """
        with self.write() as connection:
            metadata.create_all(connection)
            inspector = sa.inspect(connection)
            there = inspector.get_multi_columns()
            indexes = {one["name"] for of in inspector.get_multi_indexes().values() for one in of}
            added = set()
            for table in metadata.tables.values():
                names = {column["name"] for column in there[None, table.name]}
                for column in table.columns:
                    if column.name not in names:
                        made = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
                        connection.exec_driver_sql(f'ALTER TABLE "{table.name}" ADD COLUMN {made}')
                        added.add(f"{table.name}.{column.name}")
                for index in table.indexes:
                    if index.name not in indexes:
                        index.create(connection)
            migrations.migrate(connection, added)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        connection, held, _ = self._begun(self._backend.begin_read)
        try:
            yield connection
        except BaseException as error:
            self._told(error)
            raise
        finally:
            self._give_back(connection, held)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with self._mutex, self._file_lock(), self._backend.room():
            connection, held, begun = self._begun(self._backend.begin_write)
            try:
                yield connection
                if (pending := beside.get()) is not None:
                    pending.write(connection)
                number = self._backend.commit(held, begun, self._count_fd is not None)
                if pending is not None:
                    pending.kept()
            except BaseException as error:
                if (pending := beside.get()) is not None:
                    pending.dropped()
                self._told(error)
                raise
            finally:
                self._give_back(connection, held)
            if number is not None and self._count_fd is not None:
                mark.count(self._count_fd, number)

    def last_write(self) -> bytes | None:
        """What is another after each write by any process; None where that is not known. It costs a system call."""
        return None if self._count_fd is None else mark.counted(self._count_fd)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Writers of all processes wait for the end of the block; reads go on."""
        with self._mutex, self._file_lock():
            yield

    def checkpoint(self) -> None:
        """Before the last process of a home ends."""
        with self._mutex, self._file_lock(), self._backend.room(), self._engine.connect() as connection:
            self._backend.checkpoint(connection)

    def _begun(self, begin: Callable[[Any], Any]) -> tuple[Connection, Any, Any]:
        """A connection on which `begin` went well. One that broke while nobody used it is replaced."""
        end = time.monotonic() + self._patience
        tries = 0
        while True:
            connection = None
            try:
                connection = self._engine.connect()
                held = connection.connection.driver_connection
                return connection, held, begin(held)
            except BaseException as error:
                meaning = self._backend.meaning(error)
                if connection is not None:
                    connection.invalidate()
                    connection.close()
                if not isinstance(meaning, DatabaseAway) or (tries and time.monotonic() >= end):
                    if meaning is not None:
                        raise meaning from error
                    raise
            self._engine.dispose()  # what else waits in the pool broke too
            if tries:
                time.sleep(_AGAIN)
            tries += 1

    def _give_back(self, connection: Connection, held: Any) -> None:
        """Ends what the block has not ended."""
        if not self._backend.rollback(held):
            connection.invalidate()
        connection.close()

    def _told(self, error: BaseException) -> None:
        """Raises what the failure of a block means, where it is no fault of ours."""
        if isinstance(error, PorticoError) or not isinstance(error, Exception):
            return
        meaning = self._backend.meaning(error)
        if meaning is not None:
            raise meaning from error

    @contextmanager
    def _file_lock(self) -> Iterator[None]:
        fcntl.lockf(self._lock_fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._lock_fd, fcntl.LOCK_UN)

    def close(self) -> None:
        self._engine.dispose()
        os.close(self._lock_fd)
        if self._count_fd is not None:
            os.close(self._count_fd)


_bump = (
    sa.update(change_counter)
    .where(change_counter.c.topic == sa.bindparam("of"))
    .values(value=change_counter.c.value + 1)
    .returning(change_counter.c.value)
)
_current = sa.select(change_counter.c.value).where(change_counter.c.topic == sa.bindparam("of"))


def bump(connection: Connection, topic: str) -> int:
    """Counts a change to `topic` inside the caller's write transaction; returns the new count."""
    updated = connection.execute(_bump, {"of": topic}).scalar()
    if updated is None:
        connection.execute(sa.insert(change_counter).values(topic=topic, value=1))
        return 1
    return int(updated)


def current(connection: Connection, topic: str) -> int:
    """How often `topic` has changed."""
    return int(connection.execute(_current, {"of": topic}).scalar() or 0)
