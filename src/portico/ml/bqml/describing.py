"""What data are like, and how they moved: ML.DESCRIBE_DATA, ML.TFDV_DESCRIBE and what compares two tables.

Distances are those between the statistics that ML.TFDV_DESCRIBE tells: Jensen-Shannon for numbers, L-infinity for
categories.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from portico.ml.bqml import tfdv
from portico.ml.bqml.options import Option, pairs
from portico.ml.errors import DataError

_METRICS = (tfdv.LARGEST, tfdv.JENSEN)
_JSON = {"ARROW:extension:name": "arrow.json", "ARROW:extension:metadata": ""}

VALIDATING = {
    "categorical_default_threshold": Option("float", 0.3, low=0, high=1),
    "categorical_metric_type": Option("str", tfdv.LARGEST, _METRICS),
    "numerical_default_threshold": Option("float", 0.3, low=0, high=1),
    "numerical_metric_type": Option("str", tfdv.JENSEN, (tfdv.JENSEN,)),
    "thresholds": Option("any", []),
    "enable_visualization_link": Option("bool", False, refused="there is no console to link to"),
}
_HISTOGRAMS = {
    name: Option("int", number, low=1, high=10_000 if "rank" in name else 1000)
    for name, number in tfdv.HISTOGRAMS.items()
}
COMPARING = {**_HISTOGRAMS, **VALIDATING}
DESCRIBING = {
    "num_quantiles": Option("int", 2, low=1, high=100_000),
    "num_array_length_quantiles": Option("int", 10, low=1, high=100_000),
    "top_k": Option("int", 1, low=1, high=10_000),
}
STATISTICS = _HISTOGRAMS
_DETECTIONS = Option("str", "SKEW", ("SKEW", "DRIFT"))


def seen(rows: pa.Table) -> dict[str, Any]:
    """The distribution of the rows of a training, as JSON."""
    return tfdv.statistics(rows, tfdv.HISTOGRAMS)


def skew(kept: Mapping[str, Any], table: pa.Table, settings: Mapping[str, Any]) -> pa.Table:
    """How far a table is from what `seen` kept; columns that it has not are left out."""
    if "datasets" not in kept:
        raise DataError("ML.VALIDATE_DATA_SKEW: the model was made by an older Portico; train it again")
    known = {one["name"].partition(".")[0].lower(): one["name"].partition(".")[0] for one in _features(kept)}
    names = {one: known[one.lower()] for one in table.column_names if one.lower() in known}
    if not names:
        raise DataError("None of the columns of the training is among the columns of the input")
    chosen = table.select(list(names)).rename_columns(list(names.values()))
    return _compared(kept, tfdv.statistics(chosen, tfdv.HISTOGRAMS), settings)


def drift(tables: list[pa.Table], settings: Mapping[str, Any]) -> pa.Table:
    base, study = (tfdv.statistics(one, settings) for one in tables)
    if not {one["name"] for one in _features(base)} & {one["name"] for one in _features(study)}:
        raise DataError("ML.VALIDATE_DATA_DRIFT: the two tables have no column of the same name")
    return _compared(base, study, settings)


def _features(statistics: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = statistics["datasets"][0].get("features", [])
    return found


def _compared(base: Mapping[str, Any], study: Mapping[str, Any], settings: Mapping[str, Any]) -> pa.Table:
    rows = [
        (one.name, one.metric, one.threshold, one.value, one.anomalous)
        for one in tfdv.measured(base, study, settings, _thresholds(settings["thresholds"]))
    ]
    kinds = (pa.string(), pa.string(), pa.float64(), pa.float64(), pa.bool_())
    names = ("input", "metric", "threshold", "value", "is_anomaly")
    return pa.table({name: pa.array([row[at] for row in rows], kinds[at]) for at, name in enumerate(names)})


def _thresholds(given: Any) -> dict[str, float]:
    wanted = Option("float", 0.3, low=0, high=1)
    return {
        name: wanted.read(f"thresholds of {name}", value) for name, value in pairs("thresholds", given or [])
    }


def statistics(tables: list[pa.Table], settings: Mapping[str, Any]) -> pa.Table:
    """ML.TFDV_DESCRIBE: one row and column, of JSON."""
    [table] = tables
    for field in table.schema:
        inner = list(field.type) if pa.types.is_struct(field.type) else [field]
        if not all(tfdv.supported(one.type) for one in inner):
            raise DataError(f"ML.TFDV_DESCRIBE: the type of column {field.name} is not supported")
    told = json.dumps(tfdv.statistics(table, settings))
    schema = pa.schema([pa.field("dataset_feature_statistics_list", pa.string(), metadata=_JSON)])
    return pa.Table.from_arrays([pa.array([told])], schema=schema)


def validate(
    base: str,
    study: str,
    detection: str,
    categorical_threshold: float,
    categorical_metric: str,
    numerical_threshold: float,
    numerical_metric: str,
    thresholds: str,
) -> str:
    """ML.TFDV_VALIDATE: an Anomalies in JSON, of two statistics in JSON; `thresholds` are an array of pairs in JSON.

    Raises:
        DataError: an argument is none that may stand there.
    """
    given = {
        "categorical_default_threshold": categorical_threshold,
        "categorical_metric_type": categorical_metric,
        "numerical_default_threshold": numerical_threshold,
        "numerical_metric_type": numerical_metric,
    }
    settings = {name: VALIDATING[name].read(name, value) for name, value in given.items()}
    kind = _DETECTIONS.read("detection_type", detection)
    own = _thresholds(json.loads(thresholds))
    found = tfdv.measured(json.loads(base), json.loads(study), settings, own)
    return json.dumps(tfdv.anomalies(found, kind))


def describe(tables: list[pa.Table], settings: Mapping[str, Any]) -> pa.Table:
    """One row a column, in the columns' alphabetical order."""
    rows = [_column(tables[0], name, settings) for name in sorted(tables[0].column_names)]
    return pa.table(
        {name: pa.array([row.get(name) for row in rows], kind) for name, kind in _DESCRIBED.items()}
    )


def _column(table: pa.Table, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    column = table.column(name)
    row: dict[str, Any] = {"name": name, "num_rows": table.num_rows, "num_nulls": column.null_count}
    if pa.types.is_list(column.type):
        lengths = np.asarray(pc.list_value_length(pc.drop_null(column)), np.int64)
        column = pc.list_flatten(column)
        if len(lengths):
            count = settings["num_array_length_quantiles"]
            row |= {
                "min_array_length": int(lengths.min()),
                "max_array_length": int(lengths.max()),
                "avg_array_length": float(lengths.mean()),
                "total_array_length": int(lengths.sum()),
                "array_length_quantiles": [int(one) for one in _quantiles(lengths, count)],
            }
    known = pc.drop_null(column)
    row["num_values"] = len(known)
    kind = column.type
    if pa.types.is_nested(kind) or not len(known):
        return row
    if pa.types.is_decimal(kind):
        known = known.cast(pa.float64())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        values = known.cast(pa.float64(), safe=False).to_numpy()
        return row | {
            "num_zeros": int((values == 0).sum()),
            "min": str(pc.min(known).as_py()),
            "max": str(pc.max(known).as_py()),
            "mean": float(values.mean()),
            "stddev": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
            "median": float(np.median(values)),
            "quantiles": [float(one) for one in _quantiles(values, settings["num_quantiles"])],
        }
    if pa.types.is_binary(kind):
        return row
    texts = known.cast(pa.string())
    counted = sorted(pc.value_counts(texts).to_pylist(), key=lambda one: (-one["counts"], one["values"]))
    top = [{"value": one["values"], "count": one["counts"]} for one in counted[: settings["top_k"]]]
    row |= {
        "unique": len(counted),
        "top_values": top,
        "min": pc.min(texts).as_py(),
        "max": pc.max(texts).as_py(),
    }
    if pa.types.is_string(kind):
        row["avg_string_length"] = float(pc.mean(pc.utf8_length(texts)).as_py())
    return row


def _quantiles(values: Any, number: int) -> Any:
    return np.quantile(values, np.linspace(0, 1, number + 1), method="inverted_cdf")


_DESCRIBED = {
    "name": pa.string(), "num_rows": pa.int64(), "num_nulls": pa.int64(), "num_zeros": pa.int64(), "min": pa.string(),
    "max": pa.string(), "mean": pa.float64(), "stddev": pa.float64(), "median": pa.float64(),
    "quantiles": pa.list_(pa.float64()), "unique": pa.int64(), "avg_string_length": pa.float64(),
    "num_values": pa.int64(),
    "top_values": pa.list_(pa.struct([("value", pa.string()), ("count", pa.int64())])),
    "min_array_length": pa.int64(), "max_array_length": pa.int64(), "avg_array_length": pa.float64(),
    "total_array_length": pa.int64(), "array_length_quantiles": pa.list_(pa.int64()), "dimension": pa.int64(),
}  # fmt: skip
