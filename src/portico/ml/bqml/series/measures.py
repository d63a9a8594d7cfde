"""ML.EVALUATE, ML.ARIMA_EVALUATE, ML.ARIMA_COEFFICIENTS and ML.HOLIDAY_INFO of time series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from portico.ml.arrays import Floats
from portico.ml.bqml.series import answers, columns, hierarchy
from portico.ml.bqml.series.answers import BOOL, DATE, FLOAT64, INT64, STRING, Part
from portico.ml.bqml.series.arma import Arima
from portico.ml.bqml.series.calendar import Times
from portico.ml.bqml.series.columns import Rows
from portico.ml.bqml.series.forecasting import Forecast, forecasts
from portico.ml.bqml.series.limits import Limits
from portico.ml.bqml.series.model import Entry, TimeSeriesModel
from portico.ml.bqml.series.one import Series
from portico.ml.bqml.series.regressors import INTERCEPT
from portico.ml.errors import DataError

_METRICS = (
    "mean_absolute_error",
    "mean_squared_error",
    "root_mean_squared_error",
    "mean_absolute_percentage_error",
    "symmetric_mean_absolute_percentage_error",
    "mean_absolute_scaled_error",
)
_ORDER = {
    "non_seasonal_p": INT64,
    "non_seasonal_d": INT64,
    "non_seasonal_q": INT64,
    "has_drift": BOOL,
    "log_likelihood": FLOAT64,
    "AIC": FLOAT64,
    "variance": FLOAT64,
    "seasonal_periods": pa.list_(STRING),
    "has_holiday_effect": BOOL,
    "has_spikes_and_dips": BOOL,
    "has_step_changes": BOOL,
}
_CATEGORIES = pa.list_(pa.struct({"category": STRING, "weight": FLOAT64}))


def evaluate(
    model: TimeSeriesModel,
    data: pa.Table,
    *,
    perform_aggregation: bool = True,
    horizon: int | None = None,
    confidence_level: float = 0.95,
) -> pa.Table:
    """How well the forecasts meet `data`: metrics a series, or each row with its forecast and errors.

    The first `horizon` time points (all of the model's by default) count; rows at other times have no forecast.
    Percentages are shares of 1; the scaled error is in units of the training data's mean absolute change.

    Raises:
        DataError: no row of `data` at a time that is forecast, or columns that are missing.
    """
    steps = answers.whole(
        model.options.horizon if horizon is None else horizon, "horizon", model.options.horizon
    )
    z = answers.level(confidence_level)
    rows = columns.read(data, model.options.timestamp, model.options.ids, model.options.data)
    future = rows if model.regressors else None
    met = [_met(one, rows) for one in forecasts(model, steps, future)]
    if not perform_aggregation:
        return _each(model, rows, met, z)
    parts: list[Part] = []
    by_key = {entry.key: series for entry, series in model.fitted}
    for one in met:
        if len(one.where):
            usual = _usual_change([by_key[key] for key in one.forecast.keys], model.limits)
            parts.append((one.forecast.key, _metrics(one, usual)))
    if not parts and data.num_rows:
        raise DataError(
            "The evaluation data has no row at a time point that the model forecasts: those after the training "
            f"data's last, {steps} of them."
        )
    names = _METRICS[:-1] if model.regressors else _METRICS
    return answers.table(model, dict.fromkeys(names, FLOAT64), parts)


def arima_evaluate(model: TimeSeriesModel, *, show_all_candidate_models: bool | None = None) -> pa.Table:
    """The ARIMA of each series, or every candidate, the best first; by default all where there is one series only."""
    everything = not model.options.ids if show_all_candidate_models is None else show_all_candidate_models
    parts: list[Part] = []
    for entry in model.entries:
        if entry.series is None:
            parts.append((entry.key, {"error_message": [entry.error]}))
            continue
        shown = sorted(entry.series.tried, key=lambda one: one.rank) if everything else [entry.series.arima]
        parts.append((entry.key, _orders(model, entry, shown)))
    return answers.table(model, {**_ORDER, "error_message": STRING}, parts)


def evaluate_training(model: TimeSeriesModel) -> pa.Table:
    """ML.EVALUATE without data: the best ARIMA of each series that could be fitted."""
    found = arima_evaluate(model, show_all_candidate_models=False)
    return found.filter(pa.compute.is_valid(found.column("non_seasonal_p"))).drop_columns(["error_message"])


def coefficients(model: TimeSeriesModel) -> pa.Table:
    """ARIMA coefficients; of ARIMA_PLUS_XREG a row a feature, and the intercept's, with its weight."""
    fields: dict[str, pa.DataType] = {
        "ar_coefficients": pa.list_(FLOAT64),
        "ma_coefficients": pa.list_(FLOAT64),
        "intercept_or_drift": FLOAT64,
    }
    if model.regressors:
        fields |= {"processed_input": STRING, "weight": FLOAT64, "category_weights": _CATEGORIES}
    parts: list[Part] = []
    for entry, series in model.fitted:
        names, weights, categories = _weights(model, entry)
        count = len(names) or 1
        part: dict[str, Any] = {
            "ar_coefficients": [list(series.arima.ar)] * count,
            "ma_coefficients": [list(series.arima.ma)] * count,
            "intercept_or_drift": [series.arima.constant] * count,
        }
        if names:
            part |= {"processed_input": names, "weight": weights, "category_weights": categories}
        parts.append((entry.key, part))
    return answers.table(model, fields, parts)


def holiday_info(model: TimeSeriesModel) -> pa.Table:
    """The holidays that are modelled, a row a date."""
    rows = [
        (holiday.region, holiday.name, day, holiday.before, holiday.after)
        for holiday in model.holidays
        for day in holiday.days
    ]
    kinds = {
        "region": STRING,
        "holiday_name": STRING,
        "primary_date": DATE,
        "preholiday_days": INT64,
        "postholiday_days": INT64,
    }
    return pa.table(
        {name: pa.array([row[i] for row in rows], kind) for i, (name, kind) in enumerate(kinds.items())}
    )


def _orders(model: TimeSeriesModel, entry: Entry, shown: list[Arima]) -> dict[str, Any]:
    series = entry.series
    assert series is not None
    count = len(shown)
    decomposed = model.options.decompose
    return {
        "non_seasonal_p": [one.p for one in shown],
        "non_seasonal_d": [one.d for one in shown],
        "non_seasonal_q": [one.q for one in shown],
        "has_drift": [one.has_drift for one in shown],
        "log_likelihood": [one.log_likelihood for one in shown],
        "AIC": [one.aic for one in shown],
        "variance": [None if one.error else one.variance for one in shown],
        "seasonal_periods": [[season.name for season in series.seasons] or ["NO_SEASONALITY"]] * count,
        "has_holiday_effect": [any(series.effects.values())] * count if decomposed else None,
        "has_spikes_and_dips": [bool(series.spikes.any())] * count if decomposed else None,
        "has_step_changes": [bool(series.steps.any())] * count if decomposed else None,
        "error_message": [one.error or None for one in shown],
    }


def _weights(
    model: TimeSeriesModel, entry: Entry
) -> tuple[list[str], list[float | None], list[list[dict[str, Any]]]]:
    names: list[str] = []
    weights: list[float | None] = []
    categories: list[list[dict[str, Any]]] = []
    start = 0
    for regressor in model.regressors:
        own = entry.weights[start : start + regressor.width]
        start += regressor.width
        names.append(regressor.name)
        weights.append(None if regressor.categories else own[0])
        categories.append(
            [
                {"category": category, "weight": weight}
                for category, weight in zip(regressor.categories, (0.0, *own), strict=True)
            ]
            if regressor.categories
            else []
        )
    if names:
        names.append(INTERCEPT)
        weights.append(entry.intercept)
        categories.append([])
    return names, weights, categories


@dataclass(frozen=True)
class _Met:
    """A forecast and what the data has at its time points: positions of those, and the data there. Of one series,
    `rows` are the data's at the time points `places`; of a hierarchy's sum there are none."""

    forecast: Forecast
    where: Times
    actual: Floats
    rows: Times
    places: Times


def _met(one: Forecast, rows: Rows) -> _Met:
    """A sum is known where all its series are."""
    count = len(one.times)
    total, known = np.zeros(count), np.ones(count, bool)
    own, places = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for key in one.keys:
        members = rows.groups.get(key, own[:0])
        at = np.minimum(np.searchsorted(one.times, rows.times[members]), count - 1)
        there = (one.times[at] == rows.times[members]) & np.isfinite(rows.data[members])
        hits = np.bincount(at[there], minlength=count)
        known &= hits > 0
        total += np.bincount(at[there], rows.data[members[there]], count) / np.maximum(hits, 1)
        if one.keys == (one.key,):
            own, places = members[there], at[there]
    where = np.flatnonzero(known)
    return _Met(one, where, total[where], own, places)


def _metrics(one: _Met, usual_change: float) -> dict[str, Any]:
    actual, expected = one.actual, one.forecast.value[one.where]
    errors = np.abs(actual - expected)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = errors / np.abs(actual)
        both = 2 * errors / (np.abs(actual) + np.abs(expected))
    values = [
        errors.mean(),
        (errors**2).mean(),
        np.sqrt((errors**2).mean()),
        np.where(errors == 0, 0.0, shares).mean(),
        np.where(errors == 0, 0.0, both).mean(),
        errors.mean() / (usual_change or np.nan),
    ]
    return {name: [float(value)] for name, value in zip(_METRICS, values, strict=True)}


def _usual_change(members: Sequence[Series], limits: Limits) -> float:
    """The mean absolute change from point to point of the training data, summed over the members."""
    span = hierarchy.common(members)
    parts = [limits.outward(series.data)[span(series)] for series in members]
    count = min(len(part) for part in parts)
    total = np.sum([part[:count] for part in parts], axis=0)
    return float(np.abs(np.diff(total)).mean()) if count > 1 else 0.0


def _each(model: TimeSeriesModel, rows: Rows, met: Sequence[_Met], z: float) -> pa.Table:
    count = rows.table.num_rows
    names = ("lower_bound", "upper_bound", "absolute_error", "absolute_percentage_error")
    found = {name: np.full(count, np.nan) for name in ("expected", *names)}
    for one in met:
        low, high = one.forecast.bounds(z)
        for name, values in (("expected", one.forecast.value), ("lower_bound", low), ("upper_bound", high)):
            found[name][one.rows] = values[one.places]
    error = np.abs(rows.data - found["expected"])
    found["absolute_error"] = error
    with np.errstate(divide="ignore", invalid="ignore"):
        found["absolute_percentage_error"] = np.where(error == 0, 0.0, error / np.abs(rows.data))
    options = model.options
    none = np.zeros(0, np.int64)
    order = np.concatenate(
        [none, *(members[np.argsort(rows.times[members], kind="stable")] for members in rows.groups.values())]
    )
    inputs = [*options.ids, options.timestamp, options.data]
    answer = {name: columns.column(rows.table, name).take(pa.array(order)) for name in inputs}
    answer[f"forecasted_{options.data}"] = pa.array(found["expected"][order], from_pandas=True)
    for name in names:
        answer[name] = pa.array(found[name][order], from_pandas=True)
    return pa.table(answer)
