"""Literals of dates and times, of RANGE and of INTERVAL, as DuckDB has them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse import time_functions as times
from portico.warehouse.macros import call

LITERALS: dict[str, Callable[[str], Any]] = {
    "DATE": lambda text: times.read_date(text).isoformat(),
    "TIME": lambda text: times.read_time(text).isoformat(),
    "DATETIME": lambda text: times.read_datetime(text).isoformat(sep=" "),
    "TIMESTAMP": lambda text: times.read_timestamp(text, "UTC").isoformat(sep=" "),
}
"""By type: the text of a value as DuckDB reads it; ValueError where it is none."""


def cast(value: exp.Expr, kind: str) -> exp.Expr:
    return exp.Cast(this=value, to=exp.DataType.build(kind, dialect="duckdb", udt=False))


def range_of(text: str, element: str, kind: str) -> exp.Expr:
    """A RANGE's literal.

    Raises:
        InvalidArgument: it is none.
    """
    found = re.fullmatch(r"\s*\[([^,]*),([^,]*)\)\s*", text)
    if found is None:
        raise InvalidArgument(f"Invalid RANGE literal: {text}", reason="invalidQuery")
    try:
        ends = [
            None if one.strip().upper() in ("UNBOUNDED", "NULL") else LITERALS[element](one.strip())
            for one in found.groups()
        ]
    except ValueError as error:
        raise InvalidArgument(f"Invalid RANGE literal: {text}: {error}", reason="invalidQuery") from None
    start, end = ends
    if start is not None and end is not None and start >= end:
        raise InvalidArgument(
            f"Range start element must be smaller than range end element: {text}", reason="invalidQuery"
        )
    return cast(call("row", *(exp.Null() if one is None else exp.Literal.string(one) for one in ends)), kind)


_SPAN = ("YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND")


def interval_of(text: str, first: str, last: str) -> exp.Expr:
    """INTERVAL text first TO last: `1-2 3 4:5:6` from YEAR to SECOND; each of the three groups has a sign.

    Raises:
        InvalidArgument: the text is none such.
    """
    if first not in _SPAN or last not in _SPAN or _SPAN.index(first) >= _SPAN.index(last):
        raise InvalidArgument(f"Invalid INTERVAL parts {first} TO {last}", reason="invalidQuery")
    parts = _SPAN[_SPAN.index(first) : _SPAN.index(last) + 1]
    pattern = ""
    for part in parts:
        if pattern:
            pattern += {"MONTH": "-", "DAY": " ", "HOUR": " "}.get(part, ":")
        signed = part in ("YEAR", "DAY", "HOUR") or part == first
        number = r"\d+(?:\.\d{0,9})?" if part == "SECOND" else r"\d+"
        pattern += (f"(?P<s{part}>[+-]?)" if signed else "") + f"(?P<{part}>{number})"
    found = re.fullmatch(pattern, text.strip())
    if not found:
        raise InvalidArgument(f"Invalid INTERVAL value '{text}'", reason="invalidQuery")
    values = {part: float(found[part]) if part == "SECOND" else int(found[part]) for part in parts}

    def sign(*group: str) -> int:
        return -1 if any(found.groupdict().get(f"s{part}") == "-" for part in group) else 1

    months = sign("YEAR", "MONTH") * int(values.get("YEAR", 0) * 12 + values.get("MONTH", 0))
    days = sign("DAY") * int(values.get("DAY", 0))
    seconds = values.get("HOUR", 0) * 3600 + values.get("MINUTE", 0) * 60 + values.get("SECOND", 0)
    micros = sign("HOUR", "MINUTE", "SECOND") * round(seconds * 1e6)
    return exp.maybe_parse(
        f"(to_months({months}) + to_days({days}) + to_microseconds({micros}))", dialect="duckdb"
    )
