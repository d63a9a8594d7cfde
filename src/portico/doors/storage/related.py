"""A multipart/related body: a JSON part, then the data, of any length (RFC 2387).

Lines end as the first one does: with CR LF, or, as gcsfs writes them, with LF alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from email.message import Message
from email.parser import Parser

from portico.errors import InvalidArgument

_MOST_HEAD = 2 << 20  # bytes before the data begins


class RelatedParts:
    def __init__(self, content_type: str, pieces: AsyncIterator[bytes]) -> None:
        """Raises InvalidArgument: no multipart content type, or one without a boundary."""
        message = Message()
        message["content-type"] = content_type
        boundary = message.get_param("boundary")
        if message.get_content_maintype() != "multipart" or not isinstance(boundary, str) or not boundary:
            raise _bad("it needs Content-Type: multipart/related; boundary=...")
        self._boundary = b"--" + boundary.encode("latin-1")
        self._pieces = pieces
        self._held = b""
        self._newline = b"\r\n"

    async def first(self) -> tuple[bytes, Message]:
        """The first part's body and the second's headers; reads up to where the data begins.

        Raises:
            InvalidArgument: it does not begin with two parts.
        """
        while True:
            if (parsed := self._head()) is not None:
                return parsed
            if len(self._held) > _MOST_HEAD:
                raise _bad("its metadata part is too long")
            piece = await anext(self._pieces, b"")
            if not piece:
                raise _bad("it ends before its second part")
            self._held += piece

    async def data(self) -> AsyncIterator[bytes]:
        """The second part's body, in pieces.

        Raises:
            InvalidArgument: no closing boundary ends it.
        """
        end = self._newline + self._boundary + b"--"
        held, self._held = self._held, b""
        while True:
            found = held.find(end)
            if found >= 0:
                yield held[:found]
                async for _ in self._pieces:  # what follows the last boundary means nothing
                    pass
                return
            sure = len(held) - len(end) + 1
            if sure > 0:
                yield held[:sure]
                held = held[sure:]
            piece = await anext(self._pieces, b"")
            if not piece:
                raise _bad("its closing boundary is missing")
            held += piece

    def _head(self) -> tuple[bytes, Message] | None:
        held = self._held
        start = held.find(self._boundary)
        line_end = held.find(b"\n", start)
        if start < 0 or line_end < 0:
            return None
        newline = b"\r\n" if held[line_end - 1 : line_end] == b"\r" else b"\n"
        blank, separator = newline * 2, newline + self._boundary
        headers_end = held.find(blank, line_end + 1 - len(newline))
        if headers_end < 0:
            return None
        body = headers_end + len(blank)
        body_end = held.find(separator, body - len(newline))
        if body_end < 0:
            return None
        second = held.find(newline, body_end + len(separator))
        second_end = held.find(blank, second)
        if second < 0 or second_end < 0:
            return None
        self._newline, self._held = newline, held[second_end + len(blank) :]
        headers = Parser().parsestr(held[second:second_end].decode("latin-1").strip(), headersonly=True)
        return held[body : max(body, body_end)], headers


def _bad(problem: str) -> InvalidArgument:
    return InvalidArgument(f"Malformed multipart body: {problem}.", reason="invalid")
