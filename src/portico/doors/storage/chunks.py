"""Bodies in chunks that say their own length and, where it is asked for, are signed one after another; behind the last
may come a checksum of the whole (aws-chunked).

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html, .../sigv4-streaming-trailers.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final

from portico.errors import InvalidArgument

# What x-amz-content-sha256 says of such bodies: whether each chunk is signed.
KINDS: Final = {
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD": True,
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER": True,
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER": False,
}
_NOTHING: Final = hashlib.sha256(b"").hexdigest()
_LINE: Final = 16 << 10  # bytes of a chunk's head, and of all that is behind the last
_HEAD: Final = re.compile(rb"([0-9a-fA-F]{1,12})(?:;chunk-signature=([0-9a-f]{64}))?")


@dataclass(slots=True)
class Chain:
    """What signs one chunk after another: the signing key, the request's date and scope, and the signature before."""

    key: bytes
    date: str
    scope: str
    before: str

    def check(self, kind: str, digest: str, signature: str) -> None:
        """
        Raises:
            InvalidArgument: this is not the next signature.
        """
        hashes = (_NOTHING, digest) if kind == "PAYLOAD" else (digest,)
        text = "\n".join((f"AWS4-HMAC-SHA256-{kind}", self.date, self.scope, self.before, *hashes))
        self.before = hmac.digest(self.key, text.encode(), "sha256").hex()
        if not hmac.compare_digest(self.before, signature):
            raise InvalidArgument(
                "The signature of a chunk of the body does not match.",
                reason="SignatureDoesNotMatch",
                http_status=403,
            )


class Chunks:
    """Takes such a body as it comes in, and gives out what is in it. `trailers`: what came behind the last chunk, once
    it has ended."""

    def __init__(self, chain: Chain | None, length: int | None) -> None:
        self._chain = chain
        self._length = length  # bytes that are in it, where that was told
        self._size = 0
        self._held = bytearray()  # a head, or the trailers, that have not come whole
        self._left = -1  # bytes of this chunk to come; -1: a head comes; -2: the trailers do
        self._signature = ""
        self._digest = hashlib.sha256()
        self._ending = False  # whether the line's end behind a chunk comes
        self.trailers: dict[str, str] = {}

    def feed(self, data: bytes) -> bytes:
        """The bytes of the object in `data`.

        Raises:
            InvalidArgument: it is no such body, or signed by somebody else.
        """
        out: list[bytes] = []
        view = memoryview(data)
        while view:
            if self._left > 0:
                piece = bytes(view[: self._left])
                view = view[len(piece) :]
                self._left -= len(piece)
                self._size += len(piece)
                if self._chain is not None:
                    self._digest.update(piece)
                out.append(piece)
                if not self._left:
                    self._check()
                    self._ending, self._left = True, -1
                continue
            self._held += view[:1] if self._left == -1 else view
            view = view[1:] if self._left == -1 else view[len(view) :]
            if len(self._held) > _LINE:
                raise _malformed("a chunk's head, or what is behind the last, is too long")
            if self._left == -1 and self._held.endswith(b"\r\n"):
                self._begin(bytes(self._held[:-2]))
                self._held.clear()
        return b"".join(out)

    def end(self) -> None:
        """
        Raises:
            InvalidArgument: it is not whole, or not as long as was told.
        """
        if self._left != -2 or not self._held.endswith(b"\r\n"):
            raise InvalidArgument("The body ends before its last chunk.", reason="IncompleteBody")
        if self._length is not None and self._size != self._length:
            raise InvalidArgument(
                f"The body has {self._size} bytes; x-amz-decoded-content-length says {self._length}.",
                reason="IncompleteBody",
            )
        lines = [line for line in bytes(self._held).decode("latin-1").split("\r\n") if line]
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise _malformed(f"{line[:80]!r} is no trailer")
            self.trailers[name.strip().lower()] = value.strip()
        signature = self.trailers.pop("x-amz-trailer-signature", "")
        if self._chain is not None and self.trailers:
            told = "".join(f"{name}:{self.trailers[name]}\n" for name in sorted(self.trailers))
            self._chain.check("TRAILER", hashlib.sha256(told.encode("latin-1")).hexdigest(), signature)

    def _begin(self, head: bytes) -> None:
        if self._ending:
            if head:
                raise _malformed("a chunk is longer than its head says")
            self._ending = False
            return
        match = _HEAD.fullmatch(head)
        if match is None or (self._chain is not None and match[2] is None):
            raise _malformed(f"{head[:80]!r} is no head of a chunk")
        self._left, self._signature = int(match[1], 16), (match[2] or b"").decode()
        if not self._left:
            self._check()
            self._left = -2

    def _check(self) -> None:
        if self._chain is not None:
            self._chain.check("PAYLOAD", self._digest.hexdigest(), self._signature)
            self._digest = hashlib.sha256()


def _malformed(why: str) -> InvalidArgument:
    return InvalidArgument(f"The body is not in chunks: {why}.", reason="InvalidChunk")
