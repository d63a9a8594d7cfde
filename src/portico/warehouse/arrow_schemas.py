"""The columns of a Parquet or ORC file, by the Arrow schema that it has."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from portico.errors import InvalidArgument
from portico.warehouse import decimal_targets
from portico.warehouse.types import DUCKDB, Field, field_of, quoted


def fields(schema: pa.Schema, decimals: Sequence[str]) -> list[Field]:
    """`decimals`: the types that decimals may get, of NUMERIC, BIGNUMERIC and STRING.

    Raises:
        InvalidArgument: BigQuery has not the type of a column.
    """
    return [field_of(one.name, _type(one.type, one.name, decimals)) for one in schema]


def _type(kind: pa.DataType, name: str, decimals: Sequence[str]) -> str:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _type(kind.value_type, name, decimals) + "[]"
    if pa.types.is_struct(kind):
        return (
            "STRUCT("
            + ", ".join(f"{quoted(one.name)} {_type(one.type, one.name, decimals)}" for one in kind)
            + ")"
        )
    if pa.types.is_dictionary(kind):
        return _type(kind.value_type, name, decimals)
    for known, shown in (
        (pa.types.is_boolean, "BOOLEAN"), (pa.types.is_integer, "BIGINT"), (pa.types.is_floating, "DOUBLE"),
        (pa.types.is_date, "DATE"), (pa.types.is_time, "TIME"), (pa.types.is_binary, "BLOB"),
        (pa.types.is_large_binary, "BLOB"), (pa.types.is_string, "VARCHAR"), (pa.types.is_large_string, "VARCHAR"),
        (pa.types.is_null, "VARCHAR"), (pa.types.is_duration, "BIGINT"),
    ):  # fmt: skip
        if known(kind):
            return shown
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP WITH TIME ZONE" if kind.tz else "TIMESTAMP"
    if pa.types.is_decimal(kind):
        return DUCKDB[decimal_targets.target(kind.precision, kind.scale, decimals)]
    raise InvalidArgument(f"The column {name} has the type {kind}, which BigQuery has not", reason="invalid")
