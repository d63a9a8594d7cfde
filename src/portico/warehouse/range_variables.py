"""An array's element under the name of a column: in `FROM t, UNNEST(items) AS items` that name is the element's, in
`FROM t, UNNEST(ids) AS id` it is so where t has a column `id`, and in `UNNEST(comments) AS comment` where the elements
have a field `comment`.

DuckDB would take the column, so the element gets a name of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sqlglot import exp

from portico.warehouse.types import Field

Fields = Callable[[list[str]], list[Field] | None]
"""The columns of the table that is named by these parts; None where they are not known."""
_OWN = "$element "  # how these names begin


def name_elements(tree: exp.Expr, fields: Fields) -> None:
    """Renames, in place, what hides the column that it was read from, or one of a table beside it. With
    `SELECT *` the element keeps its name, and where a query within reads a table that may have such a column itself."""
    for unnest in list(tree.find_all(exp.Unnest)):
        alias, holder = unnest.args.get("alias"), unnest.parent
        select = holder.parent if isinstance(holder, exp.From | exp.Join) else None
        array = unnest.expressions[0] if unnest.expressions else None
        if holder is None or alias is None:
            continue
        if not isinstance(select, exp.Select) or array is None:
            continue
        name = (alias.name or (alias.columns[0].name if alias.columns else "")).lower()
        if any(isinstance(one, exp.Star) for one in select.expressions):
            continue
        of_column = isinstance(array, exp.Column) and array.name.lower() == name
        beside = (select.args.get("from_"), *(select.args.get("joins") or ()))
        hides = of_column or any(one is not None and _has(one.this, name, fields) for one in beside)
        if not hides and not _may_have(array, select, name):
            continue
        found = [node for part in _seeing(select, holder) for node in _uses(part, name)]
        if None in found or not (hides or any(node and len(node.parts) == 1 for node in found)):
            continue
        for node in filter(None, found):
            _rename(node)
        unnest.set("alias", exp.TableAlias(this=exp.to_identifier(_OWN + name, quoted=True)))


def _may_have(array: exp.Expr, select: exp.Select, name: str) -> bool:
    """Whether the elements may have a field of this name, which the query itself gives to nothing else."""
    if any(
        one.alias_or_name.lower() == name and one.unalias().name.lower() != name for one in select.expressions
    ):
        return False
    if isinstance(array, exp.Array):
        return bool(array.expressions) and not isinstance(array.expressions[0], exp.Literal)
    return isinstance(array, exp.Column | exp.Dot)


def _has(source: exp.Expr, name: str, fields: Fields) -> bool:
    """Whether a table or a query in FROM is known to have a column of this name."""
    query = source.this if isinstance(source, exp.Subquery) else None
    if isinstance(source, exp.Table) and not isinstance(source.this, exp.Func):
        parts = [piece for one in source.parts for piece in one.name.split(".")]
        holder = source.parent if len(parts) == 1 else None
        while holder is not None and query is None:
            scope = holder.args.get("with_")
            named = (
                [one for one in scope.expressions if one.alias.lower() == parts[0].lower()] if scope else []
            )
            query, holder = named[0].this if named else None, holder.parent
        if query is None:
            return any(one["name"].lower() == name for one in fields(parts) or ())
    return isinstance(query, exp.Query) and name in (one.lower() for one in query.named_selects)


def _seeing(select: exp.Select, holder: exp.Expr) -> Iterator[exp.Expr]:
    """The parts of a query that see what `holder`, a part of its FROM, names."""
    before = True
    for key in ("from_", "joins"):
        told = select.args.get(key)
        for one in told if isinstance(told, list) else [told]:
            if one is not None and not before:
                yield one
            before = before and one is not holder
    if (condition := holder.args.get("on")) is not None:
        yield condition
    for key, told in select.args.items():
        if key in ("from_", "joins", "with_", "laterals"):
            continue
        yield from (one for one in (told if isinstance(told, list) else [told]) if isinstance(one, exp.Expr))


def _uses(node: exp.Expr, name: str) -> Iterator[exp.Column | None]:
    """The columns below `node` that begin with `name`, but for those of queries in which it means something else; None
    for one that may be a column of another table."""
    if isinstance(node, exp.Select):
        sources = [node.args.get("from_"), *(node.args.get("joins") or ())]
        if any(one is not None and one.this.alias_or_name.lower() == name for one in sources):
            for one in filter(None, sources):  # whose own arrays may be read from what is outside
                if isinstance(one.this, exp.Unnest):
                    yield from (use for array in one.this.expressions for use in _uses(array, name))
            return
        if any(one is not None and not isinstance(one.this, exp.Unnest) for one in sources):
            inner = (use for child in node.iter_expressions() for use in _uses(child, name))
            yield from (None for _ in inner)
            return
    if isinstance(node, exp.Column):
        if node.parts[0].name.lower() == name:
            yield node
        return
    for child in node.iter_expressions():
        yield from _uses(child, name)


def _rename(column: exp.Column) -> None:
    shown, first = column.name, column.parts[0]
    alone, parent = len(column.parts) == 1, column.parent
    first.replace(exp.to_identifier(_OWN + first.name.lower(), quoted=True))
    if alone and isinstance(parent, exp.Select) and column.arg_key == "expressions":
        column.replace(exp.alias_(column.copy(), shown, quoted=True))
