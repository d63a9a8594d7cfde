"""What was predicted: the log's segments, how far the taps were read, what was counted, and the truth as it came."""

from __future__ import annotations

import sqlalchemy as sa

from portico.store.tables.columns import TEXT, metadata

segments = sa.Table(
    "segments",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("stream", TEXT, nullable=False),
    sa.Column("file", TEXT, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("first", sa.Float, nullable=False),
    sa.Column("last", sa.Float, nullable=False),
    sa.Index("segments_of_stream", "stream", "id"),
    sqlite_autoincrement=True,  # ids of merged segments never come back
)
# Files that were merged away, which readers of an older listing may still open. How long they stay goes by the
# monotonic clock, from when this process first saw them; `until` is what the wall clock made of it.
segments_left = sa.Table(
    "segments_left",
    metadata,
    sa.Column("file", TEXT, primary_key=True),
    sa.Column("until", sa.Float, nullable=False),
)
# Tables of BigQuery that are to show a stream, and are not made yet.
log_tables = sa.Table(
    "log_tables",
    metadata,
    sa.Column("project", TEXT, primary_key=True),
    sa.Column("dataset", TEXT, primary_key=True),
    sa.Column("table", TEXT, primary_key=True),
    sa.Column("stream", TEXT, primary_key=True),
)
# Up to where the folders of the spool are in the log; and what killed fronts had not written yet.
spool_places = sa.Table(
    "spool_places",
    metadata,
    sa.Column("folder", TEXT, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
)
predictions_lost = sa.Table(
    "predictions_lost",
    metadata,
    sa.Column("file", TEXT, primary_key=True),  # folder and number
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
)
service_counts = sa.Table(
    "service_counts",
    metadata,
    sa.Column("endpoint", TEXT, primary_key=True),
    sa.Column("deployed_model", TEXT, primary_key=True),
    sa.Column("start", sa.BigInteger, primary_key=True),
    sa.Column("span", sa.Integer, primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("service_counts_by_age", "span", "start"),
)
# Spool files that are in the rows, until they are deleted.
service_read = sa.Table("service_read", metadata, sa.Column("file", TEXT, primary_key=True))
labels = sa.Table(
    "labels",
    metadata,
    sa.Column("endpoint", TEXT, primary_key=True),
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("truth", sa.LargeBinary, nullable=False),
    sa.Column("observed", sa.Float, nullable=False),
    sa.Column("arrived", sa.Float, nullable=False),
    sa.Column("repeated", sa.Integer, nullable=False),
    sa.Column("contradicted", sa.Integer, nullable=False),
    # Grows with every change of a truth, so that a reader can go on where it stopped.
    sa.Column("change", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("influenced", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("key", TEXT, nullable=False, server_default=""),  # the key in its name; "" where it has none
    sa.Index("labels_by_change", "endpoint", "change"),
    sa.Index("labels_by_key", "endpoint", "key"),
)
