"""A request's body as it comes in: bounded in bytes, of one request and of all together, and in time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from portico.errors import DeadlineExceeded, InvalidArgument, ResourceExhausted

_STALLED: Final = 60.0  # seconds without a byte
_DRIPPED: Final = 300.0  # seconds that a body which is held in memory may take
_MOST: Final = 128 * 2**20  # bytes of bodies in memory, of all requests

Send = Callable[[dict[str, Any]], Awaitable[None]]
_held = 0  # bytes; the loop alone counts


class Incoming:
    """An ASGI `receive` with limits, for one request. Call `close` when the request has been answered."""

    def __init__(self, receive: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        self._receive = receive
        self._size = 0  # bytes that are held
        self._ended = False
        self._begun = False  # whether anybody asked for it

    def ending(self, headers: Iterable[tuple[bytes, bytes]], send: Send) -> Send:
        """`send` that ends the connection with the answer, where its client waits to be asked for the body and nobody
        did: whether the body comes then is not known, and it must not be taken for the next request.

        Source: RFC 9110, 10.1.1
        """
        if not any(name == b"expect" for name, _ in headers):
            return send

        async def sent(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start" and not self._begun:
                message = {**message, "headers": [*message.get("headers", []), (b"connection", b"close")]}
            await send(message)

        return sent

    async def __call__(self) -> dict[str, Any]:
        """
        Raises:
            DeadlineExceeded: the body stopped coming in.
        """
        self._begun = True
        if self._ended:
            return await self._receive()
        try:
            async with asyncio.timeout(_STALLED):
                message = await self._receive()
        except TimeoutError:
            raise _late(_STALLED) from None
        self._ended = not message.get("more_body", False)
        return message

    async def whole(self, limit: int) -> bytes:
        """The whole body.

        Raises:
            InvalidArgument: it is longer than `limit` bytes. DeadlineExceeded: it does not come in.
            ResourceExhausted: too much is held for other requests.
        """
        pieces: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(_DRIPPED):
                while True:
                    message = await self()
                    if message["type"] == "http.disconnect":
                        raise InvalidArgument("The client went away before its request was complete.")
                    piece = message.get("body", b"")
                    size += len(piece)
                    if size > limit:
                        raise InvalidArgument(
                            f"Request payload size exceeds the limit: {limit} bytes.", http_status=413
                        )
                    self.hold(len(piece))
                    pieces.append(piece)
                    if not message.get("more_body"):
                        return b"".join(pieces)
        except TimeoutError:
            raise _late(_DRIPPED) from None

    def hold(self, size: int) -> None:
        """Counts `size` bytes that stay in memory until the request ends.

        Raises:
            ResourceExhausted: they are too many, with those of other requests.
        """
        global _held
        if _held + size > _MOST:
            raise ResourceExhausted(
                f"Requests of more than {_MOST} bytes are in this server's memory at once. Retry when some "
                "have ended.",
                retry_after=1,
            )
        _held += size
        self._size += size

    def close(self) -> None:
        global _held
        _held -= self._size
        self._size = 0


def _late(seconds: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"The request was not complete after {seconds:.0f} seconds.", http_status=408)
