"""The options of a CREATE MODEL for time series, read and checked; names, defaults and limits are Google's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from portico.ml.bqml.options import Option
from portico.ml.bqml.options import Options as Given
from portico.ml.bqml.series.calendar import CYCLES, FREQUENCIES
from portico.ml.bqml.series.holidays import check_regions
from portico.ml.errors import DataError

_SEASONS = ("AUTO", "NO_SEASONALITY", *CYCLES)
DECLARED = {
    "time_series_timestamp_col": Option("str"),
    "time_series_data_col": Option("str"),
    "time_series_id_col": Option("list", []),
    "horizon": Option("int", 1000, low=1, high=10_000),
    "auto_arima": Option("bool", True),
    "auto_arima_max_order": Option("int", low=1, high=5),
    "auto_arima_min_order": Option("int", low=0, high=5),
    "non_seasonal_order": Option("any"),
    "data_frequency": Option("str", "AUTO_FREQUENCY", ("AUTO_FREQUENCY", *FREQUENCIES)),
    "include_drift": Option("bool"),
    "holiday_region": Option("list", []),
    "clean_spikes_and_dips": Option("bool", True),
    "adjust_step_changes": Option("bool", True),
    "time_series_length_fraction": Option("float", low=0, high=1),
    "min_time_series_length": Option("int", low=4),
    "max_time_series_length": Option("int", low=4),
    "trend_smoothing_window_size": Option("int", low=1),
    "decompose_time_series": Option("bool", True),
    "seasonalities": Option("list", ["AUTO"]),
}
UNIVARIATE = {
    "forecast_limit_lower_bound": Option("float"),
    "forecast_limit_upper_bound": Option("float"),
    "hierarchical_time_series_cols": Option("list", []),
}
"""Of ARIMA_PLUS only."""


@dataclass(frozen=True)
class Options:
    """What training needs to know. `order` is set where AUTO_ARIMA is off; `length` bounds the trend's points."""

    model_type: str
    timestamp: str
    data: str
    ids: tuple[str, ...]
    horizon: int
    order: tuple[int, int, int] | None
    drift: bool
    min_order: int
    max_order: int
    frequency: str
    regions: tuple[str, ...]
    clean_spikes: bool
    adjust_steps: bool
    fraction: float | None
    min_length: int
    max_length: int | None
    smoothing: int
    decompose: bool
    lower: float | None
    upper: float | None
    seasons: tuple[str, ...]
    hierarchy: tuple[str, ...]


def read(model_type: str, given: Given) -> Options:
    """The options of one model, each read as it was declared, checked together.

    Raises:
        DataError: options that exclude or need each other.
    """
    ids = tuple(given["time_series_id_col"])
    order = _order(given, many=bool(ids))
    least, most = given["auto_arima_min_order"], given["auto_arima_max_order"]
    found = Options(
        model_type=model_type,
        timestamp=_column(given, "time_series_timestamp_col"),
        data=_column(given, "time_series_data_col"),
        ids=ids,
        horizon=given["horizon"],
        order=order,
        drift=bool(given["include_drift"]),
        min_order=least or 0,
        max_order=most or 2,
        frequency=given["data_frequency"],
        regions=check_regions(given["holiday_region"]),
        clean_spikes=given["clean_spikes_and_dips"],
        adjust_steps=given["adjust_step_changes"],
        fraction=given["time_series_length_fraction"],
        min_length=given["min_time_series_length"] or 20,
        max_length=given["max_time_series_length"],
        smoothing=given["trend_smoothing_window_size"] or 0,
        decompose=given["decompose_time_series"],
        lower=given.get("forecast_limit_lower_bound"),
        upper=given.get("forecast_limit_upper_bound"),
        seasons=_seasons(given["seasonalities"]),
        hierarchy=tuple(given.get("hierarchical_time_series_cols", ())),
    )
    if found.min_order > found.max_order or (most is not None and found.min_order == most):
        raise DataError("AUTO_ARIMA_MIN_ORDER must be less than AUTO_ARIMA_MAX_ORDER.")
    _check_lengths(found, given)
    _check_columns(found)
    if found.lower is not None and found.upper is not None and found.lower >= found.upper:
        raise DataError("FORECAST_LIMIT_UPPER_BOUND must be greater than FORECAST_LIMIT_LOWER_BOUND.")
    return found


def _column(given: Given, name: str) -> str:
    if not given[name]:
        raise DataError(
            f"Option {name.upper()} is missing: it names a column of the training data.", field=name
        )
    return str(given[name])


def _order(given: Given, many: bool) -> tuple[int, int, int] | None:
    if given["auto_arima"]:
        for name in ("non_seasonal_order", "include_drift"):
            if given[name] is not None:
                raise DataError(f"{name.upper()} can be set only when AUTO_ARIMA is FALSE.", field=name)
        return None
    if many:
        raise DataError(
            "AUTO_ARIMA must be TRUE when TIME_SERIES_ID_COL is set: every series finds its own order.",
            field="auto_arima",
        )
    for name in ("auto_arima_min_order", "auto_arima_max_order"):
        if given[name] is not None:
            raise DataError(f"{name.upper()} can be set only when AUTO_ARIMA is TRUE.", field=name)
    order = _triple(given["non_seasonal_order"])
    if given["include_drift"] and order[1] != 1:
        raise DataError(f"INCLUDE_DRIFT can be TRUE only when the non-seasonal d is 1; it is {order[1]}.")
    return order


def _triple(value: Any) -> tuple[int, int, int]:
    """(p, d, q) of a STRUCT of three."""
    if value is None:
        raise DataError("NON_SEASONAL_ORDER is needed when AUTO_ARIMA is FALSE.", field="non_seasonal_order")
    if isinstance(value, Mapping):
        value = [value[part] for part in "pdq"] if set(value) == set("pdq") else list(value.values())
    whole = isinstance(value, list | tuple) and len(value) == 3
    if not whole or not all(isinstance(part, int) and not isinstance(part, bool) for part in value):
        raise DataError(f"NON_SEASONAL_ORDER takes three whole numbers (p, d, q), not {value!r}.")
    p, d, q = value
    if not (0 <= p <= 5 and 0 <= d <= 2 and 0 <= q <= 5):
        raise DataError(f"NON_SEASONAL_ORDER takes p and q from 0 to 5 and d from 0 to 2, not {(p, d, q)}.")
    return p, d, q


def _seasons(given: Sequence[str]) -> tuple[str, ...]:
    names = tuple(name.upper() for name in given) or ("AUTO",)
    for name in names:
        if name not in _SEASONS:
            raise DataError(
                f"SEASONALITIES has {name!r}; it takes {', '.join(_SEASONS)}.", field="seasonalities"
            )
    if len(names) > 1 and {"AUTO", "NO_SEASONALITY"} & set(names):
        raise DataError("SEASONALITIES takes AUTO and NO_SEASONALITY only alone.", field="seasonalities")
    return names


def _check_lengths(found: Options, given: Given) -> None:
    if found.fraction is not None and not 0 < found.fraction < 1:
        raise DataError("TIME_SERIES_LENGTH_FRACTION must lie between 0 and 1.")
    if given["min_time_series_length"] is not None and found.fraction is None:
        raise DataError("MIN_TIME_SERIES_LENGTH needs TIME_SERIES_LENGTH_FRACTION.")
    if found.max_length and found.fraction is not None:
        raise DataError(
            "MAX_TIME_SERIES_LENGTH cannot be used with TIME_SERIES_LENGTH_FRACTION or MIN_TIME_SERIES_LENGTH."
        )


def _check_columns(found: Options) -> None:
    columns = [found.timestamp, found.data, *found.ids]
    if len({name.lower() for name in columns}) < len(columns):
        raise DataError("The time stamp, the data and the ids must be different columns.")
    for name in found.hierarchy:
        if name not in found.ids:
            raise DataError(
                f"HIERARCHICAL_TIME_SERIES_COLS has {name!r}, which is not in TIME_SERIES_ID_COL.",
                field="hierarchical_time_series_cols",
            )
