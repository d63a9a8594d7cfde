"""The XML API, as far as the transfer manager, gcsfs, Go's client, public and signed URLs use it: objects, multipart
and resumable uploads.

https://cloud.google.com/storage/docs/xml-api/reference-methods, .../multipart-uploads
"""

from __future__ import annotations

import base64
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from urllib.parse import quote
from xml.sax.saxutils import escape

from sqlalchemy.engine import Connection

from portico.doors.storage import download as storage_download
from portico.doors.storage import sessions as storage_sessions
from portico.doors.storage import upload as storage_upload
from portico.doors.storage import xml_lists
from portico.doors.storage.errors import render_xml
from portico.doors.storage.requests import Meaning, Request, in_thread, pour
from portico.doors.storage.xml_documents import MEDIA, answer, children, malformed, parse, text
from portico.doors.storage.xml_lists import as_acl
from portico.errors import InvalidArgument, NotFound, PorticoError, Unimplemented
from portico.services.call import Rooms
from portico.services.standard.here import base_url
from portico.services.storage import customer_keys, uploads
from portico.services.storage.render import milliseconds
from portico.services.storage.requests import integer, preconditions
from portico.store.objects import buckets as objects_buckets
from portico.store.objects import files as objects_files
from portico.store.objects import generations as objects
from portico.store.objects import uploads as objects_uploads
from portico.store.objects.files import FileCopy, FileWriter
from portico.store.objects.generations import ObjectRow, Preconditions, StoredFile
from portico.store.objects.uploads import Part, Upload

_MOST_PARTS = 10_000
_LEAST_PART = 5 * 2**20  # bytes
# Request headers that set what the JSON API calls by these names.
_SETTINGS = {
    "cache-control": "cacheControl",
    "content-disposition": "contentDisposition",
    "content-encoding": "contentEncoding",
    "content-language": "contentLanguage",
    "content-type": "contentType",
    "x-goog-custom-time": "customTime",
    "x-goog-storage-class": "storageClass",
}
_UNBUILT = frozenset({"compose", "encryption", "legal-hold", "retention", "tagging"})
_OF_READS = frozenset({"if-match", "if-none-match", "if-modified-since", "if-unmodified-since"})
_PRECONDITIONS = {
    "x-goog-if-generation-match": "ifGenerationMatch",
    "x-goog-if-metageneration-match": "ifMetagenerationMatch",
}


def meaning(request: Request, bucket: str, name: str) -> Meaning:
    """What a request to `/BUCKET/OBJECT` asks for, as a method of the JSON API.

    Raises:
        Unimplemented, InvalidArgument: there is no such method.
    """
    if request.amazons and "versionId" in request.params:  # what Amazon calls a generation
        request.params["generation"] = request.params["versionId"]
    more = {**preconditions_in(request), **generation_in(request)}
    if "acl" in request.params and (found := xml_lists.of_object(request, bucket, name, more)):
        return found
    request.params |= more
    work = _method(request)
    method = "objects.get" if work is _get else "objects.delete" if work is _delete else "objects.insert"
    params = {"bucket": bucket, "object": name, **generation_in(request)}
    return Meaning(method, params, partial(work, request, bucket, name))


def preconditions_in(request: Request) -> dict[str, str]:
    """The JSON API's parameters for the preconditions among the headers.

    Raises:
        Unimplemented: what is written has one that is asked of what is read alone.
    """
    told = {_PRECONDITIONS[key]: value for key, value in request.headers.items() if key in _PRECONDITIONS}
    if request.method not in ("PUT", "POST"):
        return told
    if request.headers.get("if-none-match", "").strip() == "*":
        return told | {"ifGenerationMatch": "0"}
    if asked := _OF_READS & request.headers.keys():
        raise Unimplemented(
            f"The header {min(asked)} is not built for what is written: use x-goog-if-generation-match."
        )
    return told


def generation_in(request: Request) -> dict[str, str]:
    """The parameter that says which generation is meant, where it is there."""
    return {key: value for key, value in request.params.items() if key == "generation"}


async def answer_error(request: Request, error: PorticoError) -> None:
    status, body = render_xml(error)
    await request.answer(status, body if request.method != "HEAD" else b"", media=MEDIA)


Method = Callable[[Request, str, str], Awaitable[None]]


def _method(request: Request) -> Method:
    params, method = request.params, request.method
    if unbuilt := _UNBUILT & params.keys():
        raise Unimplemented(
            f"?{min(unbuilt)} implies functionality that is not implemented: of objects it is not built in Portico's "
            "XML API."
        )
    if method == "POST" and "uploads" in params:
        return _initiate
    if method == "POST" and request.headers.get("x-goog-resumable", "").lower() == "start":
        return _start
    if "upload_id" in params:
        return _session
    if "uploadId" in params:
        found = {"PUT": _put_part, "POST": _complete, "DELETE": _abort, "GET": _list_parts}.get(method)
    else:
        found = {"GET": _get, "HEAD": _get, "PUT": _put, "DELETE": _delete}.get(method)
    if found is None:
        raise InvalidArgument(f"{method} is not allowed here.", reason="MethodNotAllowed", http_status=405)
    return found


async def _get(request: Request, bucket: str, name: str) -> None:
    await storage_download.handle(request, bucket, name, xml=True)


async def _start(request: Request, bucket: str, name: str) -> None:
    """The start of a resumable upload, as a URL signed for RESUMABLE sends it."""

    def start() -> str:
        return storage_sessions.start(
            request.rooms, _insertion(request, bucket, name), request.allowed.caller
        )

    upload = await in_thread(start)
    location = f"{base_url(request.headers)}/{bucket}/{quote(name)}?upload_id={upload}"
    await request.answer(
        201, headers=[(b"location", location.encode()), (b"x-guploader-uploadid", upload.encode())]
    )


async def _session(request: Request, bucket: str, name: str) -> None:
    async def answer(request: Request, row: ObjectRow) -> None:
        await request.answer(200, headers=_object_headers(request, row))

    await storage_sessions.handle(request, answer)


async def _put(request: Request, bucket: str, name: str) -> None:
    begin = partial(_insertion, request, bucket, name)
    row = await storage_upload.store(request, begin, request.pieces())
    await request.answer(200, headers=_object_headers(request, row))


async def _delete(request: Request, bucket: str, name: str) -> None:
    def delete() -> None:
        rooms, exact = request.rooms, integer(request.params, "generation")
        with rooms.database.write() as connection:
            bucket_row = objects_buckets.get(connection, bucket)
            row = objects.get(connection, bucket, name, exact)
            preconditions(request.params).check(row)
            garbage = objects.delete(
                connection, bucket_row, row, rooms.clock.now(), for_good=exact is not None
            )
        objects_files.remove(rooms.home, garbage)

    await in_thread(delete)
    await request.answer(204)


async def _initiate(request: Request, bucket: str, name: str) -> None:
    def initiate() -> str:
        rooms = request.rooms
        insertion = _insertion(request, bucket, name)
        upload = rooms.ids.token()
        wanted = {
            "settings": insertion.settings,
            "preconditions": {"generation_match": insertion.preconditions.generation_match},
        }
        with rooms.database.write() as connection:
            objects_uploads.start(connection, upload, bucket, name, wanted, rooms.clock.now(), None)
        return upload

    upload = await in_thread(initiate)
    await answer(
        request,
        "InitiateMultipartUploadResult",
        f"<Bucket>{bucket}</Bucket><Key>{text(name)}</Key><UploadId>{upload}</UploadId>",
    )


async def _put_part(request: Request, bucket: str, name: str) -> None:
    rooms = request.rooms
    upload = await in_thread(_read, rooms, request.params["uploadId"], bucket, name)
    number = request.params.get("partNumber", "")
    if not number.isdecimal() or not 1 <= int(number) <= _MOST_PARTS:
        raise InvalidArgument(f"partNumber must be from 1 to {_MOST_PARTS}, not {number!r}.")
    key = customer_keys.read(request.headers)
    customer_keys.check(upload.request["settings"], key)
    writer = await in_thread(FileWriter, rooms.home, rooms.ids, key.key if key else None)
    with writer:
        last = await pour(request.pieces(), writer.write)

        def finish() -> StoredFile:
            writer.write(last)
            stored = writer.finish()
            uploads.check_hashes(uploads.expected_hashes(request.headers), stored)
            # Of a sealed part no checksum is kept: its ETag says which upload of the part it is, and no more.
            kept = replace(stored, crc32c="", md5=_any_etag()) if key else stored
            with rooms.database.write() as connection:
                objects_uploads.get(connection, upload.id)  # it may have been aborted meanwhile
                part = Part(int(number), kept, rooms.clock.now())
                garbage = objects_uploads.put_part(connection, upload.id, part)
            writer.keep()
            objects_files.remove(rooms.home, garbage)
            return kept

        kept = await in_thread(finish)
    lines = [(b"etag", _part_etag(kept)), (b"x-goog-hash", _hashes(writer.stored))]
    await request.answer(200, headers=lines + (key.headers if key else []))


async def _complete(request: Request, bucket: str, name: str) -> None:
    wanted = _parse_parts(await request.body(8 << 20))
    row = await in_thread(_assemble, request.rooms, request.params["uploadId"], bucket, name, wanted)
    await answer(
        request,
        "CompleteMultipartUploadResult",
        f"<Location>{escape(base_url(request.headers))}/{bucket}/{quote(name)}</Location>"
        f"<Bucket>{bucket}</Bucket><Key>{text(name)}</Key>"
        f"<ETag>{escape(storage_download.xml_etag(row))}</ETag>",
        _object_headers(request, row),
    )


async def _abort(request: Request, bucket: str, name: str) -> None:
    def abort() -> None:
        rooms = request.rooms
        upload = _read(rooms, request.params["uploadId"], bucket, name)
        with rooms.database.write() as connection:
            garbage = objects_uploads.cancel(connection, upload)
        objects_files.remove(rooms.home, garbage)

    await in_thread(abort)
    await request.answer(204)


async def _list_parts(request: Request, bucket: str, name: str) -> None:
    def read() -> list[Part]:
        upload = _read(request.rooms, request.params["uploadId"], bucket, name)
        with request.rooms.database.read() as connection:
            return objects_uploads.parts(connection, upload.id)

    marker = integer(request.params, "part-number-marker") or 0
    most = min(max(0, integer(request.params, "max-parts") or 1000), 1000)
    parts = [part for part in await in_thread(read) if part.number > marker]
    shown = parts[:most]
    items = "".join(
        f"<Part><PartNumber>{part.number}</PartNumber><LastModified>{milliseconds(part.created)}</LastModified>"
        f"<ETag>{escape(_part_etag(part.stored).decode())}</ETag><Size>{part.stored.size}</Size></Part>"
        for part in shown
    )
    await answer(
        request,
        "ListPartsResult",
        f"<Bucket>{bucket}</Bucket><Key>{text(name)}</Key><UploadId>{request.params['uploadId']}</UploadId>"
        f"<StorageClass>STANDARD</StorageClass><PartNumberMarker>{marker}</PartNumberMarker>"
        f"<NextPartNumberMarker>{shown[-1].number if shown else marker}</NextPartNumberMarker>"
        f"<MaxParts>{most}</MaxParts><IsTruncated>{str(len(shown) < len(parts)).lower()}</IsTruncated>{items}",
    )


def _assemble(
    rooms: Rooms, upload_id: str, bucket: str, name: str, wanted: list[tuple[int, str]]
) -> ObjectRow:
    upload = _read(rooms, upload_id, bucket, name, finished=True)
    with rooms.database.read() as connection:
        if upload.generation is not None:  # a repeated last request
            return objects.get(connection, bucket, name, upload.generation)
        there = {part.number: part.stored for part in objects_uploads.parts(connection, upload.id)}
    if [number for number, _ in wanted] != sorted({number for number, _ in wanted}):
        raise InvalidArgument("The parts must be named in ascending order.", reason="InvalidPartOrder")
    for number, tag in wanted:
        if number not in there or _part_etag(there[number]).strip(b'"').decode() != tag.strip('"'):
            raise InvalidArgument(f"Part {number} was not uploaded with ETag {tag}.", reason="InvalidPart")
    for number, _ in wanted[:-1]:
        if there[number].size < _LEAST_PART:
            raise InvalidArgument(
                f"Part {number} has {there[number].size} bytes: all but the last have at least {_LEAST_PART}.",
                reason="EntityTooSmall",
            )
    if not wanted:
        raise InvalidArgument("A multipart upload needs at least one part.", reason="InvalidPart")
    insertion = uploads.Insertion(
        bucket, name, upload.request["settings"], Preconditions(**upload.request["preconditions"])
    )
    with FileCopy(rooms.home, rooms.ids, [there[number] for number, _ in wanted]) as made:
        garbage: list[str] = []

        def end(connection: Connection, row: ObjectRow) -> None:
            garbage.extend(objects_uploads.complete(connection, upload.id, row.generation))

        row = uploads.commit(rooms, insertion, made.stored, end)
        made.keep()
    objects_files.remove(rooms.home, garbage)
    return row


def _read(rooms: Rooms, upload_id: str, bucket: str, name: str, *, finished: bool = False) -> Upload:
    try:
        with rooms.database.read() as connection:
            upload = objects_uploads.get(connection, upload_id)
    except NotFound as error:
        raise NotFound(error.message, reason="NoSuchUpload") from None
    if (upload.bucket, upload.name) != (bucket, name) or upload.file or (upload.generation and not finished):
        raise NotFound(f"No multipart upload {upload_id} of {bucket}/{name}.", reason="NoSuchUpload")
    return upload


def _insertion(request: Request, bucket: str, name: str) -> uploads.Insertion:
    return insertion(request, bucket, name, request.headers)


def insertion(request: Request, bucket: str, name: str, headers: Mapping[str, str]) -> uploads.Insertion:
    """An upload whose settings `headers` say."""
    params: dict[str, str] = {**request.params, "name": name}
    if told := headers.get("x-goog-acl"):
        params["predefinedAcl"] = as_acl(told)
    return uploads.begin(request.rooms, bucket, settings_in(headers), params, headers, request.allowed)


def settings_in(headers: Mapping[str, str]) -> dict[str, object]:
    """What headers say of an object, as the JSON API's resource has it."""
    resource: dict[str, object] = {field: headers[key] for key, field in _SETTINGS.items() if key in headers}
    metadata = {
        key.removeprefix("x-goog-meta-"): value
        for key, value in headers.items()
        if key.startswith("x-goog-meta-")
    }
    if metadata:
        resource["metadata"] = metadata
    return resource


def _parse_parts(body: bytes) -> list[tuple[int, str]]:
    """The numbers and ETags in a CompleteMultipartUpload document.

    Raises:
        InvalidArgument: it is not one.
    """
    parts = []
    for part in parse(body, "a list of parts"):
        values = {name: told for name, told, _ in children(part)}
        try:
            parts.append((int(values["PartNumber"]), values["ETag"]))
        except (ValueError, KeyError) as error:
            raise malformed("a list of parts", str(error)) from None
    return parts


def _any_etag() -> str:
    return base64.b64encode(os.urandom(16)).decode()


def _part_etag(stored: StoredFile) -> bytes:
    return b'"' + base64.b64decode(stored.md5 or "").hex().encode() + b'"'


def _hashes(stored: StoredFile) -> bytes:
    return f"crc32c={stored.crc32c},md5={stored.md5}".encode()


def _object_headers(request: Request, row: ObjectRow) -> list[tuple[bytes, bytes]]:
    key, hashes = customer_keys.read(request.headers), storage_download.hashes(row)
    return [
        *(key.headers if key and row.sealed else []),
        *([(b"x-goog-hash", hashes.encode())] if hashes else []),
        (b"etag", storage_download.xml_etag(row).encode()),
        (b"x-goog-generation", str(row.generation).encode()),
        (b"x-goog-metageneration", str(row.metageneration).encode()),
        (b"x-goog-stored-content-length", str(row.size).encode()),
    ]
