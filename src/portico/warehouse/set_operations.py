"""Set operations that match columns by name: BY NAME and CORRESPONDING, with FULL, LEFT or INNER.

https://cloud.google.com/bigquery/docs/reference/standard-sql/query-syntax#by_name
"""

from __future__ import annotations

from sqlglot import exp

from portico.errors import InvalidArgument, Unimplemented


def match_names(tree: exp.Expr) -> None:
    """Makes every operation by name one by place, the columns in the left query's order.

    Raises:
        InvalidArgument: columns that one side lacks, where both must have the same.
        Unimplemented: a side's columns can't be told from the text.
    """
    for operation in list(tree.find_all(exp.SetOperation))[::-1]:
        if not operation.args.get("by_name"):
            continue
        left, right = _names(operation.this), _names(operation.expression)
        side, kind = str(operation.args.get("side") or ""), str(operation.args.get("kind") or "")
        if left is None or right is None:
            if side == "FULL" and not kind and not operation.args.get("on"):
                operation.set("side", None)  # as DuckDB's own BY NAME
                continue
            if kind == "INNER" or side:
                raise Unimplemented(
                    f"{side or kind} … BY NAME is built in Portico where both queries list their columns."
                )
            continue  # both must have the same columns: DuckDB matches them
        on = [one.name.lower() for one in operation.args.get("on") or ()]
        lower_left, lower_right = [one.lower() for one in left], [one.lower() for one in right]
        if kind == "INNER":
            chosen = [name for name in left if name.lower() in lower_right]
        elif side == "LEFT":
            chosen = left
        elif side == "FULL":
            chosen = left + [name for name in right if name.lower() not in lower_left]
        else:
            chosen = left
            if not on and (odd := set(lower_left) ^ set(lower_right)):
                raise InvalidArgument(
                    f"BY NAME without FULL, LEFT or INNER needs the same columns on both sides: {sorted(odd)[0]} is on "
                    "one",
                    reason="invalidQuery",
                )
        if on:
            by_name = {name.lower(): name for name in chosen}
            chosen = [by_name[name] for name in on if name in by_name]
        if not chosen:
            raise InvalidArgument("The queries have no column name in common", reason="invalidQuery")
        for key, have in (("this", lower_left), ("expression", lower_right)):
            operation.set(key, _chosen(operation.args[key], chosen, have))
        for key in ("by_name", "side", "kind", "on"):
            operation.set(key, None)


def _names(query: exp.Expr) -> list[str] | None:
    """The names of a query's columns; None where a table's are not in the text."""
    query = query.unnest() if isinstance(query, exp.Subquery | exp.Paren) else query
    if isinstance(query, exp.SetOperation):
        return _names(query.this)
    if not isinstance(query, exp.Select):
        return None
    found: list[str] = []
    for one in query.expressions:
        if isinstance(one, exp.Star) and not one.args.get("except_"):
            source = query.args.get("from_")
            inner = _of_source(source.this) if source is not None and not query.args.get("joins") else None
            if inner is None:
                return None
            found += inner
        elif one.is_star or not one.alias_or_name:
            return None
        else:
            found.append(one.alias_or_name)
    return found


def _of_source(source: exp.Expr) -> list[str] | None:
    """As `_names`, of what a query reads: a name of WITH's is the query that has it."""
    if not isinstance(source, exp.Table):
        return _names(source)
    node: exp.Expr | None = source
    while node is not None:
        held = node.args.get("with_")
        for one in held.expressions if held is not None else ():
            if one.alias.lower() == source.name.lower() and len(source.parts) == 1:
                columns = [each.name for each in one.args["alias"].columns]
                return columns or _names(one.this)
        node = node.parent
    return None


def _chosen(query: exp.Expr, names: list[str], have: list[str]) -> exp.Expr:
    shown = [
        exp.column(name, quoted=True) if name.lower() in have else exp.alias_(exp.Null(), name, quoted=True)
        for name in names
    ]
    inner = query if isinstance(query, exp.Subquery) else exp.Subquery(this=query)
    inner = inner.copy()
    inner.set("alias", exp.TableAlias(this=exp.to_identifier("_side")))
    return exp.Select(expressions=shown, from_=exp.From(this=inner))
