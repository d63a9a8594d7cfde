"""Downloads: the bytes of one generation, whole or a range, streamed from its file.

The file is open from the first byte to the last, so an overwrite or a deletion meanwhile changes nothing
for the reader. https://cloud.google.com/storage/docs/json_api/v1/objects/get, .../transcoding
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from email.utils import formatdate, parsedate_to_datetime
from functools import partial

from portico.doors.storage.requests import PIECE, Headers, Request, in_thread
from portico.errors import OutOfRange
from portico.services.storage import customer_keys
from portico.services.storage.render import etag
from portico.services.storage.requests import integer, names_etag, preconditions
from portico.store.objects import buckets as objects_buckets
from portico.store.objects import files as objects_files
from portico.store.objects import generations as objects
from portico.store.objects.generations import ObjectRow, no_such_object
from portico.store.objects.sealing import Sealed

_RANGE = re.compile(r"bytes=(?:(\d+)-(\d*)|-(\d+))", re.ASCII)
_ATTEMPTS = 5
_MEDIA = "application/octet-stream"
_GZIP = b"\x1f\x8b"
# What somebody uploaded is no page of this server: its scripts run, in a browser, as those of no site, whom it refuses.
_STRANGE = {"content-security-policy": "sandbox allow-scripts", "x-content-type-options": "nosniff"}


Read = Callable[[int, int], bytes]


@dataclass(slots=True)
class _Download:
    """A generation, open, and what of it to send. `read` gives so many bytes of it from a place on. `first` is
    the first piece, or all of it."""

    row: ObjectRow
    fd: int
    read: Read
    tag: str
    headers: Headers
    start: int = 0
    end: int = 0
    partial: bool = False
    first: bytes = b""
    not_modified: bool = False
    decompress: bool = False


async def handle(request: Request, bucket: str, name: str, *, xml: bool = False) -> None:
    download = await in_thread(_prepare, request, bucket, name, xml)
    try:
        if download.not_modified:
            await request.answer(
                304, headers=[line for line in download.headers if line[0] != b"content-type"]
            )
        elif download.decompress:
            await _send_decompressed(request, download)
        else:
            await _send(request, download)
    finally:
        os.close(download.fd)


def _prepare(request: Request, bucket: str, name: str, xml: bool) -> _Download:
    key = customer_keys.read(request.headers)
    row, fd = _open(request, bucket, name)
    try:
        customer_keys.check(row.fields, key, needed=request.method != "HEAD")
        read: Read = partial(os.pread, fd)
        if key is not None:
            sealed = Sealed(fd, key.key)
            row, read = replace(row, crc32c=sealed.crc32c, md5=sealed.md5), sealed.read
        tag = xml_etag(row) if xml else etag(row)
        headers = _headers(row, tag, request.params if xml else {}) + (key.headers if key else [])
        download = _Download(row, fd, read, tag, headers)
        download.not_modified = _not_modified(request, row, download.tag)
        # What only says that it is gzip is sent as it was stored.
        download.decompress = (
            _decompresses(request, row) and not (row.sealed and key is None) and read(2, 0) == _GZIP
        )
        if not download.not_modified and not download.decompress:
            wanted = request.headers.get("range") if _is_still(request, row, tag) else None
            start, end, download.partial = _range(wanted, row.size)
            download.start, download.end = start, end
            if request.method != "HEAD":
                download.first = read(min(PIECE, end - start), start)
        return download
    except BaseException:
        os.close(fd)
        raise


def _open(request: Request, bucket: str, name: str) -> tuple[ObjectRow, int]:
    for _ in range(_ATTEMPTS):
        with request.rooms.database.read() as connection:
            objects_buckets.get(connection, bucket)
            row = objects.get(connection, bucket, name, integer(request.params, "generation"))
        preconditions(request.params).check(row, reading=True)
        try:
            path = objects_files.path_of(request.rooms.home, row.file)
            return row, os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # overwritten or deleted between the two: look again
    raise no_such_object(bucket, name)


def xml_etag(row: ObjectRow) -> str:
    """The quoted md5, as the XML API has it; composed objects have none, and get the other kind, as do those under a
    customer's key, whether that is at hand or not."""
    return f'"{base64.b64decode(row.md5).hex()}"' if row.md5 and not row.sealed else f'"{etag(row)}"'


def fits(row: ObjectRow, headers: Mapping[str, str], tag: str) -> bool:
    """Whether the object is as the headers If-Match, If-None-Match, If-Modified-Since and If-Unmodified-Since of a copy
    want its source."""
    return _is_as_held(row, headers, tag) and not _is_unchanged(row, headers, tag)


def _is_as_held(row: ObjectRow, headers: Mapping[str, str], tag: str) -> bool:
    if "if-match" in headers:
        return names_etag(headers["if-match"], tag)
    since = _date(headers.get("if-unmodified-since"))
    return since is None or int(row.updated) <= since


def _is_unchanged(row: ObjectRow, headers: Mapping[str, str], tag: str) -> bool:
    if "if-none-match" in headers:
        return names_etag(headers["if-none-match"], tag)
    since = _date(headers.get("if-modified-since"))
    return since is not None and int(row.updated) <= since


def _not_modified(request: Request, row: ObjectRow, tag: str) -> bool:
    """Raises FailedPrecondition (412): If-Match or If-Unmodified-Since does not hold."""
    if not _is_as_held(row, request.headers, tag):
        objects.Preconditions(generation_match=-1).check(row)
    return _is_unchanged(row, request.headers, tag)


def _is_still(request: Request, row: ObjectRow, tag: str) -> bool:
    """Whether the object is what If-Range says; else a range of it would not fit what the sender holds.

    Source: RFC 9110, 13.1.5
    """
    told = request.headers.get("if-range")
    if told is None or names_etag(told, tag):
        return True
    return (since := _date(told)) is not None and int(row.updated) == since


def _date(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parsedate_to_datetime(text).timestamp()
    except ValueError:
        return None


def _headers(row: ObjectRow, tag: str, params: Mapping[str, str]) -> Headers:
    """`params` may say how the answer calls itself, whatever the object says (signed URLs do)."""
    fields = row.fields
    encoding = fields.get("contentEncoding") or "identity"
    values = {
        "etag": tag,
        "last-modified": formatdate(row.updated, usegmt=True),
        "accept-ranges": "bytes",
        "x-goog-generation": str(row.generation),
        "x-goog-metageneration": str(row.metageneration),
        "x-goog-stored-content-encoding": encoding,
        "x-goog-stored-content-length": str(row.size),
        "x-goog-hash": hashes(row),
        "x-goog-storage-class": fields.get("storageClass", "STANDARD"),
        "cache-control": fields.get("cacheControl"),
        "content-disposition": params.get("response-content-disposition") or fields.get("contentDisposition"),
        "content-type": params.get("response-content-type") or fields.get("contentType") or _MEDIA,
        "content-language": fields.get("contentLanguage"),
        "x-goog-component-count": fields.get("componentCount"),
    }
    if encoding == "gzip":
        values["vary"] = "Accept-Encoding"
    lines = {name: value for name, value in values.items() if value is not None}
    lines |= _STRANGE
    lines |= {f"x-goog-meta-{key.lower()}": value for key, value in fields.get("metadata", {}).items()}
    return [(name.encode(), _line(str(value))) for name, value in lines.items() if _is_token(name)]


def hashes(row: ObjectRow) -> str | None:
    """The checksums as the header x-goog-hash has them, where they are known."""
    sums = [f"crc32c={row.crc32c}"] if row.crc32c else []
    return ",".join([*sums, f"md5={row.md5}"] if row.md5 else sums) or None


def _line(text: str) -> bytes:
    """A header's value; what can't stand in one is percent-encoded."""
    return re.sub(rb"[\x00-\x1f\x7f]", lambda m: b"%%%02X" % m[0][0], text.encode())


def _is_token(name: str) -> bool:
    return re.fullmatch(r"[a-z0-9!#$%&'*+.^_`|~-]+", name) is not None


async def _send(request: Request, download: _Download) -> None:
    row, start, end = download.row, download.start, download.end
    lines = [*download.headers]
    lines.append((b"content-length", str(end - start).encode()))
    if row.fields.get("contentEncoding"):
        lines.append((b"content-encoding", _line(row.fields["contentEncoding"])))
    if download.partial:
        lines.append((b"content-range", f"bytes {start}-{end - 1}/{row.size}".encode()))
    status = 206 if download.partial else 200
    await request.send({"type": "http.response.start", "status": status, "headers": lines})
    begun = start + len(download.first)
    if begun == end or request.method == "HEAD":
        await request.send({"type": "http.response.body", "body": download.first})
        return
    await request.send({"type": "http.response.body", "body": download.first, "more_body": True})
    download.first = b""
    await _stream(request, _read(download.read, begun, end))


async def _send_decompressed(request: Request, download: _Download) -> None:
    """Decompressive transcoding: the length is not known before, and a range of it means nothing."""
    row = download.row
    lines = [*download.headers, (b"warning", b'214 UploadServer "gunzipped"')]
    await request.send({"type": "http.response.start", "status": 200, "headers": lines})
    if request.method == "HEAD":
        await request.send({"type": "http.response.body", "body": b""})
        return
    await _stream(request, _gunzip(_read(download.read, 0, row.size)))


def _decompresses(request: Request, row: ObjectRow) -> bool:
    fields = row.fields
    return (
        fields.get("contentEncoding") == "gzip"
        and "gzip" not in request.headers.get("accept-encoding", "")
        and "no-transform" not in fields.get("cacheControl", "")
    )


def _range(header: str | None, size: int) -> tuple[int, int, bool]:
    """The half-open range that a Range header means, and whether it is one; malformed ones are ignored.

    Raises:
        OutOfRange (416): it begins behind the end.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None:
        return 0, size, False
    first, last, suffix = match.groups()
    if suffix is not None:
        start, end = max(0, size - int(suffix)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return 0, size, False
    if start >= size:
        raise OutOfRange(
            f"The requested range cannot be satisfied: not satisfiable for the object's {size} bytes.",
            reason="requestedRangeNotSatisfiable",
            http_status=416,
        )
    return start, end, True


async def _read(read: Read, start: int, end: int) -> AsyncIterator[bytes]:
    """The file's bytes in pieces, the next one being read while one is sent."""
    if start >= end:
        return
    ahead = asyncio.ensure_future(in_thread(read, min(PIECE, end - start), start))
    try:
        while start < end:
            piece = await ahead
            if not piece:
                raise EOFError("the object's file is shorter than its row says")
            start += len(piece)
            if start < end:
                ahead = asyncio.ensure_future(in_thread(read, min(PIECE, end - start), start))
            yield piece
    finally:
        await asyncio.wait([ahead])  # the caller closes the file next


async def _gunzip(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Decompresses member after member, never more than PIECE at once."""
    decoder = zlib.decompressobj(wbits=31)
    async for piece in pieces:
        while piece:
            yield await in_thread(decoder.decompress, piece, PIECE)
            piece = decoder.unconsumed_tail
            if decoder.eof:
                piece = decoder.unused_data
                if not piece.startswith(_GZIP[: len(piece)]):
                    return  # padding after the last member, which gzip ignores, too
                decoder = zlib.decompressobj(wbits=31)
    if rest := decoder.flush():
        yield rest


async def _stream(request: Request, pieces: AsyncIterator[bytes]) -> None:
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        async for piece in pieces:
            if gone.done():
                return
            await request.send({"type": "http.response.body", "body": piece, "more_body": True})
        await request.send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()
        await pieces.aclose()  # type: ignore[attr-defined]


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
