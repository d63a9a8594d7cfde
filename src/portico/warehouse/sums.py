"""SUM of FLOAT64s that are finite, and whose sum is not: GoogleSQL refuses what DuckDB makes infinite.

It is looked for in the result alone, for a look at each value costs a fifth of an aggregate's time; where an infinite
sum is found, the query is asked again for the sums of what has no infinite value.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc
from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse.macros import call


def check(tree: exp.Expr, rows: pa.Table, run: Callable[[exp.Expr], pa.Table]) -> None:
    """
    Raises:
        InvalidArgument: a column of the result that is a SUM has overflowed.
    """
    if not isinstance(tree, exp.Select) or any(one.is_star for one in tree.expressions):
        return
    places = [
        place
        for place, one in enumerate(tree.expressions)
        if isinstance(one.unalias(), exp.Anonymous) and one.unalias().name.upper() == "SUM"
    ]
    if tree.args.get("kind") or not _infinite(rows, places):
        return
    again = tree.copy()
    for clause in ("order", "limit", "offset"):
        again.set(clause, None)
    for place in places:
        total = again.expressions[place].unalias()
        [value] = total.expressions
        bare = value.expressions[0] if isinstance(value, exp.Distinct) else value
        infinite = call(
            "LOGICAL_OR", call("IS_INF", exp.Cast(this=bare.copy(), to=exp.DataType.build("DOUBLE")))
        )
        total.replace(
            exp.If(this=infinite, true=exp.cast(exp.Literal.number(0), "double"), false=total.copy())
        )
    if _infinite(run(again), places):
        raise InvalidArgument("double overflow: SUM", reason="invalidQuery")


def _infinite(rows: pa.Table, places: list[int]) -> bool:
    floats = [rows.column(place) for place in places if pa.types.is_float64(rows.schema.field(place).type)]
    return any(pc.any(pc.is_inf(one)).as_py() for one in floats)
