"""The warehouse: one DuckDB file with one writer, and what is asked of it.

Statements run in the caller's thread, each in a transaction of its own; what changes the file and what the catalog says
of it become visible together. GoogleSQL can't name a file, a setting or a function of DuckDB's own (`translate`), and
DuckDB is told beforehand to open nothing else.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb

from portico.errors import InvalidArgument, Unimplemented
from portico.warehouse import (
    block_reader,
    blocks,
    catalog,
    macros,
    routines,
    scripts,
    storage,
    system_variables,
    write_streams,
)
from portico.warehouse.asked import Asked, Done
from portico.warehouse.catalog import Cursor
from portico.warehouse.client import FILE, MODELS
from portico.warehouse.insert_ids import InsertIds
from portico.warehouse.models import kept, preprocessing
from portico.warehouse.models.kept import Models
from portico.warehouse.models.trainer import Asking, Trainer
from portico.warehouse.query_sessions import QuerySessions
from portico.warehouse.refusals import refused
from portico.warehouse.statements import Statement

log = logging.getLogger(__name__)

_SWEEP = 3600.0  # seconds between sweeps of what is too old to be asked for


@dataclass(frozen=True, slots=True)
class Running:
    """A query, and what it asks of strangers' models."""

    cursor: Cursor
    asking: Asking

    def interrupt(self) -> None:
        self.asking.interrupt()
        self.cursor.interrupt()


class Warehouse:
    """All datasets of a home. Its methods may be called from several threads."""

    def __init__(self, folder: Path, memory: str = "") -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self._root = duckdb.connect(":memory:")
        self._root.execute("SET TimeZone = 'UTC'")
        self._root.execute("SET python_enable_replacements = false")
        self._file = folder / FILE
        file = str(self._file).replace("'", "''")
        self._root.execute(f"ATTACH '{file}' AS {catalog.FILE}")
        macros.install(self._root)
        preprocessing.install(self._root)
        catalog.prepare(self._root)
        routines.prepare(self._root)
        scripts.clean(self._root)
        write_streams.prepare(self._root)
        kept.prepare(self._root)
        self.models = Models(folder / MODELS)
        self.models.sweep(self._root)
        self.trainer = Trainer(folder)
        self.entries = catalog.Entries()
        storage.sweep(self._root)
        temporary = str(folder / "spill").replace("'", "''")
        self._root.execute(f"SET temp_directory = '{temporary}'")
        if memory:
            self._root.execute("SET memory_limit = ?", [memory])
        self._root.execute("SET enable_external_access = false")
        self._root.execute("SET allowed_configs = ['enable_profiling']")
        self._root.execute("SET lock_configuration = true")
        self._running: dict[str, Cursor | scripts.Script | Running] = {}
        self._writing = threading.RLock()
        self.sessions = QuerySessions(self._root.cursor, self._writing)
        self.insert_ids = InsertIds(self._root, self._writing)
        self._swept = time.monotonic()

    def close(self) -> None:
        self.trainer.close()
        self._root.close()

    @contextlib.contextmanager
    def transaction(self, job: str = "") -> Iterator[Cursor]:
        """The one that writes, once others have; kept unless something is raised, with `job` noted as done in it."""
        with self._writing:
            yield from self._transaction(job)
            if time.monotonic() - self._swept > _SWEEP:
                self._swept = time.monotonic()
                with self.reading() as cursor:
                    storage.sweep(cursor)

    def _transaction(self, job: str) -> Iterator[Cursor]:
        cursor = self._root.cursor()
        if job:
            self._running[job] = cursor
        try:
            cursor.execute("BEGIN TRANSACTION")
            yield cursor
            if job:
                catalog.do(
                    cursor,
                    f"INSERT OR REPLACE INTO {catalog.FILE}.portico.finished VALUES (?, ?)",
                    [job, time.time()],
                )
            cursor.execute("COMMIT")
            self.entries.forget()
        except BaseException:
            with contextlib.suppress(duckdb.Error):
                cursor.execute("ROLLBACK")
            raise
        finally:
            self._running.pop(job, None)
            cursor.close()

    @contextlib.contextmanager
    def reading(self, job: str = "") -> Iterator[Cursor]:
        cursor = self._root.cursor()
        if job:
            self._running[job] = cursor
        try:
            yield cursor
        finally:
            self._running.pop(job, None)
            cursor.close()

    def snapshot(self, target: str) -> None:
        """Copies the file as it is at one moment to `target`, and the models beside it; writers wait."""
        with self._writing, self.reading() as cursor:
            catalog.do(cursor, f"FORCE CHECKPOINT {catalog.FILE}")
            shutil.copyfile(self._file, target)
            self.models.copy(cursor, Path(target).parent / MODELS)

    def cancel(self, job: str) -> bool:
        """Stops what runs as `job`; whether something did."""
        cursor = self._running.get(job)
        if cursor is None:
            return False
        cursor.interrupt()
        return True

    def run(self, text: str, asked: Asked, job: str = "", session: str = "") -> list[Done]:
        """Runs a statement or a script, in a `session` where one is named; of a script what its statements did and then
        what the whole did.

        Raises:
            PorticoError: it is refused; what a script did before is kept.
        """
        try:
            with self.models.statement():
                if session:
                    return self._in_session(session, text, asked, job)
                return self._run(text, asked, job)
        except RecursionError:
            raise InvalidArgument("The statement is nested too deeply", reason="invalidQuery") from None
        except (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            log.exception("a statement was not understood")
            raise Unimplemented(f"Portico does not understand this statement yet: {error}") from None

    def _in_session(self, session: str, text: str, asked: Asked, job: str) -> list[Done]:
        asked.warehouse = self

        def running(script: scripts.Script) -> None:
            if job:
                self._running[job] = script

        try:
            done = self.sessions.run(session, text, asked, running)
        finally:
            self._running.pop(job, None)
        with self.transaction(job):
            return done

    def _run(self, text: str, asked: Asked, job: str) -> list[Done]:
        asked.warehouse = self
        block = block_reader.read(text)
        if len(block) != 1 or not isinstance(block[0], blocks.Run):
            return self._script(block, asked, job) if block else []
        tree = block[0].tree
        asked.system = system_variables.of_statement(asked)
        if tree.key in blocks.QUERIES or asked.dry:
            asked.entries = self.entries
            with self.reading(job) as cursor:
                if job:
                    self._running[job] = Running(cursor, asked.asking)
                return [self._one(cursor, asked, tree)]
        with self.transaction(job) as cursor:
            if job:
                self._running[job] = Running(cursor, asked.asking)
            return [self._one(cursor, asked, tree)]

    def _script(self, block: blocks.Block, asked: Asked, job: str) -> list[Done]:
        with self.reading(job) as cursor:
            script = scripts.Script(cursor, self._writing, asked)
            if job:
                self._running[job] = script
            done = script.run(block)
        with self.transaction(job):
            return done

    def _one(self, cursor: Cursor, asked: Asked, tree: object) -> Done:
        try:
            return Statement(cursor, asked, tree).run()  # type: ignore[arg-type]
        except duckdb.InterruptException:
            raise
        except duckdb.Error as error:
            raise refused(error) from None
