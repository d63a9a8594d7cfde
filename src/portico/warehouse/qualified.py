"""QUALIFY reads the query's own columns by their names, also within its window functions, where DuckDB does not.

https://cloud.google.com/bigquery/docs/reference/standard-sql/query-syntax#qualify_clause
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlglot import exp


def name_columns(select: exp.Select, sources: Iterable[Mapping[str, str | None] | None]) -> None:
    """Puts what the query's own names stand for into QUALIFY's windows; a column of one of the `sources` (whose columns
    are by their lower-case names, None where they are not known) comes before such a name."""
    qualify = select.args.get("qualify")
    if qualify is None:
        return
    own = {
        one.alias.lower(): one.this
        for one in select.expressions
        if isinstance(one, exp.Alias) and not one.find(exp.Window)
    }
    for columns in sources:
        if columns is None:
            return
        own = {name: value for name, value in own.items() if name not in columns}
    for window in list(qualify.find_all(exp.Window)):
        for column in list(window.find_all(exp.Column)):
            if not column.table and column.name.lower() in own:
                column.replace(exp.paren(own[column.name.lower()].copy(), copy=False))
