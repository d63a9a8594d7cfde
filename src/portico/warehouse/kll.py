"""KLL_QUANTILES: sketches of how values are spread, by which quantiles are told.

The algorithm is that of Karnin, Lang and Liberty, 2016. Values lie in levels; a level that is full is sorted, and every
other value of it goes one level up, where it stands for twice as many. Which of the two halves goes is drawn from the
sketch's own count, so the same rows in the same order give the same sketch. Its bytes are Portico's own: a letter for
the type, the precision, and per level how many values and they.
https://cloud.google.com/bigquery/docs/reference/standard-sql/kll_functions
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

_DEFAULT, _MOST = 1000, 100_000  # precision
_SHRINK = 2 / 3
_FEWEST = 8  # values that a level holds at least
_KINDS = {"INT64": ("i", np.int64), "FLOAT64": ("f", np.float64)}


class Sketch:
    """Of a type's values."""

    def __init__(self, kind: str, precision: int) -> None:
        if not 1 <= precision <= _MOST:
            raise ValueError(f"KLL_QUANTILES: the precision must be between 1 and {_MOST}, not {precision}")
        self.kind, self.precision = kind, precision
        self.levels: list[np.ndarray[Any, Any]] = [np.array([], _KINDS[kind][1])]
        self.low: float | int | None = None
        self.high: float | int | None = None
        self._halvings = 0

    def _room(self, level: int) -> int:
        """Values that a level holds before it is halved: rank errors of about 1 / precision."""
        top = len(self.levels) - 1
        return max(_FEWEST, math.ceil(3 * self.precision * _SHRINK ** (top - level)))

    def add(self, values: np.ndarray[Any, Any], level: int = 0) -> None:
        if not len(values):
            return
        while len(self.levels) <= level:
            self.levels.append(np.array([], _KINDS[self.kind][1]))
        self.levels[level] = np.concatenate([self.levels[level], values])
        self._bounded(values.min(), values.max())
        self._compress()

    def _bounded(self, low: Any, high: Any) -> None:
        self.low = low.item() if self.low is None else min(self.low, low.item())
        self.high = high.item() if self.high is None else max(self.high, high.item())

    def merge(self, other: Sketch) -> None:
        """
        Raises:
            ValueError: it is of another type.
        """
        if other.kind != self.kind:
            raise ValueError("KLL_QUANTILES: sketches of different types can't be merged")
        self.precision = min(self.precision, other.precision)
        for level, values in enumerate(other.levels):
            self.add(values, level)
        for end in (other.low, other.high):
            if end is not None:
                self._bounded(np.asarray(end), np.asarray(end))

    def _compress(self) -> None:
        level = 0
        while level < len(self.levels):
            values = self.levels[level]
            if len(values) > self._room(level):
                if level + 1 == len(self.levels):
                    self.levels.append(np.array([], values.dtype))
                ordered = np.sort(values, kind="stable")
                odd = len(ordered) % 2
                kept, halved = ordered[:odd], ordered[odd:]
                self._halvings += 1
                first = (self._halvings * 0x9E3779B1 >> 16) & 1
                self.levels[level] = kept
                self.levels[level + 1] = np.concatenate([self.levels[level + 1], halved[first::2]])
            level += 1

    def _weighed(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        values = np.concatenate(self.levels)
        weights = np.concatenate([np.full(len(one), 1 << level) for level, one in enumerate(self.levels)])
        order = np.argsort(values, kind="stable")
        return values[order], np.cumsum(weights[order])

    def quantiles(self, shares: Sequence[float]) -> list[Any] | None:
        """The values below which these shares of all are; None of no value."""
        if self.low is None or self.high is None:
            return None
        values, below = self._weighed()
        places = np.searchsorted(below, np.asarray(shares) * below[-1], "left")
        found = [values[min(int(place), len(values) - 1)].item() for place in places]
        ends = {0.0: self.low, 1.0: self.high}
        return [ends.get(share, value) for share, value in zip(shares, found, strict=True)]

    def packed(self) -> bytes:
        letter, _ = _KINDS[self.kind]
        ends = np.array([one for one in (self.low, self.high) if one is not None], _KINDS[self.kind][1])
        counts = self._halvings & 0xFFFFFFFF, len(ends), len(self.levels)
        head = struct.pack("<cIIBB", letter.encode(), self.precision, *counts)
        return (
            head
            + ends.tobytes()
            + b"".join(struct.pack("<I", len(one)) + one.tobytes() for one in self.levels)
        )

    @classmethod
    def of(cls, data: bytes, kind: str) -> Sketch:
        """
        Raises:
            ValueError: it is none, or of another type.
        """
        try:
            letter, precision, halvings, ends, levels = struct.unpack_from("<cIIBB", data)
            known = {one[0]: name for name, one in _KINDS.items()}
            made = cls(known[letter.decode()], precision)
            at = struct.calcsize("<cIIBB") + 8 * ends
            both = np.frombuffer(data, _KINDS[made.kind][1], ends, at - 8 * ends)
            if ends:
                made._bounded(both.min(), both.max())
            made.levels = []
            for _ in range(levels):
                [count] = struct.unpack_from("<I", data, at)
                made.levels.append(np.frombuffer(data, _KINDS[made.kind][1], count, at + 4))
                at += 4 + 8 * count
            made._halvings = halvings
        except (struct.error, KeyError, ValueError, UnicodeDecodeError):
            raise ValueError("Invalid KLL_QUANTILES sketch") from None
        if at != len(data):
            raise ValueError("Invalid KLL_QUANTILES sketch")
        if kind and made.kind != kind:
            raise ValueError(f"KLL_QUANTILES: the sketch is of {made.kind}, not of {kind}")
        return made


def _made(kind: str, values: Sequence[Any], precision: int) -> bytes | None:
    known = [one for one in values if one is not None and one == one]
    made = Sketch(kind, precision)
    array = np.array(known, _KINDS[kind][1])
    for begin in range(0, len(array), 1 << 16):
        made.add(array[begin : begin + (1 << 16)])
    return made.packed() if known else None


def init_int64(values: Sequence[int | None], precision: int) -> bytes | None:
    """NULL of no value."""
    return _made("INT64", values, precision)


def init_float64(values: Sequence[float | None], precision: int) -> bytes | None:
    return _made("FLOAT64", values, precision)


def _merged(sketches: Iterable[bytes | None], kind: str) -> Sketch | None:
    found: Sketch | None = None
    for data in sketches:
        if data is None:
            continue
        one = Sketch.of(data, kind)
        if found is None:
            found = one
        else:
            found.merge(one)
    return found


def merge_partial(sketches: Sequence[bytes | None]) -> bytes | None:
    """One sketch of several; NULL of none."""
    found = _merged(sketches, "")
    return found.packed() if found is not None else None


def _shares(number: int) -> list[float]:
    if not 1 <= number <= _MOST:
        raise ValueError(
            f"KLL_QUANTILES: the number of quantiles must be between 1 and {_MOST}, not {number}"
        )
    return [place / number for place in range(number + 1)]


def _point(share: float) -> list[float]:
    if not 0 <= share <= 1:
        raise ValueError(f"KLL_QUANTILES: phi must be between 0 and 1, not {share}")
    return [share]


def _of_kind(kind: str) -> dict[str, tuple[Any, list[str], str]]:
    sql = {"INT64": "BIGINT", "FLOAT64": "DOUBLE"}[kind]
    last = kind.lower()

    def extract(sketch: bytes, number: int) -> list[Any] | None:
        return Sketch.of(sketch, kind).quantiles(_shares(number))

    def extract_point(sketch: bytes, share: float) -> Any:
        found = Sketch.of(sketch, kind).quantiles(_point(share))
        return found[0] if found else None

    def merge(sketches: list[bytes | None], number: int) -> list[Any] | None:
        found = _merged(sketches, kind)
        return found.quantiles(_shares(number)) if found is not None else None

    def merge_point(sketches: list[bytes | None], share: float) -> Any:
        found = _merged(sketches, kind)
        told = found.quantiles(_point(share)) if found is not None else None
        return told[0] if told else None

    return {
        f"kll_extract_{last}": (extract, ["BLOB", "BIGINT"], f"{sql}[]"),
        f"kll_extract_point_{last}": (extract_point, ["BLOB", "DOUBLE"], sql),
        f"kll_merge_{last}": (merge, ["BLOB[]", "BIGINT"], f"{sql}[]"),
        f"kll_merge_point_{last}": (merge_point, ["BLOB[]", "DOUBLE"], sql),
    }


KLL_FUNCTIONS: dict[str, tuple[Any, list[str], str]] = {
    "kll_init_int64": (init_int64, ["BIGINT[]", "BIGINT"], "BLOB"),
    "kll_init_float64": (init_float64, ["DOUBLE[]", "BIGINT"], "BLOB"),
    "kll_merge_partial": (merge_partial, ["BLOB[]"], "BLOB"),
    **_of_kind("INT64"), **_of_kind("FLOAT64"),
}  # fmt: skip
"""By name: the function, the types that DuckDB gives it, and what it gives."""
