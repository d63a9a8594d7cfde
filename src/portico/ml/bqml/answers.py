"""What functions of several kinds of models answer alike."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from portico.ml.bqml.columns import Column


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


def standard_type(kind: pa.DataType) -> dict[str, Any]:
    """An Arrow type as the API's StandardSqlDataType."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return {"typeKind": "ARRAY", "arrayElementType": standard_type(kind.value_type)}
    if pa.types.is_struct(kind):
        fields = [{"name": one.name, "type": standard_type(one.type)} for one in kind.fields]
        return {"typeKind": "STRUCT", "structType": {"fields": fields}}
    return {"typeKind": type_kind(str(kind))}


_INFO = {
    "input": pa.string(), "min": pa.float64(), "max": pa.float64(), "mean": pa.float64(), "median": pa.float64(),
    "stddev": pa.float64(), "category_count": pa.int64(), "null_count": pa.int64(), "dimension": pa.int64(),
}  # fmt: skip


def told(columns: list[Column]) -> list[dict[str, Any]]:
    """What ML.FEATURE_INFO says of inputs, an array of numbers as one."""
    arrays: dict[str, list[Column]] = {}
    for one in columns:
        whole, _, place = one.name.rpartition("[")
        vector = bool(whole) and place.endswith("]") and place[:-1].isdigit()
        arrays.setdefault(whole if vector else one.name, []).append(one)
    return [_told(each[0]) if each[0].name == name else _vector(name, each) for name, each in arrays.items()]


def _told(column: Column) -> dict[str, Any]:
    number = column.kind == "number"
    return {
        "input": column.name,
        "min": column.low,
        "max": column.high,
        "mean": column.mean if number else None,
        "median": column.median,
        "stddev": column.deviation if number else None,
        "category_count": None if number else len(column.categories),
        "null_count": column.nulls,
        "dimension": column.dimension,
    }


def _vector(name: str, places: list[Column]) -> dict[str, Any]:
    mean = sum(one.mean for one in places) / len(places)
    square = sum(one.deviation**2 + one.mean**2 for one in places) / len(places)
    return {
        "input": name,
        "min": min((one.low for one in places if one.low is not None), default=None),
        "max": max((one.high for one in places if one.high is not None), default=None),
        "mean": mean,
        "stddev": max(square - mean**2, 0.0) ** 0.5,
        "null_count": max(one.nulls for one in places),
        "dimension": len(places),
    }


def feature_info(rows: list[dict[str, Any]]) -> pa.Table:
    """ML.FEATURE_INFO: one row an input, as `told` says them."""
    return pa.Table.from_pylist(rows, pa.schema(list(_INFO.items())))


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
