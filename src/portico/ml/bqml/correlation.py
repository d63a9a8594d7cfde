"""ML.CORRELATION: of a number with others, in all segments of some dimensions.

https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-correlation
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from portico.ml.bqml.columns import is_number, named
from portico.ml.bqml.options import Option
from portico.ml.errors import DataError

Numbers = np.ndarray[Any, Any]
_MOST = 200_000  # rows of the answer
_KENDALL = 100_000  # rows of a segment that Kendall's, which compares each with each, is of
OPTIONS = {
    "target_col": Option("str"),
    "target_correlation_cols": Option("list"),
    "dimension_cols": Option("list", []),
    "method": Option("str", "PEARSON", ("PEARSON", "SPEARMAN", "KENDALL")),
}


def correlation(tables: list[pa.Table], settings: Mapping[str, Any]) -> pa.Table:
    """A row for each segment and column, the largest segments first.

    Raises:
        DataError: a column is missing, of a wrong type, or there are too many segments.
    """
    table = tables[0]
    target = _column(table, settings["target_col"], "target_col")
    asked = settings["target_correlation_cols"]
    if not asked:
        raise DataError("ML.CORRELATION needs target_correlation_cols => ['column', …]")
    others = [_column(table, one, "target_correlation_cols") for one in asked]
    dimensions = [_column(table, one, "dimension_cols") for one in settings["dimension_cols"]]
    if len(dimensions) > 12 or len(set(dimensions)) < len(dimensions):
        raise DataError("dimension_cols may name 12 columns at most, each once")
    truth = _numbers(table, target, "target_col")
    values = [_numbers(table, one, "target_correlation_cols") for one in others]
    coded = [_coded(table, one) for one in dimensions]
    rows: list[dict[str, Any]] = []
    for size in range(len(dimensions) + 1):
        for chosen in itertools.combinations(range(len(dimensions)), size):
            for places in _groups([coded[one][0] for one in chosen], table.num_rows):
                segment = {dimensions[one]: coded[one][1][coded[one][0][places[0]]] for one in chosen}
                for name, other in zip(others, values, strict=True):
                    found = _measured(truth[places], other[places], settings["method"])
                    rows.append(
                        {"segment": segment, "corr_col": name, "correlation": found, "size": len(places)}
                    )
            if len(rows) > _MOST:
                raise DataError(
                    f"dimension_cols make more than {_MOST:,} rows: bucket columns of many values"
                )
    rows.sort(key=lambda one: (-one["size"], one["corr_col"]))
    made: dict[str, Any] = {"segment": _segments([one["segment"] for one in rows])}
    for name in dimensions:
        kind = table.schema.field(name).type
        made[name] = pa.array([one["segment"].get(name) for one in rows], kind)
    share = max(table.num_rows, 1)
    made |= {
        "target_col": pa.array([target] * len(rows), pa.string()),
        "corr_col": pa.array([one["corr_col"] for one in rows], pa.string()),
        "correlation": pa.array([one["correlation"] for one in rows], pa.float64()),
        "segment_size": pa.array([one["size"] for one in rows], pa.int64()),
        "segment_proportion": pa.array([one["size"] / share for one in rows], pa.float64()),
    }
    return pa.table(made)


def _column(table: pa.Table, name: Any, option: str) -> str:
    if not isinstance(name, str):
        raise DataError(f"ML.CORRELATION needs {option} => 'column'")
    return named(table, name, option)


def _numbers(table: pa.Table, name: str, option: str) -> Numbers:
    column = table.column(name)
    if not is_number(column.type):
        raise DataError(f"{option}: {name} must be numbers, and is {column.type}")
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)


def _coded(table: pa.Table, name: str) -> tuple[Numbers, list[Any]]:
    """(rows,) of places in a column's values, NULL one of them."""
    column = table.column(name)
    if pa.types.is_nested(column.type):
        raise DataError(
            f"dimension_cols: {name} must be of a type that rows are grouped by, and is {column.type}"
        )
    coded = pc.dictionary_encode(column, null_encoding="encode").combine_chunks()
    if isinstance(coded, pa.ChunkedArray):
        coded = pa.concat_arrays(coded.chunks)
    return np.asarray(coded.indices.to_numpy(zero_copy_only=False), np.int64), coded.dictionary.to_pylist()


def _groups(codes: list[Numbers], rows: int) -> list[Numbers]:
    """The places of the rows of each segment; of no dimensions all rows are one."""
    if not rows:
        return []
    if not codes:
        return [np.arange(rows)]
    _, groups = np.unique(np.stack(codes, axis=1), axis=0, return_inverse=True)
    order = np.argsort(groups.ravel(), kind="stable")
    return np.split(order, np.flatnonzero(np.diff(groups.ravel()[order])) + 1)


def _measured(one: Numbers, other: Numbers, method: str) -> float | None:
    """Of the rows that have both; None where they do not vary. Ranks are SQL's RANK (ties have the least), and
    Kendall's is tau-b, as in BigQuery."""
    both = np.isfinite(one) & np.isfinite(other)
    one, other = one[both], other[both]
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    if method == "KENDALL":
        from scipy import stats

        if len(one) > _KENDALL:
            raise DataError(f"method KENDALL takes segments of {_KENDALL:,} rows at most; take SPEARMAN")
        return float(stats.kendalltau(one, other).statistic)
    if method == "SPEARMAN":
        one, other = (np.searchsorted(np.sort(each), each) + 1.0 for each in (one, other))
    return float(np.clip(np.corrcoef(one, other)[0, 1], -1.0, 1.0))


def _segments(given: list[dict[str, Any]]) -> pa.Array:
    flat = [(name, json.dumps(value, default=str)) for one in given for name, value in one.items()]
    values = pa.array([value for _, value in flat], pa.string())
    told = pa.ExtensionArray.from_storage(pa.json_(pa.string()), values)
    names = pa.array([name for name, _ in flat], pa.string())
    each = pa.StructArray.from_arrays([names, told], ["dimension_col", "dimension_value"])
    offsets = np.cumsum([0, *(len(one) for one in given)])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), each)
