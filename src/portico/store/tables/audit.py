"""The audit log."""

from __future__ import annotations

import sqlalchemy as sa

from portico.store.tables.columns import TEXT, metadata

# `digest` authenticates the entry and the digest of the one before (`store/audit.py`). `owner` is "projects/P",
# `resource` what the entry is about.
entries = sa.Table(
    "audit_entries",
    metadata,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("owner", TEXT, nullable=False),
    sa.Column("log", TEXT, nullable=False),
    sa.Column("insert_id", TEXT, nullable=False),
    sa.Column("resource", TEXT, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("audit_entries_by_time", "owner", "time"),
    sa.Index("audit_entries_by_resource", "resource", "time"),
)
# One row: the number and the digest of the last entry that retention has removed, and what says that it was retention.
forgotten = sa.Table(
    "audit_forgotten",
    metadata,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("seal", sa.LargeBinary, nullable=False),
)
