"""storage.objects: copy, rewrite, move, compose and restore. Files never change, so a copy is a link to one, unless it
is to be under another key."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument, NotFound
from portico.services.call import Call, implements
from portico.services.storage import customer_keys, lists
from portico.services.storage.customer_keys import CustomerKey
from portico.services.storage.objects import answer
from portico.services.storage.requests import (
    SETTINGS,
    integer,
    object_settings,
    preconditions,
    required_generation,
)
from portico.store.objects import buckets as objects_buckets
from portico.store.objects import files as objects_files
from portico.store.objects import generations as objects
from portico.store.objects import soft_deleted
from portico.store.objects.buckets import BucketRow
from portico.store.objects.files import FileCopy, FileWriter
from portico.store.objects.generations import WRITER, ObjectRow, StoredFile
from portico.store.objects.names import check_object_name
from portico.store.objects.sealing import Sealed

_MOST_SOURCES = 32
_PIECE = 1 << 20
_NOT_RESTORED = ("acl", "timeStorageClassUpdated", WRITER)


@implements("storage", "objects.copy")
def copy(call: Call) -> dict[str, Any]:
    return answer(call, _copy(call))


@implements("storage", "objects.rewrite")
def rewrite(call: Call) -> dict[str, Any]:
    """Always done in one call, so no token is ever given, and any that comes is refused."""
    if call.params.get("rewriteToken"):
        raise InvalidArgument("Invalid rewrite token.", reason="invalid", field="rewriteToken")
    limit = integer(call.params, "maxBytesRewrittenPerCall")
    if limit is not None and limit < 2**20:
        raise InvalidArgument(
            "maxBytesRewrittenPerCall must be at least 1048576.",
            reason="invalid",
            field="maxBytesRewrittenPerCall",
        )
    row = _copy(call)
    return {
        "kind": "storage#rewriteResponse",
        "totalBytesRewritten": str(row.size),
        "objectSize": str(row.size),
        "done": True,
        "resource": answer(call, row),
    }


@implements("storage", "objects.move")
def move(call: Call) -> dict[str, Any]:
    """Copy and delete in one transaction, within a bucket."""
    params = call.params
    if params["sourceObject"] == params["destinationObject"]:
        raise InvalidArgument("Source and destination object names must be different.", reason="invalid")
    bucket = params["bucket"]
    places = {"sourceBucket": bucket, "destinationBucket": bucket}
    return answer(call, _copy(call, places, and_delete=True))


@implements("storage", "objects.compose")
def compose(call: Call) -> dict[str, Any]:
    rooms, params = call.rooms, call.params
    customer_keys.refuse_managed(params)
    key = customer_keys.read(call.headers)
    bucket_name, name = params["destinationBucket"], params["destinationObject"]
    check_object_name(name)
    wanted = call.body.get("sourceObjects") or []
    if not 1 <= len(wanted) <= _MOST_SOURCES:
        raise InvalidArgument(
            f"The number of source components provided ({len(wanted)}) must be from 1 to {_MOST_SOURCES}.",
            reason="invalid",
            field="sourceObjects",
        )
    with rooms.database.read() as connection:
        bucket = objects_buckets.get(connection, bucket_name)
        sources = []
        for item in wanted:
            source_name = item.get("name")
            if not source_name:
                raise InvalidArgument(
                    "Required parameter: sourceObjects.name", reason="required", field="sourceObjects.name"
                )
            row = objects.get(connection, bucket_name, source_name, integer(item, "generation"))
            preconditions(item.get("objectPreconditions") or {}).check(row)
            customer_keys.check(row.fields, key)
            sources.append(row)
    wanted = call.body.get("destination") or {}
    entries = lists.written(
        bucket, call.caller, wanted.get("acl"), params.get("destinationPredefinedAcl", "")
    )
    contexts = _contexts(call, wanted, sources)
    told = {**wanted, **contexts, "acl": entries}
    settings = object_settings(told, bucket, rooms.clock.now(), contexts)
    settings |= lists.writer(bucket, call.caller) | (key.fields if key else {})
    settings["componentCount"] = sum(row.fields.get("componentCount", 1) for row in sources)
    settings = {key: value for key, value in settings.items() if value is not None}
    with _copy_files(call, sources) as made:
        stored = StoredFile(made.stored.id, made.stored.size, made.stored.crc32c, None)
        with rooms.database.write() as connection:
            row, garbage = objects.put(
                connection,
                objects_buckets.get(connection, bucket_name),
                name,
                stored,
                settings,
                rooms.clock.now(),
                preconditions(params),
            )
            if call.body.get("deleteSourceObjects"):
                garbage += _delete_sources(connection, bucket, sources, name, rooms.clock.now())
        made.keep()
        row = customer_keys.with_sums(rooms.home, row, key)
    objects_files.remove(rooms.home, garbage)
    return answer(call, row)


@implements("storage", "objects.restore")
def restore(call: Call) -> dict[str, Any]:
    """A new generation of the object, as it was when it was deleted; the deleted one is kept as long as before."""
    rooms, params = call.rooms, call.params
    bucket_name, name, generation = params["bucket"], params["object"], required_generation(params)
    with rooms.database.read() as connection:
        bucket = objects_buckets.get(connection, bucket_name)
        kept = soft_deleted.get(connection, bucket_name, name, generation, rooms.clock.now())
    fields = {key: value for key, value in kept.fields.items() if key not in _NOT_RESTORED}
    entries = kept.fields.get("acl") if params.get("copySourceAcl") else None
    if entries is None:
        entries = lists.written(bucket, call.caller, None, "")
    fields |= lists.writer(bucket, call.caller) | ({} if entries is None else {"acl": entries})
    with _copy_files(call, [kept]) as made:
        with rooms.database.write() as connection:
            row, garbage = objects.put(
                connection,
                objects_buckets.get(connection, bucket_name),
                name,
                made.stored,
                fields,
                rooms.clock.now(),
                preconditions(params),
            )
        made.keep()
    objects_files.remove(rooms.home, garbage)
    return answer(call, row)


def _delete_sources(
    connection: Connection, bucket: BucketRow, sources: list[ObjectRow], made: str, now: float
) -> list[str]:
    """Once each, as far as they are still there, and not what was made in place of one."""
    garbage: list[str] = []
    for source in {(row.name, row.generation): row for row in sources if row.name != made}.values():
        there = objects.find(connection, bucket.name, source.name, source.generation)
        if there is not None and there.state == objects.LIVE:
            garbage += objects.delete(connection, bucket, there, now)
    return garbage


def _copy(call: Call, places: Mapping[str, str] | None = None, *, and_delete: bool = False) -> ObjectRow:
    rooms, params = call.rooms, {**call.params, **(places or {})}
    customer_keys.refuse_managed(params)
    key = customer_keys.read(call.headers)
    source_key = key if and_delete else customer_keys.read(call.headers, customer_keys.SOURCE)
    check_object_name(params["destinationObject"])
    with rooms.database.read() as connection:
        objects_buckets.get(connection, params["sourceBucket"])
        bucket = objects_buckets.get(connection, params["destinationBucket"])
        source = objects.get(
            connection, params["sourceBucket"], params["sourceObject"], integer(params, "sourceGeneration")
        )
    preconditions(params, "Source").check(source)
    customer_keys.check(source.fields, source_key)
    garbage: list[str] = []
    with _under(call, source, source_key, key) as made:
        with rooms.database.write() as connection:
            now = rooms.clock.now()
            bucket = objects_buckets.get(connection, bucket.name)
            row, garbage = objects.put(
                connection,
                bucket,
                params["destinationObject"],
                made.stored,
                _settings_of_copy(call, source, bucket) | (key.fields if key else {}),
                now,
                preconditions(params),
            )
            if and_delete:
                there = objects.get(connection, source.bucket, source.name, source.generation)
                garbage += objects.delete(connection, bucket, there, now)
        made.keep()
        row = customer_keys.with_sums(rooms.home, row, key)
    objects_files.remove(rooms.home, garbage)
    return row


def _settings_of_copy(call: Call, source: ObjectRow, bucket: objects_buckets.BucketRow) -> dict[str, Any]:
    """A body with settings replaces the source's; storage class and access control list are as the destination bucket
    has them for what is new."""
    given = {key: value for key, value in call.body.items() if key in SETTINGS and key != "acl"}
    kept = {
        k: v for k, v in source.fields.items()
        if k not in ("acl", "storageClass", "temporaryHold", "eventBasedHold")
    }  # fmt: skip
    components = {k: v for k, v in source.fields.items() if k == "componentCount"}
    entries = lists.written(
        bucket, call.caller, call.body.get("acl"), call.params.get("destinationPredefinedAcl", "")
    )
    told = {**(given or kept), **_contexts(call, given, [source])}
    told |= {"acl": entries, "retention": call.body.get("retention")}
    made = object_settings(told, bucket, call.rooms.clock.now(), source.fields)
    return components | lists.writer(bucket, call.caller) | made


def _contexts(call: Call, told: Mapping[str, Any], sources: list[ObjectRow]) -> dict[str, Any]:
    """Those that the body has, else all that the sources have, unless the call drops them.

    Source: https://cloud.google.com/storage/docs/json_api/v1/objects/rewrite, .../compose: dropContextGroups
    Raises:
        InvalidArgument: there is no such group.
    """
    dropped = call.params.get("dropContextGroups") or []
    if unknown := [one for one in dropped if one != "custom"]:
        raise InvalidArgument(
            f"dropContextGroups takes custom, not {unknown[0]!r}.",
            reason="invalid",
            field="dropContextGroups",
        )
    if told.get("contexts"):
        return {"contexts": told["contexts"]}
    kept: dict[str, Any] = {}
    for source in () if dropped else sources:
        kept |= (source.fields.get("contexts") or {}).get("custom") or {}
    return {"contexts": {"custom": kept} if kept else None}


def _under(
    call: Call, source: ObjectRow, source_key: CustomerKey | None, key: CustomerKey | None
) -> FileCopy | FileWriter:
    """The source's bytes, which are under `source_key`, under `key`."""
    if source_key == key:
        return _copy_files(call, [source])
    rooms = call.rooms
    try:
        fd = os.open(objects_files.path_of(rooms.home, source.file), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise _gone() from None
    try:
        read = Sealed(fd, source_key.key).read if source_key else partial(os.pread, fd)
        made = FileWriter(rooms.home, rooms.ids, key.key if key else None)
        try:
            for start in range(0, source.size, _PIECE):
                made.write(read(_PIECE, start))
            made.finish()
        except BaseException:
            made.__exit__(None, None, None)
            raise
        return made
    finally:
        os.close(fd)


def _copy_files(call: Call, sources: list[ObjectRow]) -> FileCopy:
    files = [StoredFile(row.file, row.size, row.crc32c, row.md5) for row in sources]
    try:
        return FileCopy(call.rooms.home, call.rooms.ids, files)
    except FileNotFoundError:
        raise _gone() from None


def _gone() -> NotFound:
    # Deleted or overwritten since its row was read: for the caller it was gone from the start.
    return NotFound("No such object: the source was deleted meanwhile.", reason="notFound")
