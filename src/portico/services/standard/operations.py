"""Long-running operations: made by the methods that take long, polled at every path that clients use."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import duration_seconds, rfc3339
from portico.errors import FailedPrecondition, NotFound
from portico.services.call import Call, Rooms, implements
from portico.services.standard import pages
from portico.services.standard.apis import declared
from portico.services.standard.filters import compile_filter
from portico.store import operations
from portico.store.jobs import Job
from portico.store.operations import Operation

_EMPTY = {"@type": "type.googleapis.com/google.protobuf.Empty"}
_MAX_WAIT = 60.0  # seconds that one wait call lasts at most


def start(
    call: Call,
    connection: Connection,
    parent: str,
    metadata_type: str,
    *,
    job: str | None = None,
    **extra: Any,
) -> Operation:
    """A new operation on the resource `parent` (or below a location), which `job` will finish."""
    now = call.rooms.clock.now()
    number = call.rooms.ids.number()
    stamp, api = rfc3339(now), declared()[call.api]
    metadata: dict[str, Any] = {
        "@type": f"{api.package}{call.version}.{api.metadata or metadata_type}",
        **extra,
    }
    if not api.metadata:
        metadata["genericMetadata"] = {"createTime": stamp, "updateTime": stamp}
    return operations.insert(
        connection,
        Operation(
            id=number, name=f"{parent}/operations/{number}", parent=parent, version=call.version,
            metadata=metadata, job=job, done=False, response=None, error=None, create_time=now, update_time=now,
        ),
    )  # fmt: skip


def done(
    call: Call, connection: Connection, parent: str, metadata_type: str, message: str | None,
    response: dict[str, Any] | None = None, **extra: Any,
) -> dict[str, Any]:  # fmt: skip
    """A finished operation, for what a method did at once. `message` names the response's type (None: Empty)."""
    operation = start(call, connection, parent, metadata_type, **extra)
    _succeed(operation, message, response)
    operations.update(connection, operation)
    return render(operation)


def follow(
    connection: Connection, job: Job, now: float, message: str | None, response: dict[str, Any] | None = None
) -> Operation | None:
    """Lets the operation of `job` follow the job's state; `response` belongs to SUCCEEDED."""
    operation = operations.of_job(connection, job.id)
    if operation is None:
        return None
    operation.update_time = now
    operation.metadata["genericMetadata"]["updateTime"] = rfc3339(now)
    if job.state == "SUCCEEDED":
        _succeed(operation, message, response)
    elif job.state in ("FAILED", "CANCELLED"):
        operation.done = True
        operation.error = job.error or {"code": 1, "message": "The operation was cancelled."}
    operations.update(connection, operation)
    return operation


def _succeed(operation: Operation, message: str | None, response: dict[str, Any] | None) -> None:
    operation.done = True
    if message is None:
        operation.response = _EMPTY
    else:
        package = operation.metadata["@type"].rpartition(".")[0]
        operation.response = {"@type": f"{package}.{message}", **(response or {})}


def render(operation: Operation) -> dict[str, Any]:
    """google.longrunning.Operation as JSON."""
    shown: dict[str, Any] = {"name": operation.name, "metadata": operation.metadata}
    if operation.done:
        shown["done"] = True
        shown.update({"error": operation.error} if operation.error else {"response": operation.response})
    return shown


def _require(call: Call, connection: Connection) -> Operation:
    found = operations.get(connection, call.name.rpartition("/")[2])
    # Clients poll an operation under its own name, or right below the location.
    if found is None or not (
        _is_of(call, found) and found.name.startswith(call.name.partition("/operations/")[0])
    ):
        raise NotFound(f"The operation {call.name!r} does not exist.")
    return found


def _is_of(call: Call, operation: Operation) -> bool:
    return bool(operation.metadata["@type"].startswith(declared()[call.api].package))


def get(call: Call) -> dict[str, Any]:
    return render(_read(call))


def list_(call: Call) -> dict[str, Any]:
    params = call.params
    name = str(params.get("name", ""))  # absent in GET /v1/operations, below which nothing is
    query = (name, str(params.get("filter", "")))
    keep = compile_filter(params.get("filter", ""))
    with call.rooms.database.read() as connection:
        parent = name.removesuffix("/operations")
        every = (o for o in operations.listed(connection, parent) if _is_of(call, o))
        found = [shown for o in every if keep(shown := render(o))]
    some, more = pages.part(found, params, "operations", *query)
    return {"operations": some, **more} if found else {}


async def wait(call: Call) -> dict[str, Any]:
    asked = call.params.get("timeout")
    limit = min(duration_seconds(asked) if asked else _MAX_WAIT, _MAX_WAIT)
    operation = await asyncio.to_thread(_read, call)
    if not operation.done:
        await call.rooms.waiting(ended).wait(operation.id, limit)
        operation = await asyncio.to_thread(_read, call)
    return render(operation)


def ended(rooms: Rooms, ids: set[str]) -> set[str]:
    """Those of the operations that are done or gone."""
    with rooms.database.read() as connection:
        return ids - operations.running(connection, list(ids))


def _read(call: Call) -> Operation:
    with call.rooms.database.read() as connection:
        return _require(call, connection)


def cancel(call: Call) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        operation = _require(call, connection)
        if operation.job and not operation.done:
            call.rooms.queue.cancel(connection, operation.job)
    call.rooms.queue.wake()
    return {}


def delete(call: Call) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        operation = _require(call, connection)
        if not operation.done:
            raise FailedPrecondition(f"{operation.name} is still running; cancel it first.")
        operations.delete(connection, operation.id)
    return {}


for _api in declared().values():
    if _api.package:
        for _verb, _handler in (
            ("get", get),
            ("list", list_),
            ("wait", wait),
            ("cancel", cancel),
            ("delete", delete),
        ):
            implements(_api.name, f"*.operations.{_verb}")(_handler)
