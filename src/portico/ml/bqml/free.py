"""The ML functions that need no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from portico.ml.bqml import correlation, decomposing, describing, moments, untrained
from portico.ml.bqml.options import Option
from portico.ml.errors import DataError

FREE: dict[str, tuple[int, dict[str, Option], Callable[[list[pa.Table], Mapping[str, Any]], pa.Table]]] = {
    "ML.DESCRIBE_DATA": (1, describing.DESCRIBING, describing.describe),
    "ML.TFDV_DESCRIBE": (1, describing.STATISTICS, describing.statistics),
    "ML.VALIDATE_DATA_DRIFT": (2, describing.COMPARING, describing.drift),
    "ML.FEATURES_AT_TIME": (1, moments.OF_ALL, moments.features_at_time),
    "ML.ENTITY_FEATURES_AT_TIME": (2, moments.OF_ENTITIES, moments.entity_features_at_time),
    "ML.METRICS": (1, untrained.METRICS, untrained.metrics),
    "ML.CORRELATION": (1, correlation.OPTIONS, correlation.correlation),
    "ML.TREND": (1, decomposing.TREND, decomposing.trend),
    "ML.SEASONALITY": (1, decomposing.SEASONALITY, decomposing.seasonality),
    "AI.KEY_DRIVERS": (1, untrained.DRIVERS, untrained.key_drivers),
}


def answer(name: str, tables: list[pa.Table], settings: Mapping[str, Any]) -> pa.Table:
    """An ML function that needs no model.

    Raises:
        DataError: there is no such function, or not with these arguments.
    """
    if name not in FREE:
        raise DataError(f"{name} needs a model: MODEL and its name come first")
    number, declared, method = FREE[name]
    if len(tables) != number:
        raise DataError(f"{name} needs {'a table or a query' if number == 1 else 'two tables or queries'}")
    read = {key: one.default for key, one in declared.items()}
    for key, value in settings.items():
        if key not in declared:
            raise DataError(f"{name} has no argument {key}")
        read[key] = declared[key].read(key, value)
    return method(tables, read)
