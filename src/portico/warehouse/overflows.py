"""FLOAT64 that overflows: GoogleSQL refuses what DuckDB makes infinite.

A sum, product or quotient is looked at as a whole: where it is not finite though all of its parts are, one of its
operations has overflowed; only what is made of columns is looked at. https://cloud.google.com/bigquery/docs/reference/standard-sql/operators#arithmetic_operators
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlglot import exp

from portico.warehouse.aggregates import AGGREGATES
from portico.warehouse.alike import is_number
from portico.warehouse.macros import call

_PARTS = "float parts"
"""What marks an operation that gives FLOAT64: which of its sides may themselves be infinite."""
_SIGNS: dict[type[exp.Expr], str] = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/"}
_SAFE: dict[str, type[exp.Expr]] = {
    "SAFE_ADD": exp.Add, "SAFE_SUBTRACT": exp.Sub, "SAFE_MULTIPLY": exp.Mul, "SAFE_DIVIDE": exp.Div,
}  # fmt: skip
_MOST = 16  # parts of what is looked at


def mark(one: exp.Expr, nodes: Sequence[exp.Expr], types: Sequence[str | None]) -> None:
    """Notes an operation that gives FLOAT64; of two INT64s none is too great."""
    if "FLOAT64" in types:
        one.meta[_PARTS] = [
            kind == "FLOAT64" and not is_number(node) for node, kind in zip(nodes, types, strict=True)
        ]


def is_marked(one: exp.Expr) -> bool:
    """Whether it is known to give FLOAT64."""
    return _PARTS in one.meta


def mark_safe(called: exp.Anonymous, kind: str | None) -> None:
    """Makes SAFE_ADD and its like of FLOAT64 the operation that is tried."""
    operation = _SAFE.get(called.name.upper())
    if operation is None or kind != "FLOAT64" or len(called.expressions) != 2:
        return
    left, right = (exp.paren(one) for one in called.expressions)
    made = operation(this=left, expression=right)
    made.meta[_PARTS] = [True, True]
    called.set("this", "NULLIFERROR")
    called.set("expressions", [made])


def settle(tree: exp.Expr) -> None:
    """Puts a look at the result around what is marked, innermost first."""
    marked: list[exp.Expr] = [one for one in tree.find_all(*_SIGNS) if _PARTS in one.meta]
    for one in marked[::-1]:
        if not _within(one) and (made := _checked(one)) is not None:
            one.replace(made)


def _within(one: exp.Expr) -> bool:
    """Whether it is part of another that is marked; a divisor is looked at by itself, for what is divided by it is
    finite."""
    below, above = one, one.parent
    while isinstance(above, exp.Paren | exp.Neg):
        below, above = above, above.parent
    if above is None or _PARTS not in above.meta:
        return False
    return not isinstance(above, exp.Div) or below is above.this


def _parts(one: exp.Expr) -> Iterator[tuple[exp.Expr, bool]]:
    """What an operation is made of, and whether it may itself be infinite."""
    for side, floats in zip((one.this, one.expression), one.meta[_PARTS], strict=True):
        inner = side.unnest()
        while isinstance(inner, exp.Neg):
            inner = inner.this.unnest()
        if _PARTS in inner.meta:
            yield from _parts(inner)
        else:
            yield inner, floats


def _plain(part: exp.Expr) -> bool:
    """Whether it is cheap to name it twice: DuckDB binds what a macro is given once for each of its overloads, so that
    copies in what functions are given would multiply."""
    inner = part.unnest()
    if isinstance(inner, exp.Cast | exp.TryCast | exp.Neg):
        return _plain(inner.this)
    if isinstance(inner, exp.Anonymous | exp.Window):  # a column of the query beneath
        return isinstance(inner, exp.Window) or inner.name.lower() in AGGREGATES
    return isinstance(inner, exp.Column | exp.Literal | exp.Null | exp.Parameter)


def _around(one: exp.Expr) -> Iterator[exp.Expr]:
    """What it stands in, up to its query."""
    above = one.parent
    while above is not None and not isinstance(above, exp.Query):
        yield above
        above = above.parent


def _multiplies(above: exp.Expr) -> bool:
    if isinstance(above, exp.Anonymous):
        return above.name.lower() not in AGGREGATES and above.name != "NULLIFERROR"
    return isinstance(above, (*_SIGNS, exp.Cast, exp.Bracket))


def _checked(one: exp.Expr) -> exp.Expr | None:
    """None where looking would cost too much."""
    if sum(map(_multiplies, _around(one))) > 1:
        return None
    parts = list(_parts(one))
    if len(parts) > _MOST or not all(_plain(part) for part, _ in parts):
        return None
    leaves = {part.sql("bigquery"): part for part, floats in parts if floats}.values()
    finite = [call("isfinite", leaf.copy()) for leaf in leaves]
    overflown = exp.and_(exp.Not(this=call("isfinite", one.copy())), *finite, copy=False)
    said: exp.Expr = exp.Literal.string("double overflow")
    if not any(_PARTS in node.meta for side in (one.this, one.expression) for node in side.walk()):
        left, right = (call("gs_to_string", side.copy()) for side in (one.this, one.expression))
        said = exp.Literal.string("double overflow: ")
        for piece in (left, exp.Literal.string(f" {_SIGNS[type(one)]} "), right):
            said = exp.DPipe(this=said, expression=piece)
    branch = exp.If(this=overflown, true=call("gs_py_error", said))
    return exp.Case(ifs=[branch], default=one.copy())
