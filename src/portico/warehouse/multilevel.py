"""Multi-level aggregation: `MAX(SUM(x) GROUP BY y)` is the greatest, within each group, of the sums for each y.

https://cloud.google.com/bigquery/docs/reference/standard-sql/aggregate-function-calls#group_by_clause
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

from sqlglot import exp
from sqlglot.dialects.bigquery import BigQuery

from portico.errors import InvalidArgument
from portico.warehouse.macros import call


class Grouped(exp.Expression):
    """The argument of an aggregate, and by what the aggregates within it are grouped."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "expressions": True}


BigQuery.Generator.TRANSFORMS[Grouped] = lambda self, one: (  # as a view's text has it
    f"{self.sql(one, 'this')} GROUP BY {self.expressions(one, flat=True)}"
)


def check(statement: exp.Expr, aggregates: frozenset[str]) -> None:
    """Looks at each GROUP BY in a call; `aggregates` are the functions that may have one, in lower case.

    Raises:
        InvalidArgument: it stands where it may not, or what it is to group is no aggregate.
    """
    for mark in statement.find_all(Grouped):
        called = _holder(mark)
        said = ""
        if called is None or _name(called) not in aggregates:
            said = "GROUP BY in arguments is not supported on scalar functions"
        elif isinstance(called.parent, exp.Window) and called.arg_key == "this":
            said = "GROUP BY modifiers not supported on analytic function calls."
        elif mark.this.find(exp.Query):
            said = "A subquery is not allowed in an aggregate function that has GROUP BY"
        else:
            for one in _values(called):
                if loose := _loose(one, mark.expressions, aggregates):
                    said = (
                        f"multi-level aggregate expression references column {loose} which is neither grouped nor "
                        "aggregated"
                    )
        if said:
            raise InvalidArgument(said, reason="invalidQuery")


def _name(called: exp.Expr) -> str:
    return called.name.lower() if isinstance(called, exp.Anonymous) else "string_agg"


def _loose(one: exp.Expr, keys: Sequence[exp.Expr], aggregates: frozenset[str]) -> str:
    """A column that stands in no aggregate and in nothing that is grouped by; "" where there is none."""
    text = one.sql("bigquery").lower()
    if any(key.sql("bigquery").lower() in (text, text.rpartition(".")[2]) for key in keys):
        return ""
    if isinstance(one, exp.Column):
        return one.name
    if isinstance(one, exp.Anonymous | exp.GroupConcat) and _name(one) in aggregates:
        return ""
    return next(filter(None, (_loose(each, keys, aggregates) for each in one.iter_expressions())), "")


def keys_of(called: exp.Expr) -> list[exp.Expr]:
    """What an aggregate's own GROUP BY names; none where it has no such clause."""
    mark = _mark(called)
    return list(mark.expressions) if mark is not None else []


def _mark(called: exp.Expr) -> Grouped | None:
    """The clause of this call itself."""
    for one in called.find_all(Grouped):
        if _holder(one) is called:
            return one
    return None


def beneath(called: exp.Expr) -> tuple[exp.Expr, Callable[[exp.Expr], exp.Subquery]]:
    """All the rows of a group as an array, and the query that makes of that array what the aggregate is."""
    called = called.copy()
    mark = _mark(called)
    assert mark is not None
    keys = mark.expressions
    inner = exp.Select(expressions=[exp.alias_(exp.Literal.number(1), "$one", quoted=True)])
    values = list(_values(called))
    mark.replace(mark.this)
    for number, one in enumerate(values):
        name = f"$v{number}"
        column = exp.column(name, quoted=True)
        one.replace(column)
        inner.select(exp.alias_(one, name, quoted=True), copy=False)
    inner.set("group", exp.Group(expressions=keys))
    fields = _fields(inner)
    row = exp.Struct(
        expressions=[
            exp.PropertyEQ(this=exp.to_identifier(name, quoted=True), expression=column)
            for name, column in fields
        ]
    )

    def around(rows: exp.Expr) -> exp.Subquery:
        alias = exp.TableAlias(this=exp.to_identifier("$rows", quoted=True))
        inner.set("from_", exp.From(this=exp.Unnest(expressions=[rows], alias=alias)))
        whole = exp.Select(expressions=[exp.alias_(called, "$value", quoted=True)])
        groups = exp.TableAlias(this=exp.to_identifier("$groups", quoted=True))
        whole.set("from_", exp.From(this=exp.Subquery(this=inner, alias=groups)))
        return exp.Subquery(this=whole)

    return call("array_agg", row), around


def _values(called: exp.Expr) -> Iterator[exp.Expr]:
    """What a call computes with: its arguments, bare of what orders or limits them, and what they are ordered by."""
    order = [one.this for one in called.find_all(exp.Ordered) if _holder(one) is called]
    arguments = called.expressions if isinstance(called, exp.Anonymous) else [called.this]
    for one in [*arguments, *order]:
        while isinstance(
            one, exp.Limit | exp.Order | exp.IgnoreNulls | exp.RespectNulls | exp.Distinct | Grouped
        ):
            one = one.expressions[0] if isinstance(one, exp.Distinct) else one.this
        if not isinstance(one, exp.Literal | exp.Star):
            yield one


def _holder(one: exp.Expr) -> exp.Expr | None:
    found: exp.Expr | None = one.find_ancestor(exp.Anonymous, exp.GroupConcat)
    return found


def _fields(inner: exp.Select) -> list[tuple[str, exp.Column]]:
    """The columns that a query reads, which get names of their own in it."""
    found: list[tuple[str, exp.Column]] = []
    known: dict[str, str] = {}
    for column in list(inner.find_all(exp.Column)):
        text = column.sql("bigquery").lower()
        if text not in known:
            taken = column.name.lower() in {name.lower() for name, _ in found}
            known[text] = f"{column.name}${len(found)}" if taken else column.name
            found.append((known[text], column.copy()))
        column.replace(exp.column(known[text], quoted=True))
    return found or [("$one", exp.Literal.number(1))]  # type: ignore[list-item]
