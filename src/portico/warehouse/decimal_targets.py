"""Which type the decimals of a file get, and whether it holds them.

https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad.FIELDS.decimal_target_types
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from portico.errors import InvalidArgument
from portico.warehouse.types import Field, canonical

_DIGITS = {
    "NUMERIC": (29, 9),
    "BIGNUMERIC": (38, 38),
}  # before the point and behind it that every such value may have


def check(options: Mapping[str, Any]) -> None:
    """
    Raises:
        InvalidArgument: decimalTargetTypes names a type twice, or one that is none.
    """
    given = options.get("decimalTargetTypes") or []
    for one in given:
        if one not in (*_DIGITS, "STRING") or given.count(one) > 1:
            raise InvalidArgument(
                f"Invalid value for decimalTargetTypes: {str(one)[:80]} is not a valid value; it is NUMERIC, "
                "BIGNUMERIC and STRING, each once at most",
                reason="invalid",
                field="decimalTargetTypes",
            )


def target(precision: int, scale: int, options: Mapping[str, Any]) -> str:
    """NUMERIC, BIGNUMERIC or STRING, for decimals of a file: the first of those asked for that holds every such value,
    else the widest of them. Nothing asked for: the smaller number that holds them."""
    wanted = options.get("decimalTargetTypes") or list(_DIGITS)
    for kind, (before, behind) in _DIGITS.items():
        if kind in wanted and precision - scale <= before and scale <= behind:
            return kind
    return next(kind for kind in ("STRING", "BIGNUMERIC", "NUMERIC") if kind in wanted)


def fitted(table: pa.Table, fields: list[Field]) -> pa.Table:
    """A file's rows, whose decimals have no more digits than NUMERIC where their column is one.

    Raises:
        InvalidArgument: a value has more.
    """
    numeric = {one["name"].lower() for one in fields if canonical(one["type"]) == "NUMERIC"}
    for place, one in enumerate(table.schema):
        if one.name.lower() in numeric and pa.types.is_decimal(one.type) and one.type.scale > 9:
            try:
                column = table.column(place).cast(pa.decimal128(38, 9))
            except pa.ArrowInvalid:
                raise InvalidArgument(
                    f"Error while reading data, error message: a value of the column {one.name} is out of valid "
                    "NUMERIC range; let decimalTargetTypes name BIGNUMERIC or STRING too",
                    reason="invalid",
                ) from None
            table = table.set_column(place, one.name, column)
    return table
