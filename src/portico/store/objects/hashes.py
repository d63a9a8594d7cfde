"""The two checksums of an object: md5 and crc32c, in Cloud Storage's spelling (base64, crc32c big-endian)."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache

import google_crc32c

# The Castagnoli polynomial, bit-reversed (RFC 3720, 12.1).
_POLYNOMIAL = 0x82F63B78


class Hasher:
    """Takes the bytes of an object in order. `size` is how many it has taken."""

    def __init__(self) -> None:
        self.size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._crc32c = 0

    def update(self, data: bytes) -> None:
        self._md5.update(data)
        self._crc32c = google_crc32c.extend(self._crc32c, data)
        self.size += len(data)

    @property
    def md5(self) -> str:
        return base64.b64encode(self._md5.digest()).decode()

    @property
    def crc32c(self) -> str:
        return encode_crc32c(self._crc32c)


def encode_crc32c(value: int) -> str:
    return base64.b64encode(value.to_bytes(4, "big")).decode()


def combine_crc32c(first: str, second: str, second_size: int) -> str:
    """The crc32c of two pieces laid end to end, from theirs and the size in bytes of the second.

    Appending n zero bytes multiplies the remainder by x^(8n) modulo the polynomial; the inversions before
    and after cancel out.
    """
    a, b = (int.from_bytes(base64.b64decode(text), "big") for text in (first, second))
    return encode_crc32c(_multiply(_power_of_x(8 * second_size), a) ^ b)


def _multiply(a: int, b: int) -> int:
    """The product of two polynomials modulo ours; bit 31 is the coefficient of x^0."""
    product = 0
    for bit in range(31, -1, -1):
        if a >> bit & 1:
            product ^= b
        b = b >> 1 ^ (_POLYNOMIAL if b & 1 else 0)
    return product


def _power_of_x(exponent: int) -> int:
    power = 1 << 31  # x^0
    for k in range(exponent.bit_length()):
        if exponent >> k & 1:
            power = _multiply(power, _square_of_x(k))
    return power


@lru_cache(maxsize=128)
def _square_of_x(k: int) -> int:
    """x^(2^k)."""
    if k == 0:
        return 1 << 30
    half = _square_of_x(k - 1)
    return _multiply(half, half)
