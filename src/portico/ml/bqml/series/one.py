"""One series through Google's ARIMA_PLUS pipeline, and forward from it.

Frequency and even grid, gaps; seasons and holidays for a first time, spikes, dips and steps in what they leave; seasons
and holidays of the cleaned series; ARIMA of the rest, which is called the trend. A value is the sum of these parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from portico.ml.arrays import Floats, Mask
from portico.ml.bqml.series import arma, auto_arima, calendar, cleaning, holiday_effects, seasons
from portico.ml.bqml.series.arma import Arima
from portico.ml.bqml.series.calendar import Grid, Times
from portico.ml.bqml.series.holiday_effects import Effects
from portico.ml.bqml.series.holidays import Holiday
from portico.ml.bqml.series.limits import Limits
from portico.ml.bqml.series.options import Options
from portico.ml.bqml.series.seasons import Season
from portico.ml.errors import DataError

_ROUNDS = 2  # of cleaning: what is odd shows better when the seasons have been taken from a cleaned series
_ARRAYS = ("data", "spikes", "steps", "trend", "attributions")


@dataclass(frozen=True)
class Series:
    """A fitted series. All arrays have a value a time point of the history; within limits, those of the logarithms.

    `data` has gaps filled; `known` tells which points had data. `steps` is 0 after the last step. `trend` is what
    the ARIMA expected of each point. `attributions` (points, regressors) are those of ARIMA_PLUS_XREG.
    """

    grid: Grid
    known: Mask
    data: Floats
    spikes: Floats
    steps: Floats
    seasons: tuple[Season, ...]
    effects: Effects
    attributions: Floats
    trend: Floats
    arima: Arima
    tried: tuple[Arima, ...]

    @property
    def count(self) -> int:
        return len(self.data)

    @property
    def times(self) -> Times:
        return self.grid.at(np.arange(self.count))

    def holidays_at(self, holidays: Sequence[Holiday], positions: Times) -> dict[str, Floats]:
        """Each modelled holiday's effect at the positions of the grid."""
        return holiday_effects.on(self.effects, self.grid, holidays, positions)

    def ahead(self, holidays: Sequence[Holiday], steps: int) -> Ahead:
        """The next `steps` time points, without what regressors add."""
        coming = np.arange(self.count, self.count + steps)
        rest = self.data - self.spikes - self.steps - self.attributions.sum(1)
        rest = rest - sum((season.history for season in self.seasons), np.zeros(self.count))
        for effect in self.holidays_at(holidays, np.arange(self.count)).values():
            rest = rest - effect
        trend, errors = arma.ahead(rest, self.arima, steps)
        parts = {season.name: seasons.ahead(season, self.grid, self.count, steps) for season in self.seasons}
        return Ahead(self.grid.at(coming), trend, errors, parts, self.holidays_at(holidays, coming))

    def to_state(self) -> tuple[dict[str, Any], dict[str, Floats]]:
        """As JSON and arrays."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        arrays["known"] = self.known.astype(np.float64)
        for season in self.seasons:
            for part in ("history", "level", "slope"):
                arrays[f"{season.name}.{part}"] = getattr(season, part)
        return {
            "grid": msgspec.to_builtins(self.grid),
            "seasons": [season.name for season in self.seasons],
            "effects": {
                name: [[offset, effect] for offset, effect in by_offset.items()]
                for name, by_offset in self.effects.items()
            },
            "tried": msgspec.to_builtins(self.tried),
            "chosen": self.tried.index(self.arima),
        }, arrays

    @classmethod
    def from_state(cls, state: dict[str, Any], arrays: dict[str, Floats]) -> Series:
        tried = msgspec.convert(state["tried"], tuple[Arima, ...])
        return cls(
            grid=msgspec.convert(state["grid"], Grid),
            known=arrays["known"] > 0,
            seasons=tuple(
                Season(name, *(arrays[f"{name}.{part}"] for part in ("history", "level", "slope")))
                for name in state["seasons"]
            ),
            effects={name: dict(rows) for name, rows in state["effects"].items()},
            arima=tried[state["chosen"]],
            tried=tried,
            **{name: arrays[name] for name in _ARRAYS},
        )


@dataclass(frozen=True)
class Ahead:
    """A forecast's parts, an array each with a value a time point."""

    times: Times
    trend: Floats
    errors: Floats
    seasons: dict[str, Floats]
    holidays: dict[str, Floats]

    @property
    def value(self) -> Floats:
        return self.trend + sum((*self.seasons.values(), *self.holidays.values()), np.zeros(len(self.trend)))


def fit(
    grid: Grid,
    values: Floats,
    options: Options,
    holidays: Sequence[Holiday],
    attributions: Floats | None = None,
) -> Series:
    """A series on its grid (missing is NaN) fitted. `attributions` are taken off first.

    Raises:
        DataError: values at or beyond the limits leave too few, or no ARIMA can be fitted.
    """
    values = Limits(options.lower, options.upper).inward(values)
    known = np.isfinite(values)
    if known.sum() < 3:
        raise DataError("Invalid time series: fewer than 3 of its values lie within the forecast limits.")
    data = calendar.filled(values)
    count = len(data)
    if attributions is None:
        attributions = np.zeros((count, 0))
    rest = data - attributions.sum(1)
    modelled = list(holidays) if holiday_effects.applies(grid, count) else []
    parts, effects = _regular(rest, grid, options, modelled)
    cleaned, steps = rest, np.zeros(count)
    for _ in range(_ROUNDS):
        spikes, steps = _irregular(rest - _total(parts, effects, grid, modelled, count), options)
        if not spikes.any() and not steps.any():
            break
        cleaned = rest - steps
        cleaned[spikes] = np.nan
        cleaned = calendar.filled(cleaned)
        parts, effects = _regular(cleaned, grid, options, modelled)
    remaining = cleaned - _total(parts, effects, grid, modelled, count)
    tried = tuple(_tried(_recent(remaining, options), options))
    best = min(tried, key=lambda model: model.rank)
    if best.error:
        raise DataError(f"Invalid time series: no ARIMA model can be fitted. {best.error}")
    return Series(
        grid=grid,
        known=known,
        data=data,
        spikes=rest - steps - cleaned,
        steps=steps,
        seasons=tuple(parts),
        effects=effects,
        attributions=attributions,
        trend=arma.one_step(remaining, best),
        arima=best,
        tried=tried,
    )


def _regular(
    series: Floats, grid: Grid, options: Options, holidays: Sequence[Holiday]
) -> tuple[list[Season], Effects]:
    """Seasons and holidays, each once more without the other."""
    names = seasons.detect(series, grid, options.seasons)
    parts = seasons.decompose(series, grid, names)
    if not holidays:
        return parts, {}
    effects = _effects(series - _total(parts, {}, grid, (), len(series)), grid, holidays)
    rows = np.arange(len(series))
    without = series - sum(holiday_effects.on(effects, grid, holidays, rows).values(), np.zeros(len(series)))
    parts = seasons.decompose(without, grid, seasons.detect(without, grid, options.seasons))
    return parts, _effects(series - _total(parts, {}, grid, (), len(series)), grid, holidays)


def _effects(series: Floats, grid: Grid, holidays: Sequence[Holiday]) -> Effects:
    """Holiday effects in what stands out of the running median of some two months."""
    from scipy.ndimage import median_filter

    window = 61 if grid.frequency == "DAILY" else 9
    return holiday_effects.estimate(series - median_filter(series, window, mode="nearest"), grid, holidays)


def _irregular(series: Floats, options: Options) -> tuple[Mask, Floats]:
    return cleaning.outliers(series, spikes=options.clean_spikes, steps=options.adjust_steps)


def _total(
    parts: Sequence[Season], effects: Effects, grid: Grid, holidays: Sequence[Holiday], count: int
) -> Floats:
    found = np.zeros(count)
    for season in parts:
        found += season.history
    for effect in holiday_effects.on(effects, grid, holidays, np.arange(count)).values():
        found += effect
    return found


def _tried(series: Floats, options: Options) -> list[Arima]:
    if options.order is not None:
        p, d, q = options.order
        return [arma.fit(series, p, d, q, drift=options.drift)]
    return auto_arima.candidates(series, options.min_order, options.max_order)


def _recent(series: Floats, options: Options) -> Floats:
    """The last points, as many as the options have the trend modelled with."""
    if options.max_length is not None:
        return series[-options.max_length :]
    if options.fraction is not None:
        return series[-max(round(options.fraction * len(series)), options.min_length) :]
    return series
