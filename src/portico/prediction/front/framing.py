"""Where an HTTP/1.1 message ends: its head, checked by httptools, and its body by length or in chunks."""

from __future__ import annotations

import re
import zlib
from typing import Final

import httptools

from portico.errors import InvalidArgument

MAX_HEAD: Final = 64 * 1024

_PREDICTION: Final = re.compile(
    rb"POST /v1(?:beta1)?/projects/[^/ ?]+/locations/[^/ ?]+/endpoints/[^/ ?:]+(?::|%3[Aa])"
    rb"(?:predict|rawPredict|streamRawPredict|directRawPredict|directPredict|explain)[? ]"
)
_ABSOLUTE: Final = re.compile(rb"[A-Z]+ https?://", re.IGNORECASE)
_REQUEST_LINE: Final = re.compile(
    rb"([A-Z]+ )https?://([^/?# \r\n]*)([^ \r\n]*)( [^\r\n]*\r\n)", re.IGNORECASE
)
_HOST: Final = re.compile(rb"\r\nhost[ \t]*:[^\r\n]*", re.IGNORECASE)
_CHUNK_SIZE: Final = re.compile(rb"([0-9a-fA-F]{1,8})(?:[ \t]*;[^\r\n]*)?\r\n")


def is_prediction(data: bytes) -> bool | None:
    """Whether the request that `data` begins is one that fronts answer; None while that can't be said yet."""
    if _PREDICTION.match(data):
        return True
    return False if b"\n" in data or len(data) > MAX_HEAD else None


def is_absolute(data: bytes) -> bool:
    """Whether the request line that `data` begins names a whole URL, as clients of a proxy send it."""
    return _ABSOLUTE.match(data) is not None


def path_form(head: bytes) -> bytes:
    """A whole head whose request line names a URL, as a client sends it to the server itself: the URL's host takes
    the place of the Host header (RFC 9112 section 3.2.2).

    Raises:
        InvalidArgument: the request line can't be read.
    """
    line = _REQUEST_LINE.match(head)
    if line is None:
        raise InvalidArgument("The request's head can't be read.")
    method, authority, path, version = line.groups()
    if not path.startswith(b"/"):
        path = b"/" + path
    rest = _HOST.sub(b"", head[line.end() - 2 :])
    return b"%b%b%bhost: %b%b" % (method, path, version, authority, rest)


def unpacked(body: bytes, limit: int) -> bytes:
    """What a body holds that was packed with gzip on the way, one member after another.

    Raises:
        InvalidArgument: it is no gzip, is cut, or holds more than `limit` bytes (413).
    """
    out = b""
    while True:
        decoder = zlib.decompressobj(wbits=31)
        try:
            out += decoder.decompress(body, limit + 1 - len(out))
        except zlib.error as error:
            raise InvalidArgument(f"The body is not gzip, as its Content-Encoding says: {error}.") from None
        if len(out) > limit:
            raise InvalidArgument(f"Request payload size exceeds the limit: {limit} bytes.", http_status=413)
        if not decoder.eof:
            raise InvalidArgument("The body is cut: its gzip stream does not end.")
        body = decoder.unused_data
        if not body:
            return out


def check_protocol(data: bytes) -> None:
    """
    Raises:
        InvalidArgument: `data`, which begins a connection's request, is no HTTP, such as a TLS handshake.
    """
    if data[:1] == b"\x16":  # a TLS record: https:// on this port
        raise InvalidArgument("This port speaks plain HTTP, no TLS: use http:// in place of https://.")
    if not (data[:1].isalpha() or data[:1] == b"\r"):
        raise InvalidArgument("This is no HTTP request.")


class Head:
    """A request's head. `headers` has lower-case names; repeated ones are joined by commas.

    Raises:
        InvalidArgument: httptools refuses it.
    """

    __slots__ = ("chunked", "expects_continue", "headers", "http_1_0", "keep_alive", "length", "path")

    def __init__(self, data: bytes) -> None:
        self.headers: dict[str, str] = {}
        self._parse(data)
        self.chunked = "transfer-encoding" in self.headers
        self.length = int(self.headers.get("content-length", 0))
        self.expects_continue = self.headers.get("expect", "").lower() == "100-continue"

    def _parse(self, data: bytes) -> None:
        reader = _Reader(self.headers)
        reader.parser = parser = httptools.HttpRequestParser(reader)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # an offer of HTTP/2 or the like, which a server may overlook
        except httptools.HttpParserError as error:
            raise InvalidArgument(f"The request's head can't be read: {error}") from None
        if not reader.complete:
            raise InvalidArgument("The request's head can't be read.")
        self.path = reader.url.partition(b"?")[0]
        self.http_1_0 = parser.get_http_version() == "1.0"
        self.keep_alive = reader.keep_alive
        if self.headers.get("transfer-encoding", "chunked").lower() != "chunked":
            raise InvalidArgument("The transfer encoding must be chunked or absent.")


class _Reader:
    parser: httptools.HttpRequestParser
    keep_alive = False

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers
        self.url = b""
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self.headers[key] = f"{self.headers[key]},{text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        self.complete = True
        self.keep_alive = self.parser.should_keep_alive()  # a message that has ended is forgotten


class Body:
    """Follows one body to its end. With `keep`, its bytes are collected (up to `limit`, then `too_large`)."""

    __slots__ = ("_chunked", "_left", "_rest", "_trailer", "keep", "limit", "parts", "size", "too_large")

    def __init__(self, length: int, chunked: bool, *, keep: bool, limit: int = 0) -> None:
        self._chunked = chunked
        self._left = 0 if chunked else length  # bytes of the body, or of the current chunk and its CRLF
        self._rest = b""  # the beginning of a chunk's size line or of a trailer line
        self._trailer = False
        self.keep = keep
        self.limit = limit
        self.parts: list[bytes] = []
        self.size = 0
        self.too_large = keep and not chunked and length > limit

    def feed(self, data: bytes, start: int = 0) -> int:
        """The position in `data` (from `start`) where the body ends, or -1 when it goes on.

        Raises:
            InvalidArgument: chunks that are not as RFC 9112 section 7.1 has them.
        """
        if not self._chunked:
            end = min(len(data), start + self._left)
            self._take(data, start, end)
            self._left -= end - start
            return end if self._left == 0 else -1
        if self._rest:
            before = len(self._rest)
            joined, self._rest = self._rest + data[start:], b""
            end = self._chunks(joined, 0)
            return -1 if end < 0 else start + end - before
        return self._chunks(data, start)

    def _chunks(self, data: bytes, at: int) -> int:
        while at < len(data):
            if self._left:
                end = min(len(data), at + self._left)
                self._take(data, at, min(end, at + self._left - 2))
                self._left -= end - at
                at = end
                continue
            line_end = data.find(b"\r\n", at)
            if line_end < 0:
                if len(data) - at > MAX_HEAD:
                    raise InvalidArgument("A chunk of the request's body has no size.")
                self._rest = data[at:]
                return -1
            if self._trailer:
                if line_end == at:
                    return at + 2
            elif (match := _CHUNK_SIZE.fullmatch(data, at, line_end + 2)) is None:
                raise InvalidArgument("A chunk of the request's body has no size.")
            elif size := int(match[1], 16):
                self._left = size + 2
            else:
                self._trailer = True
            at = line_end + 2
        return -1

    def _take(self, data: bytes, start: int, end: int) -> None:
        if not self.keep or end <= start:
            return
        self.size += end - start
        if self.too_large or self.size > self.limit:
            self.too_large = True
            self.parts.clear()
        else:
            self.parts.append(data[start:end])

    def content(self) -> bytes:
        return self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
