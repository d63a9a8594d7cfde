"""IAM policies by full resource name ("//aiplatform.googleapis.com/projects/…"), each with a number of its changes."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.store.tables.resources import policies as _table


def get(connection: Connection, name: str) -> dict[str, Any]:
    """The policy with its `etag`; one without bindings where none was set."""
    row = connection.execute(sa.select(_table).where(_table.c.name == name)).first()
    if row is None:
        return {"version": 1, "etag": _etag(0)}
    return {**orjson.loads(row.body), "etag": _etag(row.revision)}


def put(connection: Connection, name: str, policy: dict[str, Any]) -> dict[str, Any]:
    """Stores `policy` in place of what is there; returns it with its etag."""
    held = connection.execute(sa.select(_table.c.revision).where(_table.c.name == name)).scalar() or 0
    delete(connection, name)
    values = {"name": name, "body": orjson.dumps(policy), "revision": held + 1}
    connection.execute(sa.insert(_table).values(values))
    return {**policy, "etag": _etag(held + 1)}


def delete(connection: Connection, name: str) -> None:
    connection.execute(sa.delete(_table).where(_table.c.name == name))


def _etag(revision: int) -> str:
    return base64.b64encode(revision.to_bytes(8, "big")).decode()
