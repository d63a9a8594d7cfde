"""All collections' resources: a resource is its JSON (design decision 2).

Functions take the caller's open connection, so that several changes can be one transaction. The store knows
nothing of what a resource means: `kind` is the collection ("aiplatform:models"), `parent` what it is listed under,
`body` its JSON without name, etag and times, which are columns; `private` is what only its service knows of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Self

import msgspec
import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Connection

from portico.store import resource_index
from portico.store.beside import changed
from portico.store.tables.resources import resources

# Statements that are asked all the time are made once: making one takes longer than SQLite needs to answer it.
_AT_ONCE = 1000  # names in a statement
_columns = resources.c
_get = sa.select(resources).where(_columns.name == sa.bindparam("name"))
_newest_first = sa.select(resources).order_by(_columns.create_time.desc(), _columns.name.desc())
_of_kind = _newest_first.where(_columns.kind == sa.bindparam("kind"))
_under = _of_kind.where(_columns.parent == sa.bindparam("parent"))
_named = sa.select(resources).where(_columns.name.in_(sa.bindparam("of", expanding=True)))
_update = sa.update(resources).where(_columns.name == sa.bindparam("key"))
_note = _update.values(
    body=sa.bindparam("body"), private=sa.bindparam("private"), indexed=sa.bindparam("indexed")
)


@dataclass(slots=True)
class Resource:
    """One resource. Times are seconds since the epoch; `revision` counts its changes. See `Private` for `private`."""

    name: str
    kind: str
    parent: str
    body: dict[str, Any]
    revision: int
    create_time: float
    update_time: float
    private: Any = field(default_factory=dict)


class Private(msgspec.Struct, omit_defaults=True, rename="camel"):
    """What only the services know of a resource: a collection's is a subclass, every field of which has a default."""

    @classmethod
    def of(cls, resource: Resource) -> Self:
        """That of `resource`. What is changed in it is written together with the resource."""
        if not isinstance(resource.private, cls):
            resource.private = msgspec.convert(resource.private, cls)
        return resource.private


def private_json(resource: Resource) -> dict[str, Any]:
    """The private part of a resource as JSON, for who knows not its type."""
    packed: dict[str, Any] = msgspec.to_builtins(resource.private)
    return packed


def get(connection: Connection, name: str) -> Resource | None:
    row = connection.execute(_get, {"name": name}).first()
    return None if row is None else _resource(row)


def insert(
    connection: Connection,
    *,
    name: str,
    kind: str,
    parent: str,
    body: dict[str, Any],
    now: float,
    private: Private | dict[str, Any] | None = None,
) -> Resource | None:
    """The new resource, or None where the name is taken."""
    now = round(now, 6)  # as a Timestamp shows it: page tokens find their place again by it
    made = Resource(name, kind, parent, body, 1, now, now, private or {})
    values = {
        "name": name,
        "kind": kind,
        "parent": parent,
        "body": orjson.dumps(body),
        "revision": 1,
        "create_time": now,
        "update_time": now,
        "private": _private(made),
        "indexed": resource_index.mark(kind),
    }
    if connection.execute(_get, {"name": name}).first():
        return None
    connection.execute(sa.insert(resources), values)
    changed(name)
    resource_index.write(connection, name, kind, body, new=True)
    return made


def update(connection: Connection, resource: Resource, now: float) -> Resource:
    """Writes body and private part and counts the change. The caller holds the write transaction it was read in."""
    resource.revision += 1
    resource.update_time = max(now, resource.update_time)
    values = {
        "key": resource.name,
        "body": orjson.dumps(resource.body),
        "private": _private(resource),
        "indexed": resource_index.mark(resource.kind),
        "revision": resource.revision,
        "update_time": resource.update_time,
    }
    connection.execute(_update, values)
    changed(resource.name)
    resource_index.write(connection, resource.name, resource.kind, resource.body, new=False)
    return resource


def note(connection: Connection, resource: Resource) -> None:
    """Writes body and private part where what is new in them is no change of the resource: its etag and times stay."""
    values = {
        "key": resource.name,
        "body": orjson.dumps(resource.body),
        "private": _private(resource),
        "indexed": resource_index.mark(resource.kind),
    }
    connection.execute(_note, values)
    resource_index.write(connection, resource.name, resource.kind, resource.body, new=False)


def delete(connection: Connection, name: str) -> bool:
    resource_index.forget(connection, name)
    changed(name)
    return bool(connection.execute(sa.delete(resources).where(resources.c.name == name)).rowcount)


def projects(connection: Connection) -> set[str]:
    """Those that something is in."""
    parents = connection.execute(
        sa.select(resources.c.parent).where(resources.c.parent.startswith("projects/")).distinct()
    )
    return {parent.split("/")[1] for parent in parents.scalars()}


def listed(
    connection: Connection,
    kind: str,
    parent: str | None = None,
    *,
    after: tuple[float, str] | None = None,
    limit: int | None = None,
    wanted: Mapping[str, str] | None = None,
    among: sa.Select[Any] | None = None,
) -> Iterator[Resource]:
    """Resources of `kind` under `parent` (None: under any), newest first, from behind `after` (time, name).

    `wanted` narrows them by indexed fields to those that can have these values; look at what comes. `among` selects
    the names that can come at all.
    """
    chosen = _of_kind if parent is None else _under
    if wanted and (narrowed := resource_index.among(kind, wanted)) is not None:
        chosen = chosen.where(narrowed)
    if among is not None:
        chosen = chosen.where(_columns.name.in_(among))
    if after is not None:
        chosen = chosen.where(sa.tuple_(_columns.create_time, _columns.name) < after)
    if limit is not None:
        chosen = chosen.limit(limit)
    for row in connection.execute(chosen, {"kind": kind, "parent": parent}):
        yield _resource(row)


def named(connection: Connection, names: Iterable[str]) -> Iterator[Resource]:
    """The resources that have one of `names`, in no order."""
    for some in batched(names):
        # All at once: row by row a query of thousands takes twice as long.
        for row in connection.execute(_named, {"of": some}).all():
            yield _resource(row)


# A resource as it lies in the table: `body` is its JSON without what is beside it here.
STORED = ("name", "kind", "body", "revision", "create_time", "update_time")


def stored(connection: Connection, among: sa.Select[Any]) -> Iterator[tuple[Any, ...]]:
    """What is `STORED` of the resources whose names `among` selects, the oldest first: much quicker than `named`."""
    names = among.subquery()
    chosen = sa.select(*(_columns[field] for field in STORED)).join_from(
        names, resources, _columns.name == names.c[0]
    )
    rows = connection.execute(chosen).all()
    return iter(sorted(rows, key=itemgetter(4, 0)))


def these(connection: Connection, names: Iterable[str]) -> sa.Select[Any]:
    """Selects these names, however many: as one value of the statement."""
    packed = orjson.dumps(list(names)).decode()
    if connection.dialect.name == "sqlite":
        each = sa.func.json_each(packed)
    else:
        each = sa.func.jsonb_array_elements_text(sa.cast(sa.literal(packed, sa.String), JSONB))
    return sa.select(each.table_valued("value").c.value)


def batched(names: Iterable[str]) -> Iterator[list[str]]:
    """`names` in pieces that one statement can hold."""
    left = list(names)
    for start in range(0, len(left), _AT_ONCE):
        yield left[start : start + _AT_ONCE]


def below(connection: Connection, name: str) -> list[Resource]:
    """All resources whose names begin with that of `name`, by name."""
    # "0" comes right behind "/".
    chosen = sa.select(resources).where(_columns.name > f"{name}/", _columns.name < f"{name}0")
    return [_resource(row) for row in connection.execute(chosen.order_by(_columns.name))]


def _private(resource: Resource) -> bytes | None:
    return msgspec.json.encode(resource.private) if resource.private else None


def _resource(row: sa.Row[Any]) -> Resource:
    name, kind, parent, body, revision, create_time, update_time, private, _ = tuple[Any, ...](row)
    return Resource(
        name,
        kind,
        parent,
        orjson.loads(body),
        revision,
        create_time,
        update_time,
        orjson.loads(private) if private else {},
    )
