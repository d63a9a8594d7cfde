"""All collections' resources: a resource is its JSON (design decision 2).

Functions take the caller's open connection, so that several changes can be one transaction. The store knows
nothing of what a resource means: `kind` is the collection, `parent` what it is listed under, `body` its JSON
without name, etag and times, which are columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.store.tables.resources import resources

# Statements that are asked all the time are made once: making one takes longer than SQLite needs to answer it.
_columns = resources.c
_get = sa.select(resources).where(_columns.name == sa.bindparam("name"))
_newest_first = sa.select(resources).order_by(_columns.create_time.desc(), _columns.name.desc())
_of_kind = _newest_first.where(_columns.kind == sa.bindparam("kind"))
_under = _of_kind.where(_columns.parent == sa.bindparam("parent"))
_update = sa.update(resources).where(_columns.name == sa.bindparam("key"))
_note = _update.values(body=sa.bindparam("body"))


@dataclass(slots=True)
class Resource:
    """One resource. Times are seconds since the epoch; `revision` counts its changes."""

    name: str
    kind: str
    parent: str
    body: dict[str, Any]
    revision: int
    create_time: float
    update_time: float


def get(connection: Connection, name: str) -> Resource | None:
    row = connection.execute(_get, {"name": name}).first()
    return None if row is None else _resource(row)


def insert(
    connection: Connection, *, name: str, kind: str, parent: str, body: dict[str, Any], now: float
) -> Resource | None:
    """The new resource, or None where the name is taken."""
    now = round(now, 6)  # as a Timestamp shows it: page tokens find their place again by it
    made = Resource(name, kind, parent, body, 1, now, now)
    values = {
        "name": name,
        "kind": kind,
        "parent": parent,
        "body": orjson.dumps(body),
        "revision": 1,
        "create_time": now,
        "update_time": now,
    }
    if connection.execute(_get, {"name": name}).first():
        return None
    connection.execute(sa.insert(resources), values)
    return made


def update(connection: Connection, resource: Resource, now: float) -> Resource:
    """Writes `resource.body` and counts the change. The caller holds the write transaction it was read in."""
    resource.revision += 1
    resource.update_time = max(now, resource.update_time)
    values = {
        "key": resource.name,
        "body": orjson.dumps(resource.body),
        "revision": resource.revision,
        "update_time": resource.update_time,
    }
    connection.execute(_update, values)
    return resource


def note(connection: Connection, resource: Resource) -> None:
    """Writes `resource.body` where what is new in it is no change of the resource: its etag and times stay."""
    connection.execute(_note, {"key": resource.name, "body": orjson.dumps(resource.body)})


def delete(connection: Connection, name: str) -> bool:
    return bool(connection.execute(sa.delete(resources).where(resources.c.name == name)).rowcount)


def listed(
    connection: Connection,
    kind: str,
    parent: str | None = None,
    *,
    after: tuple[float, str] | None = None,
    limit: int | None = None,
) -> Iterator[Resource]:
    """Resources of `kind` under `parent` (None: under any), newest first, from behind `after` (time, name)."""
    chosen = _of_kind if parent is None else _under
    if after is not None:
        chosen = chosen.where(sa.tuple_(_columns.create_time, _columns.name) < after)
    if limit is not None:
        chosen = chosen.limit(limit)
    for row in connection.execute(chosen, {"kind": kind, "parent": parent}):
        yield _resource(row)


def _resource(row: sa.Row[Any]) -> Resource:
    return Resource(
        row.name,
        row.kind,
        row.parent,
        orjson.loads(row.body),
        row.revision,
        row.create_time,
        row.update_time,
    )
