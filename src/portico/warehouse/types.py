"""GoogleSQL's types: as fields of a table's schema, as DuckDB's, and values as BigQuery's JSON writes them."""

from __future__ import annotations

import re
from typing import Any

from sqlglot import exp

from portico.errors import InvalidArgument, Unimplemented

BIG_PLACE = "$big"
"""The field of the struct that holds a BIGNUMERIC (`bignumeric`): a name that no field of a caller's has."""
BIG = f'STRUCT("{BIG_PLACE}" BLOB)'
DUCKDB = {
    "INTEGER": "BIGINT",
    "FLOAT": "DOUBLE",
    "NUMERIC": "DECIMAL(38,9)",
    "BIGNUMERIC": BIG,
    "BOOLEAN": "BOOLEAN",
    "STRING": "VARCHAR",
    "BYTES": "BLOB",
    "DATE": "DATE",
    "TIME": "TIME",
    "DATETIME": "TIMESTAMP",
    "TIMESTAMP": "TIMESTAMPTZ",
    "INTERVAL": "INTERVAL",
    "JSON": "JSON",
    "GEOGRAPHY": "GEOMETRY",
}
"""By the name of a schema's field type."""

_ALIASES = {
    "INT64": "INTEGER",
    "FLOAT64": "FLOAT",
    "BOOL": "BOOLEAN",
    "DECIMAL": "NUMERIC",
    "BIGDECIMAL": "BIGNUMERIC",
}
RANGE_ENDS = ("$start", "$end")
"""The fields of the struct that holds a RANGE: names that no field of a caller's has."""
_RANGE = re.compile(r'STRUCT\("\$start" (.*), "\$end" (.*)\)')

_SHOWN = {
    "BIGINT": "INTEGER", "INTEGER": "INTEGER", "HUGEINT": "INTEGER", "SMALLINT": "INTEGER", "TINYINT": "INTEGER",
    "UBIGINT": "INTEGER", "UINTEGER": "INTEGER", "DOUBLE": "FLOAT", "FLOAT": "FLOAT", "BOOLEAN": "BOOLEAN",
    "VARCHAR": "STRING", "BLOB": "BYTES", "DATE": "DATE", "TIME": "TIME", "TIMESTAMP": "DATETIME",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP", "INTERVAL": "INTERVAL", "JSON": "JSON", '"NULL"': "INTEGER",
    "NULL": "INTEGER", "GEOMETRY": "GEOGRAPHY",
}  # fmt: skip
_PARSED = {
    "BIGINT": "INTEGER", "INT": "INTEGER", "SMALLINT": "INTEGER", "TINYINT": "INTEGER", "DOUBLE": "FLOAT",
    "DECIMAL": "NUMERIC", "BIGDECIMAL": "BIGNUMERIC", "BOOLEAN": "BOOLEAN", "TEXT": "STRING", "VARCHAR": "STRING",
    "BINARY": "BYTES", "VARBINARY": "BYTES", "DATE": "DATE", "TIME": "TIME", "TIMESTAMP": "DATETIME",
    "DATETIME": "DATETIME", "TIMESTAMPTZ": "TIMESTAMP", "INTERVAL": "INTERVAL", "JSON": "JSON",
    "GEOGRAPHY": "GEOGRAPHY",
}  # fmt: skip
_NESTED_ARRAYS = "Cannot construct array with element type ARRAY because nested arrays are not supported"

Field = dict[str, Any]
"""A TableFieldSchema: name, type, mode, fields, and what describes it."""


def canonical(name: str) -> str:
    """A schema's field type by its first name: `INT64` is `INTEGER`.

    Raises:
        InvalidArgument: it is none, or none that Portico has.
    """
    upper = name.upper()
    upper = _ALIASES.get(upper, upper)
    if upper == "STRUCT":
        return "RECORD"
    if upper not in ("RECORD", "RANGE") and upper not in DUCKDB:
        raise InvalidArgument(f"Invalid value for type: {name} is not a valid value", reason="invalid")
    return upper


def duckdb_type(field: Field) -> str:
    """The column type that holds a field."""
    kind = canonical(str(field.get("type", "")))
    if kind == "RECORD":
        parts = field.get("fields") or []
        names = told_apart([one["name"] for one in parts])
        inner = ", ".join(
            f"{quoted(name)} {duckdb_type(one)}" for name, one in zip(names, parts, strict=True)
        )
        shown = f"STRUCT({inner})"
    elif kind == "RANGE":
        element = DUCKDB[range_element(field)]
        shown = f"STRUCT({', '.join(f'{quoted(end)} {element}' for end in RANGE_ENDS)})"
    else:
        shown = DUCKDB[kind]
    return shown + "[]" * (str(field.get("mode", "")).upper() == "REPEATED")


def range_element(field: Field) -> str:
    """
    Raises:
        InvalidArgument: a RANGE can't be of that.
    """
    kind = canonical(str((field.get("rangeElementType") or {}).get("type", "")))
    if kind not in ("DATE", "DATETIME", "TIMESTAMP"):
        raise InvalidArgument(f"RANGE of {kind or 'nothing'} is not supported", reason="invalid")
    return kind


def field_of(name: str, shown: str) -> Field:
    """The field of a column whose type DuckDB calls `shown`.

    Raises:
        InvalidArgument: it is an array of arrays.
    """
    shown = shown.strip()
    if shown.endswith("[]"):
        field = field_of(name, shown[:-2])
        if field["mode"] == "REPEATED":
            raise InvalidArgument(_NESTED_ARRAYS, reason="invalidQuery")
        return {**field, "mode": "REPEATED"}
    if shown == BIG:
        return {"name": name, "type": "BIGNUMERIC", "mode": "NULLABLE"}
    if ranged := _RANGE.fullmatch(shown):
        return {**field_of(name, ranged[2]), "type": "RANGE", "rangeElementType": {"type": _SHOWN[ranged[2]]}}
    if shown.startswith("TUPLE("):
        fields = [field_of(f"_field_{place}", kind) for place, (_, kind) in enumerate(members(shown), 1)]
        return {"name": name, "type": "RECORD", "mode": "NULLABLE", "fields": fields}
    if shown.startswith("STRUCT("):
        named = enumerate(members(shown), 1)
        fields = [field_of(plain_name(inner) or f"_field_{place}", kind) for place, (inner, kind) in named]
        return {"name": name, "type": "RECORD", "mode": "NULLABLE", "fields": fields}
    if shown.startswith("DECIMAL("):
        kind = "NUMERIC"
    elif shown in _SHOWN:
        kind = _SHOWN[shown]
    else:
        raise InvalidArgument(
            f"The column {name} is of a type that Portico can't show: {shown}", reason="invalidQuery"
        )
    return {"name": name, "type": kind, "mode": "NULLABLE"}


def members(shown: str) -> list[tuple[str, str]]:
    """Names ("" in a TUPLE) and types of what a STRUCT or TUPLE of DuckDB's holds."""
    if shown.startswith("TUPLE("):
        return [("", kind) for kind in _kinds(shown[6:-1])]
    found = []
    for member in _kinds(shown[7:-1]):
        if named := re.fullmatch(r'"((?:[^"]|"")*)"\s+(.*)', member, re.DOTALL):
            found.append((named[1].replace('""', '"'), named[2]))
        else:
            name, _, kind = member.partition(" ")
            found.append((name, kind))
    return found


def _kinds(text: str) -> list[str]:
    """What stands between the outermost commas."""
    found, depth, start, quote = [], 0, 0, False
    for place, character in enumerate(text + ","):
        if character == '"':
            quote = not quote
        elif not quote:
            depth += (character == "(") - (character == ")")
            if character == "," and depth == 0:
                found.append(text[start:place].strip())
                start = place + 1
    return found


def field_of_expression(name: str, kind: exp.DataType) -> Field:
    """The field of a column that SQL declares.

    Raises:
        InvalidArgument: Portico has no such type.
    """
    said = kind.this.value if isinstance(kind.this, exp.DType) else str(kind.this)
    if said == "ARRAY":
        if not kind.expressions:
            raise InvalidArgument("ARRAY needs the type of its elements", reason="invalidQuery")
        element = field_of_expression(name, kind.expressions[0])
        if element.get("mode") == "REPEATED":
            raise InvalidArgument(_NESTED_ARRAYS, reason="invalidQuery")
        return {**element, "mode": "REPEATED"}
    if said == "STRUCT":
        fields = []
        for number, one in enumerate(kind.expressions, 1):
            if isinstance(one, exp.ColumnDef):
                fields.append(field_of_expression(one.name, one.args["kind"]))
            else:
                fields.append(field_of_expression(f"_field_{number}", one))
        return {"name": name, "type": "RECORD", "mode": "NULLABLE", "fields": fields}
    if said == "RANGE" and kind.expressions:
        element = field_of_expression("", kind.expressions[0])["type"]
        field: Field = {
            "name": name,
            "type": "RANGE",
            "mode": "NULLABLE",
            "rangeElementType": {"type": element},
        }
        range_element(field)
        return field
    if said not in _PARSED:
        raise InvalidArgument(
            f"Type not found: {kind.sql('bigquery')}. Portico has {', '.join(sorted(DUCKDB))}, ARRAY, RANGE and "
            "STRUCT.",
            reason="invalidQuery",
        )
    field = {"name": name, "type": _PARSED[said], "mode": "NULLABLE"}
    sizes = [one.name for one in kind.expressions]
    if sizes and field["type"] in ("STRING", "BYTES"):
        field["maxLength"] = sizes[0]
    elif sizes and field["type"] in ("NUMERIC", "BIGNUMERIC"):
        field |= dict(zip(("precision", "scale"), sizes, strict=False))
    elif sizes and field["type"] != "TIMESTAMP":
        named = kind.sql("bigquery").partition("(")[0]
        raise InvalidArgument(f"{named} does not support type parameters", reason="invalidQuery")
    elif sizes and sizes != ["6"]:
        raise Unimplemented(
            f"TIMESTAMP({', '.join(sizes)}): timestamps of picoseconds are not built in Portico; it has TIMESTAMP."
        )
    return field


_AGAIN = "\x1e again "  # stands before the number of a name's second, third, … bearer; nobody writes it


def told_apart(names: list[str]) -> list[str]:
    """The names of columns or fields for DuckDB, which has none twice and none that is empty: the second of a name, and
    all without one, get one that `plain_name` takes back."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        times = seen[name.lower()] = seen.get(name.lower(), -1 if name else 0) + 1
        found.append(f"{name}{_AGAIN}{times}" if times else name)
    return found


def plain_name(name: str) -> str:
    """What `told_apart` has made a name of; "" of a column that has none."""
    return name.split(_AGAIN)[0]


def quoted(name: str) -> str:
    """A name as DuckDB's SQL writes it."""
    return '"' + name.replace('"', '""') + '"'
