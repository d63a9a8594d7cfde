"""Durable jobs."""

from __future__ import annotations

import sqlalchemy as sa

from portico.store.tables.columns import TEXT, metadata

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", TEXT, primary_key=True),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("resource", TEXT, nullable=False, index=True),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("state", TEXT, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("lost", sa.Integer, nullable=False, server_default="0"),
    sa.Column("owner", TEXT),
    sa.Column("lease_until", sa.Float),
    sa.Column("cancel_requested", sa.Boolean, nullable=False),
    sa.Column("progress", sa.Float, nullable=False),
    sa.Column("message", TEXT, nullable=False),
    sa.Column("result", sa.LargeBinary),
    sa.Column("error", sa.LargeBinary),
    sa.Column("create_time", sa.Float, nullable=False),
    sa.Column("start_time", sa.Float),
    sa.Column("end_time", sa.Float),
    sa.Column("lane", TEXT, nullable=False, server_default="process"),
    sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
    sa.Column("cores", sa.Float, nullable=False, server_default="1"),
    sa.Column("memory", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("accelerators", sa.Integer, nullable=False, server_default="0"),
    sa.Column("parent", TEXT),
    sa.Column("wake_at", sa.Float),
    sa.Column("turn_time", sa.Float),
)
# What is looked for costs the same however many jobs wait, or have ended.
sa.Index("jobs_next", jobs.c.state, jobs.c.lane, jobs.c.priority.desc(), jobs.c.create_time, jobs.c.id)
sa.Index("jobs_cancelled", jobs.c.state, jobs.c.cancel_requested)
sa.Index("jobs_due", jobs.c.state, jobs.c.wake_at)
sa.Index("jobs_of_parent", jobs.c.parent, jobs.c.state)
sa.Index("jobs_of_kind", jobs.c.kind, jobs.c.state)
