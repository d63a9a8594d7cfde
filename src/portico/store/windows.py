"""What monitoring jobs have counted: a row for each window of a deployed model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.store.database import metadata

_table = sa.Table(
    "monitoring_windows",
    metadata,
    sa.Column("job", sa.String, primary_key=True),
    sa.Column("deployed_model", sa.String, primary_key=True),
    sa.Column("end", sa.Float, primary_key=True),
    sa.Column("start", sa.Float, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)


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
    key = (
        _table.c.job == window.job,
        _table.c.deployed_model == window.deployed_model,
        _table.c.end == window.end,
    )
    connection.execute(sa.delete(_table).where(*key))
    connection.execute(
        sa.insert(_table).values(
            job=window.job, deployed_model=window.deployed_model, start=window.start, end=window.end,
            body=orjson.dumps(window.body),
        )
    )  # fmt: skip


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
    chosen = sa.select(_table).where(_table.c.job == job, _table.c.deployed_model == deployed_model)
    if start is not None:
        chosen = chosen.where(_table.c.end >= start)
    if end is not None:
        chosen = chosen.where(_table.c.end <= end)
    rows = connection.execute(chosen.order_by(_table.c.end.desc()).limit(limit))
    return [StoredWindow(r.job, r.deployed_model, r.start, r.end, orjson.loads(r.body)) for r in rows]


def delete(connection: Connection, job: str) -> None:
    connection.execute(sa.delete(_table).where(_table.c.job == job))
