"""What was written to Cloud Logging."""

from __future__ import annotations

import sqlalchemy as sa

from portico.store.tables.columns import TEXT, metadata

# Entries of one log, time and insert id are one entry. `owner` is the log's project (or folder, …), "projects/P".
entries = sa.Table(
    "log_entries",
    metadata,
    sa.Column("log", TEXT, primary_key=True),
    sa.Column("time", sa.Double, primary_key=True),
    sa.Column("insert_id", TEXT, primary_key=True),
    sa.Column("owner", TEXT, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("log_entries_by_time", "owner", "time", "insert_id"),
    sa.Index("log_entries_by_age", "time"),
)
