"""An answer that leaves in pieces, as a model makes them, down a front's connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from portico.errors import DeadlineExceeded

if TYPE_CHECKING:
    from portico.prediction.front.connection import Connection

_UNREAD: Final = 60.0  # seconds that a client may take to read what was sent


class Sender:
    """Sends in chunks (RFC 9112 section 7.1); `headers` are complete lines for its head. What it waits for is the
    client that does not read."""

    def __init__(self, connection: Connection, headers: bytes) -> None:
        self._connection = connection
        self._headers = headers
        self.unfinished = (
            False  # its head has left, so that no error can be told any more, and its end has not
        )

    async def begin(self, head: bytes) -> None:
        """Sends the answer's head; `head` are its lines."""
        self.unfinished = True
        await self._write(b"%b%btransfer-encoding: chunked\r\n\r\n" % (head, self._headers))

    async def send(self, piece: bytes) -> None:
        """Sends `piece`, of one byte at least.

        Raises:
            DeadlineExceeded: the client does not read.
        """
        await self._write(_chunk(piece))

    def end(self, piece: bytes) -> bytes:
        """What is still to be sent, with a last `piece`, which may be empty."""
        self.unfinished = False
        return (_chunk(piece) if piece else b"") + b"0\r\n\r\n"

    async def _write(self, data: bytes) -> None:
        connection = self._connection
        connection.transport.write(data)
        if not connection.choked:
            return
        connection.drained = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait_for(connection.drained, _UNREAD)
        except TimeoutError:
            raise DeadlineExceeded(f"The client read nothing for {_UNREAD:.0f} seconds.") from None
        finally:
            connection.drained = None
        connection.transport.resume_reading()


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)
