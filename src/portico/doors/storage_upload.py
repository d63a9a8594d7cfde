"""Uploads through the JSON API: media, multipart, resumable.

https://cloud.google.com/storage/docs/uploads-downloads, .../performing-resumable-uploads
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from email.message import Message
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from portico.doors import storage_sessions
from portico.doors.storage_http import Request, in_thread, pour
from portico.errors import InvalidArgument
from portico.services.storage import uploads
from portico.services.storage.render import base_url, object_json
from portico.store.objects import ObjectRow
from portico.store.objects_files import FileWriter

_MOST_METADATA = 1 << 20  # bytes of the JSON resource


async def handle(request: Request, bucket: str) -> None:
    if request.params.get("upload_id"):
        await storage_sessions.handle(request)
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


async def store(request: Request, insertion: uploads.Insertion, pieces: AsyncIterator[bytes]) -> ObjectRow:
    """Writes `pieces` to a new file and commits it as the object."""
    rooms = request.rooms
    writer = await in_thread(FileWriter, rooms.home, rooms.ids)
    with writer:
        await pour(pieces, writer.write)

        def finish() -> ObjectRow:
            row = uploads.commit(rooms, insertion, writer.finish())
            writer.keep()
            return row

        return await in_thread(finish)


async def answer_object(request: Request, row: ObjectRow) -> None:
    full = request.params.get("projection") == "full"
    body = orjson.dumps(object_json(row, base_url(request.headers), full=full))
    await request.answer(200, body, [(b"x-goog-generation", str(row.generation).encode())])


async def _media(request: Request, bucket: str) -> None:
    resource = {"contentType": request.headers.get("content-type") or "application/octet-stream"}
    insertion = await in_thread(
        uploads.begin, request.rooms, bucket, resource, request.params, request.headers
    )
    await answer_object(request, await store(request, insertion, request.pieces()))


async def _start(request: Request, bucket: str) -> None:
    resource = parse_resource(await request.body(_MOST_METADATA))
    if media := request.headers.get("x-upload-content-type"):
        resource.setdefault("contentType", media)
    insertion = await in_thread(
        uploads.begin, request.rooms, bucket, resource, request.params, request.headers
    )
    upload = await in_thread(storage_sessions.start, request.rooms, insertion)
    query = urlencode(
        {"uploadType": "resumable", "name": insertion.name, "upload_id": upload}, quote_via=quote
    )
    location = f"{base_url(request.headers)}/upload/storage/v1/b/{bucket}/o?{query}"
    await request.answer(
        200, headers=[(b"location", location.encode()), (b"x-guploader-uploadid", upload.encode())]
    )


async def _multipart(request: Request, bucket: str) -> None:
    parts = RelatedParts(request.headers.get("content-type", ""), request.pieces())
    head, resource_body = await parts.first()
    resource = parse_resource(resource_body)
    media = parts.data_headers.get("content-type")
    if media:
        resource.setdefault("contentType", media)
    insertion = await in_thread(
        uploads.begin, request.rooms, bucket, resource, request.params, request.headers
    )
    await answer_object(request, await store(request, insertion, parts.data()))


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


class RelatedParts:
    """A multipart/related body of two parts, the second of any length (RFC 2387).

    Lines end as the first one does: with CR LF, or, as gcsfs writes them, with LF alone.
    """

    def __init__(self, content_type: str, pieces: AsyncIterator[bytes]) -> None:
        message = Message()
        message["content-type"] = content_type
        boundary = message.get_param("boundary")
        if message.get_content_maintype() != "multipart" or not isinstance(boundary, str) or not boundary:
            raise InvalidArgument(
                "A multipart upload needs Content-Type: multipart/related; boundary=...", reason="invalid"
            )
        self._boundary = b"--" + boundary.encode("latin-1")
        self._pieces = pieces
        self._held = b""
        self._newline = b"\r\n"
        self.data_headers: dict[str, str] = {}

    async def first(self) -> bytes:
        """The first part's body; reads up to where the second's begins.

        Raises:
            InvalidArgument: it is not such a body.
        """
        await self._until(self._boundary + b"\n", self._boundary + b"\r\n")
        if not self._held.startswith(b"\r"):
            self._newline = b"\n"
        ...
        raise NotImplementedError

    async def data(self) -> AsyncIterator[bytes]:
        yield b""
