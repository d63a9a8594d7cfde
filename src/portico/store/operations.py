"""Long-running operations (AIP-151): a name to poll, metadata while it runs, a response or an error at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.store.tables.resources import operations

_MOST = 500  # ids in one statement


@dataclass(slots=True)
class Operation:
    """`version` is the API version of its creation, for the `@type`s in metadata and response (JSON with
    `@type`). `job` is the id of the durable job that does the work, if one does."""

    id: str
    name: str
    parent: str
    version: str
    metadata: dict[str, Any]
    job: str | None
    done: bool
    response: dict[str, Any] | None
    error: dict[str, Any] | None
    create_time: float
    update_time: float


def insert(connection: Connection, operation: Operation) -> Operation:
    connection.execute(sa.insert(operations).values(_values(operation)))
    return operation


def update(connection: Connection, operation: Operation) -> None:
    connection.execute(
        sa.update(operations).where(operations.c.id == operation.id).values(_values(operation))
    )


def get(connection: Connection, operation_id: str) -> Operation | None:
    row = connection.execute(sa.select(operations).where(operations.c.id == operation_id)).first()
    return None if row is None else _operation(row)


def of_job(connection: Connection, job: str) -> Operation | None:
    row = connection.execute(sa.select(operations).where(operations.c.job == job)).first()
    return None if row is None else _operation(row)


def running(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Which of the operations `ids` are there and not done."""
    found: set[str] = set()
    for start in range(0, len(ids), _MOST):
        asked = operations.c.id.in_(ids[start : start + _MOST])
        found |= set(
            connection.execute(sa.select(operations.c.id).where(asked, ~operations.c.done)).scalars()
        )
    return found


def delete(connection: Connection, operation_id: str) -> None:
    connection.execute(sa.delete(operations).where(operations.c.id == operation_id))


def delete_named(connection: Connection, names: Sequence[str]) -> None:
    connection.execute(sa.delete(operations).where(operations.c.name.in_(names)))


def listed(connection: Connection, parent: str) -> Iterator[Operation]:
    """Operations of the resource `parent` and of what is below it, newest first."""
    below = sa.and_(
        operations.c.parent >= f"{parent}/", operations.c.parent < f"{parent}0"
    )  # "0" comes after "/"
    chosen = (
        sa.select(operations)
        .where(sa.or_(operations.c.parent == parent, below))
        .order_by(operations.c.create_time.desc(), operations.c.id.desc())
    )
    for row in connection.execute(chosen):
        yield _operation(row)


def _values(operation: Operation) -> dict[str, Any]:
    return {
        "id": operation.id,
        "name": operation.name,
        "parent": operation.parent,
        "version": operation.version,
        "metadata": orjson.dumps(operation.metadata),
        "job": operation.job,
        "done": operation.done,
        "response": None if operation.response is None else orjson.dumps(operation.response),
        "error": None if operation.error is None else orjson.dumps(operation.error),
        "create_time": operation.create_time,
        "update_time": operation.update_time,
    }


def _operation(row: sa.Row[Any]) -> Operation:
    return Operation(
        row.id,
        row.name,
        row.parent,
        row.version,
        orjson.loads(row.metadata),
        row.job,
        row.done,
        None if row.response is None else orjson.loads(row.response),
        None if row.error is None else orjson.loads(row.error),
        row.create_time,
        row.update_time,
    )
