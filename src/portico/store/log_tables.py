"""The tables of BigQuery that are to show streams of the prediction log, until the warehouse, which need not run, has
made them."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.store.tables.log import log_tables as _table


class Wanted(NamedTuple):
    project: str
    dataset: str
    table: str
    stream: str


def want(connection: Connection, wanted: Wanted) -> None:
    """Once or more often."""
    made(connection, wanted)
    connection.execute(sa.insert(_table).values(**wanted._asdict()))


def wanted(connection: Connection) -> list[Wanted]:
    """Those that are not made yet, in the order of their names."""
    rows = connection.execute(sa.select(_table).order_by(*_table.c))
    return [Wanted(*row) for row in rows]


def made(connection: Connection, wanted: Wanted) -> None:
    """It is wanted no more."""
    same = [_table.c[name] == value for name, value in wanted._asdict().items()]
    connection.execute(sa.delete(_table).where(*same))
