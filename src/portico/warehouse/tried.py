"""What SAFE tries, where it is given queries: DuckDB's TRY takes none, so they are columns of a query beneath."""

from __future__ import annotations

import itertools

from sqlglot import exp


def settle(tree: exp.Expr) -> None:
    """Puts a query with the value around every TRY that has one in it, innermost first."""
    numbers = itertools.count()
    for one in list(tree.find_all(exp.Anonymous))[::-1]:
        if str(one.this) != "TRY":
            continue
        queries = _outermost(one)
        if not queries:
            continue
        columns = []
        for query in queries:
            name = f"_tried{next(numbers)}"
            columns.append(exp.alias_(query.copy(), name, quoted=True))
            query.replace(exp.column(name, quoted=True))
        below = exp.Subquery(
            this=exp.Select(expressions=columns), alias=exp.TableAlias(this=exp.to_identifier("_tries"))
        )
        one.replace(exp.Subquery(this=exp.Select(expressions=[one.copy()], from_=exp.From(this=below))))


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
