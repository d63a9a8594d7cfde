"""Transactions of scripts."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Iterator

import duckdb

from portico.errors import InvalidArgument
from portico.warehouse import blocks
from portico.warehouse.asked import Asked
from portico.warehouse.catalog import Cursor
from portico.warehouse.script_variables import Variables


class Transactions(Variables):
    """What a script changes, each statement for itself or all in the transaction that it began."""

    def __init__(self, cursor: Cursor, writing: threading.RLock, asked: Asked, session: str) -> None:
        super().__init__(cursor, asked)
        self._writing = writing
        self._session = session
        self._transaction = ""  # "", "open", or "aborted" by an error
        self._transaction_id = ""  # of the one that is open, or was last

    @contextlib.contextmanager
    def _change(self) -> Iterator[None]:
        """What is done within is kept as a whole, now or with the script's transaction."""
        if self._transaction == "aborted":
            raise InvalidArgument(
                "The transaction was ended by an error; ROLLBACK TRANSACTION before another statement",
                reason="invalidQuery",
            )
        self._forget_translations()
        if self._asked.dry:
            yield
            return
        if self._transaction:
            with self._writing:  # which a script's transaction holds already, and a session's does not
                yield
            return
        with self._writing:
            self._do("BEGIN TRANSACTION")
            try:
                yield
                self._do("COMMIT")
                self._changed()
            except BaseException:
                with contextlib.suppress(duckdb.Error):
                    self._do("ROLLBACK")
                raise

    def _transact(self, node: blocks.Transaction) -> None:
        if node.kind == "BEGIN":
            if self._transaction:
                raise InvalidArgument("Transaction is already in progress", reason="invalidQuery")
            if not self._session:
                self._writing.acquire()
            self._do("BEGIN TRANSACTION")
            self._transaction, self._transaction_id = "open", uuid.uuid4().hex
        elif not self._transaction:
            raise InvalidArgument("There is no active transaction", reason="invalidQuery")
        elif node.kind == "COMMIT" and self._transaction == "aborted":
            self._transaction = ""
            raise InvalidArgument(
                "The transaction was ended by an error and is rolled back", reason="invalidQuery"
            )
        else:
            self._finish(node.kind)

    def _finish(self, kind: str) -> None:
        opened, self._transaction = self._transaction == "open", ""
        if opened:
            try:
                self._do(kind)
                self._changed()
            finally:
                if not self._session:
                    self._writing.release()

    def _changed(self) -> None:
        if self._asked.warehouse is not None:
            self._asked.warehouse.entries.forget()

    def _noticed(self) -> None:
        """After an error: DuckDB goes on with no transaction in which something failed."""
        if self._transaction != "open":
            return
        try:
            self._do("SELECT 1")
        except duckdb.Error:
            self._finish("ROLLBACK")
            self._transaction = "aborted"
