"""Resources, operations, and what is served of them."""

from __future__ import annotations

import sqlalchemy as sa

from portico.store.tables.columns import TEXT, metadata

resources = sa.Table(
    "resources",
    metadata,
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("parent", TEXT, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("create_time", sa.Float, nullable=False),
    sa.Column("update_time", sa.Float, nullable=False),
    sa.Column("private", sa.LargeBinary),  # absent where there is nothing
    sa.Column("indexed", TEXT),  # the fields of it that are in resource_fields
    sa.Index("resources_listed", "kind", "parent", "create_time", "name"),
    sa.Index("resources_indexed", "kind", "indexed"),
)
# What lists are narrowed by: a row a value of a field that its collection declares as indexed.
resource_fields = sa.Table(
    "resource_fields",
    metadata,
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("field", TEXT, primary_key=True),
    sa.Column("value", TEXT, nullable=False),
    sa.Column("kind", TEXT, nullable=False),
    sa.Index("resource_fields_found", "kind", "field", "value", "name"),
)
policies = sa.Table(
    "iam_policies",
    metadata,
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
)
operations = sa.Table(
    "operations",
    metadata,
    sa.Column("id", TEXT, primary_key=True),
    sa.Column("name", TEXT, nullable=False, unique=True),
    sa.Column("parent", TEXT, nullable=False, index=True),
    sa.Column("version", TEXT, nullable=False),
    sa.Column("metadata", sa.LargeBinary, nullable=False),
    sa.Column("job", TEXT, index=True),
    sa.Column("done", sa.Boolean, nullable=False),
    sa.Column("response", sa.LargeBinary),
    sa.Column("error", sa.LargeBinary),
    sa.Column("create_time", sa.Float, nullable=False),
    sa.Column("update_time", sa.Float, nullable=False),
)
served_endpoints = sa.Table(
    "served_endpoints",
    metadata,
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
)
replica_sets = sa.Table(
    "replica_sets",
    metadata,
    sa.Column("id", TEXT, primary_key=True),
    sa.Column("spec", TEXT, nullable=False),
    sa.Column("generation", TEXT, nullable=False),
    sa.Column("state", TEXT, nullable=False),
    sa.Column("error", TEXT, nullable=False),
    sa.Column("served", sa.Boolean, nullable=False),
)
replica_processes = sa.Table(
    "replica_processes",
    metadata,
    sa.Column("set_id", TEXT, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("pid", sa.BigInteger, nullable=False),
    sa.Column("started", sa.Float, nullable=False),
)
