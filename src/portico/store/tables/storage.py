"""Cloud Storage: buckets, objects and uploads."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from portico.store.tables.columns import TEXT, metadata

LIVE: Final = 1  # the state of the one generation of a name that is seen
SOFT_DELETED: Final = 4  # that of one which is kept until its hard deletion

buckets = sa.Table(
    "storage_buckets",
    metadata,
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("project", TEXT, nullable=False),
    sa.Column("metageneration", sa.BigInteger, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("updated", sa.Double, nullable=False),
    sa.Column("fields", sa.LargeBinary, nullable=False),
    sa.Column("policy", sa.LargeBinary, nullable=True),
    sa.Index("storage_buckets_by_project", "project", "name"),
)
objects = sa.Table(
    "storage_objects",
    metadata,
    sa.Column("bucket", TEXT, primary_key=True),
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("generation", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("metageneration", sa.BigInteger, nullable=False),
    sa.Column("file", TEXT, nullable=False, unique=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("crc32c", TEXT, nullable=False),
    sa.Column("md5", TEXT, nullable=True),
    sa.Column("updated", sa.Double, nullable=False),
    sa.Column("deleted", sa.Double, nullable=True),
    sa.Column("fields", sa.LargeBinary, nullable=False),
    sa.Column("hard_deleted", sa.Double, nullable=True),
)
# At most one live generation a name; and what a listing walks along.
sa.Index(
    "storage_objects_live",
    objects.c.bucket,
    objects.c.name,
    unique=True,
    sqlite_where=objects.c.state == LIVE,
    postgresql_where=objects.c.state == LIVE,
)
sa.Index(
    "storage_objects_soft_deleted",
    objects.c.hard_deleted,
    sqlite_where=objects.c.state == SOFT_DELETED,
    postgresql_where=objects.c.state == SOFT_DELETED,
)
# Buckets that are kept until their hard deletion; in the place of a name their objects have `soft_deleted.place`.
soft_deleted_buckets = sa.Table(
    "storage_soft_deleted_buckets",
    metadata,
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("generation", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("project", TEXT, nullable=False, index=True),
    sa.Column("metageneration", sa.BigInteger, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("updated", sa.Double, nullable=False),
    sa.Column("fields", sa.LargeBinary, nullable=False),
    sa.Column("policy", sa.LargeBinary, nullable=True),
    sa.Column("deleted", sa.Double, nullable=False),
    sa.Column("hard_deleted", sa.Double, nullable=False),
)
pins = sa.Table(
    "storage_pins",
    metadata,
    sa.Column("file", TEXT, primary_key=True),
    sa.Column("holder", TEXT, primary_key=True),
    sa.Index("storage_pins_by_holder", "holder"),
)
# One row: the newest generation number ever given, so that numbers grow even when the clock stands still.
generations = sa.Table(
    "storage_generations",
    metadata,
    sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("last", sa.BigInteger, nullable=False),
)
uploads = sa.Table(
    "storage_uploads",
    metadata,
    sa.Column("id", TEXT, primary_key=True),
    sa.Column("bucket", TEXT, nullable=False),
    sa.Column("name", TEXT, nullable=False),
    sa.Column("file", TEXT, nullable=True, index=True),
    sa.Column("created", sa.Double, nullable=False, index=True),
    sa.Column("request", sa.LargeBinary, nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=True),
    sa.Column("age", sa.Double, nullable=False, server_default="0"),
    sa.Column("looked", sa.Double, nullable=True),
)
parts = sa.Table(
    "storage_upload_parts",
    metadata,
    sa.Column("upload", TEXT, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("file", TEXT, nullable=False, unique=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("crc32c", TEXT, nullable=False),
    sa.Column("md5", TEXT, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
)
