"""RANGE_SESSIONIZE: a table's rows with the range that joins theirs to those it meets.

https://cloud.google.com/bigquery/docs/reference/standard-sql/range-functions#range_sessionize
"""

from __future__ import annotations

from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse.gaps import gap_fill
from portico.warehouse.types import quoted
from portico.warehouse.vector_search import vector_search

_AFTER = {"MEETS": "<=", "OVERLAPS": "<"}  # how the next range's start is to the end of those before


def sessionized(arguments: list[exp.Expr]) -> exp.Expr:
    """DuckDB's query for a call whose first argument is a query already.

    A NULL range counts as one without bounds when sessions are made, and has none itself.

    Raises:
        InvalidArgument: an argument is missing, or is none that may stand there.
    """
    if not 3 <= len(arguments) <= 4 or not isinstance(arguments[2], exp.Array):
        raise InvalidArgument(
            "RANGE_SESSIONIZE takes a TABLE, the name of its range column, an array of the names of the columns that "
            "it is partitioned by, and MEETS or OVERLAPS",
            reason="invalidQuery",
        )
    source, column, keys = arguments[0], quoted(arguments[1].name), arguments[2].expressions
    mode = arguments[3].name if len(arguments) > 3 else "MEETS"
    if mode.upper() not in _AFTER:
        raise InvalidArgument(
            f'Could not cast literal "{mode}" to type RANGE_SESSIONIZE_MODE', reason="invalidQuery"
        )
    names = [quoted(one.name) for one in keys]
    by = f"PARTITION BY {', '.join(names)} " if names else ""
    session = f"PARTITION BY {', '.join([*names, '_session'])}"
    order = f"{by}ORDER BY gs_range_low({column}), gs_range_high({column})"
    joined = (
        f"gs_range_of(nullif(min(gs_range_low({column})) FILTER ({column} IS NOT NULL) OVER ({session}), '-infinity'), "
        f"nullif(max(gs_range_high({column})) FILTER ({column} IS NOT NULL) OVER ({session}), 'infinity'))"
    )
    query = (
        f"SELECT * EXCLUDE (_begins, _session), CASE WHEN {column} IS NOT NULL THEN {joined} END AS session_range "
        "FROM ("
        f"SELECT *, sum(_begins) OVER ({order} ROWS UNBOUNDED PRECEDING) AS _session FROM ("
        f"SELECT *, CASE WHEN gs_range_low({column}) {_AFTER[mode.upper()]} max(gs_range_high({column})) OVER ({order} "
        f"ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) THEN 0 ELSE 1 END AS _begins FROM _source))"
    )
    tree: exp.Expr = exp.maybe_parse(query, dialect="duckdb")
    for table in tree.find_all(exp.Table):
        table.replace(source)
    return tree


TABLE_FUNCTIONS = {"RANGE_SESSIONIZE": sessionized, "VECTOR_SEARCH": vector_search, "GAP_FILL": gap_fill}
"""By name: what makes DuckDB's query of their arguments."""
