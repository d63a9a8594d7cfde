"""Compiled pipelines that were uploaded to a registry."""

from __future__ import annotations

import sqlalchemy as sa

from portico.store.tables.columns import TEXT, metadata

# `name` is that of the version in the registry.
templates = sa.Table(
    "pipeline_templates",
    metadata,
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("content", sa.LargeBinary, nullable=False),
)
