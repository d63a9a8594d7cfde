"""A trained ARIMA_PLUS or ARIMA_PLUS_XREG: all its series, from a table and as files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from portico.ml.arrays import Floats
from portico.ml.bqml.options import Options as Given
from portico.ml.bqml.series import calendar, columns, holiday_effects, holidays, one, regressors
from portico.ml.bqml.series import options as reading
from portico.ml.bqml.series.calendar import DAY
from portico.ml.bqml.series.columns import Key, Rows
from portico.ml.bqml.series.holidays import Holiday
from portico.ml.bqml.series.limits import Limits
from portico.ml.bqml.series.one import Ahead, Series
from portico.ml.bqml.series.options import Options
from portico.ml.bqml.series.regressors import Regressor
from portico.ml.errors import DataError

_DAILY_ONLY = (
    "Custom holidays are modelled only for daily series: DATA_FREQUENCY must be DAILY or AUTO_FREQUENCY"
)


@dataclass(frozen=True)
class Entry:
    """A series of a model: fitted, or the reason why it is not. `weights` are those of the regressors' columns."""

    key: Key
    series: Series | None
    error: str = ""
    weights: tuple[float, ...] = ()
    intercept: float = 0.0


@dataclass(frozen=True)
class TimeSeriesModel:
    """All that forecasting needs. `id_types` are Arrow's names of the ids' types."""

    options: Options
    id_types: tuple[str, ...]
    holidays: tuple[Holiday, ...]
    regressors: tuple[Regressor, ...]
    entries: tuple[Entry, ...]

    @property
    def limits(self) -> Limits:
        return Limits(self.options.lower, self.options.upper)

    @property
    def fitted(self) -> Iterator[tuple[Entry, Series]]:
        for entry in self.entries:
            if entry.series is not None:
                yield entry, entry.series

    def ahead(self, entry: Entry, series: Series, steps: int, future: Rows | None) -> tuple[Ahead, Floats]:
        """A forecast and what the regressors add to it, (time points, regressors and the intercept).

        `future` has the regressors' rows; the forecast goes no further than they do.
        """
        if not self.regressors:
            return series.ahead(self.holidays, steps), np.zeros((steps, 0))
        rows = (
            future.groups.get(entry.key, np.zeros(0, np.int64))
            if future is not None
            else np.zeros(0, np.int64)
        )
        if future is None or not len(rows):
            return series.ahead(self.holidays, 0), np.zeros((0, len(self.regressors) + 1))
        times = future.times[rows]
        steps = int(np.clip(series.grid.positions(times).max() - series.count + 1, 0, steps))
        encoded = np.column_stack([one.encode(future.table) for one in self.regressors])[rows]
        placed = regressors.on_grid(series.grid, times, encoded, steps, series.count)
        means = np.concatenate([np.full(one.width, one.mean) for one in self.regressors])
        placed = np.where(np.isfinite(placed), placed, means)
        return series.ahead(self.holidays, steps), attributions(self.regressors, entry, placed)

    def to_state(self) -> tuple[dict[str, Any], dict[str, Floats]]:
        """As JSON and arrays by name."""
        arrays: dict[str, Floats] = {}
        entries = []
        for number, entry in enumerate(self.entries):
            state: dict[str, Any] | None = None
            if entry.series is not None:
                state, own = entry.series.to_state()
                arrays.update({f"{number}/{name}": array for name, array in own.items()})
            entries.append(
                {
                    "key": list(entry.key),
                    "series": state,
                    "error": entry.error,
                    "weights": list(entry.weights),
                    "intercept": entry.intercept,
                }
            )
        return {
            "options": msgspec.to_builtins(self.options),
            "id_types": list(self.id_types),
            "holidays": msgspec.to_builtins(self.holidays),
            "regressors": msgspec.to_builtins(self.regressors),
            "entries": entries,
        }, arrays

    @classmethod
    def from_state(cls, state: Mapping[str, Any], arrays: Mapping[str, Floats]) -> TimeSeriesModel:
        by_series: dict[int, dict[str, Floats]] = {}
        for name, array in arrays.items():
            number, _, part = name.partition("/")
            by_series.setdefault(int(number), {})[part] = array
        return cls(
            options=msgspec.convert(state["options"], Options),
            id_types=tuple(state["id_types"]),
            holidays=msgspec.convert(state["holidays"], tuple[Holiday, ...]),
            regressors=msgspec.convert(state["regressors"], tuple[Regressor, ...]),
            entries=tuple(
                Entry(
                    tuple(entry["key"]),
                    Series.from_state(entry["series"], by_series[number]) if entry["series"] else None,
                    entry["error"],
                    tuple(entry["weights"]),
                    entry["intercept"],
                )
                for number, entry in enumerate(state["entries"])
            ),
        )


def fit(
    model_type: str, table: pa.Table, given: Given, custom_holidays: pa.Table | None = None
) -> TimeSeriesModel:
    """Train on a table of a time column, a data column, and the ids and features that there are.

    `given` has the options as they were declared. Of many series, those that cannot be fitted are left out and say
    why.

    Raises:
        DataError: options or columns that cannot serve, or not one series that can be fitted.
    """
    options = reading.read(model_type, given)
    own = holidays.custom(custom_holidays) if custom_holidays is not None else []
    if own and options.frequency not in ("AUTO_FREQUENCY", "DAILY"):
        raise DataError(f"{_DAILY_ONLY}; it is {options.frequency}.", field="DATA_FREQUENCY")
    if not table.num_rows:
        raise DataError("The training data has no rows.")
    rows = columns.read(table, options.timestamp, options.ids, options.data)
    types = columns.id_columns(table, options.ids)
    features: tuple[Regressor, ...] = ()
    encoded = np.zeros((table.num_rows, 0))
    if model_type == "ARIMA_PLUS_XREG":
        features = regressors.regressors(table, [options.timestamp, options.data, *options.ids])
        encoded = np.column_stack([feature.encode(table) for feature in features])
    calendar_of = _holidays(rows, options, own)
    entries = []
    for key, members in rows.groups.items():
        try:
            entry = _entry(
                key, rows.times[members], rows.data[members], encoded[members], options, features, calendar_of
            )
        except DataError as error:
            if not options.ids:
                raise
            entry = Entry(key, None, error.message)
        entries.append(entry)
    model = TimeSeriesModel(
        options, tuple(str(kind) for kind in types.values()), tuple(calendar_of), features, tuple(entries)
    )
    if next(model.fitted, None) is None:
        raise DataError(
            f"None of the {len(entries)} time series can be fitted. The first: {entries[0].error}"
        )
    if own and not any(series.grid.frequency == "DAILY" for _, series in model.fitted):
        raise DataError(f"{_DAILY_ONLY}, and the data must be daily.", field="custom_holiday")
    return _only_used(model)


def attributions(features: Sequence[Regressor], entry: Entry, encoded: Floats) -> Floats:
    """What each regressor adds, weight times value, and the intercept as a last column."""
    parts = []
    start = 0
    for feature in features:
        end = start + feature.width
        parts.append(encoded[:, start:end] @ np.array(entry.weights[start:end]))
        start = end
    return np.column_stack([*parts, np.full(len(encoded), entry.intercept)])


def _entry(
    key: Key,
    times: calendar.Times,
    data: Floats,
    encoded: Floats,
    options: Options,
    features: Sequence[Regressor],
    calendar_of: Sequence[Holiday],
) -> Entry:
    grid, values = calendar.even(times, data, options.frequency)
    if not features:
        return Entry(key, one.fit(grid, values, options, calendar_of))
    placed = regressors.filled(regressors.on_grid(grid, times, encoded, len(values)))
    weights, intercept = regressors.weights(calendar.filled(values), placed, grid, options.seasons)
    entry = Entry(key, None, weights=tuple(weights.tolist()), intercept=intercept)
    added = attributions(features, entry, placed)
    return replace(entry, series=one.fit(grid, values, options, calendar_of, added))


def _holidays(rows: Rows, options: Options, own: Sequence[Holiday]) -> list[Holiday]:
    """Holidays of the years that history and forecasts may reach."""
    if not options.regions and not own:
        return []
    first, last = (int(when) // DAY for when in (rows.times.min(), rows.times.max()))
    weekly = 7 if options.frequency not in ("DAILY",) else 1
    years = [1970 + int(day / 365.2425) for day in (first, last + options.horizon * weekly)]
    regular = holidays.built_in(options.regions, range(max(years[0] - 1, 1), min(years[1] + 2, 9998)))
    return holidays.merged(regular, own)


def _only_used(model: TimeSeriesModel) -> TimeSeriesModel:
    """Holidays up to where forecasts reach; none where no series is of the kind that has them modelled."""
    ends = [
        int(series.grid.at(np.array([series.count + model.options.horizon]))[0])
        for _, series in model.fitted
        if holiday_effects.applies(series.grid, series.count)
    ]
    if not ends:
        return replace(model, holidays=())
    last = max(ends) // DAY + date(1970, 1, 1).toordinal()
    kept = (
        replace(holiday, days=tuple(day for day in holiday.days if day.toordinal() - holiday.before <= last))
        for holiday in model.holidays
    )
    return replace(model, holidays=tuple(kept))
