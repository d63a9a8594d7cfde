"""Pub/Sub: topics, subscriptions, and messages on their way."""

from __future__ import annotations

import sqlalchemy as sa

from portico.store.tables.columns import TEXT, metadata

# One row: the newest number given to a topic, a subscription or a message.
numbers = sa.Table(
    "pubsub_numbers",
    metadata,
    sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("last", sa.BigInteger, nullable=False),
)
topics = sa.Table(
    "pubsub_topics",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("name", TEXT, nullable=False, unique=True),
    sa.Column("retention", sa.Double, nullable=False),  # seconds for which it keeps what was published
)
# A snapshot is one from which nobody takes. `topic` is 0 where it gets nothing any more, `used` when it was asked last.
subscriptions = sa.Table(
    "pubsub_subscriptions",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("name", TEXT, nullable=False, unique=True),
    sa.Column("topic", sa.BigInteger, nullable=False, index=True),
    sa.Column("used", sa.Double, nullable=False),
    sa.Column("settings", sa.LargeBinary, nullable=False),
)
# `keep_until`: how long its topic keeps it, whoever needs it.
messages = sa.Table(
    "pubsub_messages",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("topic", sa.BigInteger, nullable=False),
    sa.Column("published", sa.Double, nullable=False),
    sa.Column("keep_until", sa.Double, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.Column("attributes", sa.LargeBinary),  # absent where there are none
    sa.Column("ordering_key", TEXT, nullable=False),
    sa.Index("pubsub_messages_by_topic", "topic", "id"),
)
# What a subscription must still have acknowledged. It is not given out before `due`, which is the end of a lease or of
# a pause; `attempts` counts how often it was. `ordering_key` is empty where the subscription keeps no order.
deliveries = sa.Table(
    "pubsub_deliveries",
    metadata,
    sa.Column("subscription", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("message", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("due", sa.Double, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("ordering_key", TEXT, nullable=False),
    sa.Index("pubsub_deliveries_by_message", "message"),
    sqlite_with_rowid=False,
)
_keyed = deliveries.c.ordering_key != ""
sa.Index(
    "pubsub_deliveries_by_key",
    deliveries.c.subscription,
    deliveries.c.ordering_key,
    deliveries.c.message,
    sqlite_where=_keyed,
    postgresql_where=_keyed,
)
# What a subscription keeps though it was acknowledged.
acknowledged = sa.Table(
    "pubsub_acknowledged",
    metadata,
    sa.Column("subscription", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("message", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Index("pubsub_acknowledged_by_message", "message"),
    sqlite_with_rowid=False,
)
