"""RANGEs in an order: by their start, then by their end; an unbounded start is the least, an unbounded end the
greatest. DuckDB has either as NULL, and NULL for the greatest.

https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#range_type
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from portico.warehouse.signatures import ANY

_KEY = "$RANGE_KEY"
_COMPARED = (exp.LT, exp.LTE, exp.GT, exp.GTE, exp.Between)


def is_range(kind: str | None) -> bool:
    return kind is not None and kind.startswith("RANGE<")


def compare(one: exp.Expr, nodes: Sequence[exp.Expr], types: Sequence[str | None]) -> None:
    """Has a comparison of RANGEs made by what they are ordered by."""
    if isinstance(one, _COMPARED) and all(kind == ANY or is_range(kind) for kind in types):
        for node in nodes:
            if not isinstance(node, exp.Null):
                node.replace(exp.Anonymous(this=_KEY, expressions=[node.copy()]))


def rename(called: exp.Anonymous, kind: str | None) -> None:
    """Gives MIN and MAX of RANGEs names of their own."""
    if is_range(kind) and called.name.upper() in ("MIN", "MAX") and not called.find(exp.HavingMax):
        [value] = called.expressions
        called.set("expressions", value.expressions if isinstance(value, exp.Distinct) else [value])
        called.set("this", f"$RANGE_{called.name.upper()}")
