"""The XML API's copies: a PUT of an object whose header names another. Its body is empty.

https://cloud.google.com/storage/docs/xml-api/put-object-copy
"""

from __future__ import annotations

import base64
from functools import partial
from typing import Any, Final
from urllib.parse import unquote_to_bytes
from xml.sax.saxutils import escape

from portico.doors.storage.requests import Meaning, Request, decode_name, in_thread
from portico.doors.storage.xml import answer, as_acl, preconditions_in, settings_in
from portico.errors import InvalidArgument, Unimplemented
from portico.services.storage import copies

SOURCE: Final = "x-goog-copy-source"
_DIRECTIVE: Final = "x-goog-metadata-directive"


def meaning(request: Request, bucket: str, name: str) -> Meaning:
    """What a request that names a source asks for, as a method of the JSON API.

    Raises:
        InvalidArgument: the source, or what is to become of its metadata, is no such thing. Unimplemented: it asks for
            more than a copy of the live object.
    """
    headers = request.headers
    more = [one for one in headers if one.startswith(f"{SOURCE}-")]
    if more or "uploadId" in request.params or "?" in headers[SOURCE]:
        asked = more[0] if more else "a part or a version as a copy's source"
        raise Unimplemented(f"{asked} is not built in Portico's XML API: use the JSON API.")
    source, _, of = unquote_to_bytes(headers[SOURCE].removeprefix("/")).partition(b"/")
    if not source or not of:
        raise InvalidArgument(f"{SOURCE} is /BUCKET/OBJECT, not {headers[SOURCE][:200]!r}.")
    directive = headers.get(_DIRECTIVE, "COPY").upper()
    if directive not in ("COPY", "REPLACE"):
        raise InvalidArgument(f"{_DIRECTIVE} is COPY or REPLACE, not {directive[:80]!r}.")
    params = {
        "sourceBucket": source.decode("ascii", "replace"), "sourceObject": decode_name(of),
        "destinationBucket": bucket, "destinationObject": name, **preconditions_in(request),
    }  # fmt: skip
    if acl := headers.get("x-goog-acl"):
        params["destinationPredefinedAcl"] = as_acl(acl)

    async def body() -> dict[str, Any]:
        return settings_in(headers) if directive == "REPLACE" else {}

    return Meaning("objects.copy", params, partial(_copy, request), body)


async def _copy(request: Request) -> None:
    made = await in_thread(copies.copy, request.allowed)
    tag = f'"{base64.b64decode(made["md5Hash"]).hex()}"' if made.get("md5Hash") else made["etag"]
    inner = f"<LastModified>{made['updated']}</LastModified><ETag>{escape(tag)}</ETag>"
    await answer(request, "CopyObjectResult", inner)
