"""Any value as a text, by its type: FORMAT's `%t` and `%T`, TO_JSON and TO_JSON_STRING.

A value comes as DuckDB's JSON of it with DuckDB's name of its type, so structs and arrays need no macro of their own.
https://cloud.google.com/bigquery/docs/reference/standard-sql/format-elements#t_and_t_behavior
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Any

from portico.warehouse import bignumeric
from portico.warehouse.types import BIG_PLACE, Field, field_of, plain_name, told_apart

_WIDE = 1 << 53


@lru_cache(maxsize=512)
def _field(kind: str) -> Field:
    return field_of("", kind)


def float_text(x: float) -> str:
    """As BigQuery writes a FLOAT64: 15 digits where they say it exactly, else 17; `1` and not `1.0`; `1e+20`; NaN and 0
    have no sign."""
    if x != x:
        return "nan"
    if x == 0:
        return "0"
    shown = f"{x:.15g}"
    return shown if float(shown) == x else f"{x:.17g}"


def bytes_of(text: str) -> bytes:
    """BYTES out of DuckDB's text of a BLOB, in which `\\xFF` stands for a byte."""
    return re.sub(r"\\x([0-9A-F]{2})", lambda found: chr(int(found[1], 16)), text).encode("latin-1")


def _escaped(data: bytes) -> str:
    return "".join(
        {0x5C: "\\\\", 0x22: '\\"', 0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t"}.get(one)
        or (chr(one) if 0x20 <= one < 0x7F else f"\\x{one:02x}")
        for one in data
    )


def fraction_text(text: str) -> str:
    """A time with three or six digits of its fraction, or none."""
    whole, point, digits = text.partition(".")
    digits = digits.rstrip("0")
    return f"{whole}.{digits.ljust(3 if len(digits) <= 3 else 6, '0')}" if point and digits else whole


def interval_parts(text: str) -> tuple[int, int, int]:
    """Months, days and microseconds of DuckDB's text of an INTERVAL: `1 year 2 months -3 days 04:05:06.7`."""
    units = {unit: int(number) for number, unit in re.findall(r"(-?\d+) (year|month|day)", text)}
    clock = re.search(r"(-?)(\d+):(\d+):(\d+)(?:\.(\d+))?", text)
    micros = 0
    if clock:
        micros = (int(clock[2]) * 3600 + int(clock[3]) * 60 + int(clock[4])) * 1_000_000
        micros = (micros + int((clock[5] or "0").ljust(6, "0"))) * (-1 if clock[1] else 1)
    return units.get("year", 0) * 12 + units.get("month", 0), units.get("day", 0), micros


def interval_text(months: int, days: int, micros: int) -> str:
    """Years-months days hours:minutes:seconds, each part with its sign: `1-2 3 4:5:6.7`."""
    sign = "-" if months < 0 else ""
    time_sign = "-" if micros < 0 else ""
    seconds, fraction = divmod(abs(micros), 1_000_000)
    shown = f".{fraction:06d}" if fraction % 1000 else f".{fraction // 1000:03d}" if fraction else ""
    return (
        f"{sign}{abs(months) // 12}-{abs(months) % 12} {days} "
        f"{time_sign}{seconds // 3600}:{seconds // 60 % 60}:{seconds % 60}{shown}"
    )


def _iso_interval(months: int, days: int, micros: int) -> str:
    """ISO 8601's duration: `P1Y2M3DT4H5M6.7S`."""

    def part(number: int, letter: str) -> str:
        return f"{number}{letter}" if number else ""

    sign = -1 if micros < 0 else 1
    seconds, fraction = divmod(abs(micros), 1_000_000)
    date = part(int(months / 12), "Y") + part(months - int(months / 12) * 12, "M") + part(days, "D")
    time = part(sign * (seconds // 3600), "H") + part(sign * (seconds // 60 % 60), "M")
    if seconds % 60 or fraction:
        digits = f".{fraction:06d}".rstrip("0") if fraction else ""
        time += f"{'-' if sign < 0 else ''}{seconds % 60}{digits}S"
    return f"P{date}{'T' + time if time else ''}" if date or time else "P0Y"


def _plain(value: Any, field: Field) -> str:
    """A scalar that is not NULL as CAST to STRING gives it."""
    kind = field["type"]
    if kind == "FLOAT":
        return float_text(float(value))
    if kind == "BIGNUMERIC":
        return bignumeric.shown(bytes_of(value[BIG_PLACE]))
    if kind == "NUMERIC":
        shown = format(Decimal(value), "f")
        return (shown.rstrip("0").rstrip(".") if "." in shown else shown) or "0"
    if kind == "BOOLEAN":
        return "true" if value else "false"
    if kind == "TIMESTAMP":
        return fraction_text(value.removesuffix("+00")) + "+00"
    if kind in ("TIME", "DATETIME"):
        return fraction_text(value)
    if kind == "INTERVAL":
        return interval_text(*interval_parts(value))
    if kind == "JSON":
        return _dumped(value)
    if kind == "RANGE":
        inner = {"type": field["rangeElementType"]["type"]}
        ends = (
            "UNBOUNDED" if value[end] is None else _plain(value[end], inner) for end in ("$start", "$end")
        )
        return f"[{', '.join(ends)})"
    return str(value)


def _literal(value: Any, field: Field, exact: bool) -> str:
    """`%T` (`exact`: what GoogleSQL reads back) or `%t`."""
    if value is None:
        return "NULL"
    kind = field["type"]
    if field.get("mode") == "REPEATED":
        inner = {**field, "mode": "NULLABLE"}
        return f"[{', '.join(_literal(one, inner, exact) for one in value)}]"
    if kind == "RECORD":
        cells = value.values() if isinstance(value, dict) else value
        parts = [_literal(one, inner, exact) for one, inner in zip(cells, field["fields"], strict=True)]
        return f"{'STRUCT' if exact and len(parts) == 1 else ''}({', '.join(parts)})"
    if kind == "BYTES":
        shown = _escaped(bytes_of(value))
        return f'b"{shown}"' if exact else shown
    shown = _plain(value, field)
    if kind == "STRING":
        return json.dumps(shown, ensure_ascii=False) if exact else shown
    if kind == "FLOAT":
        if not re.search(r"[.en]", shown):
            return shown + ".0"
        return f'CAST("{shown}" AS FLOAT64)' if exact and "n" in shown else shown
    if not exact or kind in ("INTEGER", "BOOLEAN"):
        return shown
    if kind == "JSON":
        return f"JSON '{shown}'"
    if kind == "INTERVAL":
        return f'INTERVAL "{shown}" YEAR TO SECOND'
    if kind == "RANGE":
        return f'RANGE<{field["rangeElementType"]["type"]}> "{shown}"'
    return f'{kind} "{shown}"'


def _jsonable(value: Any, field: Field, numbers: bool, wide_as_text: bool) -> Any:
    """A value as JSON has it. `numbers`: NUMERIC is a number, else a text where a double might not hold it."""
    if value is None:
        return None
    kind = field["type"]
    if field.get("mode") == "REPEATED":
        inner = {**field, "mode": "NULLABLE"}
        return [_jsonable(one, inner, numbers, wide_as_text) for one in value]
    if kind == "RECORD":
        cells = value.values() if isinstance(value, dict) else value
        names = told_apart([inner["name"] for inner in field["fields"]])
        return {
            name: _jsonable(one, inner, numbers, wide_as_text)
            for name, one, inner in zip(names, cells, field["fields"], strict=True)
        }
    if kind == "INTEGER":
        return str(value) if abs(value) > _WIDE and (wide_as_text or not numbers) else int(value)
    if kind == "FLOAT":
        shown = float_text(float(value))
        if "n" in shown:
            return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[shown]
        return _Written(f"{shown}.0" if numbers and re.fullmatch(r"-?\d+", shown) else shown)
    if kind in ("NUMERIC", "BIGNUMERIC"):
        shown = _plain(value, field)
        if numbers:
            return shown if wide_as_text and str(Decimal(float(shown))) != shown else _Written(shown)
        return shown if "." in shown or abs(int(shown)) > _WIDE else _Written(shown)
    if kind == "BYTES":
        return base64.b64encode(bytes_of(value)).decode()
    if kind == "TIMESTAMP":
        return _plain(value, field).removesuffix("+00").replace(" ", "T") + "Z"
    if kind == "DATETIME":
        return _plain(value, field).replace(" ", "T")
    if kind == "INTERVAL":
        return _iso_interval(*interval_parts(value))
    if kind == "RANGE":
        inner = {"type": field["rangeElementType"]["type"]}
        return {
            name: _jsonable(value[end], inner, numbers, wide_as_text)
            for name, end in (("start", "$start"), ("end", "$end"))
        }
    if kind == "BOOLEAN":
        return bool(value)
    return value if kind == "JSON" else _plain(value, field)


class _Written(float):
    """A number that is written as it stands."""

    def __new__(cls, text: str) -> _Written:
        made = super().__new__(cls, text)
        made.text = text
        return made

    text: str

    def __repr__(self) -> str:
        return self.text


def _dumped(value: object, pretty: bool = False, depth: int = 0) -> str:
    """JSON without needless space, numbers as they stand; `pretty` indents by two."""
    start, end = ("\n" + "  " * (depth + 1), "\n" + "  " * depth) if pretty else ("", "")
    if isinstance(value, dict) and value:
        colon = ": " if pretty else ":"
        inner = (
            json.dumps(plain_name(key), ensure_ascii=False) + colon + _dumped(one, pretty, depth + 1)
            for key, one in value.items()
        )
        return "{" + start + ("," + start).join(inner) + end + "}"
    if isinstance(value, list) and value:
        return "[" + start + ("," + start).join(_dumped(one, pretty, depth + 1) for one in value) + end + "]"
    if isinstance(value, _Written):
        return value.text
    if isinstance(value, Decimal):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def _value(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)


def typed_text(text: str, kind: str, exact: bool) -> str:
    """FORMAT's `%T` (`exact`) or `%t` of a value that DuckDB's JSON and type say."""
    return _literal(_value(text), _field(kind), exact)


def json_string(text: str | None, kind: str, pretty: bool | None) -> str:
    """TO_JSON_STRING."""
    value = None if text is None else _jsonable(_value(text), _field(kind), False, True)
    return _dumped(value, bool(pretty))


def _sorted(value: Any) -> Any:
    """JSON's objects have their names in order, and none twice: the first counts."""
    if isinstance(value, dict):
        firsts: dict[str, Any] = {}
        for key, one in value.items():
            firsts.setdefault(plain_name(key), one)
        return {key: _sorted(firsts[key]) for key in sorted(firsts)}
    return [_sorted(one) for one in value] if isinstance(value, list) else value


def to_json(text: str | None, kind: str, wide_as_text: bool | None) -> str:
    """TO_JSON: a JSON document; NULL becomes JSON's null."""
    return (
        "null"
        if text is None
        else _dumped(_sorted(_jsonable(_value(text), _field(kind), True, bool(wide_as_text))))
    )


def json_object(keys: list[str | None] | None, values: str | None, kind: str) -> str:
    """JSON_OBJECT of an array of keys and one, of DuckDB's type `kind`, of values; of keys that are alike the first
    counts.

    Raises:
        ValueError: they are not as many, or there is a NULL that must be none.
    """
    if keys is None or values is None:
        raise ValueError("Invalid input to JSON_OBJECT: The keys and the values array cannot be NULL")
    given = json.loads(to_json(values, kind, False))
    if len(keys) != len(given):
        raise ValueError("Invalid input to JSON_OBJECT: The number of keys and values must match")
    if None in keys:
        raise ValueError("Invalid input to JSON_OBJECT: A key cannot be NULL")
    return _dumped(dict(sorted(zip(reversed(keys), reversed(given), strict=True))))


def type_name(kind: str) -> str:
    """TYPEOF, of DuckDB's name of a type."""

    def shown(field: Field) -> str:
        name = str(
            {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}.get(field["type"], field["type"])
        )
        if name == "RECORD":
            named = (
                (one["name"], shown(one), f"_field_{place}") for place, one in enumerate(field["fields"], 1)
            )
            inner = (of if name == unnamed else f"{name} {of}" for name, of, unnamed in named)
            name = f"STRUCT<{', '.join(inner)}>"
        elif name == "RANGE":
            name = f"RANGE<{field['rangeElementType']['type']}>"
        return f"ARRAY<{name}>" if field.get("mode") == "REPEATED" else name

    return shown(_field(kind))


SHOWN_FUNCTIONS: dict[str, tuple[Callable[..., object], list[str], str]] = {
    "float": (float_text, ["DOUBLE"], "VARCHAR"),
    "interval": (interval_text, ["BIGINT", "BIGINT", "BIGINT"], "VARCHAR"),
    "fraction": (fraction_text, ["VARCHAR"], "VARCHAR"),
    "json_string": (json_string, ["VARCHAR", "VARCHAR", "BOOLEAN"], "VARCHAR"),
    "json_object": (json_object, ["VARCHAR[]", "VARCHAR", "VARCHAR"], "VARCHAR"),
    "type_name": (type_name, ["VARCHAR"], "VARCHAR"),
    "to_json": (to_json, ["VARCHAR", "VARCHAR", "BOOLEAN"], "VARCHAR"),
}
"""By name: what does it, and DuckDB's types of what goes in and comes out."""
