"""HLL_COUNT: sketches of how many distinct values there are, in the form that BigQuery's have.

The algorithm is HyperLogLog++ (Heule, Nunkesser, Hall 2013), the form ZetaSketch's `hllplus-unique.proto`, the hash
Geoff Pike's Fingerprint2011. A small sketch is the same bytes as BigQuery's and gives the same count. Of a large one,
the count is Ertl's improved estimate (2017), which needs none of the tables by which BigQuery corrects its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

_MASK = (1 << 64) - 1
_K0, _K1, _K2, _K3 = 0xA5B85C5E198ED849, 0x8D58AC26AFE12E47, 0xC47B6E9E3A970ED3, 0xC6A4A7935BD1E995
_UINT64, _TEXT = 8, 11  # DefaultOpsType
_SPARSE_MORE, _RHO_BITS = 5, 6  # bits of the sparse index beyond the normal one's, and of a rho


# --- the hash ------------------------------------------------------------------------------------------------


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def _mix(x: int) -> int:
    return x ^ x >> 47


def _turn(x: int, bits: int) -> int:
    x &= _MASK
    return (x >> bits | x << 64 - bits) & _MASK


def _pair(high: int, low: int) -> int:
    a = _mix((low ^ high) * _K3 & _MASK)
    return _mix((high ^ a) * _K3 & _MASK) * _K3 & _MASK


def fingerprint(data: bytes) -> int:
    """64 bits, unsigned."""
    size = len(data)
    found = _short(data) if size <= 32 else _middle(data) if size <= 64 else _long(data)
    low = _word(data, 0) if size >= 8 else _K0
    high = _word(data, size - 8) if size >= 9 else _K0
    found = _pair(found + high & _MASK, low)
    return found - 2 & _MASK if found in (0, 1) else found


def _short(data: bytes) -> int:
    found = _K0 ^ _K1 ^ _K2 ^ (len(data) * _K3 & _MASK)
    whole = len(data) & ~7
    for at in range(0, whole, 8):
        found = (found ^ (_mix(_word(data, at) * _K3 & _MASK) * _K3 & _MASK)) * _K3 & _MASK
    if whole < len(data):
        found = (found ^ int.from_bytes(data[whole:], "little")) * _K3 & _MASK
    return _mix(_mix(found) * _K3 & _MASK)


def _halves(data: bytes, at: int, a: int, z: int) -> tuple[int, int]:
    b, c = _turn(a + z, 52), _turn(a, 37)
    a += _word(data, at)
    c += _turn(a, 7)
    a += _word(data, at + 8)
    return a + z, b + _turn(a, 31) + c


def _middle(data: bytes) -> int:
    size = len(data)
    first = _word(data, 0) + (size + _word(data, size - 16)) * _K0
    vf, vs = _halves(data, 8, first, _word(data, 24))
    wf, ws = _halves(data, size - 24, _word(data, 16) + _word(data, size - 32), _word(data, size - 8))
    mixed = _mix((vf + ws) * _K2 + (wf + vs) * _K0 & _MASK)
    return _mix(mixed * _K0 + vs & _MASK) * _K2 & _MASK


def _weak(data: bytes, at: int, a: int, b: int) -> tuple[int, int]:
    last = _word(data, at + 24)
    a += _word(data, at)
    b = _turn(b + a + last, 51)
    c = a
    a += _word(data, at + 8) + _word(data, at + 16)
    return a + last & _MASK, b + _turn(a, 23) + c & _MASK


def _long(data: bytes) -> int:
    size = len(data)
    x, y, z = _word(data, 0), _word(data, size - 16) ^ _K1, _word(data, size - 56) ^ _K0
    v, w = _weak(data, size - 64, size, y), _weak(data, size - 32, size * _K1 & _MASK, _K0)
    z = z + _mix(v[1]) * _K1 & _MASK
    x, y = _turn(z + x, 39) * _K1 & _MASK, _turn(y, 33) * _K1 & _MASK
    for at in range(0, size - 1 & ~63, 64):
        x = _turn(x + y + v[0] + _word(data, at + 16), 37) * _K1 & _MASK
        y = _turn(y + v[1] + _word(data, at + 48), 42) * _K1 & _MASK
        x, y, z = x ^ w[1], y ^ v[0], _turn(z ^ w[0], 33)
        v = _weak(data, at, v[1] * _K1 & _MASK, x + w[0] & _MASK)
        w = _weak(data, at + 32, z + w[1] & _MASK, y)
        z, x = x, z
    left = _pair(v[0], w[0]) + _mix(y) * _K1 + z
    return _pair(left & _MASK, _pair(v[1], w[1]) + x & _MASK)


# --- sketches ------------------------------------------------------------------------------------------------


def _rho(value: int, bits: int) -> int:
    """Where the first one stands among so many low bits, from 1; one more than the bits where there is none."""
    return bits + 1 - (value & (1 << bits) - 1).bit_length()


@dataclass(slots=True)
class Sketch:
    """`sparse` holds the largest rho by index of `precision` + 5 bits; once that is too much, `registers` do by index
    of `precision` bits."""

    precision: int
    kind: int
    added: int = 0
    sparse: dict[int, int] = field(default_factory=dict)
    registers: bytearray | None = None

    @property
    def wide(self) -> int:
        return min(self.precision + _SPARSE_MORE, 25)

    def add(self, hashed: int) -> None:
        self.added += 1
        self._put(hashed >> 64 - self.wide, _rho(hashed, 64 - self.wide))

    def _put(self, index: int, rho: int) -> None:
        if self.registers is None:
            self.sparse[index] = max(rho, self.sparse.get(index, 0))
            return
        extra = self.wide - self.precision
        low = index & (1 << extra) - 1
        place = index >> extra
        self.registers[place] = max(self.registers[place], _rho(low, extra) if low else rho + extra)

    def merge(self, other: Sketch) -> None:
        """
        Raises:
            ValueError: it counts values of another type.
        """
        if self.kind != other.kind:
            raise ValueError("Invalid or incompatible HLL++ sketches: they are of different types")
        if other.precision < self.precision:
            self._lower(other.precision)
        elif self.precision < other.precision:
            other._lower(self.precision)
        self.added += other.added
        if other.registers is None:
            for index, rho in other.sparse.items():
                self._put(index, rho)
        else:
            self._fill()
            assert self.registers is not None
            self.registers = bytearray(map(max, self.registers, other.registers))

    def _fill(self) -> None:
        if self.registers is None:
            self.registers = bytearray(1 << self.precision)
            for index, rho in self.sparse.items():
                self._put(index, rho)
            self.sparse = {}

    def _lower(self, precision: int) -> None:
        """Makes it one of a smaller precision."""
        less, wide = self.precision - precision, self.wide
        registers, sparse = self.registers, self.sparse
        self.precision = precision
        if registers is None:
            self.sparse = {}
            bits = wide - self.wide
            for index, rho in sparse.items():
                low = index & (1 << bits) - 1
                self._put(index >> bits, _rho(low, bits) if low else rho + bits)
            return
        self.registers = bytearray(1 << precision)
        for place, rho in enumerate(registers):
            if rho:
                low = place & (1 << less) - 1
                new = _rho(low, less) if low else rho + less
                self.registers[place >> less] = max(self.registers[place >> less], new)

    def count(self) -> int:
        if self.registers is None:
            buckets = 1 << self.wide
            return math.floor(buckets * math.log(buckets / (buckets - len(self.sparse))) + 0.5)
        size, most = len(self.registers), 64 - self.precision
        counts = [0] * (most + 2)
        for rho in self.registers:
            counts[rho] += 1
        z = size * _tau(1 - counts[most + 1] / size)
        for k in range(most, 0, -1):
            z = 0.5 * (z + counts[k])
        z += size * _sigma(counts[0] / size)
        return math.floor(size / (2 * math.log(2)) * size / z + 0.5)

    # --- its form ---

    def _encoded(self) -> bytes:
        """Sorted differences of the sparse entries; those whose rho the index can't tell hold it."""
        extra = self.wide - self.precision
        flag = 1 << max(self.wide, self.precision + _RHO_BITS)
        entries = sorted(
            index if index & (1 << extra) - 1 else flag | index >> extra << _RHO_BITS | rho
            for index, rho in self.sparse.items()
        )
        return b"".join(_varint(b - a) for a, b in zip([0, *entries], entries, strict=False))

    def dump(self) -> bytes:
        data = self._encoded() if self.registers is None else b""
        if self.registers is None and len(data) >= (1 << self.precision) * 3 // 4:
            self._fill()
        inner = b""
        if self.registers is None and self.sparse:
            inner += _tagged(2, len(self.sparse))
        inner += _tagged(3, self.precision) + _tagged(4, self.wide)
        held = (6, data) if self.registers is None else (5, bytes(self.registers))
        inner += _varint(held[0] << 3 | 2) + _varint(len(held[1])) + held[1]
        head = _tagged(1, 112) + _tagged(2, self.added) + _tagged(3, 2) + _tagged(4, self.kind)
        return head + _varint(112 << 3 | 2) + _varint(len(inner)) + inner

    @staticmethod
    def load(data: bytes) -> Sketch:
        """
        Raises:
            ValueError: it is no sketch.
        """
        try:
            outer = dict(_fields(data))
            inner = dict(_fields(_held(outer[112])))
            found = Sketch(_number(inner[3]), _number(outer[4]), _number(outer[2]))
            if 5 in inner:
                found.registers = bytearray(_held(inner[5]))
            else:
                found._decode(_held(inner.get(6, b"")))
        except (KeyError, IndexError, TypeError):
            raise ValueError("Invalid or incompatible sketch in HLL_COUNT") from None
        return found

    def _decode(self, data: bytes) -> None:
        extra = self.wide - self.precision
        flag = 1 << max(self.wide, self.precision + _RHO_BITS)
        at = entry = 0
        while at < len(data):
            step, at = _read_varint(data, at)
            entry += step
            if entry & flag:
                self.sparse[(entry ^ flag) >> _RHO_BITS << extra] = entry & (1 << _RHO_BITS) - 1
            else:
                self.sparse[entry] = 1


def _sigma(x: float) -> float:
    if x == 1:
        return math.inf
    y, z, before = 1.0, x, math.nan
    while z != before:
        x, before = x * x, z
        z, y = z + x * y, y + y
    return z


def _tau(x: float) -> float:
    if x in (0, 1):
        return 0.0
    y, z, before = 1.0, 1 - x, math.nan
    while z != before:
        x, before, y = math.sqrt(x), z, y * 0.5
        z -= (1 - x) ** 2 * y
    return z / 3


def _varint(value: int) -> bytes:
    shown = bytearray()
    while value > 127:
        shown.append(value & 127 | 128)
        value >>= 7
    return bytes([*shown, value])


def _tagged(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        if data[at] < 128:
            return value, at + 1
        at, shift = at + 1, shift + 7


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        value, at = _read_varint(data, at)
        if tag & 7 == 2:
            yield tag >> 3, data[at : at + value]
            at += value
        else:
            yield tag >> 3, value


def _held(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise TypeError
    return value


def _number(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise TypeError
    return value


# --- GoogleSQL's functions -----------------------------------------------------------------------------------


def _init(kind: int, hashes: Iterable[int], precision: int) -> bytes | None:
    if not 10 <= precision <= 24:
        raise ValueError("HLL_COUNT.INIT's precision must be between 10 and 24")
    made = Sketch(precision, kind)
    for one in hashes:
        made.add(one)
    return made.dump() if made.added else None


def init_integers(values: list[int | None], precision: int) -> bytes | None:
    given = (one & _MASK for one in values if one is not None)
    return _init(_UINT64, (fingerprint(one.to_bytes(8, "little")) for one in given), precision)


def init_bytes(values: list[bytes | None], precision: int) -> bytes | None:
    return _init(_TEXT, (fingerprint(one) for one in values if one is not None), precision)


def _merged(sketches: list[bytes | None]) -> Sketch | None:
    made: Sketch | None = None
    for one in sketches:
        if one is not None and made is None:
            made = Sketch.load(one)
        elif one is not None and made is not None:
            made.merge(Sketch.load(one))
    return made


def merge(sketches: list[bytes | None]) -> int:
    made = _merged(sketches)
    return made.count() if made else 0


def merge_partial(sketches: list[bytes | None]) -> bytes | None:
    made = _merged(sketches)
    return made.dump() if made else None


def extract(sketch: bytes | None) -> int:
    return merge([sketch])


HLL_FUNCTIONS: dict[str, tuple[Callable[..., Any], list[str], str]] = {
    "hll_integers": (init_integers, ["BIGINT[]", "BIGINT"], "BLOB"),
    "hll_bytes": (init_bytes, ["BLOB[]", "BIGINT"], "BLOB"),
    "hll_merge": (merge, ["BLOB[]"], "BIGINT"),
    "hll_merge_partial": (merge_partial, ["BLOB[]"], "BLOB"),
    "hll_extract": (extract, ["BLOB"], "BIGINT"),
}
"""By name: what does it, and DuckDB's types of what goes in and comes out."""
