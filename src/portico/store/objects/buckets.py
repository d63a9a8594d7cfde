"""Buckets: the rows that objects belong to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from portico.errors import AlreadyExists, FailedPrecondition, NotFound
from portico.ids import project_number
from portico.store.database import bump
from portico.store.policies import TOPIC
from portico.store.tables.storage import buckets as _buckets
from portico.store.tables.storage import soft_deleted_buckets as _soft_deleted

_MADE_BY_US = {"location": "US", "storageClass": "STANDARD"}
"""What a bucket has that the server made, as far as it said nothing else."""


@dataclass(frozen=True, slots=True)
class BucketRow:
    """`fields` are the settings of the bucket's resource; `policy` its IAM policy, if one was set.

    `created`, `updated`, and of a soft-deleted one `deleted` and `hard_deleted`, are seconds since the epoch.
    """

    name: str
    project: str
    metageneration: int
    created: float
    updated: float
    fields: dict[str, Any]
    policy: dict[str, Any] | None = None
    deleted: float | None = None
    hard_deleted: float | None = None

    @property
    def versioning(self) -> bool:
        return bool((self.fields.get("versioning") or {}).get("enabled"))

    def restricts(self, kind: str) -> bool:
        """Whether new objects may not be encrypted as `kind` says: googleManaged, or customerSupplied."""
        told = (self.fields.get("encryption") or {}).get(f"{kind}EncryptionEnforcementConfig") or {}
        return bool(told.get("restrictionMode") == "FullyRestricted")

    @property
    def generation(self) -> int:
        return int(self.created * 1e6)

    @property
    def soft_delete_seconds(self) -> int:
        """How long what is deleted is kept; 0 where it goes at once."""
        return int((self.fields.get("softDeletePolicy") or {}).get("retentionDurationSeconds") or 0)

    @property
    def retention_seconds(self) -> int:
        return int((self.fields.get("retentionPolicy") or {}).get("retentionPeriod") or 0)


def find(connection: Connection, name: str) -> BucketRow | None:
    row = connection.execute(sa.select(_buckets).where(_buckets.c.name == name)).first()
    return None if row is None else row_of(row)


def get(connection: Connection, name: str) -> BucketRow:
    """Raises NotFound."""
    found = find(connection, name)
    if found is None:
        raise NotFound(f"The specified bucket does not exist: {name}.", reason="notFound")
    return found


def insert(
    connection: Connection, name: str, project: str, fields: Mapping[str, Any], now: float
) -> BucketRow:
    """Raises AlreadyExists."""
    taken = connection.execute(sa.select(_buckets.c.name).where(_buckets.c.name == name)).first()
    if taken:
        raise AlreadyExists(
            f"Your previous request to create the named bucket succeeded and you already own it: {name}.",
            reason="conflict",
        )
    # Its generation is its time: another than those of the deleted buckets of this name that are kept.
    last = sa.select(sa.func.max(_soft_deleted.c.generation)).where(_soft_deleted.c.name == name)
    now = max(now, ((connection.execute(last).scalar() or 0) + 2) / 1e6)
    connection.execute(
        sa.insert(_buckets).values(
            name=name,
            project=project,
            metageneration=1,
            created=now,
            updated=now,
            fields=orjson.dumps(fields),
        )
    )
    bump(connection, TOPIC)  # whose it is decides who may see it
    return BucketRow(name, project, 1, now, now, dict(fields))


def ensure(connection: Connection, name: str, project: str, fields: Mapping[str, Any], now: float) -> None:
    """A bucket that this server makes for a project, with these settings where it is missing.

    Raises:
        FailedPrecondition: somebody was there before: it is of another project.
    """
    found = find(connection, name)
    if found is None:
        insert(connection, name, project, fields, now)
        return
    require_of(found, project)


def require_of(row: BucketRow, project: str) -> None:
    """
    Raises:
        FailedPrecondition: the bucket is of another project.
    """
    if project_number(row.project) != project_number(project):
        raise FailedPrecondition(
            f"The bucket {row.name} is of another project than {project}, of which nothing is put or looked for there."
        )


def update(connection: Connection, row: BucketRow, fields: Mapping[str, Any], now: float) -> BucketRow:
    """Replaces the settings; counts the metageneration up."""
    connection.execute(
        sa.update(_buckets)
        .where(_buckets.c.name == row.name)
        .values(fields=orjson.dumps(fields), metageneration=row.metageneration + 1, updated=now)
    )
    if fields.get("iamConfiguration") != row.fields.get("iamConfiguration"):
        bump(connection, TOPIC)
    return get(connection, row.name)


def move(connection: Connection, row: BucketRow, project: str) -> None:
    """Makes it a bucket of another project, with no policy of its own."""
    query = sa.update(_buckets).where(_buckets.c.name == row.name)
    connection.execute(query.values(project=project, policy=None, metageneration=row.metageneration + 1))
    bump(connection, TOPIC)


def set_policy(connection: Connection, name: str, policy: Mapping[str, Any], now: float) -> None:
    connection.execute(
        sa.update(_buckets)
        .where(_buckets.c.name == name)
        .values(policy=orjson.dumps(policy), metageneration=_buckets.c.metageneration + 1, updated=now)
    )
    bump(connection, TOPIC)


def delete(connection: Connection, name: str) -> None:
    connection.execute(sa.delete(_buckets).where(_buckets.c.name == name))
    bump(connection, TOPIC)


def names(connection: Connection) -> list[str]:
    """Of all buckets, by name."""
    return list(connection.execute(sa.select(_buckets.c.name).order_by(_buckets.c.name)).scalars())


def projects(connection: Connection) -> set[str]:
    """Those that buckets are of."""
    return set(connection.execute(sa.select(_buckets.c.project).distinct()).scalars())


def list_page(connection: Connection, project: str, prefix: str, after: str, limit: int) -> list[BucketRow]:
    """At most `limit` buckets of `project` whose names begin with `prefix`, by name, those after `after`."""
    query = sa.select(_buckets).where(_buckets.c.project == project, _buckets.c.name > after)
    if prefix:
        query = query.where(_buckets.c.name.startswith(prefix, autoescape=True))
    return [row_of(row) for row in connection.execute(query.order_by(_buckets.c.name).limit(limit))]


def row_of(row: Row[Any]) -> BucketRow:
    """The typed form of a row selected from `buckets`, or from those that are soft-deleted."""
    return BucketRow(
        name=row.name,
        project=row.project,
        metageneration=row.metageneration,
        created=row.created,
        updated=row.updated,
        fields=_MADE_BY_US | orjson.loads(row.fields),
        policy=None if row.policy is None else orjson.loads(row.policy),
        deleted=row._mapping.get("deleted"),
        hard_deleted=row._mapping.get("hard_deleted"),
    )
