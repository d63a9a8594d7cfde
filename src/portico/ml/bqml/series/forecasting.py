"""ML.FORECAST and ML.EXPLAIN_FORECAST."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from portico.ml.arrays import Floats
from portico.ml.bqml.series import answers, columns, hierarchy
from portico.ml.bqml.series.answers import FLOAT64, STRING, TIMESTAMP, Part
from portico.ml.bqml.series.calendar import CYCLES, Times
from portico.ml.bqml.series.columns import Key, Rows
from portico.ml.bqml.series.limits import Limits
from portico.ml.bqml.series.model import TimeSeriesModel
from portico.ml.bqml.series.one import Ahead, Series
from portico.ml.bqml.series.regressors import INTERCEPT
from portico.ml.errors import DataError

_FORECAST = (
    "forecast_value",
    "standard_error",
    "confidence_level",
    "prediction_interval_lower_bound",
    "prediction_interval_upper_bound",
    "confidence_interval_lower_bound",
    "confidence_interval_upper_bound",
)
_PARTS = (
    "time_series_data",
    "time_series_adjusted_data",
    "standard_error",
    "confidence_level",
    "prediction_interval_lower_bound",
    "prediction_interval_upper_bound",
    "trend",
    *(f"seasonal_period_{name.lower()}" for name in reversed(CYCLES)),
    "holiday_effect",
    "spikes_and_dips",
    "step_changes",
    "residual",
)


_FREE = Limits(None, None)


@dataclass(frozen=True)
class Forecast:
    """A series' forecast, or a hierarchy's sum (whose ids are None below its level), in the data's units.

    `keys` are those of the series that it is the sum of. `mean` and `errors` are those of what is modelled; they differ
    from `value` and `error` where there are limits.
    """

    key: Key
    keys: tuple[Key, ...]
    times: Times
    mean: Floats
    errors: Floats
    limits: Limits

    @property
    def value(self) -> Floats:
        return self.limits.outward(self.mean)

    @property
    def error(self) -> Floats:
        """Half the width of the interval of one standard error on each side."""
        low, high = self.bounds(1.0)
        return (high - low) / 2

    def bounds(self, z: float) -> tuple[Floats, Floats]:
        """The interval of `z` standard errors on each side."""
        return self.limits.outward(self.mean - z * self.errors), self.limits.outward(
            self.mean + z * self.errors
        )


def forecast(
    model: TimeSeriesModel,
    *,
    horizon: int = 3,
    confidence_level: float = 0.95,
    future: pa.Table | None = None,
) -> pa.Table:
    """`horizon` time points a series with their intervals; `future` has the features of ARIMA_PLUS_XREG.

    Raises:
        DataError: a horizon beyond the model's, a confidence not in [0, 1), or features that are missing.
    """
    steps = answers.whole(horizon, "horizon", model.options.horizon)
    z = answers.level(confidence_level)
    parts: list[Part] = []
    for one in forecasts(model, steps, future_rows(model, future, "ML.FORECAST")):
        low, high = one.bounds(z)
        numbers = (one.value, one.error, np.full(len(low), confidence_level), low, high, low, high)
        parts.append(
            (
                one.key,
                {
                    "forecast_timestamp": columns.timestamps(one.times),
                    **dict(zip(_FORECAST, numbers, strict=True)),
                },
            )
        )
    return answers.table(model, {"forecast_timestamp": TIMESTAMP, **dict.fromkeys(_FORECAST, FLOAT64)}, parts)


def future_rows(model: TimeSeriesModel, future: pa.Table | None, function: str) -> Rows | None:
    """The features' rows, which ARIMA_PLUS_XREG needs and ARIMA_PLUS has not."""
    if not model.regressors:
        if future is not None:
            raise DataError(f"{function} takes no input data for ARIMA_PLUS models.")
        return None
    if future is None:
        raise DataError(
            f"Model type ARIMA_PLUS_XREG requires three parameters in {function}: the model, a STRUCT, and a query "
            "of the features at the time points to forecast."
        )
    return columns.read(future, model.options.timestamp, model.options.ids, None)


def forecasts(model: TimeSeriesModel, steps: int, future: Rows | None) -> Iterator[Forecast]:
    """Of each series; and of a hierarchy's sums, each level's before those below."""
    found = False
    for entry, series in model.fitted:
        ahead, added = model.ahead(entry, series, steps, future)
        if len(ahead.times):
            found = True
            yield Forecast(
                entry.key, (entry.key,), ahead.times, ahead.value + added.sum(1), ahead.errors, model.limits
            )
    if future is not None and future.table.num_rows and not found:
        raise DataError(
            "The features have no row at a time point that can be forecast: those after the training data's last, "
            f"up to the model's horizon of {model.options.horizon}."
        )
    for key, members in hierarchy.families(model):
        yield _sum(model, key, members, steps)


def _sum(model: TimeSeriesModel, key: Key, members: dict[Key, Series], steps: int) -> Forecast:
    keys = tuple(members)
    aheads = hierarchy.ahead(model, members.values(), steps)
    each = [Forecast(key, keys, one.times, one.value, one.errors, model.limits) for one in aheads]
    errors = np.sqrt(np.sum([one.error**2 for one in each], axis=0))
    return Forecast(key, keys, each[0].times, np.sum([one.value for one in each], axis=0), errors, _FREE)


def explain(
    model: TimeSeriesModel,
    *,
    horizon: int = 3,
    confidence_level: float = 0.95,
    future: pa.Table | None = None,
) -> pa.Table:
    """History and forecast with the parts that each value is the sum of.

    Raises:
        DataError: as `forecast`; and a model without decomposition, or with forecast limits.
    """
    if model.limits.any:
        raise DataError(
            "This model was trained with either 'forecast_limit_lower_bound' or 'forecast_limit_upper_bound' being "
            "specified. In this case, EXPLAIN_FORECAST is not supported."
        )
    if not model.options.decompose:
        raise DataError("ML.EXPLAIN_FORECAST needs a model trained with DECOMPOSE_TIME_SERIES = TRUE.")
    steps = answers.whole(horizon, "horizon", model.options.horizon)
    z = answers.level(confidence_level)
    rows = future_rows(model, future, "ML.EXPLAIN_FORECAST")
    names = list(dict.fromkeys(holiday.name for holiday in model.holidays))
    fields = {
        "time_series_timestamp": TIMESTAMP,
        "time_series_type": STRING,
        **dict.fromkeys(_PARTS, FLOAT64),
        **{f"holiday_effect_{name}": FLOAT64 for name in names},
        **{f"attribution_{name}": FLOAT64 for name in _features(model)},
    }
    parts: list[Part] = []
    for entry, series in model.fitted:
        parts.append((entry.key, _history(model, series)))
        ahead, added = model.ahead(entry, series, steps, rows)
        parts.append((entry.key, _ahead(model, ahead, added, confidence_level, z)))
    for key, members in hierarchy.families(model):
        span = hierarchy.common(members.values())
        parts.append((key, _added([_part(_history(model, one), span(one)) for one in members.values()], 0.0)))
        aheads = hierarchy.ahead(model, members.values(), steps)
        nothing = np.zeros((steps, 0))
        parts.append((key, _added([_ahead(model, one, nothing, confidence_level, z) for one in aheads], z)))
    return answers.table(model, fields, parts)


def _features(model: TimeSeriesModel) -> list[str]:
    return [*(one.name for one in model.regressors), INTERCEPT] if model.regressors else []


def _history(model: TimeSeriesModel, series: Series) -> dict[str, object]:
    holidays = series.holidays_at(model.holidays, np.arange(series.count))
    trend = smoothed(series.trend, model.options.smoothing)
    seasons = {season.name: season.history for season in series.seasons}
    adjusted = trend + _sum_of(seasons, series.count) + _sum_of(holidays, series.count)
    adjusted = adjusted + series.attributions.sum(1)
    return {
        "time_series_timestamp": columns.timestamps(series.times),
        "time_series_type": ["history"] * series.count,
        "time_series_data": series.data,
        "time_series_adjusted_data": adjusted,
        "standard_error": np.full(series.count, np.sqrt(series.arima.variance)),
        "trend": trend,
        **_regular(model, seasons, holidays, series.attributions),
        "spikes_and_dips": series.spikes if series.spikes.any() else None,
        "step_changes": series.steps if series.steps.any() else None,
        "residual": series.data - adjusted - series.spikes - series.steps,
    }


def _ahead(
    model: TimeSeriesModel, ahead: Ahead, added: Floats, confidence: float, z: float
) -> dict[str, object]:
    count = len(ahead.times)
    value = ahead.value + added.sum(1)
    return {
        "time_series_timestamp": columns.timestamps(ahead.times),
        "time_series_type": ["forecast"] * count,
        "time_series_data": value,
        "time_series_adjusted_data": value,
        "standard_error": ahead.errors,
        "confidence_level": np.full(count, confidence),
        "prediction_interval_lower_bound": value - z * ahead.errors,
        "prediction_interval_upper_bound": value + z * ahead.errors,
        "trend": ahead.trend,
        **_regular(model, ahead.seasons, ahead.holidays, added),
    }


def _regular(
    model: TimeSeriesModel, seasons: dict[str, Floats], holidays: dict[str, Floats], added: Floats
) -> dict[str, object]:
    return {
        **{f"seasonal_period_{name.lower()}": part for name, part in seasons.items()},
        "holiday_effect": np.sum(list(holidays.values()), axis=0) if holidays else None,
        **{f"holiday_effect_{name}": part for name, part in holidays.items()},
        **{f"attribution_{name}": part for name, part in zip(_features(model), added.T, strict=True)},
    }


def _part(columns_of: dict[str, object], rows: slice) -> dict[str, object]:
    return {name: None if value is None else value[rows] for name, value in columns_of.items()}  # type: ignore[index]


def _added(parts: Sequence[dict[str, Any]], z: float) -> dict[str, Any]:
    """The sum of a hierarchy's series, column by column; of standard errors the root of the squares' sum."""
    found = dict(parts[0])
    for name in dict.fromkeys(name for part in parts for name in part):
        values = [part[name] for part in parts if isinstance(part.get(name), np.ndarray)]
        if values and name != "confidence_level":
            power = 2 if name == "standard_error" else 1
            found[name] = np.sum([value**power for value in values], axis=0) ** (1 / power)
    if z:
        width = z * found["standard_error"]
        found["prediction_interval_lower_bound"] = found["time_series_data"] - width
        found["prediction_interval_upper_bound"] = found["time_series_data"] + width
    return found


def smoothed(trend: Floats, window: int) -> Floats:
    """The centred moving average; beyond the ends the first and the last value stand."""
    if window <= 1:
        return trend
    before = (window - 1) // 2
    padded = np.pad(trend, (before, window - 1 - before), mode="edge")
    sums = np.r_[0.0, np.cumsum(padded)]
    return np.asarray((sums[window:] - sums[:-window]) / window)


def _sum_of(parts: dict[str, Floats], count: int) -> Floats:
    return np.asarray(np.sum([np.zeros(count), *parts.values()], axis=0))
