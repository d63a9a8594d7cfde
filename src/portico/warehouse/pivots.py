"""PIVOT and UNPIVOT as plain queries, so that types, order and names of the columns are BigQuery's.

A PIVOT is an aggregate a value with a FILTER, grouped by every column that it does not name; an UNPIVOT unnests a
struct a column.
"""

from __future__ import annotations

from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse.levels import native
from portico.warehouse.macros import call


def unfold(tree: exp.Expr) -> None:
    """Replaces every table with a PIVOT or an UNPIVOT by a query."""
    for holder in list(tree.find_all(exp.Table, exp.Subquery, exp.Unnest))[::-1]:
        pivots = holder.args.get("pivots")
        if not pivots:
            continue
        joins = holder.args.get("joins")
        source = holder.copy()
        source.set("pivots", None)
        source.set("joins", None)
        for pivot in pivots:
            made = _unpivoted(source, pivot) if pivot.args.get("unpivot") else _pivoted(source, pivot)
            source = exp.Subquery(this=made, alias=pivot.args.get("alias"))
        source.set("joins", joins)
        holder.replace(source)


def _from(source: exp.Expr) -> exp.From:
    if isinstance(source, exp.Subquery) and not source.alias:
        source.set("alias", exp.TableAlias(this=exp.to_identifier("_source")))
    return exp.From(this=source)


def _quoted(name: str) -> exp.Identifier:
    return exp.to_identifier(name, quoted=True)


def _pivoted(source: exp.Expr, pivot: exp.Expr) -> exp.Select:
    fields = pivot.args.get("fields") or []
    if len(fields) != 1 or not isinstance(fields[0], exp.In):
        raise InvalidArgument("PIVOT takes one FOR column IN (values)", reason="invalidQuery")
    chosen = fields[0].this
    named = {one.name.lower(): one for one in [*chosen.find_all(exp.Column)]}
    for aggregate in pivot.expressions:
        named |= {one.name.lower(): one for one in aggregate.find_all(exp.Column)}
    inner: list[exp.Expr] = [exp.Star(except_=[_quoted(one.name) for one in named.values()])]
    shown: list[exp.Expr] = []
    for value in fields[0].expressions:
        alias = value.args["alias"].name if isinstance(value, exp.PivotAlias) else ""
        wanted = value.this if isinstance(value, exp.PivotAlias) else value
        for aggregate in pivot.expressions:
            condition = exp.NullSafeEQ(this=chosen.copy(), expression=wanted.copy())
            columns = []
            computed, around = native(aggregate.unalias())
            for one in computed:
                name = f"_p{len(inner)}"
                inner.append(exp.alias_(_filtered(one, condition), name, quoted=True))
                columns.append(exp.column(name, quoted=True))
            named_so = alias or _name_of(wanted)
            if aggregate.alias and not alias and not _is_text(wanted):
                named_so = named_so.removeprefix("_")
            parts = [aggregate.alias, named_so]
            shown.append(exp.alias_(around(*columns), "_".join(filter(None, parts)), quoted=True))
    below = exp.Select(expressions=inner, group=exp.Group(all=True), from_=_from(source))
    hidden = [_quoted(one.alias) for one in inner[1:]]
    alias_ = exp.TableAlias(this=exp.to_identifier("_pivoted"))
    return exp.Select(
        expressions=[exp.Star(except_=hidden), *shown],
        from_=exp.From(this=exp.Subquery(this=below, alias=alias_)),
    )


def _filtered(aggregate: exp.Expr, condition: exp.Expr) -> exp.Expr:
    if isinstance(aggregate, exp.Filter):
        condition = exp.and_(aggregate.expression.this, condition)
        aggregate = aggregate.this
    return exp.Filter(this=aggregate.copy(), expression=exp.Where(this=condition.copy()))


def _is_text(value: exp.Expr) -> bool:
    return isinstance(value, exp.Literal) and bool(value.is_string)


def _name_of(value: exp.Expr) -> str:
    """The column that a value gets when it has no alias."""
    if isinstance(value, exp.Literal) and value.is_string:
        return value.name
    if isinstance(value, exp.Null):
        return "NULL"
    if isinstance(value, exp.Boolean):
        return "true" if value.this else "false"
    if isinstance(value, exp.Neg):
        return "minus" + _name_of(value.this)
    text = value.this.name if isinstance(value, exp.Cast) else value.name
    return "_" + text.replace("-", "_").replace(":", "_").replace(" ", "_").replace(".", "_point_")


def _unpivoted(source: exp.Expr, pivot: exp.Expr) -> exp.Select:
    [field] = pivot.args["fields"]
    [into] = pivot.expressions
    values = [one.name for one in (into.expressions if isinstance(into, exp.Tuple) else [into])]
    rows, taken = [], []
    for one in field.expressions:
        columns = one.this if isinstance(one, exp.PivotAlias) else one
        listed = columns.expressions if isinstance(columns, exp.Tuple) else [columns]
        label = (
            one.args["alias"].copy()
            if isinstance(one, exp.PivotAlias)
            else exp.Literal.string("_".join(each.name for each in listed))
        )
        if not isinstance(label, exp.Literal):
            label = exp.Literal.string(label.name)
        if len(listed) != len(values):
            raise InvalidArgument("UNPIVOT's columns and its values differ in number", reason="invalidQuery")
        taken += [each.name for each in listed]
        cells = [*zip(values, listed, strict=True), (field.this.name, label)]
        rows.append(
            exp.Struct(
                expressions=[
                    exp.PropertyEQ(this=_quoted(name), expression=each.copy()) for name, each in cells
                ]
            )
        )
    depth = exp.PropertyEQ(this=exp.to_identifier("max_depth"), expression=exp.Literal.number(2))
    below = exp.Select(
        expressions=[
            exp.Star(except_=[_quoted(name) for name in taken]),
            call("unnest", exp.Array(expressions=rows), depth),
        ],
        from_=_from(source),
    )
    made = exp.Select(
        expressions=[exp.Star()],
        from_=exp.From(
            this=exp.Subquery(this=below, alias=exp.TableAlias(this=exp.to_identifier("_unpivoted")))
        ),
    )
    if not pivot.args.get("include_nulls"):
        present = [
            exp.Not(this=exp.Is(this=exp.column(name, quoted=True), expression=exp.Null())) for name in values
        ]
        made.set("where", exp.Where(this=exp.or_(*present)))
    return made
