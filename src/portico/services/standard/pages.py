"""Pages of lists (AIP-158): page sizes, and opaque page tokens that belong to one query."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from hmac import compare_digest
from typing import Any, TypeVar

from portico.errors import InvalidArgument

_DIGEST = 12
T = TypeVar("T")


def page_size(asked: int | None, *, default: int, maximum: int) -> int:
    """How many results a page holds: `asked`, `default` for 0 or none, never more than `maximum`.

    Raises:
        InvalidArgument: on `pageSize`, when it is negative.
    """
    if asked is not None and asked < 0:
        raise InvalidArgument(f"pageSize is {asked}; it must not be negative.", field="pageSize")
    return min(asked or default, maximum)


def part(
    every: Sequence[T], asked: Mapping[str, Any], *query: str, default: int = 100, maximum: int = 1000
) -> tuple[Sequence[T], dict[str, str]]:
    """What a request asks for (`pageSize`, `pageToken`) of a list that is there as a whole, and the `nextPageToken`
    where more follows.

    Raises:
        InvalidArgument: as `page_size` and `read_token`.
    """
    size = page_size(asked.get("pageSize"), default=default, maximum=maximum)
    start = int(read_token(str(asked.get("pageToken", "")), *query) or 0)
    more = {"nextPageToken": write_token(start + size, *query)} if len(every) > start + size else {}
    return every[start : start + size], more


def write_token(cursor: Any, *query: str) -> str:
    """A page token holding `cursor` (any JSON) for `query`: the parent, filter, order and so on.

    The token is bound to its query by a digest without a secret: it gives no right that the request lacks, so
    the digest only has to catch tokens that are broken, made up or of another query.
    """
    payload = json.dumps(cursor, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_digest(payload, query) + payload).rstrip(b"=").decode()


def read_token(token: str, *query: str) -> Any:
    """The cursor in `token`; None for the empty token, which asks for the first page.

    Raises:
        InvalidArgument: on `pageToken`, when it was not made by `write_token` for this `query`.
    """
    if not token:
        return None
    try:
        raw = base64.b64decode(token.encode() + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    payload = raw[_DIGEST:]
    if not compare_digest(raw[:_DIGEST], _digest(payload, query)):
        raise InvalidArgument(
            "pageToken is not one that this list gave out for the same parent, filter and order.",
            field="pageToken",
        )
    return json.loads(payload)


def _digest(payload: bytes, query: tuple[str, ...]) -> bytes:
    return blake2b(json.dumps(query).encode() + b"\0" + payload, digest_size=_DIGEST).digest()
