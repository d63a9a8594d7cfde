"""What uploads and downloads share: the request's parts, its body in big pieces, threads for the disk."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote_to_bytes

from portico.doors.http.incoming import Incoming
from portico.doors.storage.chunks import Chunks
from portico.doors.storage.sums import Sum
from portico.errors import InvalidArgument
from portico.services.call import Call, Rooms

PIECE = 1 << 20  # bytes handed to the disk at once
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
T = TypeVar("T")

_threads = ThreadPoolExecutor(16, thread_name_prefix="storage")


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a request of the storage wire asks for: a method of the JSON API, what does and answers it, and, where the
    method has one, what reads its body."""

    method: str
    params: dict[str, Any]
    work: Callable[[], Awaitable[None]]
    body: Callable[[], Awaitable[dict[str, Any]]] | None = None


class ClientGone(Exception):
    """The connection ended in the middle of the request."""


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(_threads, function, *args)


@dataclass(slots=True)
class Request:
    scope: dict[str, Any]
    receive: Incoming
    send: Send
    rooms: Rooms
    call: Call | None = None  # once it is known which method is meant, and allowed
    method: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    amazons: bool = False  # whether it is signed, and answered, in Amazon's words
    sums: list[Sum] = field(default_factory=list)  # that the body must have
    chunks: Chunks | None = None  # what its body is taken from, where that comes in chunks of its own
    _hash: str = ""  # of the body, in hexadecimal, where its signature says it

    def __post_init__(self) -> None:
        self.method = self.scope["method"]
        self.headers = {n.decode("latin-1"): v.decode("latin-1") for n, v in self.scope["headers"]}
        query = self.scope["query_string"].decode("ascii", "replace")
        self.params = dict(parse_qsl(query, keep_blank_values=True))

    @property
    def allowed(self) -> Call:
        """The call, of a request that has come as far as what does it."""
        assert self.call is not None
        return self.call

    def must_hash_to(self, sha256: str) -> None:
        """
        Raises:
            InvalidArgument: it is no SHA-256 in hexadecimal.
        """
        if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
            raise InvalidArgument(
                f"X-Goog-Content-SHA256 is UNSIGNED-PAYLOAD or the body's SHA-256 in hexadecimal, not {sha256[:80]!r}.",
                reason="InvalidDigest",
            )
        self._hash = sha256.lower()

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body, in pieces of at least PIECE bytes but for the last.

        Raises:
            ClientGone: after what had come has been given out. InvalidArgument: in place of the last one, where it is
                not the body that was signed.
        """
        held: list[bytes] = []
        size = 0
        hasher = hashlib.sha256() if self._hash else None
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                if held:
                    yield b"".join(held)
                raise ClientGone
            body = message.get("body", b"")
            if hasher is not None:
                hasher.update(body)
            if self.chunks is not None:
                body = self.chunks.feed(body)
            if body:
                held.append(body)
                size += len(body)
                for one in self.sums:
                    one.update(body)
            more = message.get("more_body", False)
            if not more:
                self._check_whole(hasher.hexdigest() if hasher is not None else None)
            if held and (size >= PIECE or not more):
                yield b"".join(held)
                held, size = [], 0
            if not more:
                return

    def _check_whole(self, digest: str | None) -> None:
        if digest is not None and digest != self._hash:
            raise InvalidArgument(
                f"The body's SHA-256 is {digest}; X-Goog-Content-SHA256 says {self._hash}.",
                reason="XGoogContentSHA256Mismatch",
            )
        if self.chunks is not None:
            self.chunks.end()
        for one in self.sums:
            if self.chunks is not None and (told := self.chunks.trailers.get(f"x-amz-checksum-{one.kind}")):
                one.must_be(told)
            one.check()

    async def body(self, limit: int) -> bytes:
        """All of the body.

        Raises:
            InvalidArgument: it is longer than `limit` bytes.
        """
        whole = bytearray()
        async for piece in self.pieces():
            self.receive.hold(len(piece))
            whole += piece
            if len(whole) > limit:
                raise InvalidArgument(f"The request body is longer than {limit} bytes.", http_status=413)
        return bytes(whole)

    async def answer(
        self, status: int, body: bytes = b"", headers: Headers | None = None, media: bytes = b""
    ) -> None:
        lines = [*(headers or []), (b"content-length", str(len(body)).encode())]
        if media or body:
            lines.append((b"content-type", media or b"application/json; charset=UTF-8"))
        await self.send({"type": "http.response.start", "status": status, "headers": lines})
        await self.send({"type": "http.response.body", "body": body})


async def pour(pieces: AsyncIterator[bytes], write: Callable[[bytes], None]) -> bytes:
    """Gives each piece but the last to `write`, in a thread, while the next one arrives.

    Returns the last one, so that whoever goes on to another thread can write it there. If `pieces` raises,
    everything that came has been written.
    """
    writing: asyncio.Future[None] | None = None
    loop = asyncio.get_running_loop()
    last = b""
    try:
        async for piece in pieces:
            if last:
                if writing is not None:
                    await writing
                writing = loop.run_in_executor(_threads, write, last)
            last = piece
    except ClientGone:
        if writing is not None:
            await writing
        if last:
            writing = loop.run_in_executor(_threads, write, last)
        raise
    finally:
        # Whoever closes the file does so only after the last write, whatever went wrong here.
        if writing is not None:
            await asyncio.wait([writing])
            writing.result()
    return last


def decode_name(quoted: bytes) -> str:
    """Raises InvalidArgument: not UTF-8."""
    try:
        return unquote_to_bytes(quoted).decode()
    except UnicodeDecodeError:
        raise InvalidArgument("The name in the path is not valid UTF-8.", reason="invalid") from None
