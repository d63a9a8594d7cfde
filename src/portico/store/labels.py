"""Ground truth as it came: a row a label, one of them valid for each name.

A label's `name` says which predictions it belongs to (see `services.portico.labels`). What happens to a second label
of the same name is defined here: the same truth again is counted and changes nothing; another truth contradicts, and
the one that was observed later holds (observed at the same time: the one that came later).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.store.database import metadata

_table = sa.Table(
    "labels",
    metadata,
    sa.Column("endpoint", sa.String, primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("truth", sa.LargeBinary, nullable=False),
    sa.Column("observed", sa.Float, nullable=False),
    sa.Column("arrived", sa.Float, nullable=False),
    sa.Column("repeated", sa.Integer, nullable=False),
    sa.Column("contradicted", sa.Integer, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Label:
    """`truth` is any JSON value; `observed` and `arrived` are domain time, in seconds since the epoch."""

    name: str
    truth: Any
    observed: float
    arrived: float


@dataclass(slots=True)
class Added:
    """What became of labels: they were new, the same again, or contradicted one that was there."""

    new: int = 0
    repeated: int = 0
    contradicted: int = 0


def add(connection: Connection, endpoint: str, labels: Iterable[Label]) -> Added:
    """Takes labels in their order of arrival."""
    added = Added()
    for label in labels:
        where = (_table.c.endpoint == endpoint, _table.c.name == label.name)
        truth = orjson.dumps(label.truth)
        there = connection.execute(sa.select(_table).where(*where)).first()
        if there is None:
            added.new += 1
            connection.execute(
                sa.insert(_table).values(
                    endpoint=endpoint, name=label.name, truth=truth, observed=label.observed, arrived=label.arrived,
                    repeated=0, contradicted=0,
                )
            )  # fmt: skip
        elif there.truth == truth:
            added.repeated += 1
            connection.execute(sa.update(_table).where(*where).values(repeated=there.repeated + 1))
        else:
            added.contradicted += 1
            values: dict[str, Any] = {"contradicted": there.contradicted + 1}
            if label.observed >= there.observed:
                values |= {"truth": truth, "observed": label.observed, "arrived": label.arrived}
            connection.execute(sa.update(_table).where(*where).values(values))
    return added


def listed(connection: Connection, endpoint: str) -> Iterator[Label]:
    """The valid labels of an endpoint."""
    for row in connection.execute(sa.select(_table).where(_table.c.endpoint == endpoint)):
        yield Label(row.name, orjson.loads(row.truth), row.observed, row.arrived)


def counts(connection: Connection, endpoint: str) -> Added:
    """How many names have a label, and how often a second one was the same or contradicted it."""
    row = connection.execute(
        sa.select(sa.func.count(), sa.func.sum(_table.c.repeated), sa.func.sum(_table.c.contradicted)).where(
            _table.c.endpoint == endpoint
        )
    ).one()
    return Added(int(row[0]), int(row[1] or 0), int(row[2] or 0))


def delete(connection: Connection, endpoint: str) -> None:
    connection.execute(sa.delete(_table).where(_table.c.endpoint == endpoint))
