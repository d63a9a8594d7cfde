"""What functions of several kinds of models answer alike."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from portico.ml.bqml.columns import Encoder


def type_kind(shown: str) -> str:
    """An Arrow type as the API's StandardSqlDataType names it."""
    for begins, kind in (
        ("int", "INT64"), ("uint", "INT64"), ("double", "FLOAT64"), ("float", "FLOAT64"), ("string", "STRING"),
        ("bool", "BOOL"), ("decimal", "NUMERIC"), ("date", "DATE"), ("time6", "TIME"), ("list", "ARRAY"),
        ("struct", "STRUCT"), ("binary", "BYTES"),
    ):  # fmt: skip
        if shown.startswith(begins):
            return kind
    return "TIMESTAMP" if "tz=" in shown else "DATETIME"


def feature_info(encoder: Encoder) -> pa.Table:
    """ML.FEATURE_INFO: one row an input."""
    found = encoder.columns
    return pa.table(
        {
            "input": pa.array([one.name for one in found], pa.string()),
            "min": pa.array([one.low for one in found], pa.float64()),
            "max": pa.array([one.high for one in found], pa.float64()),
            "mean": pa.array([one.mean if one.kind == "number" else None for one in found], pa.float64()),
            "median": pa.array([one.median for one in found], pa.float64()),
            "stddev": pa.array(
                [one.deviation if one.kind == "number" else None for one in found], pa.float64()
            ),
            "category_count": pa.array(
                [len(one.categories) if one.kind != "number" else None for one in found], pa.int64()
            ),
            "null_count": pa.array([one.nulls for one in found], pa.int64()),
            "dimension": pa.array([one.dimension for one in found], pa.int64()),
        }
    )


def beside(made: dict[str, Any], table: pa.Table) -> pa.Table:
    """What was made, and then the columns of the input that it does not replace."""
    taken = {name.lower() for name in made}
    for name in table.column_names:
        if name.lower() not in taken:
            made[name] = table.column(name)
    return pa.table(made)


def column_name(value: Any) -> str:
    """A class as the name of a column: letters, digits and underscores, not beginning with a digit."""
    text = "".join(one if one.isalnum() and one.isascii() else "_" for one in str(value))
    return text if text[:1].isalpha() or text[:1] == "_" else f"_{text}"
