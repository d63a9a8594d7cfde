"""Names that stand for values: variables of a script, arguments of a function. A column of the same name wins.

Nothing is known of an expression's type here, only which names its query's tables, subqueries and WITH give it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlglot import exp

from portico.errors import InvalidArgument

Columns = Callable[[list[str]], set[str]]
"""The columns (lower case) of the table that these parts name; none where there is none."""


def parts(table: exp.Table) -> list[str]:
    return [piece for one in table.parts for piece in one.name.split(".")]


def whole_paths(tree: exp.Expr) -> None:
    """Names a table by its last part where a column names it by its whole path in one pair of backticks, as FROM does:
    `d.t`.x FROM `d.t`. An alias takes that name away, and may have dots of its own."""
    for column in list(tree.find_all(exp.Column)):
        first = column.parts[0]
        said = first.name.lower()
        above = column.parent if "." in said else None
        while above is not None:
            sources = _sources(above)
            if any(one.alias.lower() == said for one in sources):
                break
            paths = [parts(one) for one in sources if isinstance(one, exp.Table) and not one.alias]
            if last := [path[-1] for path in paths if ".".join(path).lower() == said]:
                first.replace(exp.to_identifier(last[0], quoted=True))
                break
            above = above.parent


def substitute(tree: exp.Expr, values: Mapping[str, exp.Expr], columns: Columns) -> exp.Expr:
    """Puts `values` (by lower-case name) for the names in `tree` that are no column; returns the tree."""
    if not values:
        return tree
    scopes = Scopes(columns)
    holder = exp.Paren(this=tree)
    found = [
        (column, values[first])
        for column in tree.find_all(exp.Column)
        if (first := column.parts[0].name.lower()) in values
        and _may_stand(column)
        and not scopes.has(column, first)
    ]
    for column, value in found:
        made: exp.Expr = value.copy()
        rest = column.parts[1:]
        if rest:
            made = exp.Paren(this=made)
        for piece in rest:
            made = exp.Dot(this=made, expression=piece.copy())
        column.replace(made)
    result: exp.Expr = holder.this
    return result.pop()


def system_variables(tree: exp.Expr, values: Mapping[str, exp.Expr]) -> exp.Expr:
    """Puts the system's variables (@@name, @@name.part) into the tree.

    Raises:
        InvalidArgument: there is no such variable.
    """
    holder = exp.Paren(this=tree)
    for node in list(tree.find_all(exp.Parameter)):
        if not isinstance(node.this, exp.Parameter):
            continue
        place: exp.Expr = node
        name = node.this.name.lower()
        while name not in values and isinstance(place.parent, exp.Dot) and place.arg_key == "this":
            place = place.parent
            name += f".{place.expression.name.lower()}"
        if name not in values:
            raise InvalidArgument(f"Unrecognized name: @@{name}", reason="invalidQuery")
        place.replace(values[name].copy())
    made: exp.Expr = holder.this
    return made.pop()


def _may_stand(column: exp.Column) -> bool:
    """Whether a column stands where a value may, and is not the name of what is changed."""
    parent = column.parent
    if isinstance(column.this, exp.Star):
        return False
    if isinstance(parent, exp.EQ) and isinstance(parent.parent, exp.Update) and column.arg_key == "this":
        return False
    if isinstance(parent, exp.Tuple) and isinstance(parent.parent, exp.Insert) and parent.arg_key == "this":
        return False
    held: exp.Expr | None = parent
    while held is not None:
        if isinstance(held, exp.Alter | exp.Drop | exp.PartitionedByProperty | exp.Cluster | exp.Schema):
            return False
        held = held.parent
    return True


class Scopes:
    """Which names are columns where, within one tree."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._known: dict[int, set[str]] = {}
        self._open: set[int] = set()  # queries that are being read: WITH RECURSIVE may name itself

    def has(self, node: exp.Expr, name: str) -> bool:
        """Whether `name` is a column, or the name of a row, for an expression that stands at `node`."""
        below, above = node, node.parent
        while above is not None:
            sees = not isinstance(above, exp.With)
            if isinstance(above, exp.With):  # a query of WITH sees nothing of the query that it is for
                below, above = above, above.parent
            if above is None:
                break
            if isinstance(above, exp.From | exp.Join) and isinstance(below, exp.Subquery):
                # Nor does one in FROM.
                while above is not None and not isinstance(above, exp.Query | exp.DML):
                    below, above = above, above.parent
                sees = False
            if above is None:
                break
            if sees and name in self._names(above):
                return True
            if sees and isinstance(above, exp.Select) and _after(below) and name in _aliases(above):
                return True
            below, above = above, above.parent
        return False

    def _names(self, node: exp.Expr) -> set[str]:
        if id(node) not in self._known:
            found: set[str] = set()
            for source in _sources(node):
                found |= self._of(source)
            self._known[id(node)] = found
        return self._known[id(node)]

    def _of(self, source: exp.Expr) -> set[str]:
        """The names that a source of FROM gives: its own and its columns'."""
        found = {source.alias_or_name.lower()} if source.alias_or_name else set()
        if isinstance(source, exp.Unnest):
            alias, offset = source.args.get("alias"), source.args.get("offset")
            if alias is not None:
                found |= {one.name.lower() for one in alias.columns}
            if isinstance(offset, exp.Expr):
                found.add(offset.name.lower())
            for array in source.expressions:
                found |= {one.alias.lower() for one in array.find_all(exp.Alias)}
        else:
            found |= self._output(source)
        found.discard("")
        return found

    def _output(self, source: exp.Expr) -> set[str]:
        """The columns of a table or a query."""
        while isinstance(source, exp.SetOperation | exp.Subquery | exp.Paren):
            source = source.this
        if isinstance(source, exp.Table):
            if isinstance(source.this, exp.Func):
                return set()
            named = parts(source)
            if len(named) == 1 and (query := _with(source, named[0])) is not None:
                return self._output(query.this) | {one.name.lower() for one in query.args["alias"].columns}
            return self._columns(named)
        if not isinstance(source, exp.Select) or id(source) in self._open:
            return set()
        self._open.add(id(source))
        found: set[str] = set()
        for one in source.expressions:
            if one.is_star:
                for inner in _sources(source):
                    found |= self._of(inner)
            else:
                found.add(one.alias_or_name.lower())
        self._open.discard(id(source))
        return found


def _sources(node: exp.Expr) -> list[exp.Expr]:
    if isinstance(node, exp.Select):
        source = node.args.get("from_")
        first = [source.this] if source is not None else []
        return [*first, *(join.this for join in node.args.get("joins") or ())]
    if isinstance(node, exp.Update | exp.Delete):
        source = node.args.get("from_")
        first = [node.this] if node.this is not None else []
        return [*first, *([source.this] if source is not None else [])]
    if isinstance(node, exp.Merge):
        return [node.this, node.args["using"]]
    return []


def _after(below: exp.Expr) -> bool:
    """Whether a part of a SELECT sees the names that it gives its columns."""
    return isinstance(below, exp.Group | exp.Having | exp.Qualify | exp.Order)


def _aliases(select: exp.Select) -> set[str]:
    return {one.alias.lower() for one in select.expressions if isinstance(one, exp.Alias)}


def _with(node: exp.Expr, name: str) -> exp.CTE | None:
    """The query of WITH that a name in FROM stands for."""
    above: exp.Expr | None = node
    while above is not None:
        holder = above.args.get("with_")
        recursive = holder is not None and holder.args.get("recursive")
        for one in holder.expressions if holder is not None else ():
            if one.alias.lower() == name.lower() and (recursive or not _inside(node, one)):
                found: exp.CTE = one
                return found
        above = above.parent
    return None


def _inside(node: exp.Expr, outer: exp.Expr) -> bool:
    above: exp.Expr | None = node
    while above is not None:
        if above is outer:
            return True
        above = above.parent
    return False
