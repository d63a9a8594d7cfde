"""Entries of Cloud Logging that somebody wrote: kept for 30 days, as in Google's bucket `_Default`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.store.tables.entries import entries as _table

KEPT = 30 * 24 * 3600.0  # seconds
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Entry:
    """`owner` "projects/P", `log` "projects/P/logs/L", `time` in seconds since the epoch, `body` the LogEntry."""

    owner: str
    log: str
    time: float
    insert_id: str
    body: dict[str, Any]


def insert(connection: Connection, entries: Sequence[Entry], now: float) -> None:
    """Adds those that are not there; what is too old, here or among them, goes."""
    connection.execute(sa.delete(_table).where(_table.c.time < now - KEPT))
    for entry in entries:
        key = (_table.c.log == entry.log, _table.c.time == entry.time, _table.c.insert_id == entry.insert_id)
        if entry.time < now - KEPT or connection.execute(sa.select(_table.c.log).where(*key)).first():
            continue
        values = {"owner": entry.owner, "log": entry.log, "time": entry.time, "insert_id": entry.insert_id}
        connection.execute(sa.insert(_table).values(**values, body=orjson.dumps(entry.body)))


def read(
    connection: Connection, owner: str, since: float, until: float, *, newest_first: bool
) -> Iterator[Entry]:
    """Those of `owner` with a time in [since, until], by time and insert id."""
    place = sa.tuple_(_table.c.time, _table.c.insert_id, _table.c.log)
    order = [c.desc() if newest_first else c for c in (_table.c.time, _table.c.insert_id, _table.c.log)]
    chosen = sa.select(_table).where(_table.c.owner == owner, _table.c.time >= since, _table.c.time <= until)
    chosen, after = chosen.order_by(*order).limit(_PAGE), None
    while True:
        page = chosen if after is None else chosen.where(place < after if newest_first else place > after)
        rows = connection.execute(page).all()
        for row in rows:
            yield Entry(row.owner, row.log, row.time, row.insert_id, orjson.loads(row.body))
        if len(rows) < _PAGE:
            return
        after = sa.tuple_(*map(sa.literal, (rows[-1].time, rows[-1].insert_id, rows[-1].log)))


def logs(connection: Connection, owner: str) -> list[str]:
    """The logs of `owner` that have entries, by name."""
    chosen = sa.select(_table.c.log).where(_table.c.owner == owner).distinct().order_by(_table.c.log)
    return list(connection.execute(chosen).scalars())


def delete(connection: Connection, log: str) -> int:
    """Deletes a log; how many entries it had."""
    return connection.execute(sa.delete(_table).where(_table.c.log == log)).rowcount
