"""The names that BigQuery gives to columns that a query leaves without one."""

from __future__ import annotations

from sqlglot import exp


def as_tables(tree: exp.Expr) -> None:
    """The rows of SELECT AS STRUCT in FROM or WITH have its fields as columns."""
    for select in tree.find_all(exp.Select):
        held = select.parent
        if isinstance(held, exp.Subquery) and not isinstance(held.parent, exp.From | exp.Join):
            continue
        if select.args.get("kind") in ("STRUCT", "VALUE") and isinstance(held, exp.Subquery | exp.CTE):
            _spread(select)


def whole_rows(tree: exp.Expr) -> None:
    """SELECT AS STRUCT with a star in it is the row of a query beneath."""
    for select in list(tree.find_all(exp.Select))[::-1]:
        if select.args.get("kind") != "STRUCT" or not any(one.is_star for one in select.expressions):
            continue
        below = select.copy()
        below.set("kind", None)
        name_columns(below, "_field_{}", 1)
        source = exp.Subquery(this=below, alias=exp.TableAlias(this=exp.to_identifier("_row")))
        select.replace(exp.Select(expressions=[exp.column("_row")], from_=exp.From(this=source)))


def _spread(select: exp.Select) -> None:
    """The fields of the struct that a query yields, as columns."""
    if select.args["kind"] == "VALUE":
        value = select.expressions[0].unalias()
        if not isinstance(value, exp.Anonymous) or value.name.upper() != "STRUCT":
            return
        select.set("expressions", [one.copy() for one in value.expressions])
    select.set("kind", None)
    name_columns(select, "_field_{}", 1)


def name_columns(tree: exp.Expr, pattern: str = "f{}_", first: int = 0) -> None:
    """Gives the columns without a name the names that BigQuery shows."""
    select = tree
    while isinstance(select, exp.SetOperation | exp.Subquery | exp.Paren):
        select = select.this
    if not isinstance(select, exp.Select):
        return
    number = first
    for one in list(select.expressions):
        shown = one.unnest()
        if isinstance(one, exp.Alias | exp.Star) or one.is_star:
            continue
        of_dataset = isinstance(shown.args.get("expression"), exp.Func)  # a function: DATASET.f(x)
        if isinstance(shown, exp.Column | exp.Dot) and shown.name and not of_dataset:
            one.replace(exp.alias_(shown.copy(), shown.name, quoted=True))
            continue
        one.replace(exp.alias_(one.copy(), pattern.format(number), quoted=True))
        number += 1
