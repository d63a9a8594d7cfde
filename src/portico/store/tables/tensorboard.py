"""What training runs wrote to a TensorBoard: a row a point, and of each time series what a list of them shows."""

from __future__ import annotations

import sqlalchemy as sa

from portico.store.tables.columns import TEXT, metadata

# A point's key has the number, not the name of some hundred characters.
series = sa.Table(
    "tensorboard_series",
    metadata,
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False, unique=True),
    sa.Column("value_type", TEXT, nullable=False),
    sa.Column("max_step", sa.BigInteger),  # these three are absent before the first point
    sa.Column("max_wall_time", sa.BigInteger),
    sa.Column("max_blobs", sa.BigInteger),
)
points = sa.Table(
    "tensorboard_points",
    metadata,
    sa.Column("series", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("step", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("wall_time", sa.BigInteger, nullable=False),  # nanoseconds since the epoch
    sa.Column("value", sa.LargeBinary, nullable=False),
    sqlite_with_rowid=False,  # a series lies together, by step
)
views = sa.Table(
    "tensorboard_views",
    metadata,
    sa.Column("tensorboard", TEXT, primary_key=True),
    sa.Column("month", TEXT, primary_key=True),  # YYYYMM
    sa.Column("user", TEXT, primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
)
