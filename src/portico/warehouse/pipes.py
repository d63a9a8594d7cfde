"""Pipe syntax as plain queries: what must hold between one operator and the next.

sqlglot adds each operator to one SELECT where it can, whether or not that means the same; here it is only added where
it does. https://cloud.google.com/bigquery/docs/reference/standard-sql/pipe-syntax
"""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from portico.warehouse.column_names import name_columns

PASSING = frozenset(["EXTEND", "WINDOW", "WHERE", "ORDER BY", "LIMIT", "TABLESAMPLE", "ASSERT"])
"""Operators whose rows are those that came in: the table keeps its name. Not SET and its like: to these the name means
what the columns were."""
_SETS = frozenset(["UNION", "INTERSECT", "EXCEPT"])
_MERGED = frozenset(["EXTEND", "WHERE", "SELECT", "AGGREGATE", "ORDER BY", "LIMIT"])
_EXTENDED = "extended"  # columns that EXTEND has added to a query of several tables, by their names
_CHANGED = "$changed"  # among these, where there may be none: the columns are not those of the table
_TEMPORARY = "__tmp"  # how sqlglot's names of queries begin


def ready(parser: Any, query: Any, word: str) -> Any:
    """The query to which the operator `word` may be added: what it has so far is beneath, where it must be."""
    args = query.args
    wraps = isinstance(query, exp.SetOperation)
    wraps |= bool(args.get("limit") or args.get("offset")) and (word != "LIMIT" or bool(args.get("offset")))
    wraps |= bool(args.get("distinct")) and word not in ("ORDER BY", "LIMIT")
    wraps |= bool(args.get("where")) and word in ("PIVOT", "UNPIVOT", "TABLESAMPLE", "RIGHT", "FULL")
    wraps |= bool(extended(query)) and word not in _MERGED
    if word == "WHERE" and any(one.find(exp.Window) for one in extended(query).values()):
        wraps = True
    if not wraps and word in _SETS | {"AGGREGATE", "PIVOT", "UNPIVOT"}:
        query.set("order", None)  # the rows have none any more
    if not wraps:
        return query
    name = name_of(query)
    made = parser._build_pipe_cte(query=query, expressions=[exp.Star()])
    named(made, name)
    return made


def name_of(query: Any) -> str:
    """The name of the one table that a query reads; "" of several, or of one without."""
    source = query.args.get("from_")
    if source is None or query.args.get("joins"):
        return ""
    name = str(source.this.alias_or_name)
    return "" if name.startswith(_TEMPORARY) else name


def named(query: Any, name: str) -> None:
    """Lets a query's table, which is one of sqlglot's, be named as before."""
    source = query.args.get("from_")
    if name and source is not None and str(source.this.alias_or_name).startswith(_TEMPORARY):
        source.this.set("alias", exp.TableAlias(this=exp.to_identifier(name, quoted=True)))


def name_of_pivot(query: Any) -> str:
    """The name that PIVOT, which an operator has put beneath, has; "" where it has none."""
    source = query.args["with_"].expressions[-1].this.args["from_"].this if query.args.get("with_") else None
    pivots = source.args.get("pivots") if source is not None else None
    return str(pivots[-1].alias) if pivots else ""


def enclose_sides(made: Any) -> None:
    """Puts what is united beneath into queries of its own where WITH stands before it, or it is united itself."""
    node = made.args["with_"].expressions[-1].this
    while isinstance(node, exp.SetOperation):
        if node.expression.args.get("with_") or isinstance(node.expression, exp.SetOperation):
            inner = node.expression.subquery(copy=False)
            node.set("expression", exp.select("*").from_(inner, copy=False))
        node = node.this


def note(query: Any, known: dict[str, exp.Expr]) -> None:
    """Keeps what the columns that a query shows, and its table has not, stand for."""
    query.meta[_EXTENDED] = {_CHANGED: exp.Null(), **known}


def extended(query: Any) -> dict[str, exp.Expr]:
    found: dict[str, exp.Expr] = query.meta.get(_EXTENDED) or {}
    return found


def extend(query: exp.Select, added: list[exp.Expr]) -> bool:
    """Adds columns to a query of several tables, whose names then stay; whether it is one."""
    if not query.args.get("joins") or any(not isinstance(one, exp.Alias) for one in added):
        return False
    query.select(*(query.expressions or [exp.Star()]), *added, append=False, copy=False)
    query.meta[_EXTENDED] = {**extended(query), **{one.alias.lower(): one.this for one in added}}
    return True


def filled(tree: exp.Expr, query: exp.Expr) -> exp.Expr:
    """An expression with what EXTEND has added in place of the names."""
    known = extended(query)
    if isinstance(tree, exp.Star) and _CHANGED in known and not any(tree.args.values()):
        return query.expressions[0].copy()  # type: ignore[no-any-return]
    if isinstance(tree, exp.Column) and not tree.table and tree.name.lower() in known:
        return exp.alias_(known[tree.name.lower()].copy(), tree.name, quoted=True)
    return put_in(tree, known) if known else tree


def put_in(tree: exp.Expr, known: dict[str, exp.Expr]) -> exp.Expr:
    """The tree with `known` values for their names."""
    holder = exp.Paren(this=tree)
    for column in list(holder.find_all(exp.Column)):
        if not column.table and column.name.lower() in known:
            column.replace(exp.Paren(this=known[column.name.lower()].copy()))
    made: exp.Expr = holder.this
    return made.pop()


def name_columns_of(made: exp.Expr) -> None:
    """Gives the columns of the query that an operator has put beneath the names that BigQuery shows."""
    name_columns(made.args["with_"].expressions[-1].this)


def settle_aggregate(made: exp.Expr, known: dict[str, exp.Expr]) -> None:
    """Makes what AGGREGATE has put beneath name its groups, and read what EXTEND has added."""
    query = made.args["with_"].expressions[-1].this
    group = query.args.get("group")
    for holder in filter(None, (query, group)):  # which have nodes in common
        holder.set("expressions", [one.copy() for one in holder.expressions])
    for one in list(query.expressions) if known else ():
        if isinstance(one, exp.Column) and not one.table and one.name.lower() in known:
            one.replace(exp.alias_(known[one.name.lower()].copy(), one.name, quoted=True))
        else:
            one.replace(put_in(one.copy(), known))
    for one in list(group.expressions) if group is not None else ():
        if isinstance(one, exp.Identifier):
            one.replace(exp.column(one.copy()))
    name_columns(query)
