"""What runs measured: a row a value, in the order in which it came."""

from __future__ import annotations

import sqlalchemy as sa

from portico.store.tables.columns import TEXT, metadata

values = sa.Table(
    "run_metrics",
    metadata,
    sa.Column("run", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("key", TEXT, primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("step", sa.BigInteger, nullable=False),
    sa.Column("time", sa.BigInteger, nullable=False),  # milliseconds since the epoch
    sa.Column("value", sa.LargeBinary, nullable=False),  # eight bytes: SQLite has no NaN among its numbers
    sqlite_with_rowid=False,  # a run's metric lies together
)
