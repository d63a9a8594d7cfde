"""What SAFE tries, where it is given what DuckDB's TRY does not take: queries, which are columns of a query beneath,
and what gives something else for each row, which a lambda is given."""

from __future__ import annotations

import itertools

from sqlglot import exp

from portico.errors import Unimplemented
from portico.warehouse.keysets import RANDOM
from portico.warehouse.macros import call

_UNFAILING = frozenset(["gs_rand", "gs_generate_uuid"])
_RANDOM = _UNFAILING | {"gs_py_javascript", *(f"gs_{one}" for one in RANDOM)}


def settle(tree: exp.Expr) -> None:
    """Puts a query with the value around every TRY that has one in it, innermost first."""
    numbers = itertools.count()
    for one in list(tree.find_all(exp.Anonymous))[::-1]:
        if str(one.this) != "TRY":
            continue
        first = one.expressions[0]
        name = str(first.this).lower() if isinstance(first, exp.Anonymous) else ""
        if name in _UNFAILING:
            one.replace(first)
            continue
        if name.removeprefix("gs_") in RANDOM:
            raise Unimplemented(f"SAFE.{name[3:].upper().replace('__', '.')} is not built in Portico.")
        tried = one
        if queries := _outermost(one):
            columns = []
            for query in queries:
                name = f"_tried{next(numbers)}"
                columns.append(exp.alias_(query.copy(), name, quoted=True))
                query.replace(exp.column(name, quoted=True))
            below = exp.Subquery(
                this=exp.Select(expressions=columns), alias=exp.TableAlias(this=exp.to_identifier("_tries"))
            )
            tried = one.copy()
            one.replace(exp.Subquery(this=exp.Select(expressions=[tried], from_=exp.From(this=below))))
        made: exp.Expr = tried.copy()
        leaves = [
            leaf for inner in made.expressions for part in inner.iter_expressions() for leaf in _random(part)
        ]
        for leaf in leaves:
            variable = exp.to_identifier(f"_tried{next(numbers)}", quoted=True)
            value = leaf.copy()
            leaf.replace(exp.column(variable.copy()))
            of_each = exp.Lambda(this=made, expressions=[variable])
            each = call("list_transform", exp.Array(expressions=[value]), of_each)
            made = call("list_extract", each, exp.Literal.number(1))
        if leaves:
            tried.replace(made)


def _random(node: exp.Expr) -> list[exp.Expr]:
    """The calls in an expression that give something else for each row, but for those of a lambda's variables."""
    if isinstance(node, exp.Anonymous) and str(node.this).lower() in _RANDOM:
        return [node]
    if isinstance(node, exp.Lambda | exp.Query):
        return []
    return [one for child in node.iter_expressions() for one in _random(child)]


def _outermost(node: exp.Expr) -> list[exp.Expr]:
    """The queries in a call, each with what makes it a value: EXISTS or ARRAY."""
    found: list[exp.Expr] = []
    for child in node.iter_expressions():
        inner = [one for one in child.iter_expressions() if isinstance(one, exp.Query)]
        wraps = isinstance(child, exp.Exists | exp.Array) or (
            isinstance(child, exp.Anonymous) and str(child.this).lower() == "array"
        )
        if isinstance(child, exp.Query) or (inner and wraps) or isinstance(child, exp.Exists):
            found.append(child)
        else:
            found += _outermost(child)
    return found
