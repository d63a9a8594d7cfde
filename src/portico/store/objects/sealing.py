"""Objects under a key that their writer supplies: how their files hold them. The key itself is never kept.

A file is one sealed piece after another, so that pieces of one key are composed without being opened. A piece is a head
(its salt, how many bytes it holds, their checksums) and blocks of AES-256-GCM, each under a random nonce and bound to
its place. What encrypts is derived from the key and the piece's salt (HKDF-SHA256, RFC 5869), so nonces never repeat
under one key. A range is read by opening the blocks in which it lies. Checksums, too, are seen only with the key.

Source: NIST SP 800-38D; https://cloud.google.com/storage/docs/encryption/customer-supplied-keys
"""

from __future__ import annotations

import base64
import bisect
import os
from collections.abc import Iterator
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from portico.errors import DataLoss
from portico.store.objects.hashes import combine_crc32c

BLOCK: Final = 1 << 16  # bytes of the object in a block
_SALT, _NONCE, _TAG, _NUMBER = 32, 12, 16, 8  # bytes
_SEALED_BLOCK: Final = _NONCE + BLOCK + _TAG
_SUMS: Final = 4 + 16  # bytes: crc32c and md5
_HEAD: Final = _SALT + _NUMBER + _NONCE + _SUMS + _TAG
_AT_ONCE: Final = 16  # blocks that are written at once


def received(file_size: int) -> int:
    """How many bytes of an object are in whole blocks of a piece that still grows, of whose file so many are there."""
    return max(0, file_size - _HEAD) // _SEALED_BLOCK * BLOCK


def wrap(key: bytes, data: bytes) -> str:
    """`data` sealed under the key, in base64: see `unwrap`."""
    salt = os.urandom(_SALT)
    return base64.b64encode(salt + _seal(_cipher(key, salt), data, b"data")).decode()


def unwrap(key: bytes, text: str) -> bytes:
    held = base64.b64decode(text)
    return _open(_cipher(key, held[:_SALT]), held[_SALT:], b"data")


class Sealer:
    """Writes one piece at the end of a file; goes on with one that has whole blocks. Not for two threads at once.

    What does not fill a block waits in memory for more, or for `finish`.
    """

    def __init__(self, fd: int, key: bytes) -> None:
        self._fd = fd
        self._held = bytearray()
        there = os.fstat(fd).st_size
        if there < _HEAD:
            salt = os.urandom(_SALT)
            os.ftruncate(fd, 0)
            os.pwrite(fd, salt.ljust(_HEAD, b"\0"), 0)
        else:
            salt = os.pread(fd, _SALT, 0)
        self._cipher = _cipher(key, salt)
        self.cut(received(there))

    @property
    def size(self) -> int:
        """Bytes that were taken, of which those of the last block may wait."""
        return self._blocks * BLOCK + len(self._held)

    def cut(self, size: int) -> None:
        """Forgets what is behind the block that ends at `size`, or before it."""
        self._blocks = size // BLOCK
        self._held.clear()
        os.ftruncate(self._fd, _place(self._blocks))

    def settle(self) -> None:
        """Forgets what waits."""
        self._held.clear()

    def write(self, data: bytes) -> None:
        self._held += data
        whole = len(self._held) // BLOCK * BLOCK
        for start in range(0, whole, BLOCK * _AT_ONCE):
            self._put(bytes(self._held[start : min(whole, start + BLOCK * _AT_ONCE)]))
        del self._held[:whole]

    def read(self, count: int, offset: int) -> bytes:
        """The `count` bytes from `offset`, or as many as there are."""
        whole, end = self._blocks * BLOCK, offset + count
        found = b"".join(_blocks(self._fd, 0, self._cipher, whole, offset, end))
        return found + bytes(self._held[max(0, offset - whole) : max(0, end - whole)])

    def finish(self, crc32c: str, md5: str) -> None:
        """Writes what waits, and the head. `crc32c` and `md5`: of the whole piece, in base64."""
        size = self.size
        if self._held:
            self._put(bytes(self._held))
            self._held.clear()
        number = size.to_bytes(_NUMBER, "big")
        sums = base64.b64decode(crc32c) + base64.b64decode(md5)
        os.pwrite(self._fd, number + _seal(self._cipher, sums, b"head" + number), _SALT)

    def _put(self, data: bytes) -> None:
        sealed = b"".join(
            _seal(self._cipher, data[start : start + BLOCK], _name(self._blocks + start // BLOCK))
            for start in range(0, len(data), BLOCK)
        )
        view, at = memoryview(sealed), _place(self._blocks)
        while view:
            written = os.pwrite(self._fd, view, at)
            view, at = view[written:], at + written
        self._blocks += len(data) // BLOCK


class Sealed:
    """A finished file, open for reading by `fd`. `size` is the object's, in bytes; `crc32c` and `md5` are its checksums
    in base64; one of several pieces has no md5. It may be read from several threads.

    Raises:
        DataLoss: it is damaged, or was written under another key.
    """

    def __init__(self, fd: int, key: bytes) -> None:
        self._fd = fd
        self._pieces: list[tuple[int, AESGCM, int]] = []  # where it lies in the file, what opens it, its size
        self._starts: list[int] = []  # in the object
        self.size, self.crc32c = 0, "AAAAAA=="
        self.md5: str | None = None
        at, end = 0, os.fstat(fd).st_size
        while at < end or not self._pieces:
            head = os.pread(fd, _HEAD, at)
            cipher, number = _cipher(key, head[:_SALT]), head[_SALT : _SALT + _NUMBER]
            sums = _open(cipher, head[_SALT + _NUMBER :], b"head" + number)
            size = int.from_bytes(number, "big")
            crc32c, md5 = (base64.b64encode(one).decode() for one in (sums[:4], sums[4:]))
            self.md5 = None if self._pieces else md5
            self._starts.append(self.size)
            self._pieces.append((at, cipher, size))
            self.crc32c = combine_crc32c(self.crc32c, crc32c, size)
            self.size += size
            at += _place(size // BLOCK) + (_NONCE + size % BLOCK + _TAG if size % BLOCK else 0)

    def read(self, count: int, offset: int) -> bytes:
        """The `count` bytes from `offset`, or as many as there are.

        Raises:
            DataLoss: they are damaged.
        """
        found: list[bytes] = []
        end = min(self.size, offset + count)
        number = bisect.bisect_right(self._starts, offset) - 1
        while offset < end:
            start, (at, cipher, size) = self._starts[number], self._pieces[number]
            upto = min(end, start + size)
            found.extend(_blocks(self._fd, at, cipher, size, offset - start, upto - start))
            offset, number = upto, number + 1
        return b"".join(found)


def _blocks(fd: int, at: int, cipher: AESGCM, size: int, start: int, end: int) -> Iterator[bytes]:
    """The bytes from `start` to before `end` of the piece of `size` bytes that lies at `at`."""
    end = min(end, size)
    first, last = start // BLOCK, -(-end // BLOCK)
    if start >= end:
        return
    held = os.pread(fd, (last - first) * _SEALED_BLOCK, at + _place(first))
    for number in range(first, last):
        here = (number - first) * _SEALED_BLOCK
        length = _NONCE + min(BLOCK, size - number * BLOCK) + _TAG
        block = _open(cipher, held[here : here + length], _name(number))
        yield block[max(0, start - number * BLOCK) : end - number * BLOCK]


def _place(blocks: int) -> int:
    """Where in a piece the block lies that comes after so many."""
    return _HEAD + blocks * _SEALED_BLOCK


def _name(block: int) -> bytes:
    return block.to_bytes(_NUMBER, "big")


def _cipher(key: bytes, salt: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, salt, b"portico object").derive(key))


def _seal(cipher: AESGCM, data: bytes, name: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + cipher.encrypt(nonce, data, name)


def _open(cipher: AESGCM, sealed: bytes, name: bytes) -> bytes:
    try:
        return cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], name)
    except (InvalidTag, ValueError):
        raise DataLoss(
            "The object's file is damaged: its bytes are not those that were encrypted. Put it back from a backup."
        ) from None
