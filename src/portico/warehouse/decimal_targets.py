"""Which type the decimals of a file get, and whether it holds them.

https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad.FIELDS.decimal_target_types
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from portico.errors import InvalidArgument
from portico.warehouse.types import Field, canonical

_DIGITS = {
    "NUMERIC": (29, 9),
    "BIGNUMERIC": (38, 38),
}  # before the point and behind it that every such value may have
_NUMERIC: Final = pa.decimal128(38, 9)


def wanted(form: str, options: Mapping[str, Any]) -> list[str]:
    """The types that the decimals of files of `form` may get: those asked for, else what Google's document says.

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
    return list(given) or (["NUMERIC", "STRING"] if form == "ORC" else ["NUMERIC"])


def target(precision: int, scale: int, wanted: Sequence[str]) -> str:
    """NUMERIC, BIGNUMERIC or STRING, for decimals of a file: the first of those wanted that holds every such value,
    else the widest of them."""
    for kind, (before, behind) in _DIGITS.items():
        if kind in wanted and precision - scale <= before and scale <= behind:
            return kind
    return next(kind for kind in ("STRING", "BIGNUMERIC", "NUMERIC") if kind in wanted)


def check_values(table: pa.Table, fields: Sequence[Field]) -> None:
    """Looks whether NUMERIC holds the decimals that a file has for such columns, or for such fields of its records.

    Raises:
        InvalidArgument: a value has more digits.
    """
    by_name = {one["name"].lower(): one for one in fields}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if (one := by_name.get(name.lower())) is not None:
            _check(column, one, name)


def _check(column: pa.ChunkedArray, one: Field, path: str) -> None:
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        _check(pc.list_flatten(column), one, path)
    elif pa.types.is_struct(column.type):
        inner = {each["name"].lower(): each for each in one.get("fields") or ()}
        for place, each in enumerate(column.type):
            if (found := inner.get(each.name.lower())) is not None:
                _check(pc.struct_field(column, [place]), found, f"{path}.{each.name}")
    elif pa.types.is_decimal(column.type) and canonical(one["type"]) == "NUMERIC":
        try:
            column.cast(_NUMERIC)
        except pa.ArrowInvalid:
            raise unfit(path) from None


def unfit(column: str) -> InvalidArgument:
    """That a decimal has more digits than its column."""
    return InvalidArgument(
        f"Error while reading data, error message: a value of the column {column} is out of valid NUMERIC range; let "
        "decimalTargetTypes name BIGNUMERIC or STRING too",
        reason="invalid",
    )
