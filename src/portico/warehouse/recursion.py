"""What GoogleSQL refuses of WITH RECURSIVE, and DuckDB would run, perhaps for ever.

https://cloud.google.com/bigquery/docs/reference/standard-sql/query-syntax#recursive_cte_rules
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse.aggregates import AGGREGATES

_FORM = "Recursive query does not have the form <non-recursive-term> UNION [ALL|DISTINCT] <recursive-term>"
_HOLDS = "A subquery containing a recursive reference must not "
_USED = "A query containing a recursive reference must not be used as "


def check(tree: exp.Expr) -> None:
    """Puts each query of WITH RECURSIVE behind those that it reads.

    Raises:
        InvalidArgument: a query of WITH RECURSIVE reads itself where it can't.
    """
    for holder in tree.find_all(exp.With):
        if holder.args.get("recursive"):
            for one in holder.expressions:
                _check(one)
            _sort(holder)


def _sort(holder: exp.With) -> None:
    by_name = {one.alias.lower(): one for one in holder.expressions}
    reads = {
        name: {
            table.name.lower()
            for table in one.find_all(exp.Table)
            if len(table.parts) == 1 and table.name.lower() in by_name and table.name.lower() != name
        }
        for name, one in by_name.items()
    }
    try:
        order = list(TopologicalSorter(reads).static_order())
    except CycleError as error:
        shown = " -> ".join(error.args[1])
        raise _refused(f"Unsupported WITH entry dependency cycle: {shown}") from None
    if order != list(by_name) and len(by_name) == len(holder.expressions):
        holder.set("expressions", [by_name[name] for name in order])


def _check(one: exp.CTE) -> None:
    name = one.alias.lower()
    found = _references(one.this, name)
    if not found:
        return
    body = one.this
    while isinstance(body, exp.Subquery | exp.Paren):
        body = body.this
    if not isinstance(body, exp.Union) or body.args.get("with_"):
        raise _refused(_FORM)
    for clause, shown in (("limit", "LIMIT"), ("order", "ORDER BY")):
        if body.args.get(clause):
            raise _refused(f"A recursive query may not use {shown}")
    if _references(body.this, name):
        raise _refused("Recursive reference is not allowed in non-recursive UNION term")
    if len(found) > 1:
        raise _refused(f"Multiple recursive references to table '{one.alias}' are not allowed")
    _check_way(found[0], body)


def _references(tree: exp.Expr, name: str) -> list[exp.Table]:
    found = []
    for table in tree.find_all(exp.Table):
        if isinstance(table.this, exp.Identifier) and len(table.parts) == 1 and table.name.lower() == name:
            inner = table.find_ancestor(exp.With)
            hidden = inner is not None and any(
                each.alias.lower() == name for each in inner.expressions if each.find(exp.Table) is not table
            )
            if not (hidden and inner is not None and tree.find(exp.With) is inner):
                found.append(table)
    return found


def _check_way(reference: exp.Table, body: exp.Expr) -> None:
    """Looks at all that stands between a query's reference to itself and the query."""
    node: exp.Expr = reference
    while node is not body:
        parent = node.parent
        assert parent is not None
        if isinstance(parent, exp.Select):
            _check_select(parent)
        elif isinstance(parent, exp.SetOperation) and parent is not body:
            if parent.args.get("distinct"):
                raise _refused(f"{_HOLDS}use INTERSECT, UNION, or EXCEPT with the DISTINCT modifier")
        elif isinstance(parent, exp.Join):
            _check_join(parent)
        elif isinstance(parent, exp.Anonymous | exp.Func) and isinstance(parent.parent, exp.Table):
            raise _refused(f"{_USED}an argument to a table-valued function")
        if isinstance(node, exp.Query) and not isinstance(
            parent, exp.From | exp.Join | exp.SetOperation | exp.Subquery | exp.Paren | exp.CTE
        ):
            raise _refused("A recursive reference from inside an expression subquery is not allowed")
        if isinstance(node, exp.Subquery) and not isinstance(
            parent, exp.From | exp.Join | exp.SetOperation | exp.Subquery
        ):
            raise _refused("A recursive reference from inside an expression subquery is not allowed")
        if isinstance(parent, exp.With):
            raise _refused(
                f"Table '{reference.name}' must not be recursively referenced from inside an inner WITH"
            )
        if isinstance(parent, exp.From):
            _check_joined(parent)
        node = parent


def _check_select(select: exp.Select) -> None:
    if select.args.get("limit") or select.args.get("offset"):
        raise _refused("A query containing a recursive reference must not use a LIMIT clause")
    if select.args.get("order"):
        raise _refused(f"{_HOLDS}contain an ORDER BY clause")
    shown = [
        each for one in select.expressions for each in one.walk(prune=lambda n: isinstance(n, exp.Query))
    ]
    windowed = {id(_function(one)) for one in shown if isinstance(one, exp.Window)}
    aggregate = any(
        isinstance(one, exp.Anonymous | exp.GroupConcat)
        and id(one) not in windowed
        and (isinstance(one, exp.GroupConcat) or one.name.lower() in AGGREGATES)
        for one in shown
    )
    if aggregate or select.args.get("group") or select.args.get("distinct"):
        raise _refused(f"{_HOLDS}use DISTINCT, GROUP BY, or any aggregate function")
    if windowed:
        raise _refused(f"{_HOLDS}use an analytic function")


def _function(window: exp.Window) -> exp.Expr:
    inner: exp.Expr = window.this
    while isinstance(inner, exp.IgnoreNulls | exp.RespectNulls | exp.Filter):
        inner = inner.this
    return inner


def _check_join(join: exp.Join) -> None:
    """The reference is what is joined."""
    side = str(join.args.get("side") or "").upper()
    if side == "LEFT":
        raise _refused(f"{_USED}the right operand of a LEFT JOIN")
    if side == "FULL":
        raise _refused(f"{_USED}an operand of a FULL OUTER JOIN")


def _check_joined(source: exp.From) -> None:
    """The reference is what is joined to."""
    for join in source.parent.args.get("joins") or () if source.parent is not None else ():
        side = str(join.args.get("side") or "").upper()
        if side == "RIGHT":
            raise _refused(f"{_USED}the left operand of a RIGHT JOIN")
        if side == "FULL":
            raise _refused(f"{_USED}an operand of a FULL OUTER JOIN")


def _refused(said: str) -> InvalidArgument:
    return InvalidArgument(said, reason="invalidQuery")
