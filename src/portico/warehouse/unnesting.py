"""UNNEST in a FROM, as a query of DuckDB's."""

from __future__ import annotations

from sqlglot import exp

from portico.warehouse.macros import call


def unnested(array: exp.Expr, name: str, offset: str | None) -> exp.Expr:
    """A subquery with an array's elements as the column `name`; structs' fields are its columns, and `name` then is the
    row. With an offset that would be part of the row, structs stay whole."""
    column, name = name or "f0_", name or "_unnested"
    kind = array.args.get("to") if isinstance(array, exp.Cast) else None
    first = array.expressions[0] if isinstance(array, exp.Array) and array.expressions else None
    structs = isinstance(first, exp.Struct) or (kind is not None and "STRUCT(" in kind.sql("duckdb"))
    source = None
    if isinstance(array, exp.Column) and not array.table and array.name.lower() == column.lower():
        # DuckDB would take the column for the one that is being made here.
        source = exp.Select(expressions=[exp.alias_(array, "_array", quoted=True)]).subquery()
        array = exp.column("_array", quoted=True)
    made = call("unnest", array)
    if structs or not offset:
        depth = exp.PropertyEQ(this=exp.to_identifier("max_depth"), expression=exp.Literal.number(2))
        made.append("expressions", depth)
    selected: list[exp.Expr] = [exp.alias_(made, column, quoted=True)]
    if offset:
        places = call(
            "unnest", call("range", call("coalesce", call("len", array.copy()), exp.Literal.number(0)))
        )
        selected.append(exp.alias_(places, offset, quoted=True))
    elements = exp.Select(expressions=selected)
    if source is not None:
        elements = elements.from_(source)
    return exp.Subquery(this=elements, alias=exp.TableAlias(this=exp.to_identifier(name, quoted=True)))
