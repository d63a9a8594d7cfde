"""Aggregates and window functions are computed one query below what is done with them.

DuckDB picks a macro's overload before it has bound the aggregates among its arguments, so `ROUND(SUM(x))` becomes
`SELECT ROUND(a) FROM (SELECT SUM(x) AS a …)`: then everything that a macro is given is a column with a type.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from sqlglot import exp

from portico.warehouse.aggregates import AGGREGATES, clustered, of_extreme, of_floats
from portico.warehouse.functions import function
from portico.warehouse.macros import call
from portico.warehouse.multilevel import beneath, keys_of

_CLUSTERS = "ST_CLUSTERDBSCAN"
Around = Callable[..., exp.Expr]


def split(tree: exp.Expr) -> None:
    """Splits every SELECT of `tree` where it must be, innermost first."""
    _split(tree, itertools.count())


def _split(tree: exp.Expr, numbers: Iterator[int]) -> None:
    for select in list(tree.find_all(exp.Select))[::-1]:
        _random_orders(select)
        _split_aggregates(select, numbers)
        _split_windows(select, numbers)


def _random_orders(select: exp.Select) -> None:
    """RAND() in a window's ORDER BY, which DuckDB refuses, becomes a random number of each row's first column."""
    for window in select.find_all(exp.Window):
        order = window.args.get("order")
        if order is None:
            continue
        for called in [one for one in order.find_all(exp.Anonymous) if str(one.this) == "RAND"]:
            row = order.find(exp.Column) or _row(select.args.get("from_"))
            if row is not None:
                called.replace(call("gs_py_random", call("concat", call("hash", row.copy()))))


def _row(source: exp.Expr | None) -> exp.Expr | None:
    """The whole row of a query's first source."""
    if source is None:
        return None
    alias = source.this.args.get("alias")
    columns = alias.args.get("columns") if alias is not None else None
    name = columns[0].name if columns else source.this.alias_or_name
    if not name and isinstance(source.this, exp.Subquery):
        name = "_rows"
        source.this.set("alias", exp.TableAlias(this=exp.to_identifier(name)))
    return exp.column(name) if name else None


def _leaves(select: exp.Select, wanted: Callable[[exp.Expr], bool]) -> list[exp.Expr]:
    """The outermost nodes of this query itself, not of what it is made from, that are `wanted`."""
    found: list[exp.Expr] = []
    order = select.args.get("order")
    having, qualify = select.args.get("having"), select.args.get("qualify")
    for root in (*select.expressions, *(one for one in (having, qualify, order) if one is not None)):
        _walk(root, wanted, found)
    return found


def _walk(node: exp.Expr, wanted: Callable[[exp.Expr], bool], found: list[exp.Expr]) -> None:
    if wanted(node):
        found.append(node)
        return
    if isinstance(node, exp.Query):
        return
    for child in node.iter_expressions():
        _walk(child, wanted, found)


def _is_aggregate(node: exp.Expr) -> bool:
    if isinstance(node, exp.GroupConcat):
        return not _windowed(node)
    return isinstance(node, exp.Anonymous) and str(node.this).lower() in AGGREGATES and not _windowed(node)


def _windowed(node: exp.Expr) -> bool:
    parent = node.parent
    while isinstance(parent, exp.IgnoreNulls | exp.RespectNulls | exp.Filter):
        parent = parent.parent
    return isinstance(parent, exp.Window) and _function_of(parent) is node


def _function_of(window: exp.Window) -> exp.Expr:
    inner: exp.Expr = window.this
    while isinstance(inner, exp.IgnoreNulls | exp.RespectNulls | exp.Filter):
        inner = inner.this
    return inner


def _parts(node: exp.Expr) -> tuple[str, list[exp.Expr]]:
    if isinstance(node, exp.GroupConcat):
        return "STRING_AGG", [one for one in (node.this, node.args.get("separator")) if one is not None]
    return str(node.this), list(node.expressions)


def native(node: exp.Expr) -> tuple[list[exp.Expr], Around]:
    """What DuckDB computes for an aggregate, and what is made of the columns that hold it."""
    name, arguments = _parts(node)
    if name.upper() == _CLUSTERS:
        return clustered(arguments)
    if (extreme := of_extreme(name, arguments)) is not None:
        return extreme
    if (made_of := of_floats(name.lower(), [one.copy() for one in arguments])) is not None:
        return made_of
    made, around = function(name, [one.copy() for one in arguments])
    if name.lower() == "avg":
        counted = made.copy()
        counted.find(exp.Anonymous).set("this", "count")  # type: ignore[union-attr]
        return [made, counted], lambda total, count: call("gs_avg", total, count)
    if name.lower() == "corr":  # NULL of a single pair; NaN where one of the two never changes
        counted = made.copy()
        counted.find(exp.Anonymous).set("this", "regr_count")  # type: ignore[union-attr]
        return [made, counted], lambda found, count: call("gs_corr", found, count)
    return [made], around or (lambda column: column)


_SOURCES = ("from_", "from", "joins", "laterals", "where")


class _Below:
    """The query beneath: what is computed there once, each under a name of its own."""

    def __init__(self, numbers: Iterator[int]) -> None:
        self._numbers = numbers
        self._computed: dict[str, exp.Expr] = {}  # by its text

    def column(self, one: exp.Expr, prefix: str) -> exp.Expr:
        """The column that holds `one`."""
        text = one.sql("bigquery")
        if text not in self._computed:
            self._computed[text] = exp.alias_(one.copy(), f"_{prefix}{next(self._numbers)}", quoted=True)
        return exp.column(self._computed[text].alias, quoted=True)

    def names(self) -> list[exp.Expr]:
        return [exp.column(one.alias, quoted=True) for one in self._computed.values()]

    def query(self, select: exp.Select, clauses: Sequence[str], stars: Sequence[exp.Expr] = ()) -> exp.Select:
        """Takes these clauses from `select`, which is to read from this then."""
        computed = [*(star.copy() for star in stars), *(one.copy() for one in self._computed.values())]
        made = exp.Select(expressions=computed or [exp.alias_(exp.Literal.number(1), "_one")])
        for name in clauses:
            if select.args.get(name):
                made.set(name, select.args[name])
                select.set(name, None)
        return made


def _read_from(select: exp.Select, query: exp.Select) -> None:
    alias = exp.TableAlias(this=exp.to_identifier("_below"))
    select.set("from_", exp.From(this=exp.Subquery(this=query, alias=alias)))


def _split_aggregates(select: exp.Select, numbers: Iterator[int]) -> None:
    group = select.args.get("group")
    whole = False
    if (
        group is not None
        and [one for one in group.expressions if one != exp.Tuple()] == []
        and group.expressions
    ):
        select.set("group", None)  # GROUP BY () is one group
        group, whole = None, True
    elif group is not None and group.args.get("all") and not _keys(select, group):
        select.set("group", None)  # GROUP BY ALL where all are aggregates
        group, whole = None, True
    leaves = _leaves(select, _is_aggregate)
    if not leaves and group is None and not whole:
        return
    keys = _keys(select, group)
    below = _Below(numbers)
    _name(select)
    for leaf in leaves:
        if keys_of(leaf):
            rows, within = beneath(leaf)
            found = within(below.column(rows, "a"))
            _split(found, numbers)
            leaf.replace(found)
            continue
        made, around = native(leaf)
        leaf.replace(around(*(below.column(one, "a") for one in made)))
    for leaf in _leaves(select, lambda node: any(_same(node, key) for key in keys)):
        key = next(key for key in keys if _same(leaf, key))
        ordering = (
            isinstance(leaf.parent, exp.Ordered) and leaf.find_ancestor(exp.Window, exp.Select) is select
        )
        if ordering and isinstance(leaf, exp.Column) and _is_alias(select, leaf):
            continue
        grouped = below.column(key, "g")
        if isinstance(leaf, exp.Subquery) and leaf.alias:
            grouped = exp.alias_(grouped, leaf.alias, quoted=True)
        leaf.replace(grouped)
    _read_keys_within(select, keys, below)
    for key in keys:
        below.column(key, "g")
    if whole and not leaves:
        below.column(call("count", exp.Star()), "a")
    query = below.query(select, _SOURCES)
    if group is not None:
        if _has_sets(group):
            for one in [each for child in group.iter_expressions() for each in _elements(child)]:
                key = _resolved(select, one) or one
                parts = list(key.find_all(exp.Column))
                if not isinstance(key, exp.Column) and any(
                    _same(part, each) for part in parts for each in keys
                ):
                    key = below.column(
                        key, "g"
                    )  # which DuckDB knows by its name; in it, it would look for the other
                if key is not one:
                    one.replace(key.copy())
        else:
            group.set("expressions", [_unnamed(key) for key in keys])
            group.set("all", None)
        query.set("group", group)
    select.set("group", None)
    if having := select.args.get("having"):
        _read_aliases(select, having)
        select.set("where", exp.Where(this=having.this))
        select.set("having", None)
    _read_from(select, query)


def _unnamed(key: exp.Expr) -> exp.Expr:
    made = key.copy()
    if isinstance(made, exp.Subquery):
        made.set("alias", None)
    return made


def _read_aliases(select: exp.Select, having: exp.Expr) -> None:
    """Has HAVING read what the query's own names stand for: of a name, DuckDB does not know the type in time to choose
    a macro by it."""
    for column in list(having.find_all(exp.Column)):
        if column.find_ancestor(exp.Select) is select and (named := _resolved(select, column)) is not None:
            column.replace(exp.paren(named.copy(), copy=False))


def _read_keys_within(select: exp.Select, keys: Sequence[exp.Expr], below: _Below) -> None:
    """Has queries within the expressions read what is grouped by, where they name this query's table, from beneath."""
    joins = [join.this for join in select.args.get("joins") or ()]
    sources = [select.args["from_"].this] if select.args.get("from_") is not None else []
    named = {one.alias_or_name.lower() for one in [*sources, *joins]}
    for query in _leaves(select, lambda node: isinstance(node, exp.Query)):
        own = {one.alias_or_name.lower() for one in query.find_all(exp.Table, exp.Subquery, exp.Unnest)}
        for column in list(query.find_all(exp.Column)):
            if column.table.lower() in named - own and not column.args.get("db"):
                key = next((one for one in keys if isinstance(one, exp.Column) and _same(column, one)), None)
                if key is not None:
                    column.replace(below.column(key, "g"))


_SETS = (exp.GroupingSets, exp.Cube, exp.Rollup)


def _has_sets(group: exp.Group) -> bool:
    return group.find(*_SETS) is not None


def _keys(select: exp.Select, group: exp.Group | None) -> list[exp.Expr]:
    """What a query groups by, places and aliases resolved."""
    if group is None:
        return []
    if group.args.get("all"):
        return [
            one.unalias().copy() for one in select.expressions
            if not any(_is_aggregate(node) for node in one.find_all(exp.Anonymous, exp.GroupConcat))
            and not one.find(exp.Window)
            and not isinstance(one.unalias(), exp.Literal)
        ]  # fmt: skip
    found: list[exp.Expr] = []
    for one in [each for child in group.iter_expressions() for each in _elements(child)]:
        key = _resolved(select, one) or one
        if not any(_same(key, other) for other in found):
            found.append(key.copy())
    return found


def _elements(one: exp.Expr) -> list[exp.Expr]:
    if isinstance(one, exp.Tuple | exp.GroupingSets | exp.Cube | exp.Rollup):
        return [inner for each in one.expressions for inner in _elements(each)]
    return [one.this] if isinstance(one, exp.Paren) else [one]


def _resolved(select: exp.Select, one: exp.Expr) -> exp.Expr | None:
    """The expression that a place (GROUP BY 1) or an alias stands for; None where it stands for itself."""
    if isinstance(one, exp.Literal) and not one.is_string:
        chosen: exp.Expr = select.expressions[int(one.name) - 1].unalias()
        return chosen
    if isinstance(one, exp.Column) and not one.table:
        for shown in select.expressions:
            if isinstance(shown, exp.Alias) and shown.alias.lower() == one.name.lower():
                named: exp.Expr = shown.this
                return named
    return None


def _same(node: exp.Expr, key: exp.Expr) -> bool:
    if isinstance(node, exp.Column) and isinstance(key, exp.Column):
        if node.args.get("db") and key.args.get("db"):  # a field of a field: item.page.path
            return [one.name.lower() for one in node.parts] == [one.name.lower() for one in key.parts]
        same_table = not node.table or not key.table or node.table.lower() == key.table.lower()
        return node.name.lower() == key.name.lower() and same_table and not node.args.get("db")
    return type(node) is type(key) and not isinstance(key, exp.Literal) and node == key


def _is_alias(select: exp.Select, column: exp.Column) -> bool:
    return not column.table and any(
        one.alias_or_name.lower() == column.name.lower() for one in select.expressions
    )


def _name(select: exp.Select) -> None:
    """Columns keep their names when what they show is another column."""
    for one in list(select.expressions):
        shown = one.unnest()
        if isinstance(shown, exp.Column | exp.Dot) and shown.name and not one.is_star:
            one.replace(exp.alias_(shown.copy(), shown.name, quoted=True))


def _split_windows(select: exp.Select, numbers: Iterator[int]) -> None:
    windows = [
        one
        for one in _leaves(select, lambda node: isinstance(node, exp.Window))
        if isinstance(one, exp.Window)
    ]
    if not any(_must_split(window) for window in windows):
        return
    below = _Below(numbers)
    _name(select)
    stars = [one for one in select.expressions if one.is_star]
    named = {alias.alias.lower() for alias in select.expressions if isinstance(alias, exp.Alias)}
    for window in windows:
        called = _function_of(window)
        made, around = native(called)
        columns = []
        for one in made:
            copied = window.copy()
            _function_of(copied).replace(one)
            columns.append(below.column(copied, "w"))
        window.replace(around(*columns))
    for leaf in _leaves(
        select, lambda node: isinstance(node, exp.Column | exp.Subquery | exp.Exists) and not node.is_star
    ):
        if isinstance(leaf, exp.Column):
            if leaf.name.startswith("_w") and not leaf.table:
                continue
            if not leaf.table and leaf.name.lower() in named and leaf.find_ancestor(exp.Order, exp.Qualify):
                continue
        leaf.replace(below.column(leaf, "c"))
    query = below.query(select, (*_SOURCES, "windows"), stars)
    for star in stars:
        star.replace(exp.Star(except_=below.names()))
    if qualify := select.args.get("qualify"):
        select.set("where", exp.Where(this=qualify.this))
        select.set("qualify", None)
    _read_from(select, query)


def _must_split(window: exp.Window) -> bool:
    """Whether something is done with what the window function gives."""
    name = (
        _parts(_function_of(window))[0].lower()
        if isinstance(_function_of(window), exp.Anonymous | exp.GroupConcat)
        else ""
    )
    called = _function_of(window)
    if name.upper() == _CLUSTERS or name.startswith("$float_"):
        return True
    wrapped = (
        isinstance(called, exp.Anonymous) and function(name, [one.copy() for one in called.expressions])[1]
    )
    return (
        name in ("sum", "avg", "corr")
        or bool(wrapped)
        or not isinstance(window.parent, exp.Alias | exp.Select | exp.Ordered)
    )
