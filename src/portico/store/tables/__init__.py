"""All tables: whoever imports one has declared them all.

A column that is added to a table later must be nullable or have a server default: `Database.create_tables` adds it to
homes that are there.
"""

from portico.store.tables import (
    audit,
    entries,
    events,
    home,
    jobs,
    lineage,
    log,
    metrics,
    monitoring,
    pipelines,
    pubsub,
    resources,
    storage,
    templates,
    tensorboard,
    usage,
)
from portico.store.tables.columns import metadata

__all__ = [
    "audit",
    "entries",
    "events",
    "home",
    "jobs",
    "lineage",
    "log",
    "metadata",
    "metrics",
    "monitoring",
    "pipelines",
    "pubsub",
    "resources",
    "storage",
    "templates",
    "tensorboard",
    "usage",
]
