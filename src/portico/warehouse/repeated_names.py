"""Columns that a query within another yields under one name, or under none, and the order of `*` over JOIN … USING.

DuckDB gives the second column of a name another, by which it could be read; here it gets one that nobody can write
(`types.told_apart`), and the name is ambiguous. https://cloud.google.com/bigquery/docs/reference/standard-sql/query-syntax
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator, Mapping, Sequence

from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse.column_names import name_of
from portico.warehouse.refusals import place_of
from portico.warehouse.types import Field, plain_name, told_apart

Fields = Callable[[list[str]], list[Field] | None]
"""The columns of the table that is named by these parts; None where they are not known."""
_SHARED = "shared"  # of a `*` whose columns of USING stand before it: their sources and names
_Names = list[str] | None  # "" of a column without one; None where not all are known
_Known = Mapping[str, _Names]  # of WITH's queries, by lower-case name


def settle(tree: exp.Expr, fields: Fields) -> None:
    """Names what the queries of `tree` yield, and looks at what reads it.

    Raises:
        InvalidArgument: a name is read that is there twice.
    """
    selects = list(tree.find_all(exp.Select))
    known: dict[str, _Names] = {}
    for one in tree.find_all(exp.CTE):
        named = one.alias.lower() not in known and not one.args["alias"].columns
        known[one.alias.lower()] = list(one.this.named_selects) if named else None
    for select in selects:
        _order_star(select, fields, known)
        _check_order(select)
    if any(map(_may_repeat, selects)):
        _Reader(fields).look(tree, {}, None)


def _order_star(select: exp.Select, fields: Fields, known: _Known) -> None:
    """`*` has the columns of USING first, and those of the last USING before the others."""
    stars = [one for one in select.expressions if isinstance(one, exp.Star) and not one.args.get("rename")]
    joins = select.args.get("joins") or ()
    if not stars or not any(join.args.get("using") for join in joins):
        return
    shared: list[exp.Identifier] = []
    for join in joins:
        mine = [one for one in join.args.get("using") or () if isinstance(one, exp.Identifier)]
        last = {one.name.lower() for one in mine}
        shared = mine + [one for one in shared if one.name.lower() not in last]
    merged = _merged(select, fields, known)
    if merged is None:
        return
    for star in stars:
        without = {name.lower() for name in _listed(star, "except_")}
        ahead = [one for one in shared if one.name.lower() not in without]
        if not ahead:
            continue
        hidden = [
            exp.column(one.copy(), table=source.copy())
            for one in ahead
            for source in merged[one.name.lower()]
        ]
        star.set("except_", [*(star.args.get("except_") or []), *hidden])
        place = select.expressions.index(star)
        star.meta[_SHARED] = {(one.table.lower(), one.name.lower()) for one in hidden}
        values = {one.alias.lower(): one.this for one in star.args.get("replace") or ()}
        columns = [
            exp.alias_(values.pop(one.name.lower(), exp.column(one.copy())), one.name, quoted=True)
            for one in ahead
        ]
        replaced = [one for one in star.args.get("replace") or () if one.alias.lower() in values]
        star.set("replace", replaced or None)
        select.set("expressions", [*select.expressions[:place], *columns, *select.expressions[place:]])


def _merged(select: exp.Select, fields: Fields, known: _Known) -> dict[str, list[exp.Identifier]] | None:
    """By each name in USING the sources whose columns it made one; None where it is not known which these are: DuckDB's
    order stays then, which has all columns."""
    sources = [select.args["from_"].this, *(join.this for join in select.args["joins"])]
    for place, one in enumerate(sources):
        if isinstance(one, exp.Subquery) and not one.alias and not _is_join(one):
            one.set("alias", exp.TableAlias(this=exp.to_identifier(f"$query {place}", quoted=True)))
    told = collections.Counter(one.alias_or_name.lower() for one in sources)
    found: dict[str, list[exp.Expr]] = {}
    for place, join in enumerate(select.args["joins"], 1):
        for one in join.args.get("using") or ():
            name = one.name.lower()
            if name not in found:
                found[name] = [
                    each for each in sources[:place] if place == 1 or _may_have(each, name, fields, known)
                ]
                if len(found[name]) != 1:
                    return None
            found[name].append(sources[place])
    for source in (one for each in found.values() for one in each):
        if _is_join(source) or isinstance(source, exp.Unnest) or told[source.alias_or_name.lower()] > 1:
            return None
    return {
        name: [exp.to_identifier(one.alias_or_name, quoted=True) for one in each]
        for name, each in found.items()
    }


def _may_have(source: exp.Expr, name: str, fields: Fields, known: _Known) -> bool:
    """Whether a source has a column of this name, or is not known to have none."""
    listed: list[str] = []
    if isinstance(source, exp.Subquery):
        listed = [] if source.args.get("pivots") else list(source.named_selects)
    elif isinstance(source, exp.Table) and not isinstance(source.this, exp.Func):
        parts = [piece for each in source.parts for piece in each.name.split(".")]
        of_with = len(parts) == 1 and parts[0].lower() in known
        listed = known[parts[0].lower()] or [] if of_with else [one["name"] for one in fields(parts) or ()]
    elif isinstance(source, exp.Unnest):
        return source.alias.lower() == name or not isinstance(source.expressions[0], exp.Array)
    return not listed or "*" in listed or name in (one.lower() for one in listed)


def _is_join(source: exp.Expr) -> bool:
    """Whether it is a join in parentheses."""
    inner = source.this if isinstance(source, exp.Subquery) and not source.alias else None
    return isinstance(inner, exp.Table) or (
        isinstance(inner, exp.Subquery) and bool(inner.alias or inner.args.get("joins"))
    )


def _check_order(select: exp.Select) -> None:
    order = select.args.get("order")
    names = [name_of(one).lower() for one in select.expressions] if order is not None else []
    for one in order.expressions if order is not None else ():
        column = one.this
        if isinstance(column, exp.Column) and len(column.parts) == 1 and names.count(column.name.lower()) > 1:
            raise _refused(f"Column name {column.name} is ambiguous", column.this)


def _listed(star: exp.Expr, key: str) -> list[str]:
    """The names in EXCEPT, REPLACE or RENAME of a star."""
    listed = [one for one in star.args.get(key) or () if not (isinstance(one, exp.Column) and one.table)]
    return [one.this.name if key == "rename" else one.alias_or_name for one in listed]


def _may_repeat(select: exp.Select) -> bool:
    """Whether it is within another query, and may yield a name twice or a column without one."""
    if not isinstance(select.parent, exp.Subquery | exp.CTE | exp.SetOperation):
        return False
    names = [name_of(one).lower() for one in select.expressions if not one.is_star]
    if "" in names or len(set(names)) < len(names):
        return True
    if len(names) == len(select.expressions):
        return False
    source = select.args.get("from_")
    inner = source.this.this if source is not None and isinstance(source.this, exp.Subquery) else None
    return bool(
        select.args.get("joins") or len(select.expressions) > 1 or isinstance(inner, exp.Table | exp.Subquery)
    )


class _Scope:
    """What the names of one SELECT stand for: the columns of its sources, by the sources' names."""

    def __init__(self, outer: _Scope | None) -> None:
        self.outer = outer
        self.sources: dict[str, _Names] = {}
        self.joined = False  # by USING

    def check(self, column: exp.Column) -> None:
        """
        Raises:
            InvalidArgument: a name is there twice.
        """
        begin, *rest = column.parts
        scope: _Scope | None = self
        while scope is not None:
            if rest and begin.name.lower() in scope.sources:
                if _times(scope.sources[begin.name.lower()], rest[0].name) > 1:
                    raise _refused(f"Name {rest[0].name} is ambiguous inside {begin.name}", rest[0])
                return
            if any(_times(names, begin.name) > 1 for names in scope.sources.values()):
                raise _refused(f"Column name {begin.name} is ambiguous", begin)
            if any(names is None or _times(names, begin.name) for names in scope.sources.values()):
                return
            scope = scope.outer


class _Reader:
    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    def look(self, tree: exp.Expr, known: _Known, scope: _Scope | None, own: Sequence[str] = ()) -> None:
        """Looks at an expression or a statement, with the queries in it; `own` are a SELECT's own names, which come
        before those of what it reads."""
        if isinstance(tree, exp.Query):
            self.names(tree, known, scope)
            return
        if isinstance(tree, exp.Column):
            if tree.is_star:
                self.look(tree.this, known, scope)
            elif scope is not None and not (len(tree.parts) == 1 and tree.name.lower() in own):
                scope.check(tree)
            return
        known = self._with(tree, known, scope)
        for each in tree.args.get("replace") or [] if isinstance(tree, exp.Star) else tree.iter_expressions():
            if not isinstance(each, exp.With):
                self.look(each, known, scope, own)

    def names(self, tree: exp.Expr, known: _Known, outer: _Scope | None) -> _Names:
        """The columns that a query yields."""
        known = self._with(tree, known, outer)
        if isinstance(tree, exp.Subquery | exp.Paren):
            return self.names(tree.this, known, outer)
        if isinstance(tree, exp.SetOperation):
            self.names(tree.expression, known, outer)
            found = self.names(tree.this, known, outer)
            return None if tree.args.get("by_name") else found
        return self._select(tree, known, outer) if isinstance(tree, exp.Select) else None

    def _with(self, tree: exp.Expr, known: _Known, outer: _Scope | None) -> _Known:
        holder = tree.args.get("with_")
        if holder is None:
            return known
        found = dict(known)
        for one in holder.expressions:
            alias = one.args["alias"]
            recursive = bool(holder.args.get("recursive"))
            if recursive:
                found[one.alias.lower()] = None
            columns = self.names(one.this, found, outer)
            if not alias.columns and columns is not None:
                _name(alias, columns)
            found[one.alias.lower()] = columns
        return found

    def _select(self, tree: exp.Select, known: _Known, outer: _Scope | None) -> _Names:
        scope = _Scope(outer)
        source, joins = tree.args.get("from_"), tree.args.get("joins") or ()
        for one in [*([source.this] if source is not None else []), *(join.this for join in joins)]:
            before = dict(scope.sources)
            for name, columns in self._sources(one, known, scope):
                scope.sources[name or f"${len(scope.sources)}"] = columns
            scope.joined = scope.joined or bool(one.parent and one.parent.args.get("using"))
            self._using(
                one.parent, before, [scope.sources[name] for name in scope.sources if name not in before]
            )
        own = [one.alias.lower() for one in tree.expressions if isinstance(one, exp.Alias)]
        after = ("group", "having", "qualify", "order", "windows")
        for key, part in tree.args.items():
            for each in part if isinstance(part, list) else [part]:
                if isinstance(each, exp.Join):
                    for condition in filter(None, [each.args.get("on")]):
                        self.look(condition, known, scope)
                elif isinstance(each, exp.Expr) and key not in ("from_", "with_"):
                    self.look(each, known, scope, own if key in after else ())
        found: list[str] | None = []
        for one in tree.expressions:
            columns = self._yielded(one, scope)
            found = None if found is None or columns is None else found + columns
        return None if tree.args.get("kind") else found

    def _using(self, join: exp.Expr | None, left: Mapping[str, _Names], right: list[_Names]) -> None:
        for one in (join.args.get("using") or ()) if isinstance(join, exp.Join) else ():
            for side, sources in (("left", list(left.values())), ("right", right)):
                if any(_times(names, one.name) > 1 for names in sources):
                    raise _refused(
                        f"Column {one.name} in USING clause is ambiguous on {side} side of join", one
                    )

    def _yielded(self, one: exp.Expr, scope: _Scope) -> _Names:
        """The columns that one item of a SELECT list stands for."""
        if not one.is_star:
            return [name_of(one)]
        star = one if isinstance(one, exp.Star) else one.this
        parts = one.parts if isinstance(one, exp.Column) else []
        named = parts[0].name.lower() if parts else ""
        if (star is not one and (len(parts) != 2 or named not in scope.sources)) or star.args.get("rename"):
            return None
        without, shared = {name.lower() for name in _listed(star, "except_")}, star.meta.get(_SHARED) or ()
        found: list[str] | None = []
        for table, source in [(named, scope.sources[named])] if named else scope.sources.items():
            for name in _listed(star, "replace"):
                if _times(source, name) > 1:
                    raise InvalidArgument(
                        f"Column {name} in SELECT * REPLACE list is ambiguous", reason="invalidQuery"
                    )
            hidden = [
                exp.column(name, quoted=True)
                for name in _untold(source or [])
                if plain_name(name).lower() in without
            ]
            star.set("except_", [*(star.args.get("except_") or []), *hidden] or None)
            if source is None or found is None:
                found = None
            else:
                found += [
                    name
                    for name in source
                    if name.lower() not in without and (table, name.lower()) not in shared
                ]
        if not named and not shared and scope.joined:
            return None  # in DuckDB's order
        if found == [] and without and not shared:
            raise InvalidArgument(
                "SELECT * expands to zero columns after applying EXCEPT", reason="invalidQuery"
            )
        return found

    # --- sources ---

    def _sources(self, one: exp.Expr, known: _Known, scope: _Scope) -> Iterator[tuple[str, _Names]]:
        """The names of what stands in FROM, with their columns; of a join in parentheses, of each of its tables."""
        if _is_join(one):
            yield from self._sources(one.this, known, scope)
        elif isinstance(one, exp.Subquery):
            columns = self.names(one, known, scope.outer)
            if one.args.get("pivots"):
                yield one.alias.lower(), None
            else:
                self._name_source(one, columns)
                yield one.alias.lower(), columns
        else:
            yield one.alias_or_name.lower(), self._of_table(one, known, scope)
        for join in one.args.get("joins") or ():
            scope.joined = scope.joined or bool(join.args.get("using"))
            yield from self._sources(join.this, known, scope)

    def _name_source(self, one: exp.Subquery, columns: _Names) -> None:
        alias = one.args.get("alias")
        if columns is None or (alias is not None and alias.columns):
            return
        named = alias if alias is not None else exp.TableAlias(this=exp.to_identifier("$query", quoted=True))
        if _name(named, columns):
            one.set("alias", named)

    def _of_table(self, one: exp.Expr, known: _Known, scope: _Scope) -> _Names:
        for each in one.expressions if isinstance(one, exp.Unnest) else ():
            self.look(each, known, scope)
        if not isinstance(one, exp.Table) or isinstance(one.this, exp.Func):
            return None
        if one.args.get("pivots") or one.args.get("version"):
            return None
        parts = [piece for each in one.parts for piece in each.name.split(".")]
        if len(parts) == 1 and parts[0].lower() in known:
            return known[parts[0].lower()]
        if len(parts) > 1 and parts[0].lower() in scope.sources:
            return None  # an array of a row
        listed = self._fields(parts)
        return None if listed is None else [each["name"] for each in listed]


def _name(alias: exp.TableAlias, columns: list[str]) -> bool:
    """Gives the columns of a query the names that tell them apart; whether they had not."""
    names = told_apart(columns)
    if names == columns:
        return False
    alias.set("columns", [exp.to_identifier(name, quoted=True) for name in names])
    return True


def _untold(columns: list[str]) -> list[str]:
    """Of the names that a query gives its columns those that nobody can write."""
    return [name for name in told_apart(columns) if name not in columns]


def _times(names: _Names, name: str) -> int:
    return sum(one.lower() == name.lower() for one in names or ())


def _refused(said: str, at: exp.Expr) -> InvalidArgument:
    """`at` is the name that is not told."""
    return InvalidArgument(f"{said}{place_of(at)}", reason="invalidQuery")
