"""What data are like, and how they moved: ML.DESCRIBE_DATA, ML.VALIDATE_DATA_DRIFT and ML.VALIDATE_DATA_SKEW.

Distances are those of monitoring: Jensen-Shannon for numbers, L-infinity for categories (`ml.watch.distances`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from portico.ml.bqml.options import Option, pairs
from portico.ml.errors import DataError
from portico.ml.watch import bins, distances
from portico.ml.watch.bins import Counts, FeatureBins

_SEEN = 100_000  # rows of training whose distribution is kept, evenly spread
_JENSEN, _LARGEST = "JENSEN_SHANNON_DIVERGENCE", "L_INFTY"

VALIDATING = {
    "categorical_default_threshold": Option("float", 0.3, low=0),
    "categorical_metric_type": Option("str", _LARGEST, (_LARGEST, _JENSEN)),
    "numerical_default_threshold": Option("float", 0.3, low=0),
    "numerical_metric_type": Option("str", _JENSEN, (_JENSEN,)),
    "thresholds": Option("any", []),
    "enable_visualization_link": Option("bool", False, refused="there is no console to link to"),
}
DESCRIBING = {
    "num_quantiles": Option("int", 2, low=1, high=100_000),
    "num_array_length_quantiles": Option("int", 10, low=1, high=100_000),
    "top_k": Option("int", 1, low=1, high=10_000),
}


def seen(rows: pa.Table) -> dict[str, Any]:
    """The distribution of the rows of a training, as JSON."""
    step = max(1, -(-rows.num_rows // _SEEN))
    few = _plain(rows if step == 1 else rows.take(pa.array(np.arange(0, rows.num_rows, step))))
    found = bins.fit_bins(few, _kinds(few))
    counts = bins.count(few, found)
    return {
        "bins": [one.to_json() for one in found],
        "counts": {name: one.to_json() for name, one in counts.items()},
    }


def skew(kept: Mapping[str, Any], table: pa.Table, settings: Mapping[str, Any]) -> pa.Table:
    """How far a table is from what `seen` kept; columns that it has not are left out."""
    have = {name.lower(): name for name in table.column_names}
    known = [FeatureBins.from_json(one) for one in kept["bins"]]
    known = [one for one in known if one.name.lower() in have]
    if not known:
        raise DataError("None of the columns of the training is among the columns of the input")
    chosen = table.select([have[one.name.lower()] for one in known]).rename_columns(
        [one.name for one in known]
    )
    before = {one.name: Counts.from_json(kept["counts"][one.name]) for one in known}
    return _compared(known, before, bins.count(_plain(chosen), known), settings)


def drift(tables: list[pa.Table], settings: Mapping[str, Any]) -> pa.Table:
    base, study = (_plain(one) for one in tables)
    both = [name for name in base.column_names if name in study.column_names]
    if not both:
        raise DataError("ML.VALIDATE_DATA_DRIFT: the two tables have no column of the same name")
    known = bins.fit_bins(base.select(both), _kinds(base))
    return _compared(known, bins.count(base, known), bins.count(study, known), settings)


def _compared(
    known: list[FeatureBins],
    before: Mapping[str, Counts],
    now: Mapping[str, Counts],
    settings: Mapping[str, Any],
) -> pa.Table:
    own = {name: float(value) for name, value in pairs("thresholds", settings["thresholds"] or [])}
    if strange := set(own) - {one.name for one in known}:
        raise DataError(f"thresholds: there is no column {sorted(strange)[0]}")
    rows = []
    for one in known:
        kind = "numerical" if one.kind == "numeric" else "categorical"
        metric = settings[f"{kind}_metric_type"]
        measure = distances.JENSEN_SHANNON if metric == _JENSEN else distances.L_INFINITY
        value = distances.score_column(one, now[one.name], before[one.name], measure).distance
        threshold = own.get(one.name, settings[f"{kind}_default_threshold"])
        rows.append((one.name, metric, threshold, value, value > threshold))
    kinds = (pa.string(), pa.string(), pa.float64(), pa.float64(), pa.bool_())
    names = ("input", "metric", "threshold", "value", "is_anomaly")
    return pa.table({name: pa.array([row[at] for row in rows], kinds[at]) for at, name in enumerate(names)})


def _plain(table: pa.Table) -> pa.Table:
    """Columns as the bins know them: numbers and texts; arrays and structs are left out."""
    found = {}
    for name in table.column_names:
        column, kind = table.column(name), table.schema.field(name).type
        if pa.types.is_nested(kind) or pa.types.is_binary(kind):
            continue
        if pa.types.is_decimal(kind):
            column = column.cast(pa.float64())
        elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            column = column.cast(pa.string())
        found[name] = column
    return pa.table(found)


def _kinds(table: pa.Table) -> dict[str, str]:
    return {one.name: "categorical" if pa.types.is_string(one.type) else "numeric" for one in table.schema}


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
