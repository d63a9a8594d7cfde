"""Checksums that a request tells of its body, by the names that Amazon's clients have for them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable
from typing import Any, Final

import google_crc32c

from portico.errors import InvalidArgument, Unimplemented


class _Crc32:
    def __init__(self) -> None:
        self._sum = 0

    def update(self, data: bytes) -> None:
        self._sum = zlib.crc32(data, self._sum)

    def digest(self) -> bytes:
        return self._sum.to_bytes(4)


# By the ending of the header's name.
_KINDS: Final[dict[str, tuple[Callable[[], Any], int]]] = {
    "crc32": (_Crc32, 4),
    "crc32c": (google_crc32c.Checksum, 4),
    "sha1": (lambda: hashlib.sha1(usedforsecurity=False), 20),
    "sha256": (hashlib.sha256, 32),
}


class Sum:
    """A checksum as the body comes in, and what it must be: bytes, or None as long as that is not told."""

    def __init__(self, kind: str) -> None:
        """
        Raises:
            Unimplemented: checksums are not taken by `kind`.
        """
        if kind not in _KINDS:
            raise Unimplemented(
                f"Checksums by {kind} are not built in Portico: use one of {', '.join(_KINDS)}, or send none; with "
                "boto3 by Config(request_checksum_calculation='when_required')."
            )
        make, self._size = _KINDS[kind]
        self.kind, self._taken = kind, make()
        self._wanted: bytes | None = None
        self.update = self._taken.update

    def must_be(self, told: str) -> None:
        """
        Raises:
            InvalidArgument: it is no such checksum in base64.
        """
        try:
            self._wanted = base64.b64decode(told, validate=True)
        except (binascii.Error, ValueError):
            self._wanted = b""
        if len(self._wanted) != self._size:
            raise InvalidArgument(
                f"x-amz-checksum-{self.kind} must be {self._size} bytes in base64.", reason="InvalidDigest"
            )

    def check(self) -> None:
        """
        Raises:
            InvalidArgument: the body is another.
        """
        if self._wanted is None:
            raise InvalidArgument(
                f"x-amz-trailer announces x-amz-checksum-{self.kind}, and the body does not end with it.",
                reason="IncompleteBody",
            )
        if self._taken.digest() != self._wanted:
            raise InvalidArgument(
                f"The body's {self.kind.upper()} is not that of the request.", reason="BadDigest"
            )
