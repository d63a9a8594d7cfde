"""What a model sees of a window: the series' recent past, its calendar, its covariates; all as one table of columns.

The past is seen relative to its own level, in units of its own size: so one model serves series of any size, and what
it learned of one holds for another.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from portico.ml import arrays
from portico.ml.arrays import Floats
from portico.ml.forecast.panel import Ints, Panel
from portico.ml.forecast.spec import ForecastSpec
from portico.ml.forecast.windows import History, Windows, before_of
from portico.ml.learn.transform import ColumnSpec

_LEVEL = 8  # steps of a level where there is no cycle
_MOST_LAGS = 24
_LEAST_SIZE = 0.05  # of the mean size of all series
_DAY = 86_400.0
_YEAR, _TWO_MONTHS = 334.0, 62.0  # days; from the first of one month to the twelfth's


@dataclass(slots=True)
class Scale:
    """Of all series' training rows: their mean, and the mean of their absolute values, in the space that is learned
    in; `logs` says that this is log(1 + value). `floor` is what no forecast is below. `days` is the time that they
    span: of parts of the calendar that they never saw nothing can be learned."""

    level: float
    size: float
    logs: bool
    floor: float | None
    days: float


@dataclass(slots=True)
class Seen:
    """`table` (windows,) has the features, `wishes` say how each is to be read and `sources` which of the data's
    columns it is made of. A forecast is `anchor + size * what is learned`, in the space of the scale."""

    table: pa.Table
    wishes: list[ColumnSpec]
    sources: dict[str, str]
    anchors: dict[str, Floats]
    size: Floats


@dataclass(slots=True)
class _Columns:
    made: dict[str, Any] = field(default_factory=dict)
    wishes: list[ColumnSpec] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)

    def add(self, source: str, what: str, cells: Any, wish: ColumnSpec | str = "numeric") -> None:
        name = f"{source}@{what}"
        if isinstance(wish, ColumnSpec):
            self.wishes.append(
                ColumnSpec(name, wish.transformation, wish.time_format, wish.invalid_values_allowed)
            )
        else:
            self.wishes.append(ColumnSpec(name, wish))
        self.made[name] = cells
        self.sources[name] = source


def scale_of(spec: ForecastSpec, numbers: Floats, times: Floats) -> Scale:
    """Of the target of the training rows (n,), and their times (seconds)."""
    logs = spec.objective == "minimize-rmsle"
    held = np.log1p(numbers) if logs else numbers
    floor = 0.0 if numbers.min() >= 0 else None
    return Scale(
        float(held.mean()), float(np.abs(held).mean()) or 1.0, logs, floor, float(np.ptp(times)) / _DAY
    )


def see(
    table: pa.Table, panel: Panel, windows: Windows, target: Floats, spec: ForecastSpec, scale: Scale
) -> Seen:
    """`target` (slots,) is what is known of it, NaN elsewhere."""
    held = np.log1p(target) if scale.logs else target
    history = History(panel, held)
    columns = _Columns()
    _calendar(columns, panel, windows, spec, scale.days)
    columns.add(spec.series, "series", _names(panel, windows), "categorical")
    if spec.context:
        anchors, size = _past(columns, panel, windows, history, spec, scale)
    else:
        anchors, size = {"level": np.full(len(windows), scale.level)}, np.full(len(windows), scale.size)
    _covariates(columns, table, panel, windows, spec)
    return Seen(pa.table(columns.made), columns.wishes, columns.sources, anchors, size)


def _names(panel: Panel, windows: Windows) -> pa.Array:
    return pa.array(panel.names, pa.string()).take(pa.array(panel.series[windows.target]))


def _past(
    columns: _Columns, panel: Panel, windows: Windows, history: History, spec: ForecastSpec, scale: Scale
) -> tuple[dict[str, Floats], Floats]:
    origin, context, source = windows.origin, spec.context, spec.target
    first = np.maximum(panel.start[windows.target], origin - context + 1)
    seasons = [season for season in spec.seasons if season <= context]
    round_trip = min(context, seasons[0] if seasons else _LEVEL)

    def mean(steps: int, ago: int = 0) -> Floats:
        return history.mean(origin - ago, np.maximum(first, origin - ago - steps + 1))

    level = _filled(mean(round_trip), mean(context), scale.level)
    size = np.ones(len(windows))
    if not scale.logs:
        sizes = History(panel, np.abs(history.numbers))
        wide = np.maximum(first, origin - 2 * round_trip + 1)
        size = _filled(sizes.mean(origin, wide), sizes.mean(origin, first), scale.size)
        size = np.maximum(size, _LEAST_SIZE * scale.size)

    def relative(cells: Floats) -> Floats:
        return (cells - level) / size

    columns.add(source, "level", np.sign(level) * np.log1p(np.abs(level)))
    for lag in range(min(context, _MOST_LAGS, max(round_trip, _LEVEL))):
        columns.add(source, f"lag {lag}", relative(history.at(origin - lag, first)))
    anchors = {"level": level}
    for season in seasons:
        before = before_of(windows.target, origin, season)
        same = history.at(before, first)
        columns.add(source, f"season {season}", relative(same))
        columns.add(source, f"season {season} twice", relative(history.at(before - season, first)))
        columns.add(source, f"season {season} around", relative(history.mean(
            np.minimum(before + 1, origin), np.maximum(first, before - 1))))  # fmt: skip
        change = mean(season) - mean(season, season)
        columns.add(source, f"change in {season}", change / size)
        if season == seasons[0]:
            anchors["season"] = _filled(same, level)
            cycles = (windows.target - before) / season
            drift = np.where(np.isfinite(change), change * cycles, 0.0)
            anchors["drift"] = anchors["season"] + np.where(np.isfinite(same), drift, 0.0)
    for steps in sorted({3, round_trip // 2, 2 * round_trip, context} - {round_trip}):
        if 2 <= steps <= context:
            columns.add(source, f"mean {steps}", relative(mean(steps)))
    columns.add(source, "spread", history.spread(origin, first) / size)
    return anchors, size


def _filled(*parts: Floats | float) -> Floats:
    """The first of `parts` that is a number, window by window."""
    found = np.asarray(parts[0], np.float64).copy()
    for part in parts[1:]:
        found = np.where(np.isfinite(found), found, part)
    return found


def _calendar(columns: _Columns, panel: Panel, windows: Windows, spec: ForecastSpec, span: float) -> None:
    """Of the step that is forecast: those parts of its date and time that a series of such steps may depend on."""
    source, seconds = spec.time, panel.time[windows.target]
    days = np.floor(seconds / _DAY).astype(np.int64)
    dated = days.astype("datetime64[D]")
    months = dated.astype("datetime64[M]").astype(np.int64)
    if spec.context:
        columns.add(source, "step", windows.step.astype(np.float64))
    else:
        columns.add(source, "time", seconds / (365.25 * _DAY))
    if spec.unit != "year" and span >= _YEAR:
        columns.add(source, "month", (months % 12 + 1).astype(np.float64))
    if spec.unit in ("week", "day", "hour", "minute") and span >= _YEAR:
        years = dated.astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64)
        columns.add(source, "day of year", (days - years + 1).astype(np.float64))
    if spec.unit in ("day", "hour", "minute"):
        start = dated.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
        if span >= _TWO_MONTHS:
            columns.add(source, "day", (days - start + 1).astype(np.float64))
        columns.add(source, "weekday", ((days + 3) % 7).astype(np.float64))
    if spec.unit in ("hour", "minute"):
        columns.add(source, "hour", np.floor(seconds % _DAY / 3600))
    if spec.unit == "minute":
        columns.add(source, "minute", np.floor(seconds % 3600 / 60))
    if spec.known_regions[0] and len(days):
        years = dated.astype("datetime64[Y]").astype(np.int64) + 1970
        named = spec.holidays(range(int(years.min()) - 1, int(years.max()) + 2))
        columns.add(source, "holiday", [named.get(day, "none") for day in days.tolist()], "categorical")
        nearest = np.array(sorted(named)) if named else np.array([0])
        after = nearest[np.minimum(np.searchsorted(nearest, days), len(nearest) - 1)]
        columns.add(source, "days to a holiday", np.clip(after - days, -1, 14).astype(np.float64))


def _covariates(
    columns: _Columns, table: pa.Table, panel: Panel, windows: Windows, spec: ForecastSpec
) -> None:
    roles = spec.covariates
    now = _rows(panel, windows.target)
    before = _rows(panel, windows.origin, panel.start[windows.target])
    for name in roles["available"]:
        columns.add(name, "forecast", _taken(table, name, now), spec.wish(name))
    for name in roles["attribute"]:
        either = np.where(now >= 0, now, before)
        columns.add(name, "attribute", _taken(table, name, either), spec.wish(name))
    if not spec.context:
        return
    first = np.maximum(panel.start[windows.target], windows.origin - spec.context + 1)
    for name in roles["unavailable"]:
        columns.add(name, "origin", _taken(table, name, before), spec.wish(name))
        history = _numbers(table, panel, name)
        if history is not None:
            columns.add(name, "mean", history.mean(windows.origin, first))
            for season in [season for season in spec.seasons if season <= spec.context][:1]:
                at = before_of(windows.target, windows.origin, season)
                columns.add(name, f"season {season}", history.at(at, first))
    for name in roles["available"]:
        history = _numbers(table, panel, name)
        if history is not None:  # how far what is planned differs from what the past was like
            columns.add(name, "mean", history.mean(windows.origin, first))


def _numbers(table: pa.Table, panel: Panel, name: str) -> History | None:
    """A covariate's history, where all of it is numbers."""
    if name not in table.column_names or pa.types.is_temporal(table[name].type):
        return None
    cells, bad = arrays.numbers(table[name])
    known = ~arrays.missing(table[name])
    if not known.any() or (known & ~np.isfinite(cells)).any() or bad.any():
        return None
    return History(panel, panel.of_slots(cells))


def _rows(panel: Panel, slots: Ints, start: Ints | None = None) -> Ints:
    """The table's rows at `slots`, -1 where there are none."""
    inside = slots >= (0 if start is None else start)
    return np.where(inside, panel.row[np.maximum(slots, 0)], -1)


def _taken(table: pa.Table, name: str, rows: Ints) -> pa.ChunkedArray | pa.Array:
    if name not in table.column_names:
        return pa.nulls(len(rows))
    return table[name].take(pa.array(rows, mask=rows < 0))


def importance(sources: dict[str, str], of_features: dict[str, float]) -> dict[str, float]:
    """Shares of features as those of the data's columns that they are made of."""
    found: dict[str, float] = {}
    for name, share in of_features.items():
        source = sources.get(name, name)
        found[source] = found.get(source, 0.0) + share
    return found
