"""Uploads through the JSON API: media, multipart, resumable.

https://cloud.google.com/storage/docs/uploads-downloads, .../performing-resumable-uploads
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from portico.doors.storage import sessions as storage_sessions
from portico.doors.storage.related import RelatedParts
from portico.doors.storage.requests import Request, in_thread, pour
from portico.errors import InvalidArgument
from portico.services.standard.here import base_url
from portico.services.storage import uploads
from portico.services.storage.objects import answer
from portico.store.objects.files import FileWriter
from portico.store.objects.generations import ObjectRow

_MOST_METADATA = 1 << 20  # bytes of the JSON resource


async def handle(request: Request, bucket: str) -> None:
    if request.params.get("upload_id"):
        await storage_sessions.handle(request, answer_object)
        return
    if request.method != "POST":
        raise InvalidArgument(f"{request.method} needs the upload_id of a resumable upload.", http_status=405)
    kind = request.params.get("uploadType") or request.headers.get("x-goog-upload-protocol", "")
    if kind == "resumable":
        await _start(request, bucket)
    elif kind == "multipart":
        await _multipart(request, bucket)
    elif kind == "media":
        await _media(request, bucket)
    else:
        raise InvalidArgument(
            f"uploadType must be media, multipart or resumable, not {kind!r}.",
            reason="invalid",
            field="uploadType",
        )


async def store(
    request: Request, begin: Callable[[], uploads.Insertion], pieces: AsyncIterator[bytes]
) -> ObjectRow:
    """Checks by `begin`, writes `pieces` to a new file, commits it as the object."""
    rooms = request.rooms

    def open_writer() -> tuple[uploads.Insertion, FileWriter]:
        insertion = begin()
        return insertion, FileWriter(rooms.home, rooms.ids, insertion.key.key if insertion.key else None)

    insertion, writer = await in_thread(open_writer)
    with writer:
        last = await pour(pieces, writer.write)

        def finish() -> ObjectRow:
            writer.write(last)
            row = uploads.commit(rooms, insertion, writer.finish())
            writer.keep()
            return row

        return await in_thread(finish)


async def answer_object(request: Request, row: ObjectRow) -> None:
    body = orjson.dumps(await in_thread(answer, request.allowed, row, request.params))
    await request.answer(200, body, [(b"x-goog-generation", str(row.generation).encode())])


async def _media(request: Request, bucket: str) -> None:
    resource = {"contentType": request.headers.get("content-type") or "application/octet-stream"}
    begin = partial(
        uploads.begin, request.rooms, bucket, resource, request.params, request.headers, request.allowed
    )
    await answer_object(request, await store(request, begin, request.pieces()))


async def _start(request: Request, bucket: str) -> None:
    resource = parse_resource(await request.body(_MOST_METADATA))
    if media := request.headers.get("x-upload-content-type"):
        resource.setdefault("contentType", media)
    insertion = await in_thread(
        uploads.begin, request.rooms, bucket, resource, request.params, request.headers, request.allowed
    )
    upload = await in_thread(storage_sessions.start, request.rooms, insertion, request.allowed.caller)
    query = urlencode(
        {"uploadType": "resumable", "name": insertion.name, "upload_id": upload}, quote_via=quote
    )
    location = f"{base_url(request.headers)}/upload/storage/v1/b/{bucket}/o?{query}"
    await request.answer(
        200, headers=[(b"location", location.encode()), (b"x-guploader-uploadid", upload.encode())]
    )


async def _multipart(request: Request, bucket: str) -> None:
    parts = RelatedParts(request.headers.get("content-type", ""), request.pieces())
    first, data_headers = await parts.first()
    resource = parse_resource(first)
    if media := data_headers.get("content-type"):
        resource.setdefault("contentType", media)
    begin = partial(
        uploads.begin, request.rooms, bucket, resource, request.params, request.headers, request.allowed
    )
    await answer_object(request, await store(request, begin, parts.data()))


def parse_resource(body: bytes) -> dict[str, Any]:
    """Raises InvalidArgument: neither empty nor a JSON object."""
    if not body.strip():
        return {}
    try:
        resource = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidArgument(f"Parse Error: {error}", reason="parseError") from None
    if not isinstance(resource, dict):
        raise InvalidArgument("Parse Error: the metadata must be a JSON object.", reason="parseError")
    return resource
