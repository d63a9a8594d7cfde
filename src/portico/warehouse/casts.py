"""CAST of GoogleSQL as DuckDB's."""

from __future__ import annotations

import re

from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse.literals import LITERALS, cast, range_of
from portico.warehouse.macros import call
from portico.warehouse.types import Field, duckdb_type, field_of_expression
from portico.warehouse.value_forms import struct_of

_FEW = 100  # elements that are cast one by one, so that they may be of several types
_DIGITS = re.compile(r"-?\d*\.?\d*")
_TYPED = {"INTEGER": "int64", "FLOAT": "float64", "BOOLEAN": "bool"}


def cast_of(node: exp.Expr) -> exp.Expr:
    safe = isinstance(node, exp.TryCast)
    made = _cast(node.this, node.args["to"], node.args.get("format"), safe, 0)
    return call("TRY", made) if safe else made


def _cast(value: exp.Expr, kind: exp.DataType, pattern: exp.Expr | None, safe: bool, depth: int) -> exp.Expr:
    """`depth`: within how many arrays and structs the value is."""
    field = field_of_expression("", kind)
    name = str(field["type"])
    if field["mode"] == "REPEATED" or name == "RECORD":
        return _of_parts(value, field, kind, depth)
    made: exp.Expr
    if pattern:
        made = _formatted(value, name, pattern)
    elif isinstance(value, exp.Literal) and value.is_string and name in LITERALS and not safe:
        try:
            made = cast(exp.Literal.string(LITERALS[name](value.name)), duckdb_type(field))
        except ValueError as error:
            raise InvalidArgument(str(error), reason="invalidQuery") from None
    elif isinstance(value, exp.Null):
        made = cast(value, duckdb_type(field))
    elif name in ("NUMERIC", "BIGNUMERIC") and (digits := _digits(value)):
        made = call(f"gs_cast_{name.lower()}", exp.Literal.string(digits))
    elif name in ("STRING", "JSON"):
        made = call("gs_to_string", value) if name == "STRING" else cast(value, name)
    elif name == "RANGE":
        element = field["rangeElementType"]["type"]
        if isinstance(value, exp.Literal) and not safe:
            return range_of(value.name, element, duckdb_type(field))
        made = call(f"gs_cast_range_{element.lower()}", value)
    else:
        made = call(f"gs_cast_{_TYPED.get(name, name.lower())}", value)
    if size := field.get("precision") or field.get("maxLength"):
        made = call(f"gs_sized_{name.lower()}", made, *map(exp.Literal.number, (size, field.get("scale", 0))))
    return made


def _digits(value: exp.Expr) -> str:
    """A number that is written out with a point, of which FLOAT64 might not hold all digits; "" of all else."""
    sign = ""
    if isinstance(value, exp.Anonymous) and str(value.this) == "gs_neg":
        sign, value = "-", value.expressions[0]
    inner = value.this if isinstance(value, exp.Cast) and value.to.is_type("double") else None
    if not isinstance(inner, exp.Literal) or not _DIGITS.fullmatch(inner.name):
        return ""
    return f"{sign}{inner.name}"


def _of_parts(value: exp.Expr, field: Field, kind: exp.DataType, depth: int) -> exp.Expr:
    """An array or a struct, of which every part is cast: of a struct by its place, whatever it is named."""
    whole = duckdb_type(field)
    if isinstance(value, exp.Null) or (isinstance(value, exp.Array) and not value.expressions):
        return cast(value, whole)
    if isinstance(value, exp.Array) and len(value.expressions) <= _FEW:
        parts = [_cast(one, kind.expressions[0], None, False, depth) for one in value.expressions]
        return cast(exp.Array(expressions=parts), whole)
    each = exp.to_identifier(f"c{depth}")
    if field["mode"] == "REPEATED":
        inner = _cast(each.copy(), kind.expressions[0], None, False, depth + 1)
        return cast(call("list_transform", value, exp.Lambda(this=inner, expressions=[each])), whole)
    if isinstance(value, exp.Anonymous) and str(value.this) == "row":
        parts = [
            _cast(one, to, None, False, depth)
            for one, to in zip(value.expressions, _kinds(kind), strict=False)
        ]
        return cast(call("row", *parts, *value.expressions[len(parts) :]), whole)
    pairs: list[tuple[str, exp.Expr]] = []
    for place, (to, told) in enumerate(zip(_kinds(kind), field["fields"], strict=True), 1):
        part = call("struct_extract_at", each.copy(), exp.Literal.number(place))
        pairs.append((told["name"], _cast(part, to, None, False, depth + 1)))
    absent = exp.Is(this=each.copy(), expression=exp.Null())
    made = exp.Case(ifs=[exp.If(this=absent, true=exp.Null())], default=struct_of(pairs))
    listed = call("list_transform", exp.Array(expressions=[value]), exp.Lambda(this=made, expressions=[each]))
    return cast(call("list_extract", listed, exp.Literal.number(1)), whole)


def _kinds(kind: exp.DataType) -> list[exp.DataType]:
    """The types of a STRUCT's fields."""
    return [one.args["kind"] if isinstance(one, exp.ColumnDef) else one for one in kind.expressions]


def _formatted(value: exp.Expr, name: str, pattern: exp.Expr) -> exp.Expr:
    """CAST(value AS name FORMAT pattern).

    Raises:
        InvalidArgument: there is none to that type.
    """
    zone: exp.Expr = exp.Literal.string("UTC")
    if isinstance(pattern, exp.AtTimeZone):
        pattern, zone = pattern.this, pattern.args["zone"]
    if name == "STRING":
        return call("gs_cast_text", value, pattern, zone)
    if name == "BYTES":
        return call("gs_py_parse_bytes", pattern, value)
    if name not in ("DATE", "TIME", "DATETIME", "TIMESTAMP"):
        raise InvalidArgument(f"FORMAT is not allowed for cast from STRING to {name}", reason="invalidQuery")
    made = call("gs_py_parse_time", pattern, value, exp.Literal.string(name), zone)
    return call(f"gs_cast_{name.lower()}", made)
