"""How often WITH RECURSIVE goes round: at most 500 times, as BigQuery does, for DuckDB would for ever.

https://cloud.google.com/bigquery/quotas#query_jobs
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict

import pyarrow as pa
from sqlglot import exp

_MOST = 500
# A query within an expression may go round for many rows of the query outside, and then is counted by batches of these.
_BATCHES = 10
_SOURCES = (exp.From, exp.Join, exp.SetOperation, exp.CTE, exp.Subquery, exp.DDL, exp.DML)
_KEPT = 1000  # runs of which the iterations are remembered


class Iterations:
    """Counts the iterations of the recursive queries that run now."""

    def __init__(self) -> None:
        self._taken: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def count(self, tokens: pa.Array, most: pa.Array) -> pa.Array:
        """TRUE for each row: another iteration of the query that the token names may begin.

        Raises:
            ValueError: it has had as many as it may.
        """
        token = tokens[0].as_py()
        with self._lock:
            taken = self._taken.pop(token, 0) + 1
            self._taken[token] = taken
            if len(self._taken) > _KEPT:
                self._taken.popitem(last=False)
        if taken > most[0].as_py():
            raise ValueError(f"A recursive CTE has reached the maximum number of iterations: {_MOST}.")
        return pa.array([True] * len(tokens))


def bound(tree: exp.Expr) -> None:
    """Has each iteration of the recursive queries in a statement counted."""
    for holder in list(tree.find_all(exp.With)):
        if not holder.args.get("recursive"):
            continue
        for one in holder.expressions:
            body = one.this
            while isinstance(body, exp.Subquery | exp.Paren):
                body = body.this
            if isinstance(body, exp.Union) and _reads(body.expression, one.alias.lower()):
                body.set("expression", _counted(body.expression, _most(holder)))


def _reads(term: exp.Expr, name: str) -> bool:
    return any(len(one.parts) == 1 and one.name.lower() == name for one in term.find_all(exp.Table))


def _most(holder: exp.With) -> int:
    node = holder.parent
    while node is not None and node.parent is not None:
        if isinstance(node, exp.Query) and not isinstance(node.parent, _SOURCES):
            return _MOST * _BATCHES
        node = node.parent
    return _MOST


def _counted(term: exp.Expr, most: int) -> exp.Expr:
    arguments = [exp.Literal.string(secrets.token_hex(8)), exp.cast(exp.Literal.number(most), "bigint")]
    asked = exp.Anonymous(this="gs_py_iteration", expressions=arguments)
    once = exp.Subquery(this=exp.Select(expressions=[exp.alias_(asked, "go", quoted=True)]))
    source = term if isinstance(term, exp.Subquery) else exp.Subquery(this=term)
    if source.args.get("alias") is None:
        source.set("alias", exp.TableAlias(this=exp.to_identifier("$term", quoted=True)))
    return exp.Select(expressions=[exp.Star()], from_=exp.From(this=source), where=exp.Where(this=once))
