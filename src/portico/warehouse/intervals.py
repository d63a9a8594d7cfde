"""INTERVALs: read from texts, divided, and justified; as months, days and microseconds.

https://cloud.google.com/bigquery/docs/reference/standard-sql/interval_functions
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

from portico.warehouse.types import Field, canonical, quoted

_LONGEST = (1 << 63) // 1000 - 1  # microseconds that are as many nanoseconds in 63 bits
_SPAN = re.compile(
    r"(?:([+-]?)(\d+)-(\d+))?(?:(?:^| )([+-]?\d+))?(?:(?:^| )([+-]?)(\d+):(\d+)(?::(\d+)(?:\.(\d{1,9}))?)?)?"
)


def read_interval(text: str) -> list[int]:
    """Months, days and microseconds of an INTERVAL's text: years-months, days and a time of day, of which some may be
    left out, or by ISO 8601."""
    full = _SPAN.fullmatch(text.strip())
    parts = full and [full[2] is not None, full[4] is not None, full[6] is not None]
    if full and parts and (sum(parts) > 1 or parts[0] or (parts[2] and full[8] is not None)):
        months = (int(full[2] or 0) * 12 + int(full[3] or 0)) * (-1 if full[1] == "-" else 1)
        if parts[2] and full[8] is None:
            raise ValueError(f"Invalid INTERVAL value '{text}'")
        seconds = int(full[6] or 0) * 3600 + int(full[7] or 0) * 60 + int(full[8] or 0)
        micros = seconds * 1_000_000 + int((full[9] or "").ljust(6, "0")[:6])
        return [months, int(full[4] or 0), -micros if full[5] == "-" else micros]
    iso = re.fullmatch(
        r"P(?:(-?\d+)Y)?(?:(-?\d+)M)?(?:(-?\d+)W)?(?:(-?\d+)D)?"
        r"(?:T(?:(-?\d+)H)?(?:(-?\d+)M)?(?:(-?\d+(?:[.,]\d+)?)S)?)?",
        text.strip(),
    )
    if not iso or text.strip() in ("P", "PT"):
        raise ValueError(f"Invalid INTERVAL value '{text}'")
    years, months, weeks, days, hours, minutes = (int(one or 0) for one in iso.groups()[:6])
    micros = (hours * 3600 + minutes * 60) * 1_000_000 + int(
        Decimal((iso[7] or "0").replace(",", ".")) * 1_000_000
    )
    return [years * 12 + months, weeks * 7 + days, micros]


def interval_div(months: int, days: int, micros: int, by: int) -> list[int]:
    """INTERVAL / INT64: what is left of months goes down as days of a month of 30, of days as 24 hours."""
    if by == 0:
        raise ValueError("division by zero: INTERVAL / 0")
    rest = [Fraction(months, by), Fraction(days, by), Fraction(micros, by)]
    whole = int(rest[0])
    rest[1] += (rest[0] - whole) * 30
    full = int(rest[1])
    rest[2] += (rest[1] - full) * 86_400_000_000
    return [whole, full, int(rest[2])]


def justify(months: int, days: int, micros: int, what: str) -> list[int]:
    """JUSTIFY_HOURS, JUSTIFY_DAYS or both: whole days of 24 hours and months of 30 days go up a part, and no part has
    another sign than the one above it."""
    day = 86_400_000_000
    if what != "DAYS":
        days, micros = _carried(days, micros, day)
    if what != "HOURS":
        months, days = _carried(months, days, 30)
    if what == "INTERVAL":
        if (months > 0 or months == 0 < days) and micros < 0:
            days, micros = days - 1, micros + day
        elif (months < 0 or (months == 0 and days < 0)) and micros > 0:
            days, micros = days + 1, micros - day
        months, days = _carried(months, days, 30)
    return [months, days, micros]


def _carried(high: int, low: int, per: int) -> tuple[int, int]:
    whole = abs(low) // per * (1 if low > 0 else -1)
    high, low = high + whole, low - whole * per
    if high > 0 > low:
        return high - 1, low + per
    if high < 0 < low:
        return high + 1, low - per
    return high, low


INTERVAL_FUNCTIONS: dict[str, tuple[Callable[..., Any], list[str], str]] = {
    "read_interval": (read_interval, ["VARCHAR"], "BIGINT[]"),
    "justify": (justify, ["BIGINT", "BIGINT", "BIGINT", "VARCHAR"], "BIGINT[]"),
    "interval_div": (interval_div, ["BIGINT", "BIGINT", "BIGINT", "BIGINT"], "BIGINT[]"),
}
"""By name: what does it, and DuckDB's types of what goes in and comes out."""


def told(sql: str, fields: list[Field]) -> str:
    """A query whose rows Arrow can have: it counts an INTERVAL's time in nanoseconds, and would go around without a
    word where they are more than 63 bits hold (292 years); such a one is refused."""
    cells = [f"c{place}" for place in range(len(fields))]
    long = " OR ".join(filter(None, map(_too_long, fields, cells)))
    if not long:
        return sql
    said = "INTERVALs of more than 2562047 hours are not built in results of Portico; cast to STRING, or JUSTIFY_HOURS"
    first = f"CASE WHEN {long} THEN gs_py_error('{said}') ELSE c0 END"
    shown = (
        f"{cell} AS {quoted(one['name'])}" for cell, one in zip([first, *cells[1:]], fields, strict=True)
    )
    return f"SELECT {', '.join(shown)} FROM ({sql}) AS _told({', '.join(cells)})"


def _too_long(one: Field, cell: str) -> str:
    """DuckDB's condition that it is, or has, such an INTERVAL; "" where it can't."""
    if str(one.get("mode", "")).upper() == "REPEATED":
        inner = _too_long({**one, "mode": "NULLABLE"}, f"e{len(cell)}")
        return (
            inner and f"coalesce(list_bool_or(list_transform({cell}, lambda e{len(cell)}: {inner})), false)"
        )
    if canonical(one["type"]) == "RECORD":
        cells = (f"struct_extract_at({cell}, {place})" for place, _ in enumerate(one.get("fields") or (), 1))
        return " OR ".join(filter(None, map(_too_long, one.get("fields") or (), cells)))
    return f"coalesce(abs(gs_micros({cell})) > {_LONGEST}, false)" if one["type"] == "INTERVAL" else ""
