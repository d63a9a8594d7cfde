"""An array's element under the name of its column: in `FROM t, UNNEST(items) AS items` that name is the element's.

DuckDB would take the column, so the element gets a name of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

_OWN = "$element "  # how these names begin


def name_elements(tree: exp.Expr) -> None:
    """Renames, in place, what hides the column that it was read from. With `SELECT *` the element keeps its name, and
    where a query within reads a table that may have such a column itself."""
    for unnest in list(tree.find_all(exp.Unnest)):
        alias, holder = unnest.args.get("alias"), unnest.parent
        select = holder.parent if isinstance(holder, exp.From | exp.Join) else None
        array = unnest.expressions[0] if unnest.expressions else None
        if holder is None or alias is None:
            continue
        if not isinstance(select, exp.Select) or not isinstance(array, exp.Column):
            continue
        name = (alias.name or (alias.columns[0].name if alias.columns else "")).lower()
        if array.name.lower() != name or any(isinstance(one, exp.Star) for one in select.expressions):
            continue
        found = [node for part in _seeing(select, holder) for node in _uses(part, name)]
        if None in found:
            continue
        for node in filter(None, found):
            _rename(node)
        unnest.set("alias", exp.TableAlias(this=exp.to_identifier(_OWN + name, quoted=True)))


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
