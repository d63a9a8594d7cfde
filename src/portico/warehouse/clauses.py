"""What may stand in which clause of a query: aggregates and window functions, columns that are not grouped by, and in
QUALIFY the query's own columns, which DuckDB does not see within window functions.

https://cloud.google.com/bigquery/docs/reference/standard-sql/query-syntax
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse.aggregates import AGGREGATES
from portico.warehouse.multilevel import Grouped

_Sources = Mapping[str, Mapping[str, str | None] | None]
_CHANGED = {
    "except_": "Column {name} in SELECT * EXCEPT list does not exist",
    "replace": "Column {name} in SELECT * REPLACE list does not exist",
    "rename": "Column name in pipe RENAME not found in input table: {name}",
}
_NEITHER = "which is neither grouped nor aggregated"


def settle(select: exp.Select, sources: _Sources) -> None:
    """Looks at a query; `sources` are the columns (by lower-case names) of what it reads, by name; None where they are
    not known.

    Raises:
        InvalidArgument: something stands where GoogleSQL has it not.
    """
    _place(select)
    count = len(select.args.get("joins") or ()) + (select.args.get("from_") is not None)
    if len(sources) == count and all(columns is not None for columns in sources.values()):
        known = {name for columns in sources.values() for name in columns or ()}
        _check_names(select, {*known, *sources})
        _check_stars(select, known)
    _name_columns(select, sources)
    if _aggregates(select) or select.args.get("group"):
        _check_grouped(select, sources)


def _place(select: exp.Select) -> None:
    group = select.args.get("group")
    named = [one for one in group.expressions if isinstance(one, exp.Column)] if group is not None else []
    own = {one.alias.lower(): one.this for one in select.expressions if isinstance(one, exp.Alias)}
    clauses = [(select.args.get("where"), "WHERE clause"), (group, "GROUP BY")]
    clauses += [(one.args.get("on"), "JOIN ON clause") for one in select.args.get("joins") or ()]
    for clause, name in clauses:
        for node in _walk(clause, lambda one: isinstance(one, exp.Window) or _is_aggregate(one)):
            if isinstance(node, exp.Window):
                raise _refused(f"Analytic function not allowed in {name}")
            raise _refused(f"Aggregate function {_name(node)} not allowed in {name}")
    for clause in (*select.expressions, select.args.get("having"), select.args.get("order")):
        for node in _walk(clause, _is_aggregate):
            inner = [one for child in node.iter_expressions() for one in _walk(child, _is_aggregate)]
            if inner and node.find(Grouped) is None:
                raise _refused("Aggregations of aggregations are not allowed")
    for one in named:
        if not one.table and any(True for _ in _walk(own.get(one.name.lower()), _is_aggregate)):
            raise _refused(
                f"Column {one.name} contains an aggregation function, which is not allowed in GROUP BY"
            )
    for key in ("limit", "offset"):
        if (bound := select.args.get(key)) is not None and isinstance(bound.expression, exp.Null):
            raise _refused("Limit requires non-null count and offset")
    number = len(select.expressions)
    if not any(one.is_star for one in select.expressions):
        for key, shown in (("order", "ORDER BY"), ("group", "GROUP BY")):
            clause = select.args.get(key)
            for one in clause.expressions if clause is not None else ():
                place = one.this if isinstance(one, exp.Ordered) else one
                if (
                    isinstance(place, exp.Literal)
                    and place.name.isdigit()
                    and not 0 < int(place.name) <= number
                ):
                    raise _refused(f"{shown} is out of SELECT column number range: {place.name}")


def _check_names(select: exp.Select, known: set[str]) -> None:
    """What a query names its columns is not seen by WHERE, by ON and by the columns themselves."""
    named = [one for one in select.expressions if isinstance(one, exp.Alias)]
    own = {
        one.alias.lower()
        for one in named
        if not isinstance(one.this, exp.Column) or one.this.name.lower() != one.alias.lower()
    } - known
    if not own or select.parent_select is not None:  # within another, it may be a name of that one's
        return
    clauses = [*select.expressions, select.args.get("where")]
    for clause in (*clauses, *(one.args.get("on") for one in select.args.get("joins") or ())):
        for one in _walk(clause, lambda node: isinstance(node, exp.Column | exp.Lambda | exp.Kwarg)):
            name = one.parts[0].name if isinstance(one, exp.Column) else ""
            if name.lower() in own and not name.startswith("_"):  # pseudo-columns are no columns of a table
                raise _refused(f"Unrecognized name: {name}")


def _check_stars(select: exp.Select, known: set[str]) -> None:
    for star in select.expressions if known else ():
        for key, said in _CHANGED.items() if isinstance(star, exp.Star) else ():
            for one in star.args.get(key) or ():
                name = one.this.name if key == "rename" else one.alias_or_name
                if name.lower() not in known:
                    raise _refused(said.format(name=name))


def _name(node: exp.Expr) -> str:
    return "STRING_AGG" if isinstance(node, exp.GroupConcat) else node.name.upper().removeprefix("$FLOAT_")


def _name_columns(select: exp.Select, sources: _Sources) -> None:
    """Puts what the query's own names stand for into QUALIFY's windows; a source's column comes before such a name."""
    qualify = select.args.get("qualify")
    if qualify is None:
        return
    own = {
        one.alias.lower(): one.this
        for one in select.expressions
        if isinstance(one, exp.Alias) and not one.find(exp.Window)
    }
    for columns in sources.values():
        if columns is None:
            return
        own = {name: value for name, value in own.items() if name not in columns}
    for window in list(qualify.find_all(exp.Window)):
        for column in list(window.find_all(exp.Column)):
            if not column.table and column.name.lower() in own:
                column.replace(exp.paren(own[column.name.lower()].copy(), copy=False))


def _check_grouped(select: exp.Select, sources: _Sources) -> None:
    group = select.args.get("group")
    if group is not None and group.args.get("all"):
        return
    keys = _keys(select, group)
    texts = {one.sql("bigquery") for one in keys}
    names = {
        part.name.lower() for one in keys for column in one.find_all(exp.Column) for part in column.parts
    }
    if any(isinstance(one, exp.Star) for one in select.expressions):
        for columns in sources.values():
            for column in columns or ():
                if column not in names:
                    raise _refused(f"Star expansion expression references column {column} {_NEITHER}")
    own = {one.alias.lower() for one in select.expressions if isinstance(one, exp.Alias)}

    def ends(one: exp.Expr) -> bool:
        return isinstance(one, exp.Column | exp.Window) or _is_aggregate(one) or one.sql("bigquery") in texts

    clauses = [(one, "SELECT list") for one in select.expressions if not one.is_star]
    clauses += [(select.args.get("having"), "HAVING clause"), (select.args.get("order"), "ORDER BY clause")]
    for clause, shown in clauses:
        for one in _walk(clause, ends):
            if (
                not isinstance(one, exp.Column)
                or one.sql("bigquery") in texts
                or isinstance(one.this, exp.Star)
            ):
                continue
            parts = [part.name.lower() for part in one.parts]
            if names.intersection(parts) or (len(parts) == 1 and parts[0] in own and shown != "SELECT list"):
                continue
            if len(parts) == 1 and all(
                columns and parts[0] in columns for columns in sources.values() if columns
            ):
                if any(columns is None for columns in sources.values()) or not sources:
                    continue
                raise _refused(f"{shown} expression references column {one.name} {_NEITHER}")
            if len(parts) == 2 and parts[1] in (sources.get(parts[0]) or {}):
                raise _refused(f"{shown} expression references {one.sql('bigquery')} {_NEITHER}")


def _keys(select: exp.Select, group: exp.Expr | None) -> list[exp.Expr]:
    """What is grouped by, with what places and names of the query's own columns stand for."""
    own = {one.alias.lower(): one.this for one in select.expressions if isinstance(one, exp.Alias)}
    found: list[exp.Expr] = []
    if group is None:
        return found
    for one in group.find_all(exp.Literal, exp.Column, exp.Anonymous, exp.Func, exp.Binary, exp.Paren):
        if (
            isinstance(one, exp.Literal)
            and one.name.isdigit()
            and 0 < int(one.name) <= len(select.expressions)
        ):
            found.append(select.expressions[int(one.name) - 1].unalias())
        elif isinstance(one, exp.Column) and not one.table and one.name.lower() in own:
            found += [own[one.name.lower()], one]
        else:
            found.append(one)
    return found


def _aggregates(select: exp.Select) -> bool:
    clauses = [*select.expressions, select.args.get("having"), select.args.get("order")]
    return any(True for clause in clauses for _ in _walk(clause, _is_aggregate))


def _is_aggregate(node: exp.Expr) -> bool:
    if not isinstance(node, exp.GroupConcat) and not (
        isinstance(node, exp.Anonymous) and node.name.lower() in AGGREGATES
    ):
        return False
    above = node.parent
    while isinstance(above, exp.IgnoreNulls | exp.RespectNulls | exp.Filter):
        above = above.parent
    return not isinstance(above, exp.Window) or above.this.find(type(node)) is not node


def _walk(node: exp.Expr | None, wanted: Callable[[exp.Expr], bool]) -> Iterator[exp.Expr]:
    """The outermost nodes that are wanted, without those of queries within."""
    if node is None or isinstance(node, exp.Query):
        return
    if wanted(node):
        yield node
        return
    for child in node.iter_expressions():
        yield from _walk(child, wanted)


def _refused(said: str) -> InvalidArgument:
    return InvalidArgument(said, reason="invalidQuery")
