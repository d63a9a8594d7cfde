"""ML.TREND and ML.SEASONALITY: the parts of a time series, without a model of one's own. They are those of an
ARIMA_PLUS model that is trained on the rows and then forgotten.

https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-trend
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-seasonality
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from portico.ml.bqml.arima import ArimaPlus
from portico.ml.bqml.columns import named
from portico.ml.bqml.options import Option, read
from portico.ml.bqml.series import forecasting, model
from portico.ml.errors import DataError

_SEASONS = ("yearly", "quarterly", "monthly", "weekly", "daily")
_SERIES = {
    "data_col": Option("str"),
    "timestamp_col": Option("str"),
    "id_cols": Option("list", []),
    "horizon": Option("int", 0, low=0, high=10_000),
}
TREND = {
    **_SERIES,
    "smoothing_window_size": Option("int", 5, low=1),
    "adjust_step_changes": Option("bool", False),
}
SEASONALITY = {**_SERIES, "seasonalities": Option("list")}


def trend(tables: list[pa.Table], settings: Mapping[str, Any]) -> pa.Table:
    """One row a time, of the history and of `horizon` times after it."""
    given = {
        "trend_smoothing_window_size": settings["smoothing_window_size"],
        "adjust_step_changes": settings["adjust_step_changes"],
    }
    return _parts("ML.TREND", tables[0], settings, given, {"trend": "trend"})


def seasonality(tables: list[pa.Table], settings: Mapping[str, Any]) -> pa.Table:
    """One row a time; a column a seasonality, NULL where the series has none of it."""
    asked = settings["seasonalities"]
    if asked is not None and (strange := {one.lower() for one in asked} - set(_SEASONS)):
        raise DataError(
            f"ML.SEASONALITY: seasonalities are {', '.join(_SEASONS).upper()}, not {min(strange)!r}"
        )
    names = [one for one in _SEASONS if asked is None or one in {each.lower() for each in asked}]
    given = {} if asked is None else {"seasonalities": [one.upper() for one in asked]}
    columns = {name: f"seasonal_period_{name}" for name in names}
    return _parts("ML.SEASONALITY", tables[0], settings, given, columns)


def _parts(
    name: str,
    table: pa.Table,
    settings: Mapping[str, Any],
    given: dict[str, Any],
    columns: dict[str, str],
) -> pa.Table:
    """
    Args:
        given: options of the model.
        columns: what ML.EXPLAIN_FORECAST calls the columns of the answer.

    Raises:
        DataError: a column is missing or none of a time series, or not one series can be taken apart.
    """
    for one in ("data_col", "timestamp_col"):
        if not settings[one]:
            raise DataError(f"{name} needs {one} => …")
    data, time = (named(table, settings[one], one) for one in ("data_col", "timestamp_col"))
    ids = [named(table, one, "id_cols") for one in settings["id_cols"]]
    horizon = int(settings["horizon"])
    given |= {
        "time_series_timestamp_col": time,
        "time_series_data_col": data,
        "time_series_id_col": ids,
        "horizon": max(horizon, 1),
    }
    fitted = model.fit("ARIMA_PLUS", table, read(ArimaPlus.OPTIONS, given, "ARIMA_PLUS"))
    told = forecasting.explain(fitted, horizon=max(horizon, 1))
    if not horizon:
        told = told.filter(pc.equal(told["time_series_type"], "history"))
    moments = told["time_series_timestamp"]
    kind = table.schema.field(time).type
    if not pa.types.is_timestamp(kind) or kind.tz is None:
        moments = moments.cast(pa.int64()).cast(pa.timestamp("us")).cast(kind)
    made = {one: told[one] for one in ids}
    made |= {time: moments, "time_series_type": told["time_series_type"], data: told["time_series_data"]}
    made |= {shown: told[column] for shown, column in columns.items()}
    found = pa.table({**made, "status": pa.array([""] * told.num_rows)})
    failed = [one for one in fitted.entries if one.error]
    if not failed:
        return found
    rows = [dict(zip(ids, one.key, strict=True)) | {"status": one.error} for one in failed]
    return pa.concat_tables(
        [found, pa.Table.from_pylist([dict.fromkeys(found.column_names) | row for row in rows], found.schema)]
    )
