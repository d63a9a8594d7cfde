"""What GoogleSQL refuses where values meet that have no type in common, or where a condition is none."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse import compound_types as compound
from portico.warehouse import overflows
from portico.warehouse.alike import alike, is_number
from portico.warehouse.compound_types import as_common, unlike
from portico.warehouse.signatures import ANY, LITERAL, NUMBERS, refusal, shown

_BIG = "BIGNUMERIC"
WIDE = "wide"
"""What marks a sum of which a part is a BIGNUMERIC."""


_TIMES = ["DATE", "DATETIME", "TIME", "TIMESTAMP"]
_CASTS = {
    "INT64": {*NUMBERS, "BOOL", "STRING"}, **{name: {*NUMBERS, "STRING"} for name in NUMBERS - {"INT64"}},
    "BOOL": {"BOOL", "INT64", "STRING"}, "BYTES": {"BYTES", "STRING"},
    "DATE": {"DATE", "DATETIME", "TIMESTAMP", "STRING"}, "DATETIME": {*_TIMES, "STRING"}, "TIME": {"TIME", "STRING"},
    "TIMESTAMP": {*_TIMES, "STRING"}, "INTERVAL": {"INTERVAL", "STRING"},
}  # fmt: skip


_OF_ARRAYS = frozenset(
    ["ARRAY_LENGTH", "ARRAY_REVERSE", "ARRAY_FIRST", "ARRAY_LAST", "ARRAY_SLICE", "ARRAY_CONCAT"]
)


def cast(kind: str | None, to: str | None) -> str | None:
    """The type of a CAST.

    Raises:
        InvalidArgument: there is none from the one type to the other.
    """
    plain = to.split("(")[0] if to is not None else None
    if kind in _CASTS and plain is not None and (plain.endswith(">") or plain not in _CASTS[kind]):
        raise refused(f"Invalid cast from {kind} to {to}")
    if isinstance(kind, compound.Compound) and plain is not None and not plain.endswith(">"):
        raise refused(f"Invalid cast from {kind} to {to}")
    return to


def field(kind: str | None, name: str) -> str | None:
    """The type of a field.

    Raises:
        InvalidArgument: a value of that type has none, or none of that name.
    """
    fields = compound.fields(kind)
    if kind in _CASTS or kind in ("STRING", LITERAL) or compound.is_array(kind):
        raise refused(f"Cannot access field {name} on a value with type {shown(kind)}")
    if fields is not None and "?" not in str(kind) and name.lower() not in (one.lower() for one, _ in fields):
        raise refused(f"Field name {name} does not exist in {kind}")
    unique(kind, name, f"Struct field name {name} is ambiguous")
    return compound.field(kind, name)


def unique(kind: str | None, name: str, said: str) -> None:
    """
    Raises:
        InvalidArgument: two fields of a STRUCT have this name.
    """
    if sum(one.lower() == name.lower() for one, _ in compound.fields(kind) or ()) > 1:
        raise refused(said)


def array(kind: str | None) -> str | None:
    """
    Raises:
        InvalidArgument: UNNEST is given something else than an array.
    """
    if kind not in (None, ANY) and not compound.is_array(kind) and kind != "JSON":
        raise refused(
            f"Values referenced in UNNEST must be arrays. UNNEST contains expression of type {shown(kind)}"
        )
    return kind


def text(kind: str | None) -> None:
    """
    Raises:
        InvalidArgument: STRING_AGG is given what is neither STRING nor BYTES.
    """
    if kind not in (None, ANY, LITERAL, "STRING", "BYTES"):
        raise refused(
            f"No matching signature for aggregate function STRING_AGG for argument types: {shown(kind)}"
        )


def of_array(name: str, types: Sequence[str | None]) -> None:
    """
    Raises:
        InvalidArgument: a function of an array is given something else.
    """
    kind = types[0] if types else None
    if name in _OF_ARRAYS and kind not in (None, ANY, "JSON") and not compound.is_array(kind):
        raise refused(
            f"No matching signature for function {name} for argument types: {', '.join(map(shown, types))}"
        )


def no_condition(what: str, types: Sequence[str | None]) -> str:
    """GoogleSQL's words where the first of these types is to be true or false, and is not; "" else."""
    if types[0] in (None, ANY, "BOOL"):
        return ""
    if what == "operator CASE":
        return f"No matching signature for {what}; all WHEN argument types must be BOOL but found: {shown(types[0])}"
    return f"No matching signature for {what} for argument types: {', '.join(map(shown, types))}"


def condition(what: str, kind: str | None) -> None:
    """
    Raises:
        InvalidArgument: what is to be true or false is of another type.
    """
    if kind not in (None, ANY, "BOOL"):
        raise refused(f"{what} should return type BOOL, but returns {shown(kind)}")


def computed(one: exp.Expr, nodes: list[exp.Expr], types: list[str | None]) -> str | None:
    """The type of a sum, product or quotient of numbers."""
    if not all(each in NUMBERS for each in types):
        return None
    written = [each for each, node in zip(types, nodes, strict=True) if not is_number(node)] or types
    found = compound.common(written)
    if _BIG in types:
        one.meta[WIDE] = True
    if found == "INT64" and (isinstance(one, exp.Div) or any(map(is_number, nodes))):
        found = "FLOAT64"
    if found == "FLOAT64":
        overflows.mark(one, nodes, types)
    return found


def check(name: str, nodes: Sequence[exp.Expr], types: Sequence[str | None]) -> None:
    """
    Raises:
        InvalidArgument: the function or operator takes no such arguments.
    """
    if said := refusal(name, types, [is_number(one) for one in nodes]):
        raise refused(said)


def signature(what: str, nodes: Sequence[exp.Expr], types: Sequence[str | None]) -> list[str | None]:
    """Makes arguments alike; returns their types then.

    Raises:
        InvalidArgument: they have no type in common.
    """
    if unlike(types):
        told = ", ".join(map(shown, types))
        raise refused(f"No matching signature for {what} for argument types: {told}")
    made = alike(nodes, types)
    as_common(nodes, made)
    return made


def refuse(said: str) -> None:
    if said:
        raise refused(said)


def refused(said: str) -> InvalidArgument:
    return InvalidArgument(said, reason="invalidQuery")
