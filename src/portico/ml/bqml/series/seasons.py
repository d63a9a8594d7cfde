"""Seasonal components: which of the calendar's cycles a series has, STL for each, and their continuation.

Each cycle is decomposed on its regular slots (`calendar.cycle`), so that a year has 365 days and a month 28 whatever
the calendar says. Cycles longer than a week of a series finer than daily are found in its daily means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from portico.ml.arrays import Floats, Mask
from portico.ml.bqml.series import calendar
from portico.ml.bqml.series.calendar import CYCLES, DAY, Grid, Times
from portico.ml.errors import DataError

_WORTH = 0.01  # share of the variance that a cycle must explain of cycles that it was not taken from
_LONG = 28  # slots from which on a cycle's shape is smoothed over neighbouring slots
_ROUNDS = 2  # of going through all cycles, each with the others removed
_LEVEL, _SLOPE, _DAMPING = 0.5, 0.1, 0.8  # of the exponential smoothing that continues a cycle
_AUTO = {
    "PER_MINUTE": ("DAILY", "WEEKLY"),
    "HOURLY": ("DAILY", "WEEKLY", "YEARLY"),
    "DAILY": ("WEEKLY", "YEARLY"),
    "WEEKLY": ("YEARLY",),
    "MONTHLY": ("YEARLY",),
    "QUARTERLY": ("YEARLY",),
    "YEARLY": (),
}


@dataclass(frozen=True)
class Season:
    """One cycle's component: the history's values, and the state from which it goes on, a number a slot."""

    name: str
    history: Floats
    level: Floats
    slope: Floats

    def to_state(self) -> tuple[dict[str, Any], dict[str, Floats]]:
        return {"name": self.name}, {"history": self.history, "level": self.level, "slope": self.slope}


def asked(seasons: Sequence[str], frequency: str) -> tuple[str, ...]:
    """The cycles to look for, shortest first."""
    if seasons == ("AUTO",):
        return _AUTO[frequency]
    return tuple(name for name in CYCLES if name in seasons)


def detect(series: Floats, grid: Grid, seasons: Sequence[str]) -> tuple[str, ...]:
    """Those of the cycles that the series has. Given ones are taken if two whole cycles are there; AUTO is tested.

    The test: does the mean shape of the other cycles predict a cycle better than its own mean does?
    """
    left = series
    found = []
    for name in asked(seasons, grid.frequency):
        view = _View.of(name, grid, len(series))
        if view is None:
            continue
        values = view.squeezed(left)
        if len(values) < 2 * view.length:
            continue
        if seasons != ("AUTO",) or _gain(values, view.slots, view.length) > _WORTH:
            found.append(name)
            left = left - view.spread(_decomposed(values, view))
    return tuple(found)


def decompose(series: Floats, grid: Grid, names: Sequence[str]) -> list[Season]:
    """The components of all cycles at once: each by STL of what the others leave (as in MSTL; Bandara et al. 2021)."""
    parts = {name: np.zeros(len(series)) for name in names}
    shapes: dict[str, Floats] = {}
    views = {name: _view(name, grid, len(series)) for name in names}
    for _ in range(_ROUNDS if len(names) > 1 else 1):
        for name in names:
            others = sum((part for other, part in parts.items() if other != name), np.zeros(len(series)))
            shapes[name] = _decomposed(views[name].squeezed(series - others), views[name])
            parts[name] = views[name].spread(shapes[name])
    return [_season(name, parts[name], shapes[name], views[name]) for name in names]


def ahead(season: Season, grid: Grid, count: int, steps: int) -> Floats:
    """The component of the `steps` time points after the history's `count`."""
    view = _view(season.name, grid, count + steps)
    past = _view(season.name, grid, count)
    done = len(past.slots)
    future = np.arange(len(view.slots) - done)
    rounds = future // view.length + 1
    factor = _DAMPING * (1 - _DAMPING**rounds) / (1 - _DAMPING)
    slots = view.slots[done:]
    coming = season.level[slots] + factor * season.slope[slots]
    shape = np.r_[past.squeezed(season.history), coming]
    return view.spread(shape)[count:]


@dataclass(frozen=True)
class _View:
    """A cycle's regular points: their slots, and which rows (or days, for `day` ≥ 0 a row) of the series they are."""

    length: int
    slots: Times
    regular: Mask
    day: Times | None  # the number of each row's day, for cycles that are found in daily means
    hour: Floats | None  # the middle of each row's day is 0.5

    @staticmethod
    def of(name: str, grid: Grid, count: int) -> _View | None:
        times = grid.at(np.arange(count))
        found = calendar.cycle(name, grid, times)
        if found is not None:
            slots, regular, length = found
            return None if length < 2 else _View(length, slots[regular], regular, None, None)
        if grid.frequency not in ("PER_MINUTE", "HOURLY") or name in ("DAILY", "WEEKLY"):
            return None
        days = calendar.dates(times)
        first = int(days[0])
        whole = Grid("DAILY", first * DAY)
        found = calendar.cycle(name, whole, whole.at(np.arange(int(days[-1]) - first + 1)))
        if found is None:
            return None
        slots, regular, length = found
        return _View(length, slots[regular], regular, days - first, (times % DAY) / DAY)

    def squeezed(self, series: Floats) -> Floats:
        """The series at the regular points."""
        if self.day is not None:
            series = np.bincount(self.day, series) / np.bincount(self.day)
        return np.asarray(series[self.regular])

    def spread(self, values: Floats) -> Floats:
        """Values at the regular points as a value for every row."""
        full: Floats = values[np.maximum(np.cumsum(self.regular) - 1, 0)]
        if self.day is None or self.hour is None:
            return full
        return np.asarray(np.interp(self.day + self.hour, np.arange(len(full)) + 0.5, full))


def _view(name: str, grid: Grid, count: int) -> _View:
    view = _View.of(name, grid, count)
    if view is None:
        raise DataError(f"A {grid.frequency} series has no {name} cycle.")
    return view


def _decomposed(values: Floats, view: _View) -> Floats:
    """The seasonal component of a series with one cycle."""
    from statsmodels.tsa.stl._stl import STL

    length = view.length
    cycles = len(values) / length
    window = 10 * int(cycles) + 11 if cycles < 5 else 15 if length > _LONG else 35
    trend = _odd(1.5 * length / (1 - 1.5 / window))
    stl = STL(
        values,
        length,
        seasonal=_odd(window),
        trend=trend,
        seasonal_deg=0 if cycles < 5 else 1,
        seasonal_jump=1,
        trend_jump=max(trend // 10, 1),
        low_pass_jump=max(length // 10, 1),
    )
    found = np.asarray(stl.fit(inner_iter=2, outer_iter=0).seasonal)
    if length > _LONG:
        found = _smooth(found, _odd(length / 24))
    return found


def _season(name: str, history: Floats, shape: Floats, view: _View) -> Season:
    """Damped double exponential smoothing of each slot's values from cycle to cycle."""
    length = view.length
    level, slope = np.zeros(length), np.zeros(length)
    seen = np.zeros(length, bool)
    for start in range(0, len(shape), length):
        values = shape[start : start + length]
        slots = view.slots[start : start + length]
        first = ~seen[slots]
        before = level[slots]
        guess = before + _DAMPING * slope[slots]
        fresh = np.where(first, values, guess + _LEVEL * (values - guess))
        slope[slots] = np.where(
            first, 0.0, _DAMPING * slope[slots] + _SLOPE * (fresh - before - _DAMPING * slope[slots])
        )
        level[slots] = fresh
        seen[slots] = True
    return Season(name, history, level - level.mean(), slope - slope.mean())


def _gain(values: Floats, slots: Times, length: int) -> float:
    """1 less the error of predicting each cycle by the others' mean shape, as a share of the variance."""
    left = values - _smooth(values, length)
    if length > _LONG:
        left = _smooth(left, _odd(length / 24))
    spread = float(left @ left)
    if spread <= 1e-18 * max(float(values @ values), 1e-300):
        return 0.0
    sums = np.bincount(slots, left, length)
    hits = np.bincount(slots, minlength=length)
    others = hits[slots] - 1
    known = others > 0
    expected = (sums[slots] - left)[known] / others[known]
    rest = left[known] - expected
    return 1.0 - float(rest @ rest) / float(left[known] @ left[known])


def _smooth(values: Floats, window: int) -> Floats:
    """The centred moving mean over `window` points (over what there is of them at the ends)."""
    window = min(window, len(values))
    before = window // 2
    sums = np.r_[0.0, np.cumsum(values)]
    where = np.arange(len(values))
    low, high = np.maximum(where - before, 0), np.minimum(where - before + window, len(values))
    return np.asarray((sums[high] - sums[low]) / (high - low))


def _odd(number: float) -> int:
    return max(int(number) | 1, 3)
