"""A look into the database that is opened when it is needed: most calls say all by themselves."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType

from sqlalchemy.engine import Connection

from portico.store.database import Database


class Reading:
    """One snapshot, for the time of the block."""

    __slots__ = ("_connection", "_database", "_held")

    def __init__(self, database: Database) -> None:
        self._database = database
        self._held: AbstractContextManager[Connection] | None = None
        self._connection: Connection | None = None

    @property
    def connection(self) -> Connection:
        if self._connection is None:
            self._held = self._database.read()
            self._connection = self._held.__enter__()
        return self._connection

    def __enter__(self) -> Reading:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._held is not None:
            self._held.__exit__(kind, error, trace)
