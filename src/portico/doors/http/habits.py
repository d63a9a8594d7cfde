"""What clients send otherwise than Google's documents write it, turned into what the documents say.

* `X-HTTP-Method-Override` on a POST, by HTTP libraries without PATCH (Java's) and for a GET whose query is too long
  for a URL and comes as a form instead (googleapiclient).
* Bodies under `Content-Encoding: gzip` (Java's clients, `gsutil cp -J`). In the XML API that header says how the
  object is stored, so there it is left alone.
* Cloud Storage's JSON paths without `/storage/v1`, as Node's client makes them of STORAGE_EMULATOR_HOST.
* kfp's registry client with a registry that is not Google's: the JSON methods below the repository's own address.
* Paths that name no project, of an API whose documents have all below one (`Api.place`).
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

from portico.errors import InvalidArgument
from portico.services.standard.apis import declared

Receive = Callable[[], Awaitable[dict[str, Any]]]

_OVERRIDES = frozenset(("GET", "PUT", "PATCH", "DELETE"))
_BARE = re.compile(rb"/(?:b(?:[/?]|$)|projects/[^/?]+/(?:serviceAccount|hmacKeys)|channels/stop)")
_KFP = re.compile(r"/apis/artifactregistry/kfp/([^/]+)/([^/]+)/([^/]+)(?=/packages(?:[/?]|$))")
_KFP_MEANT = r"/apis/artifactregistry/v1/projects/\2/locations/\1/repositories/\3"
_MOST_FORM = 1 << 20  # bytes of a query
_PIECE = 1 << 20  # bytes unpacked at once


def addressed(scope: dict[str, Any]) -> dict[str, Any]:
    """`scope` with the path that the documents have."""
    if _BARE.match(scope["raw_path"]):
        return scope | {
            "path": "/storage/v1" + scope["path"],
            "raw_path": b"/storage/v1" + scope["raw_path"],
        }
    if scope["raw_path"].startswith(b"/apis/artifactregistry/kfp/"):
        return scope | {
            "path": _KFP.sub(_KFP_MEANT, scope["path"]),
            "raw_path": _KFP.sub(_KFP_MEANT, scope["raw_path"].decode("latin-1")).encode("latin-1"),
        }
    for pattern, root, place in _placeless():
        if pattern.match(scope["raw_path"]):
            rest = scope["raw_path"].removeprefix(root)
            plain = scope["path"].removeprefix(root.decode())
            return scope | {
                "path": f"{root.decode()}{place}/{plain}",
                "raw_path": root + place.encode() + b"/" + rest,
            }
    return scope


@functools.cache
def _placeless() -> list[tuple[re.Pattern[bytes], bytes, str]]:
    """What paths without a place look like, what they begin with, and which place they mean."""
    found = []
    for api in declared().values():
        if api.place:
            root = f"/{api.root}".encode()
            heads = b"|".join(map(str.encode, api.placeless))
            found.append((re.compile(re.escape(root) + b"(?:" + heads + rb")(?:[/?]|$)"), root, api.place))
    return found


async def plain(scope: dict[str, Any], receive: Receive, *, packed: bool) -> tuple[dict[str, Any], Receive]:
    """The request with the method that is meant, and its body as it was before it was packed, unless it is `packed`
    for good.

    Raises:
        InvalidArgument: another method than Google lets stand in the header; a form that is no query.
    """
    headers = dict(scope["headers"])
    if headers.get(b"content-encoding", b"").lower() == b"gzip" and not packed:
        kept = [(name, value) for name, value in scope["headers"] if name != b"content-encoding"]
        scope, receive = scope | {"headers": kept}, _Unpacked(receive)
    method = headers.get(b"x-http-method-override", b"").decode("latin-1").upper()
    if not method or scope["method"] != "POST" or method == "POST":
        return scope, receive
    if method not in _OVERRIDES:
        raise InvalidArgument(
            f"X-HTTP-Method-Override must be one of {', '.join(sorted(_OVERRIDES))}, not {method!r}."
        )
    scope = scope | {"method": method}
    if method == "GET" and headers.get(b"content-type", b"").startswith(b"application/x-www-form-urlencoded"):
        form = await _whole(receive)
        query = b"&".join(part for part in (scope["query_string"], form) if part)
        scope, receive = scope | {"query_string": query}, _Empty(receive)
    return scope, receive


async def _whole(receive: Receive) -> bytes:
    form: bytes = b""
    while True:
        message = await receive()
        form += bytes(message.get("body", b""))
        if len(form) > _MOST_FORM:
            raise InvalidArgument(f"A query may have {_MOST_FORM} bytes.", http_status=413)
        if not message.get("more_body"):
            return form.strip()


class _Empty:
    """`receive` of a request without a body; after it, of the connection's end."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._told = False

    async def __call__(self) -> dict[str, Any]:
        if self._told:
            return await self._receive()
        self._told = True
        return {"type": "http.request", "body": b"", "more_body": False}


class _Unpacked:
    """`receive` of what a gzip body holds, a piece at a time."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._decoder = zlib.decompressobj(wbits=31)
        self._packed = b""
        self._more = True
        self._begun = False
        self._ended = False

    async def __call__(self) -> dict[str, Any]:
        if self._ended:
            return await self._receive()
        if not self._packed and self._more:
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            self._packed, self._more = message.get("body", b""), message.get("more_body", False)
            self._begun = self._begun or bool(self._packed)
        try:
            piece = self._decoder.decompress(self._packed, _PIECE)
        except zlib.error as error:
            raise InvalidArgument(f"The body is not gzip, as its Content-Encoding says: {error}.") from None
        self._packed = self._decoder.unconsumed_tail
        if self._decoder.eof and self._decoder.unused_data:  # another member follows
            self._packed, self._decoder = self._decoder.unused_data, zlib.decompressobj(wbits=31)
        more = bool(self._packed) or self._more
        if not more and self._begun and not self._decoder.eof:
            if piece:  # there may be more that fits no piece
                return {"type": "http.request", "body": piece, "more_body": True}
            raise InvalidArgument("The body is cut: its gzip stream does not end.")
        self._ended = not more
        return {"type": "http.request", "body": piece, "more_body": more}
