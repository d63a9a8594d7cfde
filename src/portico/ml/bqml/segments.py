"""Segments of rows that share the values of some dimensions, found by apriori support: a segment is searched only where
all wider ones are large enough (Agrawal and Srikant 1994)."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np

from portico.ml.errors import DataError

Numbers = np.ndarray[Any, Any]
_MOST = 1_000_000  # segments
_SUMS = 50_000_000  # rows × combinations of dimensions that are grouped


@dataclass(frozen=True, slots=True)
class Sums:
    """Of a segment in one set: of the metric's numerator, of its denominator, and its distinct categories."""

    top: float
    bottom: float = 0.0
    distinct: float = 0.0


@dataclass(frozen=True, slots=True)
class Segment:
    """`places` are dimensions and the codes of their values; `support` is its share of the numerator, in the test or in
    the control set, whichever is greater."""

    places: tuple[tuple[int, int], ...]
    test: Sums
    control: Sums
    support: float


@dataclass(slots=True)
class Measured:
    """(rows,) the numerator, the denominator or the codes of the categories (−1 for NULL), and which are tested."""

    top: Numbers
    bottom: Numbers | None
    categories: Numbers | None
    tested: Numbers

    @property
    def whole(self) -> Segment:
        every = np.zeros(len(self.top), np.int64)
        return self.grouped((), every, np.zeros((1, 0), np.int64), None)[0]

    def grouped(
        self, dimensions: tuple[int, ...], groups: Numbers, codes: Numbers, whole: Segment | None
    ) -> list[Segment]:
        """
        Args:
            groups: (rows,) places of the segments.
            codes: (segments, dimensions) of their values.
        """
        count = len(codes)

        def sums(values: Numbers, chosen: Numbers) -> Numbers:
            return np.bincount(groups[chosen], weights=values[chosen], minlength=count)

        sides = []
        for chosen in (self.tested, ~self.tested):
            top = sums(self.top, chosen)
            bottom = sums(self.bottom, chosen) if self.bottom is not None else np.zeros(count)
            distinct = np.zeros(count)
            if self.categories is not None:
                known = chosen & (self.categories >= 0)
                width = int(self.categories.max()) + 1 if len(self.categories) else 1
                pairs = np.unique(groups[known] * width + self.categories[known])
                distinct = np.bincount(pairs // width, minlength=count).astype(float)
            sides.append((top, bottom, distinct))
        found = []
        for place in range(count):
            test, control = (Sums(*(float(one[place]) for one in side)) for side in sides)
            shares = [
                one.top / every.top
                for one, every in ((test, whole.test), (control, whole.control))
                if every.top
            ] if whole is not None else [1.0]  # fmt: skip
            key = tuple(zip(dimensions, (int(one) for one in codes[place]), strict=True))
            found.append(Segment(key, test, control, max(shares, default=0.0)))
        return found


def search(
    codes: list[Numbers], sizes: list[int], measured: Measured, least: float, most: int | None
) -> list[Segment]:
    """All segments with a support of `least`, or the `most` with the largest; the one of all rows is the first.

    Raises:
        DataError: there would be too many.
    """
    whole = measured.whole
    found = [whole]
    frontier: dict[tuple[int, ...], Numbers] = {(): np.ones(len(measured.top), bool)}
    spent = 0
    while frontier:
        wider: dict[tuple[int, ...], Numbers] = {}
        for before, inside in frontier.items():
            for dimension in range(before[-1] + 1 if before else 0, len(codes)):
                chosen = (*before, dimension)
                # Only where every wider combination has large segments may one of these be large.
                wanted = [(*chosen[:at], *chosen[at + 1 :]) for at in range(len(chosen))]
                if any(one not in frontier for one in wanted):
                    continue
                rows = inside.copy()
                for one in wanted:
                    rows &= frontier[one]
                spent += int(rows.sum()) * len(chosen)
                if spent > _SUMS * 10:
                    raise _too_many()
                large, there = _large(chosen, codes, sizes, measured, rows, whole, least)
                found += large
                if most is not None:
                    found, least = _largest(found, most, least)
                if len(found) > _MOST:
                    raise _too_many()
                if there.any():
                    wider[chosen] = there
        frontier = wider
    if most is not None:
        found, _ = _largest(found, most, least)
    return found


def _too_many() -> DataError:
    return DataError(
        "CONTRIBUTION_ANALYSIS would have too many segments; set a larger MIN_APRIORI_SUPPORT, or fewer dimensions"
    )


def _large(
    chosen: tuple[int, ...],
    codes: list[Numbers],
    sizes: list[int],
    measured: Measured,
    rows: Numbers,
    whole: Segment,
    least: float,
) -> tuple[list[Segment], Numbers]:
    """The segments of these dimensions that are large enough, and (rows,) which rows are in one of them."""
    at = np.flatnonzero(rows)
    if not len(at):
        return [], np.zeros(len(rows), bool)
    group = np.zeros(len(at), np.int64)
    for one in chosen:
        group = group * sizes[one] + codes[one][at]
        if len(chosen) > 1:  # small again, so that the product can't overflow
            _, group = np.unique(group, return_inverse=True)
    _, first, groups = np.unique(group, return_index=True, return_inverse=True)
    values = np.stack([codes[one][at][first] for one in chosen], axis=1)
    part = Measured(
        measured.top[at],
        measured.bottom[at] if measured.bottom is not None else None,
        measured.categories[at] if measured.categories is not None else None,
        measured.tested[at],
    )
    segments = part.grouped(chosen, groups, values, whole)
    large = np.array([one.support >= least for one in segments])
    there = np.zeros(len(rows), bool)
    there[at] = large[groups]
    return [one for one, kept in zip(segments, large, strict=True) if kept], there


def _largest(found: list[Segment], most: int, least: float) -> tuple[list[Segment], float]:
    """The `most` of them with the largest support, and the support that a further one needs."""
    if len(found) <= most:
        return found, least
    kept = heapq.nsmallest(most, range(len(found)), key=lambda at: (-found[at].support, at))
    return [found[at] for at in sorted(kept)], found[kept[-1]].support


def aumann_shapley(one: Segment, whole: Segment) -> float | None:
    """The segment's part of the change of the population's ratio, when all sums move from the control's to the test's
    in a straight line (Aumann and Shapley 1974): ∫ (N′ D − N D′) / D² dt with the segment's N′ and D′ and the whole's
    N and D. None where the denominator becomes zero."""
    base, end = whole.control, whole.test
    if base.bottom <= 0 or end.bottom <= 0:
        return None
    top, bottom = one.test.top - one.control.top, one.test.bottom - one.control.bottom
    grown = end.bottom - base.bottom
    rise = end.top - base.top
    if abs(grown) < 1e-12 * base.bottom:
        return top / base.bottom - bottom * (base.top + rise / 2) / base.bottom**2
    # ∫ dt / D and ∫ N dt / D², with D = base.bottom + grown t and N = base.top + rise t.
    logs = float(np.log(end.bottom / base.bottom)) / grown
    squares = 1 / (base.bottom * end.bottom)
    mixed = base.top * squares + rise * (logs - base.bottom * squares) / grown
    return top * logs - bottom * mixed
