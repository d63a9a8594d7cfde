"""A metric slice by slice, with intervals, and which slices are worse than the rest.

A slice is the rows of one value of something: a category, a band of a number, a group of people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from portico.ml import values
from portico.ml.arrays import Floats, Mask
from portico.ml.errors import DataError
from portico.ml.measure.performance import HALF, Measured, higher_is_better, metrics_of, resampled

_ERROR = 0.05


@dataclass(frozen=True, slots=True)
class MeasuredSlice:
    """One value of the slice `name`. A value with too few rows has no `measured`, only its `rows`.

    `rest` is the metric over all other rows, `p` the probability of so much worse than them by chance, and `worse`
    whether that is small enough for all slices together; both are for judged slices alone.
    """

    name: str
    value: str
    rows: int
    measured: Measured | None = None
    rest: float | None = None
    p: float | None = None
    worse: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "slice": self.name,
            "value": self.value,
            "rows": self.rows,
            "measured": None if self.measured is None else self.measured.to_json(),
            "rest": self.rest,
            "p": self.p,
            "worse": self.worse,
        }


def measure_slices(
    metric: str,
    truth: Floats,
    output: Floats,
    times: Floats,
    slices: Mapping[str, Sequence[Any]],
    minimum: int = 50,
    seed: int = 0,
    threshold: float = HALF,
) -> list[MeasuredSlice]:
    """The metric (see `performance.measure`) of every value of every slice; `slices` has N values for each name.

    Judged slices come first, the worst first, then those with fewer than `minimum` rows, which are counted and not
    judged. Worse than the rest is tested one-sided, slice against all other rows, by the spread of both on block
    bootstrap resamples, with an error of 5% over all judged slices (Holm, Scandinavian Journal of Statistics 6, 1979).

    Raises:
        DataError: as `performance.measure`, or a slice that does not have N values.
    """
    if metric not in (*metrics_of("classification"), *metrics_of("regression")):
        raise DataError(f"There is no metric {metric!r}", field="metric")
    judged, small = [], []
    for name, cells in slices.items():
        if len(cells) != len(truth):
            raise DataError(f"slice {name!r} has {len(cells)} values for {len(truth)} rows", field=name)
        every = np.array([_word(cell) for cell in cells], object).astype(str)
        for value in np.unique(every).tolist() if len(every) else []:
            inside = every == value
            rows = int(inside.sum())
            if rows < max(minimum, 1):
                small.append(MeasuredSlice(name, value, rows))
            else:
                judged.append(_judged(metric, truth, output, times, inside, (name, value), seed, [threshold]))
    made = [_with_flag(one, flag) for one, flag in zip(judged, _holm([o.p for o in judged]), strict=True)]
    sign = -1.0 if higher_is_better(metric) else 1.0
    made.sort(key=lambda one: -sign * one.measured.value if one.measured else 0.0)
    return made + sorted(small, key=lambda one: (-one.rows, one.name, one.value))


def _judged(
    metric: str,
    truth: Floats,
    output: Floats,
    times: Floats,
    inside: Mask,
    names: tuple[str, str],
    seed: int,
    at: Sequence[float],
) -> MeasuredSlice:
    from scipy.special import stdtr

    rows = int(inside.sum())
    draws, [(value, drawn)] = resampled(metric, truth[inside], [output[inside]], times[inside], seed, at)
    measured = Measured(metric, value, draws.interval(value, drawn), rows)
    if rows == len(truth):
        return MeasuredSlice(*names, rows, measured)
    others, [(rest, drawn_rest)] = resampled(
        metric, truth[~inside], [output[~inside]], times[~inside], seed + 1, at
    )
    worse_by = (rest - value) if higher_is_better(metric) else (value - rest)
    freedom = min(draws.blocks, others.blocks) - 1
    spread = float(np.hypot(_spread(drawn), _spread(drawn_rest)))
    p = None
    if freedom >= 1 and np.isfinite(worse_by) and np.isfinite(spread):
        p = float(stdtr(freedom, -worse_by / spread)) if spread > 0 else float(worse_by <= 0)
    return MeasuredSlice(*names, rows, measured, rest if np.isfinite(rest) else None, p)


def _spread(drawn: Floats) -> float:
    known = drawn[np.isfinite(drawn)]
    return float(known.std()) if len(known) > 1 else float("nan")


def _holm(found: Sequence[float | None]) -> list[bool]:
    """Which p-values are small enough, the smallest against 5% / n, the next against 5% / (n - 1) and so on."""
    known = sorted((p, place) for place, p in enumerate(found) if p is not None)
    flags = [False] * len(found)
    for step, (p, place) in enumerate(known):
        if p > _ERROR / (len(known) - step):
            break
        flags[place] = True
    return flags


def _with_flag(one: MeasuredSlice, worse: bool) -> MeasuredSlice:
    return MeasuredSlice(one.name, one.value, one.rows, one.measured, one.rest, one.p, worse)


def _word(cell: Any) -> str:
    try:
        found = None if values.is_missing(cell) else values.category(cell)
    except ValueError:
        found = str(cell)
    return "(missing)" if found is None else found
