"""What jobs of model monitors have found: a point for each job, objective and feature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.store.tables.monitoring import points as _table

_NEWEST = (_table.c.time.desc(), _table.c.made.desc(), _table.c.job)


@dataclass(frozen=True, slots=True)
class Point:
    """`time` is domain time in seconds, and `made` the job's own, which orders what a clock that stands still does not.
    `schedule` is empty for a job that none made. `body` is the service's."""

    monitor: str
    job: str
    objective: str
    name: str
    schedule: str
    algorithm: str
    time: float
    made: float
    anomaly: bool
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """Points of a monitor; what is empty does not matter. Times are those of [start, end)."""

    monitor: str
    job: str = ""
    objective: str = ""
    name: str = ""
    schedule: str = ""
    algorithm: str = ""
    start: float | None = None
    end: float | None = None
    anomalies: bool = False

    def _conditions(self) -> list[Any]:
        made: list[Any] = [_table.c.monitor == self.monitor]
        for key in ("job", "objective", "name", "schedule", "algorithm"):
            if getattr(self, key):
                made.append(_table.c[key] == getattr(self, key))
        if self.start is not None:
            made.append(_table.c.time >= self.start)
        if self.end is not None:
            made.append(_table.c.time < self.end)
        if self.anomalies:
            made.append(_table.c.anomaly)
        return made


def put(connection: Connection, points: Sequence[Point]) -> None:
    """Stores the points of one job, in place of those of a former attempt."""
    for monitor, job in {(point.monitor, point.job) for point in points}:
        delete(connection, monitor, job)
    if points:
        values = [
            {column.name: getattr(point, column.name) for column in _table.columns}
            | {"body": orjson.dumps(point.body)}
            for point in points
        ]
        connection.execute(sa.insert(_table), values)


def series(connection: Connection, query: Query, offset: int, limit: int) -> list[Point]:
    """Points by objective and name, of each the newest first."""
    return _listed(connection, query, offset, limit, (_table.c.objective, _table.c.name, *_NEWEST))


def newest(connection: Connection, query: Query, offset: int, limit: int) -> list[Point]:
    return _listed(connection, query, offset, limit, (*_NEWEST, _table.c.objective, _table.c.name))


def _listed(
    connection: Connection, query: Query, offset: int, limit: int, order: Sequence[Any]
) -> list[Point]:
    chosen = sa.select(_table).where(*query._conditions()).order_by(*order).offset(offset).limit(limit)
    return [Point(**{**row._mapping, "body": orjson.loads(row.body)}) for row in connection.execute(chosen)]


def count(connection: Connection, query: Query) -> int:
    counted = sa.select(sa.func.count()).select_from(_table).where(*query._conditions())
    return int(connection.execute(counted).scalar() or 0)


def delete(connection: Connection, monitor: str, job: str = "") -> None:
    """Removes the points of a job, or of all jobs of a monitor."""
    conditions = [_table.c.monitor == monitor, *([_table.c.job == job] if job else [])]
    connection.execute(sa.delete(_table).where(*conditions))
