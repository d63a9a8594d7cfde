"""What monitoring jobs have counted: a row for each window of a deployed model, and one for what it is held against."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.store.tables.monitoring import baselines as _baselines
from portico.store.tables.monitoring import windows as _table

_of = (_table.c.job == sa.bindparam("of_job"), _table.c.deployed_model == sa.bindparam("of_model"))
_listed = (
    sa.select(_table)
    .where(*_of, _table.c.end >= sa.bindparam("first"), _table.c.end <= sa.bindparam("last"))
    .order_by(_table.c.end.desc())
    .limit(sa.bindparam("most"))
)
_delete = sa.delete(_table).where(*_of, _table.c.end == sa.bindparam("at"))
_insert = sa.insert(_table)
_ALL = 2**31 - 1  # windows


@dataclass(frozen=True, slots=True)
class StoredWindow:
    """`body` is the monitoring run's: counts and scores by feature. Times are domain time in seconds."""

    job: str
    deployed_model: str
    start: float
    end: float
    body: dict[str, Any]


def put(connection: Connection, window: StoredWindow) -> None:
    """Stores a window, in place of one that ended at the same time."""
    connection.execute(_delete, {"of_job": window.job, "of_model": window.deployed_model, "at": window.end})
    values = {
        "job": window.job, "deployed_model": window.deployed_model, "start": window.start, "end": window.end,
        "body": orjson.dumps(window.body),
    }  # fmt: skip
    connection.execute(_insert, values)


def listed(
    connection: Connection,
    job: str,
    deployed_model: str,
    *,
    start: float | None = None,
    end: float | None = None,
    limit: int | None = None,
) -> list[StoredWindow]:
    """The windows that ended in [start, end], the newest first."""
    asked = {
        "of_job": job,
        "of_model": deployed_model,
        "first": -math.inf if start is None else start,
        "last": math.inf if end is None else end,
        "most": _ALL if limit is None else limit,
    }
    rows = connection.execute(_listed, asked)
    return [StoredWindow(r.job, r.deployed_model, r.start, r.end, orjson.loads(r.body)) for r in rows]


def put_baseline(connection: Connection, job: str, deployed_model: str, body: dict[str, Any]) -> None:
    """Stores what the windows of a deployed model are compared with, in place of what was there."""
    connection.execute(
        sa.delete(_baselines).where(_baselines.c.job == job, _baselines.c.deployed_model == deployed_model)
    )
    values = {"job": job, "deployed_model": deployed_model, "body": orjson.dumps(body)}
    connection.execute(sa.insert(_baselines).values(values))


def baseline(connection: Connection, job: str, deployed_model: str) -> dict[str, Any] | None:
    chosen = sa.select(_baselines.c.body)
    found = connection.execute(
        chosen.where(_baselines.c.job == job, _baselines.c.deployed_model == deployed_model)
    ).scalar()
    return None if found is None else dict(orjson.loads(found))


def delete(connection: Connection, job: str) -> None:
    """Deletes all windows and baselines of a job."""
    for table in (_table, _baselines):
        connection.execute(sa.delete(table).where(table.c.job == job))
