"""IAM policies by full resource name ("//aiplatform.googleapis.com/projects/…"), each with a number of its changes."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.store.database import bump
from portico.store.tables.resources import policies as _table

TOPIC = "iam"
"""What is counted when a policy changes, or what else permissions depend on."""


def get(connection: Connection, name: str) -> dict[str, Any]:
    """The policy with its `etag`; one without bindings where none was set."""
    row = connection.execute(sa.select(_table).where(_table.c.name == name)).first()
    if row is None:
        return {"version": 1, "etag": _etag(0)}
    return {**orjson.loads(row.body), "etag": _etag(row.revision)}


def put(connection: Connection, name: str, policy: dict[str, Any]) -> dict[str, Any]:
    """Stores `policy` in place of what is there; returns it with its etag."""
    held = connection.execute(sa.select(_table.c.revision).where(_table.c.name == name)).scalar() or 0
    connection.execute(sa.delete(_table).where(_table.c.name == name))
    values = {"name": name, "body": orjson.dumps(policy), "revision": held + 1}
    connection.execute(sa.insert(_table).values(values))
    bump(connection, TOPIC)
    return {**policy, "etag": _etag(held + 1)}


def delete(connection: Connection, name: str) -> None:
    if connection.execute(sa.delete(_table).where(_table.c.name == name)).rowcount:
        bump(connection, TOPIC)


def listed(connection: Connection) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every policy that was set, without its etag, by the name of what it is of."""
    for row in connection.execute(sa.select(_table)).all():
        yield row.name, orjson.loads(row.body)


def _etag(revision: int) -> str:
    return base64.b64encode(revision.to_bytes(8, "big")).decode()
