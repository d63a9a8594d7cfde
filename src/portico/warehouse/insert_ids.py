"""The insertIds that came within the last minute, by table: in memory for who asks, and in the warehouse's file for the
process that follows one that was killed.

https://cloud.google.com/bigquery/docs/streaming-data-into-bigquery#dataconsistency: the ids are written with their
rows, in one transaction, so that a row is there once also where the process was killed between the two.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from portico.warehouse import catalog
from portico.warehouse.catalog import Cursor

_REMEMBERED = 60.0  # seconds for which a row's insertId is known
_KEPT = f"{catalog.FILE}.portico.insert_ids_of_requests"


class InsertIds:
    """What is kept is known to others only once its transaction has ended well: they wait for `alone` meanwhile."""

    def __init__(self, cursor: Cursor, writing: threading.RLock) -> None:
        """`writing`: the lock that transactions take, which may be taken again by who has it."""
        self._writing = writing
        self._swept = time.monotonic() - _REMEMBERED  # when old ones were last forgotten
        self._came: dict[str, dict[str, float]] = {}  # by the monotonic clock, since the other one may be set
        # Homes before had a row an id there.
        catalog.do(cursor, f"DROP TABLE IF EXISTS {catalog.FILE}.portico.insert_ids")
        catalog.do(cursor, f"CREATE TABLE IF NOT EXISTS {_KEPT} (place VARCHAR, ids VARCHAR, came DOUBLE)")
        for place, ids, came in catalog.do(cursor, f"SELECT place, ids, came FROM {_KEPT} ORDER BY came"):
            at = time.monotonic() - max(0.0, time.time() - came)
            self._came.setdefault(place, {}).update(dict.fromkeys(json.loads(ids), at))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other transaction begins within."""
        with self._writing:
            yield

    def unseen(self, place: str, ids: list[str]) -> list[int]:
        """The positions of those ids that did not come lately; "" never did. `place` is a table's storage, which a
        table of the same name that is made later does not share."""
        known, since = self._came.get(place, {}), time.monotonic() - _REMEMBERED
        return [position for position, one in enumerate(ids) if not one or known.get(one, since) <= since]

    def write(self, cursor: Cursor, place: str, ids: list[str]) -> None:
        """Notes them in the transaction of their rows."""
        now = time.time()
        if time.monotonic() >= self._swept + _REMEMBERED:
            catalog.do(cursor, f"DELETE FROM {_KEPT} WHERE came < {now - _REMEMBERED}")
        if any(ids):
            catalog.do(
                cursor,
                f"INSERT INTO {_KEPT} VALUES (?, ?, ?)",
                [place, json.dumps([*filter(None, ids)]), now],
            )

    def written(self, place: str, ids: list[str]) -> None:
        """Says that the transaction has ended well."""
        now = time.monotonic()
        if now >= self._swept + _REMEMBERED:
            self._swept = now
            lately = {
                each: {one: came for one, came in known.items() if came > now - _REMEMBERED}
                for each, known in self._came.items()
            }
            self._came = {each: known for each, known in lately.items() if known}
        self._came.setdefault(place, {}).update(dict.fromkeys(filter(None, ids), now))
