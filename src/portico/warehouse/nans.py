"""NaN as GoogleSQL has it: equal to nothing, less than every number in an order, and the least and the greatest of
what it is among. DuckDB takes it for a number that equals itself and is greater than all others.

Only what is known to be FLOAT64 is rewritten (`unlike_types` marks it); a comparison with NULL stays NULL.
https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#nan
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlglot import exp

from portico.warehouse.macros import call
from portico.warehouse.range_order import is_range
from portico.warehouse.signatures import ANY, NUMBERS

FLOATS = "floats"
"""What marks a comparison of FLOAT64s, and what is ordered by one: which of its parts may be NaN."""
_COMPARED = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE)
_RENAMED = {
    "MIN": "$FLOAT_MIN", "LEAST": "$FLOAT_LEAST", "PERCENTILE_CONT": "$FLOAT_CONT", "PERCENTILE_DISC": "$FLOAT_DISC",
}  # fmt: skip


def mark(one: exp.Expr, nodes: Sequence[exp.Expr], types: Sequence[str | None]) -> None:
    """Notes which of the parts of a comparison or an order may be NaN, by their types."""
    if any(isinstance(node, exp.All | exp.Any) for node in nodes):
        return
    if isinstance(one, exp.Ordered) and is_range(types[0]):
        one.meta[FLOATS] = [True, "range"]
    elif all(each is None or each == ANY or each in NUMBERS for each in types):
        parts = [kind == "FLOAT64" and not _finite(node) for node, kind in zip(nodes, types, strict=True)]
        if any(parts):
            one.meta[FLOATS] = parts


def mark_in(one: exp.Expr, kind: str | None) -> None:
    """Notes of an IN what is among the values of a query or an array."""
    if kind in ("FLOAT64", "ARRAY<FLOAT64>"):
        one.meta[FLOATS] = True


def mark_using(join: exp.Expr, kinds: Sequence[str | None]) -> None:
    """Notes by which of USING's columns a JOIN must not find NaN."""
    named = [
        one.name for one, kind in zip(join.args.get("using") or (), kinds, strict=True) if kind == "FLOAT64"
    ]
    if named:
        join.meta[FLOATS] = named


def rename(called: exp.Anonymous, kind: str | None) -> None:
    """Gives MIN, LEAST and percentiles of FLOAT64 names of their own."""
    if kind == "FLOAT64" and (name := _RENAMED.get(called.name.upper())):
        if not any(isinstance(one, exp.HavingMax) for one in called.expressions):
            called.set("this", name)
    elif kind == "FLOAT64" and called.name.upper() == "NULLIF":
        called.meta[FLOATS] = [True]


def rename_extreme(called: exp.Anonymous, kind: str | None) -> None:
    """Gives what is chosen by the greatest or the least FLOAT64 a name of its own, `kind` being the type of that."""
    name = called.name.upper()
    having = called.expressions[0] if called.expressions else None
    if kind != "FLOAT64":
        return
    if name == "ANY_VALUE" and isinstance(having, exp.HavingMax):
        name = "MAX_BY" if having.args.get("max") else "MIN_BY"
        called.set("expressions", [having.this, having.expression])
    if name in ("MAX_BY", "MIN_BY"):
        called.set("this", f"$FLOAT_{name}")


def _finite(node: exp.Expr) -> bool:
    inner = node.unnest()
    return isinstance(inner.this if isinstance(inner, exp.Neg) else inner, exp.Literal)


def settle(tree: exp.Expr) -> None:
    """Rewrites what is marked."""
    several: list[exp.Expr] = list(tree.find_all(exp.In, exp.Between, exp.Case))
    for one in several:
        if one.meta.get(FLOATS) is True:
            del one.meta[FLOATS]
            _without_nans(one)
        elif one.meta.get(FLOATS):
            one.replace(_as_comparisons(one))
    joins: list[exp.Expr] = list(tree.find_all(exp.Join))
    for join in joins:
        if named := join.meta.pop(FLOATS, None):
            _join_numbers(join, named)
    marked: list[exp.Expr] = list(tree.find_all(*_COMPARED, exp.Ordered, exp.Anonymous))[::-1]
    marked.sort(key=lambda one: isinstance(one, exp.Ordered))  # what is copied is settled before
    for one in marked:
        if parts := one.meta.pop(FLOATS, None):
            if isinstance(one, exp.Ordered):
                _order(one, _is_bounded if "range" in parts else _is_number)
            elif isinstance(one, exp.Anonymous):
                same = exp.Case(
                    ifs=[exp.If(this=_is_nan(one.expressions[0]), true=one.expressions[0].copy())]
                )
                same.set("default", one.copy())
                one.replace(same)
            elif (made := _compared(one, *parts)) is not None:
                one.replace(made)


def _as_comparisons(one: exp.Expr) -> exp.Expr:
    """IN, BETWEEN and CASE x WHEN y by their comparisons, where what is compared with may be NaN."""
    first, *others = one.meta.pop(FLOATS)

    def compared(kind: type[exp.Expr], other: exp.Expr, floats: bool) -> exp.Expr:
        made = kind(this=one.this.copy(), expression=other.copy())
        made.meta[FLOATS] = [first, floats]
        return made

    if not any(others):
        return one
    if isinstance(one, exp.Between):
        low = compared(exp.GTE, one.args["low"], others[0])
        return exp.paren(exp.and_(low, compared(exp.LTE, one.args["high"], others[1]), copy=False))
    if isinstance(one, exp.In):
        each = [compared(exp.EQ, other, kind) for other, kind in zip(one.expressions, others, strict=True)]
        return exp.paren(exp.or_(*each, copy=False))
    for branch, kind in zip(one.args["ifs"], others, strict=True):
        branch.set("this", compared(exp.EQ, branch.this, kind))
    one.set("this", None)
    return one


def _without_nans(one: exp.Expr) -> None:
    """Takes the NaNs from what IN looks into: they are equal to nothing."""
    unnest, query = one.args.get("unnest"), one.args.get("query")
    if unnest is not None:
        array = unnest.expressions[0] if isinstance(unnest, exp.Unnest) else unnest
        array.replace(call("gs_numbers", array.copy()))
    elif query is not None:
        kept = _numbers(query.copy().unnest(), ["$v"])
        kept.find(exp.Subquery).set(  # type: ignore[union-attr]
            "alias",
            exp.TableAlias(
                this=exp.to_identifier("$in", quoted=True), columns=[exp.to_identifier("$v", quoted=True)]
            ),
        )
        one.set("query", kept.subquery(copy=False))


def _join_numbers(join: exp.Expr, named: Sequence[str]) -> None:
    """Takes the rows with NaN from a side of a JOIN … USING that need not be there to be shown; those of a FULL JOIN,
    which shows both, are told apart by another column that is the same of numbers alone."""
    side = str(join.args.get("side") or "").upper()
    select = join.parent
    if not isinstance(select, exp.Select):
        return
    first = select.args["from_"]
    if side in ("FULL", "RIGHT") and select.args["joins"][0] is not join:
        return
    holders: list[exp.Expr] = {"FULL": [first, join], "RIGHT": [first]}.get(side, [join])
    if not all(isinstance(one.this, exp.Table | exp.Subquery) for one in holders):
        return
    for place, holder in enumerate(holders):
        source = holder.this
        alias = source.alias_or_name or f"$side{place}"
        kept = _told_apart(source.copy(), named, place) if side == "FULL" else _numbers(source.copy(), named)
        source.replace(
            exp.Subquery(this=kept, alias=exp.TableAlias(this=exp.to_identifier(alias, quoted=True)))
        )
    if side == "FULL":
        join.append("using", exp.to_identifier(_APART, quoted=True))
        for one in select.find_all(exp.Star):
            if one.find_ancestor(exp.Select) is select and one.parent in (select, *select.expressions):
                one.set("except_", [*(one.args.get("except_") or []), exp.to_identifier(_APART, quoted=True)])


_APART = "$apart"


def _told_apart(source: exp.Expr, named: Sequence[str], place: int) -> exp.Select:
    nan = exp.or_(*(_is_nan(exp.column(one, quoted=True)) for one in named), copy=False)
    apart = exp.Case(
        ifs=[exp.If(this=nan, true=exp.Literal.number(place + 1))], default=exp.Literal.number(0)
    )
    return exp.Select(
        expressions=[exp.Star(), exp.alias_(apart, _APART, quoted=True)], from_=exp.From(this=source)
    )


def _numbers(source: exp.Expr, named: Sequence[str]) -> exp.Select:
    """All rows of a source without those that have a NaN in one of these columns."""
    if isinstance(source, exp.Query) and not isinstance(source, exp.Subquery):
        source = exp.Subquery(this=source)
    columns = [exp.column(one, quoted=True) for one in named]
    absent = [
        exp.or_(exp.Is(this=one.copy(), expression=exp.Null()), exp.Not(this=_is_nan(one)), copy=False)
        for one in columns
    ]
    where = exp.and_(*map(exp.paren, absent), copy=False)
    return exp.Select(expressions=[exp.Star()], from_=exp.From(this=source), where=exp.Where(this=where))


def _is_nan(value: exp.Expr) -> exp.Expr:
    return call("isnan", value.copy())


def _compared(one: exp.Expr, left: bool, right: bool) -> exp.Expr | None:
    """The comparison with what keeps NaN from being true, or false of `!=`; None where it is right as it is."""
    equal = isinstance(one, exp.EQ | exp.NEQ)
    guards_left = (left and right) if equal else isinstance(one, exp.GT | exp.GTE) and left
    guards_right = not equal and isinstance(one, exp.LT | exp.LTE) and right
    if not (guards_left or guards_right):
        return None
    side, other = ("this", "expression") if guards_left else ("expression", "this")
    if isinstance(one, exp.NEQ):
        both = exp.and_(_is_nan(one.this), _is_nan(one.expression), copy=False)
        return exp.paren(exp.or_(one.copy(), both, copy=False))
    if _joins(one):  # a condition of each side by itself is what DuckDB can join by
        made = one.copy()
        known = exp.Case(ifs=[exp.If(this=exp.Not(this=_is_nan(one.args[side])), true=one.args[side].copy())])
        made.set(side, known)
        return made
    absent = exp.Is(this=exp.paren(one.args[other].copy()), expression=exp.Null())
    guard = exp.paren(exp.or_(exp.Not(this=_is_nan(one.args[side])), absent, copy=False))
    return exp.paren(exp.and_(one.copy(), guard, copy=False))


def _joins(one: exp.Expr) -> bool:
    """Whether it is one of the conditions of a JOIN, where NULL is as good as FALSE."""
    below: exp.Expr = one
    above: exp.Expr | None = one.parent
    while isinstance(above, exp.And | exp.Paren):
        below = above
        above = below.parent
    return isinstance(above, exp.Join) and above.args.get("on") is below


def _is_number(value: exp.Expr) -> exp.Expr:
    return exp.Not(this=_is_nan(value))


def _is_bounded(value: exp.Expr) -> exp.Expr:
    """Whether a RANGE has a start: those without are the least."""
    return exp.Not(this=exp.Is(this=call("gs_range_start", value.copy()), expression=exp.Null()))


def _order(one: exp.Ordered, first: Callable[[exp.Expr], exp.Expr]) -> None:
    """Puts another order before this one: what `first` makes of the value, such as whether it is no NaN."""
    window = one.find_ancestor(exp.Window, exp.Select)
    spec = window.args.get("spec") if isinstance(window, exp.Window) else None
    if spec is not None and spec.args.get("kind") == "RANGE" and _has_offset(spec):
        return  # takes one order alone
    if isinstance(one.parent, exp.Order) and isinstance(one.parent.this, exp.Distinct):
        return
    value: exp.Expr = one.this
    orders = one.parent
    if (select := one.find_ancestor(exp.Select)) is not None and orders is select.args.get("order"):
        value = _shown(select, value)
    number = one.copy()
    number.set("this", first(value))
    assert orders is not None
    place = orders.expressions.index(one)
    orders.set("expressions", [*orders.expressions[:place], number, *orders.expressions[place:]])


def _shown(select: exp.Select, value: exp.Expr) -> exp.Expr:
    """What a place or a name of the query's own columns stands for: in an expression, DuckDB would take such a name for
    one of its tables' columns."""
    if isinstance(value, exp.Literal):
        found: exp.Expr = select.expressions[int(value.name) - 1].unalias()
        return found
    if isinstance(value, exp.Column) and not value.table:
        for one in select.expressions:
            if (
                isinstance(one, exp.Alias)
                and one.alias.lower() == value.name.lower()
                and not one.find(exp.Query)
            ):
                named: exp.Expr = one.this
                return named
    return value


def _has_offset(spec: exp.Expr) -> bool:
    return any(isinstance(spec.args.get(side), exp.Expr) for side in ("start", "end"))
