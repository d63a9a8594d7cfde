"""The one door to durable state: short write transactions, one at a time across processes; free reads.

Contract, for every backend:
- `write()` is atomic and durable when its block ends: a `kill -9` at any later moment loses nothing.
  Writers queue for a file lock, so none starves and none sees "database is locked".
- `read()` sees one consistent snapshot, and every write that ended before it began, by any process.
- The number of the last write stands in the database and beside it (`store/mark.py`), so that a lost log is noticed.
- A write that finds the disk full is ResourceExhausted (`store/disk.py`).
- Blocks are short: no network, no computing, no waiting inside them.
- Safe for threads and for processes; not shared across a fork (open after it).
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection

from portico.errors import PorticoError
from portico.store import disk, mark
from portico.store.tables import metadata
from portico.store.tables.home import change_counter

# The number of this write, in the home's own row (`store/home.py`).
_COUNT = "UPDATE home SET writes = writes + 1 RETURNING writes"


class Database:
    """The store's database under `home` (SQLite, WAL)."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._engine = sa.create_engine(
            f"sqlite:///{home / 'portico.db'}",
            connect_args={"timeout": 30, "check_same_thread": False},
            pool_size=8,
            max_overflow=56,
        )
        event.listen(self._engine, "connect", _configure)
        self._home = home
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
            for table in metadata.tables.values():
                there = {column["name"] for column in inspector.get_columns(table.name)}
                for column in table.columns:
                    if column.name not in there:
                        made = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
                        connection.exec_driver_sql(f'ALTER TABLE "{table.name}" ADD COLUMN {made}')
                for index in table.indexes:
                    index.create(connection, checkfirst=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._engine.connect() as connection:
            _say(connection, "BEGIN")
            yield connection
            _say(connection, "ROLLBACK")

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with self._mutex, self._file_lock(), disk.lent(self._home), self._engine.connect() as connection:
            held = connection.connection.driver_connection
            assert held is not None
            held.execute("BEGIN IMMEDIATE")
            before = held.total_changes
            try:
                yield connection
                changed = held.total_changes != before and self._count_fd is not None
                number = held.execute(_COUNT).fetchone() if changed else None
                held.execute("COMMIT")
            except BaseException as error:
                if held.in_transaction:
                    held.execute("ROLLBACK")
                if not isinstance(error, PorticoError) and disk.failed_for_room(self._home, error):
                    raise disk.exhausted(self._home) from error
                raise
            if number and self._count_fd is not None:
                mark.count(self._count_fd, number[0])

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Writers of all processes wait for the end of the block; reads go on."""
        with self._mutex, self._file_lock():
            yield

    def checkpoint(self) -> None:
        """Brings all that was written from the log into the database's own file, and empties the log."""
        with self._mutex, self._file_lock(), disk.lent(self._home), self._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

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


def _say(connection: Connection, words: str) -> None:
    """Straight to SQLite: as a statement of SQLAlchemy's it would take ten times as long, at every turn."""
    held = connection.connection.driver_connection
    assert held is not None
    held.execute(words)


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


def _configure(connection, _record) -> None:  # type: ignore[no-untyped-def]
    connection.isolation_level = None  # we write BEGIN ourselves
    cursor = connection.cursor()
    # FULL: a commit that was answered is on the disk, also after power is lost.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-8000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
