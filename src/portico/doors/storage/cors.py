"""Cross-origin requests (CORS) to buckets whose settings let a web page of another site ask.

From there nothing counts but what the request shows: a token, a signature, or what is everybody's; never that the
browser is the owner's. https://cloud.google.com/storage/docs/cross-origin, https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from portico.doors.storage.requests import decode_name
from portico.errors import InvalidArgument, NotFound
from portico.store.database import Database
from portico.store.objects import buckets

_JSON: Final = re.compile(rb"/(?:(?:upload|download)/)?storage/v1/b/([^/?]+)(?:[/?]|$)")
_LONGEST: Final = 3600  # seconds that an answer may be remembered where a bucket says nothing
Lines = list[tuple[bytes, bytes]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def is_foreign(headers: Mapping[str, str]) -> bool:
    """Whether a page of another origin asks."""
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2].lower() != headers.get("host", "").lower()


def is_preflight(http: str, headers: Mapping[str, str]) -> bool:
    """Whether a browser asks whether it may ask."""
    return http == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers


def bucket_of(path: bytes, xml: bool) -> str:
    """The bucket that a path of Cloud Storage is of; "" where it is of none."""
    found = _JSON.match(path)
    quoted = path.split(b"/", 2)[1].partition(b"?")[0] if xml else found[1] if found else b""
    try:
        return decode_name(quoted)
    except InvalidArgument:
        return ""


def answering(database: Database, bucket: str, http: str, headers: Mapping[str, str]) -> Lines | None:
    """The headers that let the page read the answer; None where the bucket lets its origin not ask by this method."""
    try:
        with database.read() as connection:
            rules = buckets.get(connection, bucket).fields.get("cors") or []
    except NotFound:
        return None
    preflight = is_preflight(http, headers)
    method = headers["access-control-request-method"].upper() if preflight else http
    origin = headers["origin"]
    for rule in rules:
        origins, methods = rule.get("origin") or [], rule.get("method") or []
        if not ({origin, "*"} & set(origins) and {method, "*"} & {one.upper() for one in methods}):
            continue
        more = [str(one) for one in rule.get("responseHeader") or []]
        lines = [("access-control-allow-origin", "*" if "*" in origins else origin), ("vary", "Origin")]
        if preflight:
            asked = [one.strip() for one in headers.get("access-control-request-headers", "").split(",")]
            known = {one.lower() for one in more}
            let = [one for one in asked if one and (one.lower() in known or "*" in known)]
            lines += [
                ("access-control-allow-methods", ", ".join(methods)),
                ("access-control-max-age", str(rule.get("maxAgeSeconds", _LONGEST))),
                *([("access-control-allow-headers", ", ".join(let))] if let else []),
            ]
        elif more:
            lines.append(("access-control-expose-headers", ", ".join(more)))
        return [(name.encode(), value.encode("latin-1", "replace")) for name, value in lines]
    return None


def adding(send: Send, lines: Lines) -> Send:
    """`send` whose answers have these headers, too."""

    async def sent(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *lines]}
        await send(message)

    return sent
