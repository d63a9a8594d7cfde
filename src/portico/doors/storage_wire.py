"""Cloud Storage below the JSON methods: uploads, downloads, the XML API, batches. Plain ASGI.

`owns` says which requests are for `handle`; the others go through the documents' routes.
"""

from __future__ import annotations

from typing import Any

from portico.doors import storage_batch, storage_download, storage_upload, storage_xml
from portico.doors.incoming import Incoming
from portico.doors.storage_http import ClientGone, Request, Send, decode_name
from portico.errors import InvalidArgument
from portico.services.call import Caller, Rooms


def owns(method: str, raw_path: bytes, query: bytes) -> bool:
    if raw_path.startswith((b"/upload/storage/v1/", b"/download/storage/v1/", b"/batch/storage/v1")):
        return True
    if raw_path.startswith(b"/storage/v1/b/"):
        return method in ("GET", "HEAD") and b"alt=media" in query and b"/o/" in raw_path
    return storage_xml.owns(raw_path)


async def handle(scope: dict[str, Any], receive: Incoming, send: Send, rooms: Rooms, caller: Caller) -> None:
    """Answers the request, or raises PorticoError before the answer has begun."""
    request = Request(scope, receive, send, rooms, caller)
    path = scope["raw_path"].partition(b"?")[0]
    try:
        if path.startswith(b"/batch/"):
            await storage_batch.handle(request)
        elif not path.startswith((b"/upload/", b"/download/", b"/storage/")):
            await storage_xml.handle(request, path)
        elif path.startswith(b"/upload/"):
            bucket, rest = _bucket(path.removeprefix(b"/upload/storage/v1/"))
            if rest != b"o":
                raise InvalidArgument("Uploads go to /upload/storage/v1/b/BUCKET/o.", http_status=404)
            await storage_upload.handle(request, bucket)
        else:
            bucket, rest = _bucket(path.removeprefix(b"/download").removeprefix(b"/storage/v1/"))
            if not rest.startswith(b"o/") or request.method not in ("GET", "HEAD"):
                raise InvalidArgument(
                    "Downloads are GET .../storage/v1/b/BUCKET/o/OBJECT?alt=media.", http_status=404
                )
            await storage_download.handle(request, bucket, decode_name(rest[2:]))
    except ClientGone:
        return


def _bucket(path: bytes) -> tuple[str, bytes]:
    """The bucket in `b/BUCKET/REST`, and the rest."""
    kind, _, after = path.partition(b"/")
    bucket, _, rest = after.partition(b"/")
    if kind != b"b" or not bucket:
        raise InvalidArgument("The path names no bucket.", http_status=404)
    return decode_name(bucket), rest
