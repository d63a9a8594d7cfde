"""What a home says of itself: its id, its runs, its clock, and how often what is followed has changed."""

from __future__ import annotations

import sqlalchemy as sa

from portico.store.tables.columns import TEXT, metadata

home = sa.Table(
    "home",
    metadata,
    sa.Column("id", TEXT, primary_key=True),
    sa.Column("writes", sa.BigInteger, nullable=False),  # counted by `Database.write`
)
# The runs of the server on this database: files made in others are not its to sweep.
runs = sa.Table(
    "home_runs",
    metadata,
    sa.Column("token", TEXT, primary_key=True),
    sa.Column("started", sa.Double, nullable=False),
)
domain_clock = sa.Table("domain_clock", metadata, sa.Column("now", sa.Float, nullable=False))
# A row counts the changes to a topic, as to what is served; processes that cache poll it.
change_counter = sa.Table(
    "change_counter",
    metadata,
    sa.Column("topic", TEXT, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)
