"""Which fields of resources the database finds by: rows beside the resources, by the fields that a kind declares.

Whoever writes a resource of a kind whose fields it does not know leaves it marked as not indexed, as the rows of older
homes are; so what is found is always all that can match, and a caller filters it by what it really asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.store.tables.resources import resource_fields, resources

LONGEST: Final = 500  # characters of a value that is found by
_declared: dict[str, tuple[str, ...]] = {}
_f, _r = resource_fields.c, resources.c
_forget = sa.delete(resource_fields).where(_f.name == sa.bindparam("of"))


def declare(kind: str, fields: frozenset[str]) -> None:
    """Says by which fields of a kind's JSON lists are narrowed; of a map (`labels`) it is its keys."""
    _declared[kind] = tuple(sorted(fields))


def mark(kind: str) -> str | None:
    """What is written beside a resource whose fields are indexed now."""
    fields = _declared.get(kind)
    return None if fields is None else ",".join(fields)


def write(connection: Connection, name: str, kind: str, body: Mapping[str, Any], *, new: bool) -> None:
    """Indexes a resource in the transaction that writes it."""
    if not new:
        connection.execute(_forget, {"of": name})
    rows = [
        {"name": name, "kind": kind, "field": field, "value": value}
        for declared in _declared.get(kind, ())
        for field, value in _values(declared, body.get(declared))
    ]
    if rows:
        connection.execute(sa.insert(resource_fields), rows)


def forget(connection: Connection, name: str) -> None:
    connection.execute(_forget, {"of": name})


def among(kind: str, wanted: Mapping[str, str]) -> sa.ColumnElement[bool] | None:
    """Narrows a query to resources of `kind` that can have all the `wanted` values; None where no field is indexed."""
    fields = {
        field: value for field, value in wanted.items() if field.partition(".")[0] in _declared.get(kind, ())
    }
    if not fields:
        return None
    current = mark(kind)
    found = [
        sa.select(_f.name).where(_f.kind == kind, _f.field == field, _f.value == value)
        for field, value in fields.items()
    ]
    # In pieces, each of which the index answers.
    unknown = [
        sa.select(_r.name).where(_r.kind == kind, condition)
        for condition in (_r.indexed.is_(None), _r.indexed < current, _r.indexed > current)
    ]
    return sa.or_(sa.and_(*(_r.name.in_(one) for one in found)), _r.name.in_(sa.union_all(*unknown)))


def _values(declared: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str) and len(value) <= LONGEST:
        yield declared, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, str) and len(inner) <= LONGEST:
                yield f"{declared}.{key}", inner
