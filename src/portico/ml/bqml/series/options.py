"""The options of a CREATE MODEL for time series, read and checked; names, defaults and limits are Google's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from portico.ml.bqml.series.calendar import CYCLES, FREQUENCIES
from portico.ml.bqml.series.holidays import check_regions
from portico.ml.errors import DataError

_COMMON = {
    "TIME_SERIES_TIMESTAMP_COL",
    "TIME_SERIES_DATA_COL",
    "TIME_SERIES_ID_COL",
    "HORIZON",
    "AUTO_ARIMA",
    "AUTO_ARIMA_MAX_ORDER",
    "AUTO_ARIMA_MIN_ORDER",
    "NON_SEASONAL_ORDER",
    "DATA_FREQUENCY",
    "INCLUDE_DRIFT",
    "HOLIDAY_REGION",
    "CLEAN_SPIKES_AND_DIPS",
    "ADJUST_STEP_CHANGES",
    "TIME_SERIES_LENGTH_FRACTION",
    "MIN_TIME_SERIES_LENGTH",
    "MAX_TIME_SERIES_LENGTH",
    "TREND_SMOOTHING_WINDOW_SIZE",
    "DECOMPOSE_TIME_SERIES",
    "SEASONALITIES",
}
_ONLY = {
    "ARIMA_PLUS": {
        "FORECAST_LIMIT_LOWER_BOUND",
        "FORECAST_LIMIT_UPPER_BOUND",
        "HIERARCHICAL_TIME_SERIES_COLS",
    },
    "ARIMA_PLUS_XREG": set(),
}
_SEASONS = ("AUTO", "NO_SEASONALITY", *CYCLES)


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


def read(model_type: str, given: Mapping[str, Any]) -> Options:
    """The options of one model; `given` has plain values by name, in any case.

    Raises:
        DataError: an option that the model type does not have, or a value that it cannot have.
    """
    options = {name.upper(): value for name, value in given.items() if value is not None}
    unknown = sorted(set(options) - _COMMON - _ONLY[model_type])
    if unknown:
        raise DataError(
            f"Option(s) {', '.join(unknown)} are not supported for {model_type} model training.",
            field=unknown[0],
        )
    reader = _Reader(options)
    ids = reader.names("TIME_SERIES_ID_COL")
    order, drift = _order(reader, many=bool(ids))
    fraction = reader.number("TIME_SERIES_LENGTH_FRACTION")
    found = Options(
        model_type=model_type,
        timestamp=reader.name("TIME_SERIES_TIMESTAMP_COL"),
        data=reader.name("TIME_SERIES_DATA_COL"),
        ids=ids,
        horizon=reader.whole("HORIZON", 1000, 1, 10_000),
        order=order,
        drift=drift,
        min_order=reader.whole("AUTO_ARIMA_MIN_ORDER", 0, 0, 5),
        max_order=reader.whole("AUTO_ARIMA_MAX_ORDER", 2, 1, 5),
        frequency=reader.word("DATA_FREQUENCY", "AUTO_FREQUENCY", ("AUTO_FREQUENCY", *FREQUENCIES)),
        regions=check_regions(reader.names("HOLIDAY_REGION")),
        clean_spikes=reader.flag("CLEAN_SPIKES_AND_DIPS", True),
        adjust_steps=reader.flag("ADJUST_STEP_CHANGES", True),
        fraction=fraction,
        min_length=reader.whole("MIN_TIME_SERIES_LENGTH", 20, 4, 10**9),
        max_length=reader.whole("MAX_TIME_SERIES_LENGTH", 0, 4, 10**9) or None,
        smoothing=reader.whole("TREND_SMOOTHING_WINDOW_SIZE", 0, 1, 10**9),
        decompose=reader.flag("DECOMPOSE_TIME_SERIES", True),
        lower=reader.number("FORECAST_LIMIT_LOWER_BOUND"),
        upper=reader.number("FORECAST_LIMIT_UPPER_BOUND"),
        seasons=_seasons(reader),
        hierarchy=reader.names("HIERARCHICAL_TIME_SERIES_COLS"),
    )
    _check_together(found, options)
    return found


def _order(reader: _Reader, many: bool) -> tuple[tuple[int, int, int] | None, bool]:
    given = reader.options
    if reader.flag("AUTO_ARIMA", True):
        for name in ("NON_SEASONAL_ORDER", "INCLUDE_DRIFT"):
            if name in given:
                raise DataError(f"{name} can be set only when AUTO_ARIMA is FALSE.", field=name)
        return None, False
    if many:
        raise DataError(
            "AUTO_ARIMA must be TRUE when TIME_SERIES_ID_COL is set: every series finds its own order.",
            field="AUTO_ARIMA",
        )
    for name in ("AUTO_ARIMA_MIN_ORDER", "AUTO_ARIMA_MAX_ORDER"):
        if name in given:
            raise DataError(f"{name} can be set only when AUTO_ARIMA is TRUE.", field=name)
    order = reader.triple("NON_SEASONAL_ORDER")
    drift = reader.flag("INCLUDE_DRIFT", False)
    if drift and order[1] != 1:
        raise DataError(
            f"INCLUDE_DRIFT can be TRUE only when the non-seasonal d is 1; it is {order[1]}.",
            field="INCLUDE_DRIFT",
        )
    return order, drift


def _seasons(reader: _Reader) -> tuple[str, ...]:
    names = tuple(name.upper() for name in reader.names("SEASONALITIES")) or ("AUTO",)
    for name in names:
        if name not in _SEASONS:
            raise DataError(
                f"SEASONALITIES has {name!r}; it takes {', '.join(_SEASONS)}.", field="SEASONALITIES"
            )
    if len(names) > 1 and {"AUTO", "NO_SEASONALITY"} & set(names):
        raise DataError("SEASONALITIES takes AUTO and NO_SEASONALITY only alone.", field="SEASONALITIES")
    return names


def _check_together(found: Options, options: Mapping[str, Any]) -> None:
    def no(field: str, message: str) -> DataError:
        return DataError(message, field=field)

    columns = [found.timestamp, found.data, *found.ids]
    if len({name.lower() for name in columns}) < len(columns):
        raise no("TIME_SERIES_ID_COL", "The time stamp, the data and the ids must be different columns.")
    if found.min_order > found.max_order or (
        "AUTO_ARIMA_MAX_ORDER" in options and found.min_order == found.max_order
    ):
        raise no("AUTO_ARIMA_MIN_ORDER", "AUTO_ARIMA_MIN_ORDER must be less than AUTO_ARIMA_MAX_ORDER.")
    if found.fraction is not None and not 0 < found.fraction < 1:
        raise no("TIME_SERIES_LENGTH_FRACTION", "TIME_SERIES_LENGTH_FRACTION must lie between 0 and 1.")
    if "MIN_TIME_SERIES_LENGTH" in options and found.fraction is None:
        raise no("MIN_TIME_SERIES_LENGTH", "MIN_TIME_SERIES_LENGTH needs TIME_SERIES_LENGTH_FRACTION.")
    if found.max_length and found.fraction is not None:
        raise no(
            "MAX_TIME_SERIES_LENGTH",
            "MAX_TIME_SERIES_LENGTH cannot be used with TIME_SERIES_LENGTH_FRACTION or MIN_TIME_SERIES_LENGTH.",
        )
    if found.lower is not None and found.upper is not None and found.lower >= found.upper:
        raise no(
            "FORECAST_LIMIT_UPPER_BOUND",
            "FORECAST_LIMIT_UPPER_BOUND must be greater than FORECAST_LIMIT_LOWER_BOUND.",
        )
    for name in found.hierarchy:
        if name not in found.ids:
            raise no(
                "HIERARCHICAL_TIME_SERIES_COLS",
                f"HIERARCHICAL_TIME_SERIES_COLS has {name!r}, which is not in TIME_SERIES_ID_COL.",
            )


class _Reader:
    """Options of one type each; a wrong value is refused with the option's name."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options

    def _no(self, name: str, takes: str) -> DataError:
        return DataError(f"{name} takes {takes}, not {self.options.get(name)!r}.", field=name)

    def name(self, name: str) -> str:
        if name not in self.options:
            raise DataError(f"{name} is missing: it names a column of the training data.", field=name)
        value = self.options[name]
        if not isinstance(value, str) or not value:
            raise self._no(name, "the name of a column")
        return value

    def names(self, name: str) -> tuple[str, ...]:
        value = self.options.get(name, ())
        found = (value,) if isinstance(value, str) else value
        if not isinstance(found, Sequence) or not all(isinstance(item, str) and item for item in found):
            raise self._no(name, "a string or an array of strings")
        if len(set(found)) < len(found):
            raise self._no(name, "different strings")
        return tuple(found)

    def word(self, name: str, default: str, words: Sequence[str]) -> str:
        value = self.options.get(name, default)
        if not isinstance(value, str) or value.upper() not in words:
            raise self._no(name, f"one of {', '.join(words)}")
        return value.upper()

    def flag(self, name: str, default: bool) -> bool:
        value = self.options.get(name, default)
        if not isinstance(value, bool):
            raise self._no(name, "TRUE or FALSE")
        return value

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        value = self.options.get(name)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            bounds = f"from {least} to {most}" if most < 10**9 else f"of {least} or more"
            raise self._no(name, f"a whole number {bounds}")
        return value

    def number(self, name: str) -> float | None:
        value = self.options.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not hasattr(value, "__float__"):
            raise self._no(name, "a number")
        return float(value)

    def triple(self, name: str) -> tuple[int, int, int]:
        """(p, d, q), as a tuple or a STRUCT of three."""
        if name not in self.options:
            raise DataError("NON_SEASONAL_ORDER is needed when AUTO_ARIMA is FALSE.", field=name)
        value = self.options[name]
        if isinstance(value, Mapping):
            value = [value.get(part) for part in "pdq"] if set(value) == set("pdq") else list(value.values())
        takes = "(p, d, q) with p and q from 0 to 5 and d from 0 to 2"
        if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 3:
            raise self._no(name, takes)
        p, d, q = value
        if not all(isinstance(part, int) and not isinstance(part, bool) for part in value):
            raise self._no(name, takes)
        if not (0 <= p <= 5 and 0 <= d <= 2 and 0 <= q <= 5):
            raise self._no(name, takes)
        return p, d, q
