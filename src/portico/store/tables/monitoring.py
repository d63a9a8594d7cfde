"""What monitoring jobs have counted and found."""

from __future__ import annotations

import sqlalchemy as sa

from portico.store.tables.columns import TEXT, metadata

windows = sa.Table(
    "monitoring_windows",
    metadata,
    sa.Column("job", TEXT, primary_key=True),
    sa.Column("deployed_model", TEXT, primary_key=True),
    sa.Column("end", sa.Float, primary_key=True),
    sa.Column("start", sa.Float, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)
baselines = sa.Table(
    "monitoring_baselines",
    metadata,
    sa.Column("job", TEXT, primary_key=True),
    sa.Column("deployed_model", TEXT, primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
)
points = sa.Table(
    "monitoring_points",
    metadata,
    sa.Column("monitor", TEXT, primary_key=True),
    sa.Column("job", TEXT, primary_key=True),
    sa.Column("objective", TEXT, primary_key=True),
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("schedule", TEXT, nullable=False),
    sa.Column("algorithm", TEXT, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("made", sa.Float, nullable=False),
    sa.Column("anomaly", sa.Boolean, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("monitoring_points_by_series", "monitor", "objective", "name", "time"),
    sa.Index("monitoring_points_by_time", "monitor", "anomaly", "time"),
)
