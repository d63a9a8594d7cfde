"""The audit log as a whole: whether it is what was written, and a copy of it. Its entries are Cloud Logging's."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import orjson

from portico.errors import AlreadyExists, InvalidArgument
from portico.services.call import Call, implements
from portico.services.portico import audit_table
from portico.services.standard import bq
from portico.services.standard.sources import gcs_of
from portico.store import audit
from portico.store.audit import Trail
from portico.warehouse.client import FOLDER


@implements("portico", "audit.verify")
def verify(call: Call) -> dict[str, Any]:
    number, digest = call.params.get("expectNumber"), call.params.get("expectDigest", "")
    with call.rooms.database.read() as connection:
        found = Trail(call.rooms.home).verify(connection)
        expected = audit.digest_of(connection, int(number)) if number else ""
    why, broken = found.why, found.broken
    if number and not why and expected != digest:
        why, broken = f"entry {number} is not the one with the digest {digest}", int(number)
    answer = {
        "entries": found.entries, "first": str(found.first), "last": str(found.last), "digest": found.digest,
        "whole": not why,
    }  # fmt: skip
    return answer | ({"broken": str(broken), "reason": why} if why else {})


@implements("portico", "audit.export")
def export(call: Call) -> dict[str, Any]:
    uri = call.body.get("uri", "")
    if not uri:
        raise InvalidArgument(
            "uri says where to: gs://BUCKET/OBJECT or bq://PROJECT.DATASET.TABLE.", field="uri"
        )
    count = _to_table(call, uri) if uri.startswith(bq.SCHEME) else _to_object(call, uri)
    return {"uri": uri, "entries": count}


def _to_object(call: Call, uri: str) -> int:
    count = 0
    with (
        gcs_of(call.rooms).writer(uri, "application/x-ndjson") as writer,
        call.rooms.database.read() as connection,
    ):
        for number, digest, body in audit.every(connection):
            writer.write(
                orjson.dumps({"number": number, "digest": digest.hex(), "entry": orjson.Fragment(body)})
            )
            writer.write(b"\n")
            count += 1
    return count


def _to_table(call: Call, uri: str) -> int:
    """In the place of a table of this name; its dataset is made where there is none."""
    table, count = bq.parse(uri, "uri"), 0
    with contextlib.suppress(AlreadyExists):
        bq.create_dataset(call.rooms.home, table)
    folder = call.rooms.home / FOLDER
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".json") as file:
        with call.rooms.database.read() as connection:
            for number, digest, body in audit.every(connection):
                file.write(audit_table.row(number, digest, body))
                count += 1
        file.flush()
        bq.load_lines(call.rooms.home, table, Path(file.name), audit_table.FIELDS)
    return count
