"""PostgreSQL by a URL, for who wants the rows in a database that others keep, copy and watch."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection

from portico.errors import FailedPrecondition, InvalidArgument, PorticoError, ResourceExhausted
from portico.store.backend import DatabaseAway, Found
from portico.store.tables import home as home_tables
from portico.store.tables import metadata

# Advisory locks of this database: of whoever writes, and of the server that works on it.
_WRITING, _SERVING = 0x706F7274, 0x706F7275
_BEGIN_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# Each statement sees what is committed, and since nobody else writes meanwhile, all see the same.
_BEGIN_WRITE = f"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT pg_advisory_xact_lock({_WRITING})"
# The number of this write, in the home's own row (`store/home.py`), where it has changed anything.
_COUNT = (
    "UPDATE home SET writes = writes + 1 WHERE pg_current_xact_id_if_assigned() IS NOT NULL RETURNING writes"
)
_AT_ONCE = 1000  # rows
_LOOK = 2.0  # seconds between two looks whether the lock is still ours
_GONE = 3.0  # seconds that a server's lock may outlive a server that was killed
# Connection exceptions, too many connections, and a server that stops, starts, or only reads.
_AWAY = ("08", "53300", "57P01", "57P02", "57P03", "25006")


class PostgreSQL:
    lost_how = "was it put back from an older copy?"
    errors: tuple[type[Exception], ...] = (sa.exc.DatabaseError,)
    elsewhere = True

    def __init__(self, home: Path, url: sa.URL) -> None:
        self._home = home
        self._url = url.set(drivername="postgresql+psycopg")
        self.restored_by = (
            f"put the database {self.shown} back as it was, or name the right one: portico up --database URL"
        )

    @property
    def shown(self) -> str:
        """The URL without the password."""
        return self._url._replace(drivername="postgresql", password=None).render_as_string()

    def engine(self) -> sa.Engine:
        made = sa.create_engine(
            self._url,
            isolation_level="AUTOCOMMIT",  # we write BEGIN ourselves
            connect_args={"connect_timeout": 10, "application_name": "portico"},
            use_native_hstore=False,
            # All processes together must get by with the hundred connections that a server usually allows.
            pool_size=3,
            max_overflow=13,
        )
        event.listen(made, "connect", _configure)
        return made

    def begin_read(self, held: Any) -> None:
        held.execute(_BEGIN_READ, prepare=False)

    def begin_write(self, held: Any) -> None:
        held.execute(_BEGIN_WRITE, prepare=False)

    def commit(self, held: Any, begun: Any, counted: bool) -> int | None:
        import psycopg

        try:
            made = held.execute(f"{_COUNT}; COMMIT" if counted else "COMMIT", prepare=False)
        except psycopg.OperationalError as error:
            raise DatabaseAway(
                f"The database {self.shown} went away ({_first_line(error)}) while a change was being written: whether "
                "it was made, a look tells as soon as the database is back.",
                retry_after=1.0,
            ) from error
        number = made.fetchone() if counted else None
        while made.nextset():
            pass
        if made.statusmessage != "COMMIT":
            raise RuntimeError("a statement of this write has failed, so nothing of it was kept")
        return int(number[0]) if number else None

    def rollback(self, held: Any) -> bool:
        import psycopg

        with contextlib.suppress(psycopg.Error):
            held.rollback()
        return not held.closed

    def begin_room(self) -> None:
        pass

    def room(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def meaning(self, error: BaseException) -> PorticoError | None:
        cause = getattr(error, "orig", None) or error
        state = getattr(cause, "sqlstate", None)
        words = _first_line(cause)
        if state == "53100":
            return ResourceExhausted(
                f"The disk of the database {self.shown} is full ({words}). Free room there.",
                reason="quotaExceeded",
            )
        if state == "54000":
            return InvalidArgument(
                f"A name is longer than PostgreSQL can find again ({words}). Give a shorter one."
            )
        if isinstance(error, sa.exc.TimeoutError):
            return DatabaseAway("All connections to the database are in use; try again.", retry_after=1.0)
        if _is_away(cause):
            return DatabaseAway(
                f"The database {self.shown} does not answer ({words}). As soon as it does, Portico goes on.",
                retry_after=1.0,
            )
        return None

    def refusal(self, error: BaseException) -> PorticoError:
        cause = getattr(error, "orig", None) or error
        return self.meaning(error) or FailedPrecondition(
            f"The database {self.shown} can't be used: {str(cause).strip()}. Nothing was changed."
        )

    def look(self) -> Found:
        with self._looking() as connection:
            there = set(sa.inspect(connection).get_table_names())
            if "home" not in there:
                if others := sorted(there & set(metadata.tables)):
                    raise FailedPrecondition(
                        f"The database {self.shown} has tables that are not Portico's ({', '.join(others)}). Name an "
                        "empty one."
                    )
                return Found(absent="is empty")
            row = connection.execute(sa.select(home_tables.home)).first()
            used = any(
                connection.execute(
                    sa.select(sa.literal(1)).select_from(metadata.tables[name]).limit(1)
                ).first()
                for name in ("resources", "storage_buckets", "storage_objects", "jobs")
                if name in there
            )
        return Found(row.id, row.writes, used) if row else Found(used=used)

    def kept(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def integrity(self) -> str:
        return ""  # PostgreSQL checks its own pages as it reads them

    def checkpoint(self, connection: Connection) -> None:
        pass

    def copy_to(self, target: Path) -> None:
        with self._looking() as source, _file(target) as copy:
            metadata.create_all(copy)
            _copy(source, copy)

    def take(self, source: Path) -> None:
        engine = self.engine()
        try:
            with _file(source) as copy, engine.connect() as made:
                made = made.execution_options(isolation_level="READ COMMITTED")
                with made.begin():
                    metadata.create_all(made)
                    _copy(copy, made)
                    # Ids of segments go on after those that were given.
                    made.exec_driver_sql(
                        "SELECT setval(pg_get_serial_sequence('segments', 'id'), coalesce(max(id), 0) + 1, false) "
                        "FROM segments"
                    )
        except sa.exc.DBAPIError as error:
            raise self.refusal(error) from error
        finally:
            engine.dispose()
        source.unlink()

    @contextlib.contextmanager
    def hold(self, lost: Callable[[str], None]) -> Iterator[None]:
        keeper = _Keeper(self._url, f"Another Portico works on the database {self.shown}", lost)
        try:
            keeper.take()
        except Exception as error:
            raise error if isinstance(error, PorticoError) else self.refusal(error) from None
        keeper.start()
        try:
            yield
        finally:
            keeper.stop()

    @contextlib.contextmanager
    def _looking(self) -> Iterator[Connection]:
        """One snapshot."""
        engine = self.engine()
        try:
            with engine.connect() as connection:
                self.begin_read(connection.connection.driver_connection)
                yield connection
        except (sa.exc.DBAPIError, sa.exc.OperationalError) as error:
            raise self.refusal(error) from error
        finally:
            engine.dispose()


class _Keeper(threading.Thread):
    """Holds a lock by a connection of its own, and takes it again when the database was away."""

    def __init__(self, url: sa.URL, words: str, lost: Callable[[str], None]) -> None:
        super().__init__(name="database lock", daemon=True)
        self._url = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._words = words
        self._lost = lost
        self._held: Any = None
        self._stopping = threading.Event()

    def take(self) -> None:
        """
        Raises:
            FailedPrecondition: another server has it.
        """
        import psycopg

        self._held = psycopg.connect(
            self._url, autocommit=True, connect_timeout=10, application_name="portico up"
        )
        end = time.monotonic() + _GONE
        while not self._held.execute(f"SELECT pg_try_advisory_lock({_SERVING})").fetchone()[0]:
            if time.monotonic() > end:
                self._held.close()
                raise FailedPrecondition(f"{self._words}. Stop it first, or name another database.")
            self._stopping.wait(0.1)

    def run(self) -> None:
        import psycopg

        while not self._stopping.wait(_LOOK):
            try:
                if self._held.closed:
                    self.take()
                self._held.execute("SELECT 1")
            except FailedPrecondition as taken:
                self._lost(taken.message)
                return
            except psycopg.Error:
                self._held.close()

    def stop(self) -> None:
        self._stopping.set()
        self.join()
        self._held.close()


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


def _is_away(cause: BaseException | object) -> bool:
    import psycopg

    if not isinstance(cause, (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)):
        return False
    return cause.sqlstate is None or cause.sqlstate.startswith(_AWAY)


def _configure(connection: Any, _record: Any) -> None:
    # A commit that was answered is on the disk, whatever the database's own settings say.
    connection.execute("SET synchronous_commit TO on")


@contextlib.contextmanager
def _file(path: Path) -> Iterator[Connection]:
    """A file of SQLite's, in one transaction."""
    engine = sa.create_engine(f"sqlite:///{path}")
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _copy(source: Connection, target: Connection) -> None:
    there = set(sa.inspect(source).get_table_names())  # an older Portico had fewer
    for table in metadata.sorted_tables:
        if table.name not in there:
            continue
        held = {column["name"] for column in sa.inspect(source).get_columns(table.name)}
        chosen = sa.select(*[column for column in table.columns if column.name in held])
        for rows in source.execution_options(yield_per=_AT_ONCE).execute(chosen).mappings().partitions():
            target.execute(sa.insert(table), [dict(row) for row in rows])
