"""Thresholds of distances, from blocks of the training data: how far a window lies when nothing has changed.

What is stated is the rate of false alarms: `RATE` of the windows, over all features together. How it is reached:

- A block is so many rows that follow each other. Its distance to the rest of the training data is one draw of what a
  window of so many rows would show against the training data; that of a block to the next one is one of what two
  windows in a row would show. So the dependence between rows counts (subsampling: Politis, Romano & Wolf 1999).
- Blocks have 32, 64, … rows, up to an eighth of the data. A window takes what was measured at its own number of rows,
  between two sizes by interpolation. Between unequal numbers of rows, and beyond the largest block, the
  Jensen-Shannon divergence and the square of L-infinity go as 1/n + 1/m, as chi-squared statistics do (Lin 1991).
- Under no change they are about sums of weighted chi-squares, which a root makes nearly normal (Wilson & Hilferty 1931;
  Jensen & Solomon 1972). The weights of dependent rows are unequal, so that the third root leaves too light a tail:
  the sixth is taken of the divergence, the square root of L-infinity.
- The threshold is Student's prediction bound for one more draw after as many as there are blocks that do not overlap,
  at the rate over the number of features (Bonferroni). Few blocks so make a high threshold and no false alarms.

Training rows must stand in the order of their time, or the thresholds are those of independent rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from portico.ml import arrays, values
from portico.ml.arrays import Floats, Mask
from portico.ml.watch.bins import FeatureBins
from portico.ml.watch.shares import Shares, interpolate, share_threshold, shares_of

Reference = Literal["training", "window"]
Ints = NDArray[np.int64]

RATE: Final = 0.01  # of the windows without a change raise an alarm, over all features of an objective
DISTANCES: Final = (
    0.8  # of that rate is the distances', the rest that of the shares of missing and new values
)
_MOST_ROWS = 500_000  # the newest of the training data
_MOST_BLOCKS = 1_000  # of a size
_FEWEST_BLOCKS = 8  # that do not overlap
_SMALLEST_BLOCK = 32
_STEPS = 4  # blocks overlap, each begins a quarter of its size after the one before
_ROOTS: Final = {"numeric": 1 / 6, "categorical": 1 / 2}


@dataclass(frozen=True, slots=True)
class Null:
    """What one feature shows when nothing has changed, by the size of a block.

    `sizes` are rows with a value; `blocks` as many as do not overlap; the others are means and standard deviations of
    the root of the distance over 1/n + 1/m (over its square root, for L-infinity): against the training data, and
    against the next block.
    """

    name: str
    kind: str
    sizes: tuple[float, ...]
    blocks: tuple[float, ...]
    training: tuple[tuple[float, float], ...]
    window: tuple[tuple[float, float], ...]
    shares: Shares

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Null:
        pairs = {
            key: tuple((mean, deviation) for mean, deviation in body[key]) for key in ("training", "window")
        }
        return cls(
            body["name"], body["kind"], tuple(body["sizes"]), tuple(body["blocks"]), **pairs,
            shares=Shares.from_json(body["shares"]),
        )  # fmt: skip


def calibrate(table: pa.Table, bins: list[FeatureBins]) -> dict[str, Null]:
    """By feature, from the rows that `bins` were fitted on (the newest 500,000), in the order of their time."""
    table = table.slice(max(table.num_rows - _MOST_ROWS, 0))
    return {feature.name: _null(table[feature.name], feature) for feature in bins}


def distance_threshold(
    null: Null, rows: int, rows_before: int, against: Reference, tests: int, rate: float = RATE * DISTANCES
) -> float | None:
    """The distance that a window of `rows` (with a value) exceeds by chance, in `rate` of them for any of `tests`.

    `against` the training data or another window, which has `rows_before`. At most 1, which no distance exceeds; None
    where the training data were too few to say.
    """
    from scipy.special import stdtrit

    if not null.sizes or not rows or not rows_before:
        return None
    scale = 1 / rows + 1 / rows_before
    # Of two windows, each counts as the one whose chance deviations are the mean of theirs.
    size = rows if against == "training" else 2 / scale
    measured = null.training if against == "training" else null.window
    mean, deviation = interpolate(size, null.sizes, measured)
    (blocks,) = interpolate(size, null.sizes, [(count,) for count in null.blocks])
    student = float(stdtrit(blocks - 1, 1 - rate / max(tests, 1)))
    bound = mean + student * deviation * math.sqrt(1 + 1 / blocks)
    found = bound ** (1 / _ROOTS[null.kind]) * (scale if null.kind == "numeric" else math.sqrt(scale))
    # New values are expected now and then; so many alone make no distance that counts.
    new = share_threshold(null.shares, "new", rows, tests, rate)
    return float(min(max(found, _distance_of_new(new, null.kind)), 1.0))


def _distance_of_new(share: float, kind: str) -> float:
    """The distance when `share` of the rows went to a place where none was, and the others stayed as they were."""
    if kind == "categorical":
        return share
    return _bits(share / 2) - _bits(share) / 2


def _bits(share: float) -> float:
    """The entropy of a coin."""
    return -sum(part * math.log2(part) for part in (share, 1 - share) if part > 0)


def _null(column: arrays.Column, feature: FeatureBins) -> Null:
    read = _read(column, feature)
    width = feature.size + 1  # the last one: a value in no bin, or none
    sizes, blocks, training, window = [], [], [], []
    tried = []
    for size, counts in _blocks(read.codes, width):
        tried.append(size)
        known = counts[:, :-1]
        total = np.bincount(read.codes, minlength=width)[:-1]
        known = known[(known.sum(axis=1) > 0) & (known.sum(axis=1) < total.sum())]
        if len(known) < _FEWEST_BLOCKS:
            continue
        beside = _thinned(known)
        alone = _roots(beside, total - beside, feature.kind)
        pairs = _roots(_thinned(known[:-_STEPS]), _thinned(known[_STEPS:]), feature.kind)
        sizes.append(float(known.sum(axis=1).mean()))
        blocks.append(len(read.codes) / size)
        training.append((float(alone.mean()), float(alone.std(ddof=1))))
        window.append((float(pairs.mean()), float(pairs.std(ddof=1))))
    shares = shares_of(read.missing, read.invalid, tried, read.numbers, read.categories, read.unbinned)
    return Null(
        feature.name, feature.kind, tuple(sizes), tuple(blocks), tuple(training), tuple(window), shares
    )


@dataclass(slots=True)
class _Rows:
    """One column, row by row: its bin, whether it is missing or invalid, and its number or its category's."""

    codes: Ints
    missing: Mask
    invalid: Mask
    numbers: Floats | None
    categories: Ints
    unbinned: Mask


def _read(column: arrays.Column, feature: FeatureBins) -> _Rows:
    none = feature.size
    if feature.kind == "numeric":
        numbers, invalid = arrays.numbers(column)
        missing = np.isnan(numbers)
        codes = np.full(len(numbers), none)
        if feature.edges:
            codes = np.searchsorted(np.asarray(feature.edges), numbers, side="right") - 1
            codes[numbers == feature.edges[-1]] = none - 1
            codes[missing | (codes < 0)] = none
        return _Rows(codes, missing & ~invalid, invalid, numbers, np.zeros(0, np.int64), np.zeros(0, bool))
    rows, cells = arrays.factorize(column)
    names: dict[str, int] = {}
    numbered = np.array([_category(cell, names) for cell in cells], np.int64)[rows]
    places = {name: place for place, name in enumerate(feature.categories)}
    bins = np.array([*(places.get(name, none) for name in names), none], np.int64)
    return _Rows(
        bins[numbered], numbered == _MISSING, numbered == _INVALID, None,
        np.maximum(numbered, _MISSING), bins[:-1] == none,
    )  # fmt: skip


_MISSING, _INVALID = -1, -2


def _category(cell: Any, names: dict[str, int]) -> int:
    try:
        name = values.category(cell)
    except ValueError:
        return _INVALID
    return _MISSING if name is None or values.is_missing(cell) else names.setdefault(name, len(names))


def _blocks(codes: Ints, width: int) -> Iterator[tuple[int, Ints]]:
    """Sizes of blocks, and (blocks, `width`) rows of each block by code; blocks begin every quarter of their size."""
    cell = max(min(_SMALLEST_BLOCK // _STEPS, len(codes) // (_STEPS * _FEWEST_BLOCKS)), 1)
    count = len(codes) // cell
    owner = np.arange(count * cell) // cell
    cells = np.bincount(owner * width + codes[: count * cell], minlength=count * width).reshape(count, width)
    while len(codes) >= _FEWEST_BLOCKS * _STEPS * cell:
        last = len(cells) - _STEPS + 1
        yield cell * _STEPS, sum((cells[step : step + last] for step in range(1, _STEPS)), cells[:last])
        half = len(cells) // 2
        cells, cell = cells[: 2 * half].reshape(half, 2, width).sum(axis=1), 2 * cell


def _thinned(blocks: Ints) -> Ints:
    return blocks[:: max(len(blocks) // _MOST_BLOCKS, 1)]


def _roots(one: Ints, other: Ints, kind: str) -> Floats:
    """(blocks,): the root of the distance of each pair, free of the number of rows."""
    rows, others = one.sum(axis=1, keepdims=True), other.sum(axis=1, keepdims=True)
    a, b = one / rows, other / others
    scale = (1 / rows + 1 / others)[:, 0]
    if kind == "categorical":
        found = np.abs(a - b).max(axis=1) / np.sqrt(scale)
    else:
        middle = (a + b) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = np.where(a > 0, a * np.log2(a / middle), 0) + np.where(b > 0, b * np.log2(b / middle), 0)
        found = np.maximum(parts.sum(axis=1) / 2, 0) / scale
    return np.asarray(found ** _ROOTS[kind], np.float64)
