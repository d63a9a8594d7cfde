"""ML.DETECT_ANOMALIES of time series: of the history, or of new data against the forecasts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from portico.ml.arrays import Floats
from portico.ml.bqml.series import answers, columns
from portico.ml.bqml.series.answers import BOOL, FLOAT64, TIMESTAMP, Part
from portico.ml.bqml.series.forecasting import forecasts
from portico.ml.bqml.series.model import TimeSeriesModel
from portico.ml.bqml.series.one import Series
from portico.ml.errors import DataError


def detect_history(model: TimeSeriesModel, *, anomaly_prob_threshold: float = 0.95) -> pa.Table:
    """Each time point of the training data against what the model expected of it.

    The probability is that of values closer to the expected one than the given value is. Where ARIMA_PLUS_XREG had
    no data it says nothing.

    Raises:
        DataError: the model was trained without decomposition, or the threshold is not in [0, 1).
    """
    z = answers.level(anomaly_prob_threshold, "anomaly_prob_threshold")
    if not model.options.decompose:
        raise DataError(
            "ML.DETECT_ANOMALIES of historical data needs a model trained with DECOMPOSE_TIME_SERIES = TRUE."
        )
    parts: list[Part] = []
    for entry, series in model.fitted:
        expected = _expected(model, series)
        errors = np.full(series.count, np.sqrt(series.arima.variance))
        data = series.data
        if model.regressors:
            data = np.where(series.known, data, np.nan)
        found = _judged(model, data, expected, errors, z, anomaly_prob_threshold)
        own = {
            model.options.timestamp: columns.timestamps(series.times),
            model.options.data: model.limits.outward(data),
        }
        parts.append((entry.key, {**own, **found}))
    fields = {model.options.timestamp: TIMESTAMP, model.options.data: FLOAT64, **_FIELDS}
    return answers.table(model, fields, parts)


def detect_new(model: TimeSeriesModel, data: pa.Table, *, anomaly_prob_threshold: float = 0.95) -> pa.Table:
    """Each row of `data` against the forecast of its time, the other columns of `data` after it.

    Rows of an unknown series, or at a time that is not forecast, have NULL answers.
    """
    z = answers.level(anomaly_prob_threshold, "anomaly_prob_threshold")
    options = model.options
    rows = columns.read(data, options.timestamp, options.ids, options.data)
    expected = np.full(data.num_rows, np.nan)
    errors = np.full(data.num_rows, np.nan)
    if data.num_rows:
        for one in forecasts(model, options.horizon, rows if model.regressors else None):
            members = rows.groups.get(one.key)
            if members is None:
                continue
            at = np.minimum(np.searchsorted(one.times, rows.times[members]), len(one.times) - 1)
            met = one.times[at] == rows.times[members]
            expected[members[met]] = one.mean[at[met]]
            errors[members[met]] = one.errors[at[met]]
    known = model.limits.inward(rows.data)
    found = _judged(model, known, expected, errors, z, anomaly_prob_threshold)
    taken = [*options.ids, options.timestamp, options.data]
    answer: dict[str, Any] = {name: columns.column(data, name) for name in options.ids}
    answer[options.timestamp] = columns.timestamps(rows.times)
    answer[options.data] = pa.array(rows.data, from_pandas=True)
    for name, kind in _FIELDS.items():
        answer[name] = pa.array(found[name], kind, from_pandas=True)
    lowered = {name.lower() for name in taken}
    for name in data.column_names:
        if name.lower() not in lowered:
            answer[name] = data.column(name)
    return pa.table(answer)


_FIELDS = {
    "is_anomaly": BOOL,
    "lower_bound": FLOAT64,
    "upper_bound": FLOAT64,
    "anomaly_probability": FLOAT64,
}


def _expected(model: TimeSeriesModel, series: Series) -> Floats:
    """All parts but the spikes, the dips and the residual."""
    holidays = series.holidays_at(model.holidays, np.arange(series.count)).values()
    parts = [season.history for season in series.seasons]
    every = [series.trend, series.steps, series.attributions.sum(1), *parts, *holidays]
    return np.asarray(np.sum(every, axis=0))


def _judged(
    model: TimeSeriesModel, data: Floats, expected: Floats, errors: Floats, z: float, threshold: float
) -> dict[str, Any]:
    from scipy.special import ndtr

    off = np.abs(data - expected)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.where(off == 0, 0.0, off / errors)
    probability = 2 * ndtr(scaled) - 1
    said = np.isfinite(probability)
    low, high = expected - z * errors, expected + z * errors
    return {
        "is_anomaly": [
            bool(p > threshold) if known else None for p, known in zip(probability, said, strict=True)
        ],
        "lower_bound": np.where(said, model.limits.outward(low), np.nan),
        "upper_bound": np.where(said, model.limits.outward(high), np.nan),
        "anomaly_probability": np.where(said, probability, np.nan),
    }
