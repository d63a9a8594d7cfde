"""How an answer is written to the wire."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from portico.errors import PorticoError
from portico.prediction.front.answers import error_body

Send = Callable[[dict[str, Any]], Awaitable[None]]

_COMMANDS = ("curl/", "Wget/")
_JSON = (b"content-type", b"application/json; charset=UTF-8")


def error_headers(error: PorticoError) -> list[tuple[bytes, bytes]]:
    headers: list[tuple[bytes, bytes]] = []
    if error.retry_after is not None:
        headers.append((b"retry-after", str(max(1, round(error.retry_after))).encode()))
    if error.http_status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="portico"'))
    if error.http_status == 408:  # what still comes belongs to the request that was given up
        headers.append((b"connection", b"close"))
    return headers


def flat(error: PorticoError, codes: Mapping[str, tuple[str, int]]) -> tuple[int, bytes]:
    """The status and the body of an API whose errors are flat, and which has `codes` of its own for Google's."""
    name, status = codes.get(error.code, (error.code, error.status))
    if error.http_status != error.status:  # more exactly than its code says
        status = error.http_status
    return status, orjson.dumps({"error_code": name, "message": error.message})


async def send_json(
    send: Send,
    body: Any,
    status: int = 200,
    pretty: bool = False,
    headers: list[tuple[bytes, bytes]] | None = None,
) -> None:
    """`pretty` is with line breaks and indents, as Google's APIs answer (their parameter prettyPrint)."""
    option = orjson.OPT_NON_STR_KEYS | (orjson.OPT_INDENT_2 if pretty else 0)
    await send_bytes(send, orjson.dumps(body, as_text, option), status, headers)


def as_text(value: Any) -> str:
    """Bytes as JSON has them.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError


def is_pretty(headers: Mapping[str, str], params: Mapping[str, str]) -> bool:
    """Whether an answer is to have line breaks: where the parameter prettyPrint says so; without one, where a command
    asks whose output scripts read line by line."""
    asked = params.get("prettyPrint", params.get("$prettyPrint"))
    return asked == "true" if asked is not None else headers.get("user-agent", "").startswith(_COMMANDS)


async def send_error(
    send: Send, error: PorticoError, body: bytes | None = None, media: bytes | None = None
) -> None:
    headers = error_headers(error) + ([(b"content-type", media)] if media else [])
    await send_bytes(send, error_body(error) if body is None else body, error.http_status, headers)


async def send_bytes(
    send: Send, body: bytes, status: int = 200, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    kept = headers or []
    if not any(name == b"content-type" for name, _ in kept):
        kept = [*kept, _JSON]
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*kept, (b"content-length", str(len(body)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": body})
