"""Arguments of window functions, and bounds of their frames, that GoogleSQL has as constants in certain ranges.

https://cloud.google.com/bigquery/docs/reference/standard-sql/numbering_functions, navigation_functions
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from sqlglot import exp

from portico.errors import InvalidArgument

_LEAST_ONE = (Decimal(1), None, "{what} must be at least 1")
_OFFSET = (Decimal(0), None, "The offset to the function {name} must not be negative")
_SHARE = (Decimal(0), Decimal(1), "{what} must be between 0 and 1")
# Which argument, the least and the greatest that it may be, and what is said of others.
_ARGUMENTS: dict[str, tuple[int, Decimal, Decimal | None, str]] = {
    "NTILE": (0, *_LEAST_ONE), "NTH_VALUE": (1, *_LEAST_ONE), "LAG": (1, *_OFFSET), "LEAD": (1, *_OFFSET),
    "PERCENTILE_CONT": (1, *_SHARE), "PERCENTILE_DISC": (1, *_SHARE),
}  # fmt: skip
_WITH_OVER = frozenset([
    "ROW_NUMBER", "RANK", "DENSE_RANK", "PERCENT_RANK", "CUME_DIST", "NTILE", "LAG", "LEAD", "FIRST_VALUE",
    "LAST_VALUE", "NTH_VALUE", "PERCENTILE_CONT", "PERCENTILE_DISC",
])  # fmt: skip


def check(tree: exp.Expr, parameters: Mapping[str, exp.Expr]) -> None:
    """
    Raises:
        InvalidArgument: an argument is no constant, NULL, or out of its range.
    """
    for called in tree.find_all(exp.Anonymous):
        name = called.name.upper()
        if name in _WITH_OVER and not isinstance(called.find_ancestor(exp.Window, exp.Query), exp.Window):
            raise _refused(f"Analytic function {name} cannot be called without an OVER clause")
    for window in tree.find_all(exp.Window):
        spec = window.args.get("spec")
        for side in ("start", "end"):
            bound = spec.args.get(side) if spec is not None else None
            if isinstance(bound, exp.Expr):
                _check_bound(bound, parameters)
        called = window.this
        while isinstance(called, exp.IgnoreNulls | exp.RespectNulls):
            called = called.this
        distinct = isinstance(called, exp.Anonymous) and any(
            isinstance(one, exp.Distinct) for one in called.expressions
        )
        if distinct and window.args.get("order") is not None:
            raise _refused("Window ORDER BY is not allowed if DISTINCT is specified")
        name = called.name.upper() if isinstance(called, exp.Anonymous) else ""
        if name not in _ARGUMENTS or len(called.expressions) <= _ARGUMENTS[name][0]:
            continue
        place, least, most, said = _ARGUMENTS[name]
        argument = called.expressions[place]
        while isinstance(argument, exp.IgnoreNulls | exp.RespectNulls):
            argument = argument.this
        what = "The argument to NTILE" if name == "NTILE" else f"Argument {place + 1} to {name}"
        if argument.find(exp.Column):
            raise _refused(f"{what} must be a literal or query parameter")
        value = _value(argument, parameters)
        if isinstance(value, exp.Null):
            raise _refused(f"{what} must be non-NULL")
        if value is not None and (value < least or (most is not None and value > most)):
            raise _refused(said.format(what=what, name=name))


def _check_bound(bound: exp.Expr, parameters: Mapping[str, exp.Expr]) -> None:
    value = _value(bound, parameters)
    if isinstance(value, exp.Null):
        raise _refused("Window framing expression cannot be NULL")
    if value is not None and value < 0:
        raise _refused("Window framing expression cannot evaluate to a negative value")


def _value(one: exp.Expr, parameters: Mapping[str, exp.Expr]) -> Decimal | exp.Null | None:
    """A number that is written out, or NULL; None of all else."""
    if isinstance(one, exp.Parameter):
        held = parameters.get(one.name.lower())
        return _value(held, {}) if held is not None else None
    if isinstance(one, exp.Paren | exp.Cast):
        return _value(one.this, parameters)
    if isinstance(one, exp.Neg):
        inner = _value(one.this, parameters)
        return -inner if isinstance(inner, Decimal) else inner
    if isinstance(one, exp.Null):
        return one
    if isinstance(one, exp.Literal) and one.name.replace(".", "", 1).lstrip("-").isdigit():
        return Decimal(one.name)
    return None


def _refused(said: str) -> InvalidArgument:
    return InvalidArgument(said, reason="invalidQuery")
