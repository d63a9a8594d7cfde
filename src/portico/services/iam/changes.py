"""How often what permissions depend on has changed, asked at every call: accounts, keys, users, roles and policies."""

from __future__ import annotations

import time
from typing import Final

from portico.store import policies
from portico.store.database import Database, current

_UNSEEN: Final = 1.0  # seconds that a commit may go unseen whose process was killed before it noted that


class Changes:
    """Of a database. It is read only when something was written. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: tuple[bytes | None, float, int] = (None, 0.0, -1)

    def number(self) -> int:
        writes, now = self._database.last_write(), time.monotonic()
        before, until, number = self._known
        if writes is None or writes != before or now > until:
            with self._database.read() as connection:
                number = current(connection, policies.TOPIC)
            self._known = (writes, now + _UNSEEN, number)
        return number
