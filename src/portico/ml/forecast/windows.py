"""Windows: an origin up to which a series is known, and a later step of it that is forecast from there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from portico.ml.arrays import Floats, Mask
from portico.ml.forecast.panel import Ints, Panel
from portico.ml.forecast.spec import ForecastSpec


@dataclass(slots=True)
class Windows:
    """Pairs of slots, (n,) each: what is forecast, and the last slot that is known."""

    target: Ints
    origin: Ints

    def __len__(self) -> int:
        return len(self.target)

    @property
    def step(self) -> Ints:
        return self.target - self.origin

    def take(self, chosen: Ints | Mask) -> Windows:
        return Windows(self.target[chosen], self.origin[chosen])

    def joined(self, other: Windows) -> Windows:
        return Windows(
            np.concatenate([self.target, other.target]), np.concatenate([self.origin, other.origin])
        )


def windows_of(panel: Panel, targets: Ints, spec: ForecastSpec) -> Windows:
    """All windows that forecast `targets` (slots), from origins 1 to `horizon` steps before with a known row at least.

    Without a context nothing depends on the origin, and there is one window for each.
    """
    if not spec.context:
        return Windows(targets, targets - 1)
    origins = targets[:, None] - np.arange(1, spec.horizon + 1)
    inside = origins >= panel.start[targets][:, None]
    return Windows(np.broadcast_to(targets[:, None], origins.shape)[inside], origins[inside])


def thinned(windows: Windows, most: int, seed: int, whole: bool) -> Windows:
    """At most `most` of them: with `whole` that many origins, each with all of its steps; else that many pairs."""
    generator = np.random.default_rng(seed)
    if not whole:
        if len(windows) <= most:
            return windows
        return windows.take(np.sort(generator.choice(len(windows), most, replace=False)))
    origins = np.unique(windows.origin)
    if len(origins) <= most:
        return windows
    return windows.take(np.isin(windows.origin, generator.choice(origins, most, replace=False)))


class History:
    """What is known of a number by slot: `at` slots, and means over the steps up to a slot."""

    def __init__(self, panel: Panel, numbers: Floats) -> None:
        """`numbers` (slots,), NaN where there is none."""
        self.start, self.numbers = panel.start, numbers
        known = np.isfinite(numbers)
        series = panel.series
        size = int(series.max(initial=-1)) + 1
        counts = np.maximum(np.bincount(series, known, size), 1)
        filled = np.where(known, numbers, 0.0)
        # Sums are of what differs from the series' mean, so that they lose nothing beside larger series.
        self._middle = np.bincount(series, filled, size) / counts
        self._series = series
        centred = np.where(known, filled - self._middle[series], 0.0)
        self._sums = {power: np.append(0.0, np.cumsum(centred**power)) for power in (1, 2)}
        self._sums[0] = np.append(0.0, np.cumsum(known))

    def at(self, slots: Ints, first: Ints) -> Floats:
        """The number at `slots`, NaN before `first` (or where none is)."""
        inside = (slots >= first) & (slots < len(self.numbers))
        return np.where(inside, self.numbers[np.clip(slots, 0, len(self.numbers) - 1)], np.nan)

    def mean(self, last: Ints, first: Ints) -> Floats:
        """The mean of the known ones from `first` to `last`, NaN where there are none."""
        count, total = self._sum(0, last, first), self._sum(1, last, first)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(count > 0, total / count + self._middle[self._series[self._safe(first)]], np.nan)

    def spread(self, last: Ints, first: Ints) -> Floats:
        """Their standard deviation, NaN for fewer than two."""
        count, total = self._sum(0, last, first), self._sum(1, last, first)
        with np.errstate(invalid="ignore", divide="ignore"):
            variance = self._sum(2, last, first) / count - (total / count) ** 2
        return np.where(count > 1, np.sqrt(np.maximum(variance, 0.0)), np.nan)

    def _sum(self, power: int, last: Ints, first: Ints) -> Floats:
        sums = self._sums[power]
        return np.where(last >= first, sums[np.maximum(last + 1, 0)] - sums[self._safe(first)], 0.0)

    def _safe(self, first: Ints) -> Ints:
        return np.clip(first, 0, len(self.numbers) - 1)


def naive(panel: Panel, windows: Windows, spec: ForecastSpec, history: History) -> tuple[Floats, str]:
    """The seasonal naive forecast: what the series was a whole number of cycles before, the nearest such step that was
    known at the origin (Hyndman and Athanasopoulos, Forecasting, ch. 5.2), and what it is called.

    Where that is not known it is the last value that is; without a context the origin is the whole horizon before.
    """
    origin = windows.origin if spec.context else windows.target - spec.horizon
    start = panel.start[windows.target]
    found = np.full(len(windows), np.nan)
    for season in spec.seasons:
        found = np.where(
            np.isfinite(found), found, history.at(before_of(windows.target, origin, season), start)
        )
    latest = _latest(history, origin, start)
    name = f"seasonal naive ({spec.seasons[0]} steps)" if spec.seasons else "naive (the last value)"
    return np.where(np.isfinite(found), found, latest), name


def before_of(target: Ints, origin: Ints, season: int) -> Ints:
    """The slot a whole number of seasons before the target, the last up to the origin."""
    return target - season * -((origin - target) // season)


def _latest(history: History, origin: Ints, start: Ints) -> Floats:
    """The last known number up to the origin, NaN where there is none."""
    known = np.isfinite(history.numbers)
    last = np.maximum.accumulate(np.where(known, np.arange(len(known)), -1))
    inside = origin >= start
    at = np.where(inside, last[np.clip(origin, 0, len(last) - 1)], -1)
    return np.where(at >= start, history.numbers[np.maximum(at, 0)], np.nan)
