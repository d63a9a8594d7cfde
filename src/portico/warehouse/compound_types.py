"""The types of ARRAYs and STRUCTs as GoogleSQL writes them, and of what is read from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from sqlglot import exp

from portico.warehouse.information_schema import sql_type
from portico.warehouse.signatures import ANY, LITERAL, NUMBERS
from portico.warehouse.types import Field

Kind = str | None
"""A type's name; None of one that is not known."""


class Compound(str):
    """`ARRAY<…>`, with the type of its elements, or `STRUCT<…>`, with those of its fields."""

    element: Kind = None
    fields: list[tuple[str, Kind]] | None = None


def array_of(element: Kind) -> Compound:
    element = "STRING" if element == LITERAL else element
    made = Compound(f"ARRAY<{'INT64' if element == ANY else element or '?'}>")
    made.element = element
    return made


def struct_of(fields: Iterable[tuple[str, Kind]]) -> Compound:
    listed = [(name, "STRING" if kind == LITERAL else kind) for name, kind in fields]
    told = ", ".join(f"{name} {kind or '?'}".strip() for name, kind in listed)
    made = Compound(f"STRUCT<{told}>")
    made.fields = listed
    return made


def is_array(kind: Kind) -> bool:
    return isinstance(kind, Compound) and kind.fields is None


def field(kind: Kind, name: str) -> Kind:
    """The type of a STRUCT's field."""
    found = [one for each, one in fields(kind) or () if each.lower() == name.lower()]
    return found[0] if len(found) == 1 else None


def fields(kind: Kind) -> list[tuple[str, Kind]] | None:
    return kind.fields if isinstance(kind, Compound) else None


def element(kind: Kind) -> Kind:
    return kind.element if isinstance(kind, Compound) else None


def of_field(one: Field) -> Kind:
    """The type of a table's column, or of a field of one."""
    if str(one.get("mode", "")).upper() == "REPEATED":
        return array_of(of_field({**one, "mode": "NULLABLE"}))
    if one["type"] in ("RECORD", "STRUCT"):
        return struct_of((each["name"], of_field(each)) for each in one["fields"])
    if one["type"] == "RANGE":
        return None
    return sql_type({"name": "", "type": one["type"], "mode": "NULLABLE"})


def common(types: Sequence[str | None]) -> str | None:
    """The type that values of these types have together."""
    if any(one is None for one in types):
        return None
    known = {one for one in types if one not in (ANY, LITERAL)}
    if len(known) == 1:
        return known.pop()
    if not known:
        return LITERAL if LITERAL in types else ANY
    order = ["INT64", "NUMERIC", "BIGNUMERIC", "FLOAT64"]
    if known <= NUMBERS:
        return max((str(one) for one in known), key=order.index)
    return None


def common_elements(types: Sequence[str | None]) -> str | None:
    """What the elements of an array have in common; STRUCTs, field by field, with the names of the first."""
    listed = [fields(one) for one in types if one != ANY]
    if not listed or any(one is None or len(one) != len(listed[0] or ()) for one in listed):
        return common(types)
    columns = zip(*(one for one in listed if one is not None), strict=True)
    return struct_of((each[0][0], common([kind for _, kind in each])) for each in columns)


_COMPARED: dict[object, str] = {
    exp.EQ: "Equality", exp.NEQ: "Inequality", exp.LT: "Less than", exp.GT: "Greater than", exp.In: "IN",
    exp.LTE: "Less than or equal", exp.GTE: "Greater than or equal", "NULLIF": "NULLIF", "MAX": "MAX", "MIN": "MIN",
}  # fmt: skip
_EQUAL = (exp.EQ, exp.NEQ, exp.In, "NULLIF")


def refusal(what: object, types: Sequence[Kind]) -> str:
    """GoogleSQL's words where an operator or a function compares what has no order, or no equality; "" else. ARRAYs
    have neither, STRUCTs equality where their fields have."""
    name = _COMPARED.get(what)
    if name is None:
        return ""
    for kind in types[: 1 if what in ("MAX", "MIN") else 2]:
        if isinstance(kind, Compound) and not (what in _EQUAL and _equatable(kind)):
            return f"{name} is not defined for arguments of type {kind}"
    return ""


def unshared(columns: Mapping[str, Kind]) -> str:
    """GoogleSQL's words where a column of USING can't be compared."""
    for name, kind in columns.items():
        if not _equatable(kind):
            return f"Column '{name}' in USING has types that do not support equality comparison: {kind}"
    return ""


def _equatable(kind: Kind) -> bool:
    return not is_array(kind) and all(_equatable(one) for _, one in fields(kind) or ())


def written(one: exp.Expr, type_of: Callable[[exp.Expr], Kind]) -> Kind:
    """The type of a STRUCT that is written out, by those of its fields."""
    found = []
    for each in one.expressions:
        inner = each.unalias()
        named = isinstance(each, exp.Alias) or (
            isinstance(one, exp.Anonymous) and isinstance(inner, exp.Column | exp.Dot)
        )
        found.append((each.alias_or_name if named else "", type_of(inner)))
    return struct_of(found)


_ELEMENTS = frozenset(["ARRAY_MAX", "ARRAY_MIN", "ARRAY_FIRST", "ARRAY_LAST"])
_SAME = frozenset([
    "ARRAY_CONCAT", "ARRAY_REVERSE", "ARRAY_SLICE", "ARRAY_CONCAT_AGG", "MAX_BY", "MIN_BY", "PERCENTILE_DISC",
    "NTH_VALUE",
])  # fmt: skip
_ARRAYS = frozenset(["ARRAY_AGG", "APPROX_QUANTILES"])


def given(name: str, first: Kind) -> Kind:
    """What a function of arrays, or one that chooses among values, gives for its first argument."""
    if name in _ELEMENTS:
        return element(first)
    if name in _SAME:
        return first
    if name in _ARRAYS:
        return array_of(first)
    if name == "PERCENTILE_CONT" and first in NUMBERS:
        return "FLOAT64" if first == "INT64" else first
    return array_of(LITERAL) if name == "SPLIT" and first in ("STRING", LITERAL) else None
