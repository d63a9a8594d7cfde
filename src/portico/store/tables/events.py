"""What happened that a trigger waits for."""

from __future__ import annotations

import sqlalchemy as sa

from portico.store.tables.columns import TEXT, metadata

# What each trigger waits for: a `kind` of event at `subject` (a bucket, or a resource), of an object whose name begins
# and ends so.
watches = sa.Table(
    "event_watches",
    metadata,
    sa.Column("trigger", TEXT, primary_key=True),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("subject", TEXT, nullable=False),
    sa.Column("prefix", TEXT, nullable=False, server_default=""),
    sa.Column("suffix", TEXT, nullable=False, server_default=""),
    sa.Index("event_watches_by_subject", "kind", "subject"),
)
# An event once for each trigger that waits for it; it goes in the transaction that starts what the trigger starts.
events = sa.Table(
    "trigger_events",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("trigger", TEXT, nullable=False),
    sa.Column("noted", sa.Double, nullable=False),  # by the wall clock
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("facts", sa.LargeBinary, nullable=False),
    sa.Index("trigger_events_in_order", "trigger", "noted", "id"),
)
