"""Batches: many JSON requests in one multipart/mixed body, each answered as if it had come alone.

https://cloud.google.com/storage/docs/batch
"""

from __future__ import annotations

import re
from email import policy
from email.message import Message
from email.parser import BytesParser
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from portico.doors.storage.requests import Request
from portico.errors import InvalidArgument

_MOST_BYTES = 16 << 20
_MOST_REQUESTS = 1000
_BOUNDARY = "batch_portico"


async def handle(request: Request, place: str) -> None:
    """Answers a batch of requests to paths that begin with `place`, each by the whole door."""
    if request.method != "POST":
        raise InvalidArgument(f"{request.method} is not allowed on a batch.", http_status=405)
    kind = request.headers.get("content-type", "")
    body = await request.body(_MOST_BYTES)
    message = BytesParser(policy=policy.HTTP).parsebytes(
        b"Content-Type: " + kind.encode("latin-1") + b"\r\n\r\n" + body.lstrip()
    )
    parts = list(message.iter_parts()) if message.is_multipart() else []
    if not parts or len(parts) > _MOST_REQUESTS:
        raise InvalidArgument(
            f"A batch is a multipart/mixed body of 1 to {_MOST_REQUESTS} requests.", reason="badRequest"
        )
    answers = []
    for part in parts:
        status, headers, content = await _one(request, _payload(part), place)
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()]
        lines += [name + b": " + value for name, value in headers]
        content_id = str(part.get("Content-ID", "")).strip("<> ")
        head = f"--{_BOUNDARY}\r\nContent-Type: application/http\r\n"
        head += f"Content-ID: <response-{content_id}>\r\n\r\n" if content_id else "\r\n"
        answers.append(head.encode() + b"\r\n".join(lines) + b"\r\n\r\n" + content)
    whole = b"\r\n".join(answers) + f"\r\n--{_BOUNDARY}--\r\n".encode()
    await request.answer(200, whole, media=f"multipart/mixed; boundary={_BOUNDARY}".encode())


def _payload(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


async def _one(request: Request, raw: bytes, place: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    head, _, body = re.sub(rb"\r\n", b"\n", raw).lstrip(b"\n").partition(b"\n\n")
    first, *lines = head.decode("latin-1").split("\n")
    words = first.split(" ")
    url = urlsplit(words[1]) if len(words) == 3 else urlsplit("")
    if not url.path.startswith(f"/{place}"):
        raise InvalidArgument(
            f"A batch here holds requests to /{place}..., not {first!r}.", reason="badRequest"
        )
    if "alt=media" in url.query:
        raise InvalidArgument("A batch neither uploads nor downloads media.", reason="badRequest")
    headers = {n.lower(): v for n, v in request.scope["headers"] if not n.lower().startswith(b"content-")}
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip().lower() not in ("content-length", "host", "authorization", "origin"):
            headers[name.strip().lower().encode("latin-1")] = value.strip().encode("latin-1")
    scope = {
        **request.scope,
        "method": words[0],
        "path": url.path,
        "raw_path": url.path.encode("latin-1"),
        "query_string": url.query.encode("latin-1"),
        "headers": list(headers.items()),
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body.strip(), "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await request.scope["app"](scope, receive, send)
    return sent[0]["status"], sent[0]["headers"], b"".join(m.get("body", b"") for m in sent[1:])
