"""What was used, of which costs are made."""

from __future__ import annotations

import sqlalchemy as sa

from portico.store.tables.columns import TEXT, metadata

# How much of what (`sku`, see `store/usage.py`) a resource of a project has used on a day ("2026-11-29", UTC), with the
# labels that it had last, as JSON.
usage = sa.Table(
    "usage",
    metadata,
    sa.Column("day", TEXT, primary_key=True),
    sa.Column("project", TEXT, primary_key=True),
    sa.Column("sku", TEXT, primary_key=True),
    sa.Column("resource", TEXT, primary_key=True),
    sa.Column("amount", sa.Double, nullable=False),
    sa.Column("labels", sa.LargeBinary, nullable=False),
)
