"""The types of ARRAYs and STRUCTs as GoogleSQL writes them, and of what is read from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from sqlglot import exp

from portico.warehouse.alike import READ, cast_column
from portico.warehouse.alike import unlike as plainly_unlike
from portico.warehouse.information_schema import sql_type
from portico.warehouse.signatures import ANY, LITERAL, NUMBERS
from portico.warehouse.types import Field, range_element

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
        return f"RANGE<{range_element(one)}>"
    return sql_type({"name": "", "type": one["type"], "mode": "NULLABLE"})


def common(types: Sequence[str | None]) -> str | None:
    """The type that values of these types have together; of STRUCTs field by field, with the names of the first."""
    if any(one is None for one in types):
        return None
    known = list(dict.fromkeys(one for one in types if one not in (ANY, LITERAL)))
    if not known:
        return LITERAL if LITERAL in types else ANY
    if len(known) == 1 and not isinstance(known[0], Compound):
        return known[0]
    order = ["INT64", "NUMERIC", "BIGNUMERIC", "FLOAT64"]
    if NUMBERS.issuperset(known):
        return max((str(one) for one in known), key=order.index)
    if all(map(is_array, known)):
        return array_of(_part([element(one) for one in known]))
    listed = [fields(one) for one in known]
    if any(one is None or len(one) != len(listed[0] or ()) for one in listed):
        return None
    columns = zip(*(one for one in listed if one is not None), strict=True)
    return struct_of((each[0][0], _part([kind for _, kind in each])) for each in columns)


def _part(types: Sequence[Kind]) -> Kind:
    """A STRING in a STRUCT or an ARRAY may have been written out, and then is read as the date beside it."""
    read = [one for one in types if one in READ]
    return common([LITERAL if read and one == "STRING" else one for one in types])


def data_type(kind: Kind) -> exp.DataType | None:
    """What a CAST to a type says; None where not all of it is known."""
    inner: list[exp.Expr | None]
    if is_array(kind):
        inner = [data_type(element(kind))]
    elif (parts := fields(kind)) is not None:
        inner = [data_type(each) for _, each in parts]
    else:
        told = {ANY: "INT64", LITERAL: "STRING"}.get(str(kind), kind)
        return exp.DataType.build(told, dialect="bigquery") if told else None
    if None in inner or not inner:
        return None
    if parts := fields(kind):
        inner = [
            exp.ColumnDef(this=exp.to_identifier(name, quoted=True), kind=one) if name else one
            for (name, _), one in zip(parts, inner, strict=True)
        ]
    of = exp.DType.ARRAY if is_array(kind) else exp.DType.STRUCT
    return exp.DataType(this=of, expressions=inner, nested=True)


def unlike(types: Sequence[Kind]) -> bool:
    """Whether values of these types have none in common."""
    known = [one for one in types if one is not None and one != ANY]
    if not any(isinstance(one, Compound) for one in known):
        return plainly_unlike(types)
    if not all(isinstance(one, Compound) for one in known) or len({is_array(one) for one in known}) > 1:
        return True
    if is_array(known[0]):
        return _parts_unlike([element(one) for one in known])
    listed = [fields(one) or [] for one in known]
    return len({len(one) for one in listed}) > 1 or any(
        _parts_unlike([kind for _, kind in each]) for each in zip(*listed, strict=True)
    )


def _parts_unlike(types: Sequence[Kind]) -> bool:
    return unlike(
        [LITERAL if one == "STRING" and READ.intersection(map(str, types)) else one for one in types]
    )


def as_common(nodes: Sequence[exp.Expr], types: Sequence[Kind]) -> None:
    """Puts a CAST around STRUCTs and ARRAYs that are to be of one type and differ, in their fields' names or types."""
    shared = common(types)
    if not isinstance(shared, Compound) or (to := data_type(shared)) is None:
        return
    for node, kind in zip(nodes, types, strict=True):
        if isinstance(kind, Compound) and kind != shared:
            node.replace(exp.Cast(this=node.copy(), to=to.copy()))


def as_common_of(wanted: Kind, node: exp.Expr, kind: Kind) -> None:
    """The same of a value that is looked for among others of the type that is wanted."""
    shared = common([wanted, kind])
    if isinstance(shared, Compound) and kind != shared and (to := data_type(shared)) is not None:
        node.replace(exp.Cast(this=node.copy(), to=to))


def as_columns(queries: Sequence[exp.Expr], types: Sequence[Kind], place: int) -> None:
    """The same of a column of a set operation's sides, where these list their columns."""
    shared = common(types)
    if isinstance(shared, Compound) and (to := data_type(shared)) is not None:
        for query, kind in zip(queries, types, strict=True):
            if kind != shared:
                cast_column(query, place, to)


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


def nested(kind: Kind) -> str:
    """GoogleSQL's words where an array's elements are to be of this type, and may not; "" else."""
    if not is_array(kind):
        return ""
    return f"Cannot construct array with element type {kind} because nested arrays are not supported"


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
    if name == "RANGE" and first in ("DATE", "DATETIME", "TIMESTAMP"):
        return f"RANGE<{first}>"
    if name == "PERCENTILE_CONT" and first in NUMBERS:
        return "FLOAT64" if first == "INT64" else first
    return array_of(LITERAL) if name == "SPLIT" and first in ("STRING", LITERAL) else None
