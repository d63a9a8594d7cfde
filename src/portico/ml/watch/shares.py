"""How many rows may be missing a value, hold a new one or one of a wrong type, before that is no chance any more.

The share of such rows in a window is predicted from as many as there were: rows are beta-binomial with Jeffreys' prior
(Jeffreys 1946), so what was never seen in N rows is expected about n / 2N times in n. New values (categories without a
bin, numbers outside the range) are counted in training by leaving out a block: those that the rest of the data does
not have (Good 1953 for categories; exceedances of Gumbel & von Schelling 1950 for numbers). Such rows come in clusters;
both numbers of rows are divided by the design effect (Kish 1965), the variance of the blocks' shares over that of
independent rows. The threshold is the quantile of the beta distribution with the prediction's mean and variance.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from portico.ml.arrays import Floats, Mask

Share = Literal["missing", "new", "invalid"]
SHARES: Final[tuple[Share, ...]] = ("missing", "new", "invalid")

_RARE: Final = 0.05
Seen = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Shares:
    """Of one feature's `rows` of training: for each of `sizes`, rows that count and their design effect."""

    rows: int
    sizes: tuple[float, ...]
    missing: Seen
    new: Seen
    invalid: Seen

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Shares:
        seen = {name: tuple((rows, effect) for rows, effect in body[name]) for name in SHARES}
        return cls(body["rows"], tuple(body["sizes"]), **seen)


def shares_of(
    missing: Mask,
    invalid: Mask,
    sizes: Sequence[int],
    numbers: Floats | None,
    categories: NDArray[np.int64],
    unbinned: Mask,
) -> Shares:
    """Measures a feature's rows, in the order of their time, in blocks of each of `sizes`.

    `numbers` (NaN for none), or None and `categories`: a number for each, -1 for none; `unbinned` says by that number
    which have no bin.
    """
    seen: dict[Share, list[tuple[int, float]]] = {name: [] for name in SHARES}
    spans = None if numbers is not None else _spans(categories, len(unbinned))
    rare = _rare(numbers, categories, len(unbinned))
    for size in sizes:
        count = len(missing) // size
        seen["missing"].append(_clustered(_sums(missing, size), size))
        seen["invalid"].append(_clustered(_sums(invalid, size), size))
        if numbers is not None:
            alone = _outside(numbers[: count * size].reshape(count, size))
        else:
            assert spans is not None
            first, last = spans
            lonely = np.append(unbinned | (first // size == last // size), False)  # the last one: no category
            alone = _sums(lonely[categories], size)
        found, effect = _clustered(alone, size)
        # Few clusters say little of their size; the rare values that training has come in clusters, too.
        seen["new"].append((found, max(effect, _clustered(_sums(rare, size), size)[1])))
    return Shares(len(missing), tuple(map(float, sizes)), *(tuple(seen[name]) for name in SHARES))


def share_threshold(
    shares: Shares,
    what: Share,
    rows: int,
    tests: int,
    rate: float,
    before: tuple[int, int] | None = None,
) -> float:
    """The share of a window's `rows` that chance exceeds in `rate` of the windows for any of `tests`.

    Seen from the training data, or from another window `before`: its rows that count, and all of its rows.
    """
    from scipy.special import betainccinv

    counted, effect = interpolate(rows, shares.sizes, getattr(shares, what)) or (0.0, 1.0)
    counted, known = before or (counted, shares.rows)
    seen, window = max(known / effect, 1.0), max(rows / effect, 1.0)
    mean = (0.5 + counted / effect) / (1 + seen)
    # The variance of a beta-binomial share, over mean * (1 - mean).
    spread = min((1 + seen + window) / (window * (2 + seen)), 1 - 1e-9)
    weight = 1 / spread - 1
    return float(betainccinv(mean * weight, (1 - mean) * weight, rate / max(tests, 1)))


def interpolate(
    size: float, sizes: Sequence[float], measured: Sequence[tuple[float, ...]]
) -> tuple[float, ...]:
    """What was `measured` at `sizes` (growing), at `size`: straight lines over its logarithm, the ends beyond them."""
    place = bisect(sizes, size)
    if not 0 < place < len(sizes):
        return measured[min(place, len(sizes) - 1)] if sizes else ()
    low, high = sizes[place - 1 : place + 1]
    part = math.log(size / low) / math.log(high / low)
    return tuple(a + part * (b - a) for a, b in zip(measured[place - 1], measured[place], strict=True))


def _sums(mask: Mask, size: int) -> NDArray[np.int64]:
    count = len(mask) // size
    return np.asarray(mask[: count * size].reshape(count, size).sum(axis=1), np.int64)


def _clustered(counts: NDArray[np.int64], size: int) -> tuple[int, float]:
    """The rows of all blocks, and their design effect, at least 1."""
    total = int(counts.sum())
    share = total / (len(counts) * size)
    if not 0 < share < 1:
        return total, 1.0
    return total, max(float(counts.var(ddof=1)) / (size * share * (1 - share)), 1.0)


def _rare(numbers: Floats | None, categories: NDArray[np.int64], count: int) -> Mask:
    """The rows at the ends of the range, or of the rarest categories: about `_RARE` of all."""
    if numbers is not None:
        known = numbers[~np.isnan(numbers)]
        if not len(known):
            return np.zeros(len(numbers), bool)
        low, high = np.quantile(known, [_RARE / 2, 1 - _RARE / 2])
        return np.asarray((numbers < low) | (numbers > high))
    times = np.bincount(categories[categories >= 0], minlength=count)
    order = np.argsort(times, kind="stable")
    few = np.zeros(count + 1, bool)  # the last one: no category
    few[order[np.cumsum(times[order]) <= _RARE * times.sum()]] = True
    return few[categories]


def _outside(blocks: Floats) -> NDArray[np.int64]:
    """How many numbers of each block are outside of the range of all the others."""
    counts = np.zeros(len(blocks), np.int64)
    for signed in (blocks, -blocks):
        highest = np.max(signed, axis=1, initial=-np.inf, where=~np.isnan(signed))
        one = int(np.argmax(highest))
        others = np.delete(highest, one)
        counts[one] += int((signed[one] > others.max()).sum())
    return counts


def _spans(categories: NDArray[np.int64], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first and the last row of each category."""
    known = np.flatnonzero(categories >= 0)
    first, last = np.full(count, len(categories)), np.full(count, -1)
    np.minimum.at(first, categories[known], known)
    np.maximum.at(last, categories[known], known)
    return first, last
