"""Who waits for an operation holds no thread: two thousand wait while others list."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from portico.doors.contract.documents import Contract
from portico.doors.identity import write_key_file
from portico.host.control import make_door
from portico.host.wiring import import_services
from portico.store import operations
from portico.store.database import Database
from portico.store.operations import Operation

L = "projects/p/locations/us-central1"
WAITERS, LISTINGS = 2000, 1000


def running(database: Database) -> str:
    name = f"{L}/operations/7"
    metadata = {"@type": "type.googleapis.com/google.cloud.aiplatform.v1.CreateDatasetOperationMetadata"}
    with database.write() as connection:
        operations.insert(
            connection,
            Operation("7", name, L, "v1", metadata, None, False, None, None, 1.0, 1.0),
        )
    return name


def finish(database: Database) -> None:
    with database.write() as connection:
        operation = operations.get(connection, "7")
        assert operation is not None
        operation.done, operation.response = True, {"@type": "type.googleapis.com/google.protobuf.Empty"}
        operations.update(connection, operation)


async def ask(door: Any, method: str, path: str, body: bytes = b"") -> dict[str, Any]:
    target, _, query = path.partition("?")
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": method, "path": target, "raw_path": target.encode()}
    scope |= {"query_string": query.encode(), "headers": headers, "state": {"owner": True}}
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await door(scope, receive, send)
    assert sent[0]["status"] == 200, sent
    return orjson.loads(b"".join(m.get("body", b"") for m in sent[1:]))


def test_two_thousand_wait_while_others_list(tmp_path, monkeypatch):
    monkeypatch.setattr("portico.services.standard.operations._MAX_WAIT", 240.0)
    import_services()
    database = Database(tmp_path)
    database.create_tables()
    write_key_file(tmp_path, "http://127.0.0.1:1")
    door = make_door(tmp_path, Contract.load(tmp_path / "cache"))
    name = running(database)

    async def main() -> list[dict[str, Any]]:
        wait = f"/v1/{name}:wait?timeout=240s"
        waiting = [asyncio.create_task(ask(door, "POST", wait, b"{}")) for _ in range(WAITERS)]
        await asyncio.sleep(0)
        for _ in range(LISTINGS // 20):
            await asyncio.gather(*(ask(door, "GET", f"/v1/{L}/models?pageSize=5") for _ in range(20)))
        assert not any(task.done() for task in waiting)
        finish(database)
        return await asyncio.gather(*waiting)

    answers = asyncio.run(main())
    assert len(answers) == WAITERS and all(answer["done"] for answer in answers)
