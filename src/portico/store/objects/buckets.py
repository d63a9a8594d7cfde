"""Buckets: the rows that objects belong to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from portico.errors import AlreadyExists, NotFound
from portico.store.tables.storage import buckets as _buckets


@dataclass(frozen=True, slots=True)
class BucketRow:
    """`fields` are the settings of the bucket's resource; `policy` its IAM policy, if one was set.

    `created` and `updated` are seconds since the epoch.
    """

    name: str
    project: str
    metageneration: int
    created: float
    updated: float
    fields: dict[str, Any]
    policy: dict[str, Any] | None = None

    @property
    def versioning(self) -> bool:
        return bool((self.fields.get("versioning") or {}).get("enabled"))

    @property
    def retention_seconds(self) -> int:
        return int((self.fields.get("retentionPolicy") or {}).get("retentionPeriod") or 0)


def get(connection: Connection, name: str) -> BucketRow:
    """Raises NotFound."""
    row = connection.execute(sa.select(_buckets).where(_buckets.c.name == name)).first()
    if row is None:
        raise NotFound(f"The specified bucket does not exist: {name}.", reason="notFound")
    return _bucket(row)


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
    return BucketRow(name, project, 1, now, now, dict(fields))


def update(connection: Connection, row: BucketRow, fields: Mapping[str, Any], now: float) -> BucketRow:
    """Replaces the settings; counts the metageneration up."""
    connection.execute(
        sa.update(_buckets)
        .where(_buckets.c.name == row.name)
        .values(fields=orjson.dumps(fields), metageneration=row.metageneration + 1, updated=now)
    )
    return get(connection, row.name)


def set_policy(connection: Connection, name: str, policy: Mapping[str, Any], now: float) -> None:
    connection.execute(
        sa.update(_buckets)
        .where(_buckets.c.name == name)
        .values(policy=orjson.dumps(policy), metageneration=_buckets.c.metageneration + 1, updated=now)
    )


def delete(connection: Connection, name: str) -> None:
    connection.execute(sa.delete(_buckets).where(_buckets.c.name == name))


def names(connection: Connection) -> list[str]:
    """Of all buckets, by name."""
    return list(connection.execute(sa.select(_buckets.c.name).order_by(_buckets.c.name)).scalars())


def list_page(connection: Connection, project: str, prefix: str, after: str, limit: int) -> list[BucketRow]:
    """At most `limit` buckets of `project` whose names begin with `prefix`, by name, those after `after`."""
    query = sa.select(_buckets).where(_buckets.c.project == project, _buckets.c.name > after)
    if prefix:
        query = query.where(_buckets.c.name.startswith(prefix, autoescape=True))
    return [_bucket(row) for row in connection.execute(query.order_by(_buckets.c.name).limit(limit))]


def _bucket(row: Row[Any]) -> BucketRow:
    return BucketRow(
        name=row.name,
        project=row.project,
        metageneration=row.metageneration,
        created=row.created,
        updated=row.updated,
        fields=orjson.loads(row.fields),
        policy=None if row.policy is None else orjson.loads(row.policy),
    )
