"""Values as BigQuery's JSON writes them, and the parameters of a query as expressions.

A row is `{"f": [{"v": …}, …]}`; numbers, dates and times are strings, an array a list of `{"v": …}`, a struct a row.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import math
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse import bignumeric
from portico.warehouse.geography.text import read_wkb, wkt
from portico.warehouse.shown import interval_text
from portico.warehouse.types import Field, canonical, range_element

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def rows(table: pa.Table, fields: list[Field], *, times: str) -> list[dict[str, Any]]:
    """`times`: how TIMESTAMPs are written, a key of `TIMES`."""
    if not table.num_rows:
        return []
    columns = []
    for one, column in zip(fields, table.columns, strict=True):
        shown = cell(one, times)
        columns.append([{"v": shown(value)} for value in column.to_pylist()])
    return [{"f": list(row)} for row in zip(*columns, strict=True)]


def cell(one: Field, times: str) -> Callable[[Any], Any]:
    """What writes a column's values."""
    if str(one.get("mode", "")).upper() == "REPEATED":
        inner = cell({**one, "mode": "NULLABLE"}, times)
        return lambda value: [{"v": inner(each)} for each in value or ()]
    kind = canonical(one["type"])
    if kind == "RECORD":
        members = [(each["name"], cell(each, times)) for each in one.get("fields") or ()]

        def struct(value: Any) -> Any:
            if value is None:
                return None
            cells = value.values() if isinstance(value, dict) else value
            return {"f": [{"v": inner(each)} for (_, inner), each in zip(members, cells, strict=True)]}

        return struct
    if kind == "RANGE":
        return lambda value: None if value is None else _range(value, range_element(one), times)
    shown = _shower(kind, times)
    return lambda value: None if value is None else shown(value)


def _shower(kind: str, times: str) -> Callable[[Any], str]:
    if kind == "TIMESTAMP":
        return TIMES[times]
    return _SHOWN.get(kind, str)


def _range(value: dict[str, Any], element: str, times: str) -> str:
    shown = _shower(element, times)
    start, end = ("UNBOUNDED" if one is None else shown(one) for one in value.values())
    return f"[{start}, {end})"


def _micros(value: dt.datetime) -> str:
    return str((value - _EPOCH) // dt.timedelta(microseconds=1))


def _seconds(value: dt.datetime) -> str:
    return repr((value - _EPOCH) / dt.timedelta(seconds=1))


def _iso(value: dt.datetime) -> str:
    return f"{value.astimezone(dt.UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}000000Z"


TIMES: dict[str, Callable[[dt.datetime], str]] = {
    "FLOAT64": _seconds,
    "INT64": _micros,
    "ISO8601_STRING": _iso,
}
"""What writes a TIMESTAMP, by the names of DataFormatOptions.timestampOutputFormat: seconds, microseconds, a text."""


def _float(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)


def decimal_text(value: decimal.Decimal) -> str:
    shown = format(value, "f")
    return (shown.rstrip("0").rstrip(".") if "." in shown else shown) or "0"


def _interval(value: Any) -> str:
    return interval_text(value.months, value.days, value.nanoseconds // 1000)


_SHOWN: dict[str, Callable[[Any], str]] = {
    "INTEGER": lambda value: str(int(value)),
    "FLOAT": _float,
    "NUMERIC": decimal_text,
    "BIGNUMERIC": bignumeric.shown,
    "BOOLEAN": lambda value: "true" if value else "false",
    "BYTES": lambda value: base64.b64encode(value).decode(),
    "DATE": lambda value: f"{value.isoformat()}",
    "TIME": lambda value: f"{value.isoformat()}",
    "DATETIME": lambda value: f"{value.isoformat()}",
    "INTERVAL": _interval,
    "GEOGRAPHY": lambda value: wkt(read_wkb(value)),
}


# --- parameters ------------------------------------------------------------------------------------------


def parameter(kind: Mapping[str, Any], value: Mapping[str, Any] | None) -> exp.Expr:
    """A QueryParameterType and QueryParameterValue as an expression of GoogleSQL.

    Raises:
        InvalidArgument: there is no such type.
    """
    name = str(kind.get("type", "")).upper()
    given = value or {}
    if name == "ARRAY":
        inner = kind.get("arrayType") or {}
        array = exp.Array(expressions=[parameter(inner, each) for each in given.get("arrayValues") or ()])
        return exp.Cast(this=array, to=exp.DataType.build(f"ARRAY<{_sql(inner)}>", dialect="bigquery"))
    if name == "STRUCT":
        values = given.get("structValues") or {}
        members: list[exp.Expr] = [
            exp.alias_(parameter(each["type"], values.get(each.get("name", ""))), each["name"], quoted=True)
            for each in kind.get("structTypes") or ()
        ]
        return exp.Anonymous(this="STRUCT", expressions=members)
    if name == "RANGE":
        return _range_parameter(kind, given.get("rangeValue"))
    text = given.get("value")
    literal: exp.Expr = exp.Null() if text is None else exp.Literal.string(str(text))
    if name == "STRING" and text is not None:
        return literal
    if name == "JSON" and text is not None:
        return exp.Anonymous(this="PARSE_JSON", expressions=[literal])
    if name == "BYTES" and text is not None:
        return exp.Anonymous(this="FROM_BASE64", expressions=[literal])
    return exp.Cast(this=literal, to=exp.DataType.build(_sql(kind), dialect="bigquery"))


def _range_parameter(kind: Mapping[str, Any], value: Mapping[str, Any] | None) -> exp.Expr:
    element = kind.get("rangeElementType") or {}
    if value is None:
        return exp.Cast(this=exp.Null(), to=exp.DataType.build(_sql(kind), dialect="bigquery"))
    ends = [parameter(element, value.get(end)) for end in ("start", "end")]
    return exp.Anonymous(this="RANGE", expressions=ends)


def _sql(kind: Mapping[str, Any]) -> str:
    name = str(kind.get("type", "")).upper()
    if name == "ARRAY":
        return f"ARRAY<{_sql(kind.get('arrayType') or {})}>"
    if name == "STRUCT":
        members = ", ".join(
            f"`{each['name']}` {_sql(each['type'])}" for each in kind.get("structTypes") or ()
        )
        return f"STRUCT<{members}>"
    if name == "RANGE":
        return f"RANGE<{_sql(kind.get('rangeElementType') or {})}>"
    known = {
        "INTEGER": "INT64",
        "FLOAT": "FLOAT64",
        "BOOLEAN": "BOOL",
        "INT64": "INT64",
        "FLOAT64": "FLOAT64",
    }
    if name not in known and canonical(name) == "RECORD":
        raise InvalidArgument(
            f"The type of a query parameter is missing or unknown: {name!r}", reason="invalid"
        )
    return known.get(name, name)
