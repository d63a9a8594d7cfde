"""The names that BigQuery gives to columns that a query leaves without one, or gives one name."""

from __future__ import annotations

import collections
from typing import Any

from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse.types import Field, field_of, plain_name

# What a column without a name is called, and from which number on: a STRUCT's field, or a query's column.
_OF_STRUCT, _OF_QUERY = ("_field_{}", 1), ("f{}_", 0)


def as_tables(tree: exp.Expr) -> None:
    """The rows of SELECT AS STRUCT in FROM or WITH have its fields as columns."""
    for select in tree.find_all(exp.Select):
        held = select.parent
        if isinstance(held, exp.Subquery) and not isinstance(held.parent, exp.From | exp.Join):
            continue
        if select.args.get("kind") in ("STRUCT", "VALUE") and isinstance(held, exp.Subquery | exp.CTE):
            _spread(select)


def whole_rows(tree: exp.Expr) -> exp.Expr:
    """The tree in which SELECT AS STRUCT with a star in it is the row of a query beneath."""
    for select in list(tree.find_all(exp.Select))[::-1]:
        if select.args.get("kind") != "STRUCT" or not any(one.is_star for one in select.expressions):
            continue
        below = select.copy()
        name_columns(below)
        below.set("kind", None)
        source = exp.Subquery(this=below, alias=exp.TableAlias(this=exp.to_identifier("_row")))
        made = exp.Select(expressions=[exp.alias_(exp.column("_row"), "f0_")], from_=exp.From(this=source))
        if select is tree:
            return made
        select.replace(made)
    return tree


def _spread(select: exp.Select) -> None:
    """The fields of the struct that a query yields, as columns."""
    if select.args["kind"] == "VALUE":
        value = select.expressions[0].unalias()
        if not isinstance(value, exp.Anonymous) or value.name.upper() != "STRUCT":
            return
        select.set("expressions", [one.copy() for one in value.expressions])
    select.set("kind", None)
    _name_each(select, *_OF_STRUCT)


def name_columns(tree: exp.Expr) -> None:
    """Gives the columns without a name the names that BigQuery shows, or those of a STRUCT's fields."""
    select = tree
    while isinstance(select, exp.SetOperation | exp.Subquery | exp.Paren):
        select = select.this
    if not isinstance(select, exp.Select):
        return
    _name_each(select, *(_OF_STRUCT if select.args.get("kind") == "STRUCT" else _OF_QUERY))


def _name_each(select: exp.Select, pattern: str, number: int) -> None:
    for one in list(select.expressions):
        if isinstance(one, exp.Alias | exp.Star) or one.is_star:
            continue
        if name := name_of(one):
            one.replace(exp.alias_(one.unnest().copy(), name, quoted=True))
            continue
        one.replace(exp.alias_(one.copy(), pattern.format(number), quoted=True))
        number += 1


def name_of(one: exp.Expr) -> str:
    """The name that an item of a SELECT list gives its column; "" where it gives none."""
    if isinstance(one, exp.Alias):
        return one.alias
    shown = one.unnest()
    of_dataset = isinstance(shown.args.get("expression"), exp.Func)  # a function: DATASET.f(x)
    return shown.name if isinstance(shown, exp.Column | exp.Dot) and not of_dataset else ""


def of_result(description: Any, *, numbered: bool = False) -> list[Field]:
    """The columns of a result, as DuckDB describes them. Of two with one name the second gets a number, if
    `numbered`.

    Raises:
        InvalidArgument: two have one name, which a table can't have.
    """
    found = [field_of(plain_name(str(one[0])), str(one[1])) for one in description]
    for number, one in enumerate([one for one in found if not one["name"]]):
        one["name"] = f"f{number}_"
    names = [one["name"].lower() for one in found]
    seen: collections.Counter[str] = collections.Counter()
    for one, name in zip(found, names, strict=True):
        if numbered:
            if seen[name]:
                one["name"] += f"_{seen[name]}"
            seen[name] += 1
        elif names.count(name) > 1:
            raise InvalidArgument(
                f"Duplicate column names in the result are not supported when a destination table is present. Found "
                f"duplicate(s): {name}",
                reason="invalidQuery",
            )
    return found
