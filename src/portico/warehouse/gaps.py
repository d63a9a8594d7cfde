"""GAP_FILL: a time series at the times of a regular grid, with what it had there or would have had.

https://cloud.google.com/bigquery/docs/reference/standard-sql/time-series-functions#gap_fill. The grid's times are the
bounds of the buckets between the first and the last time of each partition. `locf` carries the last value forward,
`linear` lies on the line between the value before and the one behind, `null` has only what is there at that very time.
"""

from __future__ import annotations

from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse.types import quoted

_METHODS = ("locf", "linear", "null")
_NAMED = (
    "ts_column",
    "bucket_width",
    "partitioning_columns",
    "value_columns",
    "origin",
    "ignore_null_values",
)


def gap_fill(arguments: list[exp.Expr]) -> exp.Expr:
    """DuckDB's query for a call whose first argument is a query already: the times, the partitioning columns and the
    value columns.

    Raises:
        InvalidArgument: an argument is missing, or is none that may stand there.
    """
    named = {one.this.name.lower(): one.expression for one in arguments if isinstance(one, exp.Kwarg)}
    given = [one for one in arguments if not isinstance(one, exp.Kwarg)]
    if unknown := set(named) - set(_NAMED):
        raise _refused(f"it has no argument {sorted(unknown)[0]}")
    if not given or not isinstance(given[0], exp.Subquery) or len(given) > len(_NAMED) + 1:
        raise _refused("its first argument is a TABLE or a query")
    for name, one in zip(_NAMED, given[1:], strict=False):
        named.setdefault(name, one)
    if "ts_column" not in named or "bucket_width" not in named:
        raise _refused("it needs ts_column and bucket_width")
    time = quoted(_text(named["ts_column"], "ts_column"))
    keys = [quoted(_text(one, "partitioning_columns")) for one in _listed(named, "partitioning_columns")]
    values = [_value(one) for one in _listed(named, "value_columns")]
    ignoring = named.get("ignore_null_values", exp.true())
    if not isinstance(ignoring, exp.Boolean):
        raise _refused("ignore_null_values is TRUE or FALSE")
    return _query(given[0], named, time, keys, values, bool(ignoring.this))


def _query(
    source: exp.Expr,
    named: dict[str, exp.Expr],
    time: str,
    keys: list[str],
    values: list[tuple[str, str]],
    ignoring: bool,
) -> exp.Expr:
    named_keys = ", ".join(f"'k{place}': {one}" for place, one in enumerate(keys))
    key = "{" + (named_keys or "'k': 0") + "}"
    shown = [f'cast_to_type("$g"."$at", "$g"."$kind") AS {time}']
    shown += [f'struct_extract("$g"."$key", \'k{place}\') AS {one}' for place, one in enumerate(keys)]
    joins = ""
    for place, (column, method) in enumerate(values):
        joined, value = _filled(f"{place}", column, method, ignoring)
        joins += joined
        shown.append(f"{value} AS {column}")
    grid = (
        'SELECT "$key", "$kind", unnest(generate_series(CASE WHEN "$low" < "$first" THEN "$low" + "$width" ELSE "$low" '
        'END, "$last", "$width")) AS "$at" FROM (SELECT "$key", any_value("$kind") AS "$kind", min("$at") AS "$first", '
        'max("$at") AS "$last", "$width", gs_bucket_of("$width", min("$at"), "$origin") AS "$low" FROM "$s" CROSS JOIN '
        '"$w" GROUP BY "$key", "$width", "$origin")'
    )
    text = (
        'WITH "$w" AS (SELECT 1 AS "$width", 2 AS "$origin"), "$s" AS MATERIALIZED (SELECT *, '
        f'{time} AS "$kind", CAST({time} AS TIMESTAMP) AS "$at", {key} AS "$key" FROM _source '
        f"WHERE {time} IS NOT NULL), "
        f'"$g" AS MATERIALIZED ({grid}) SELECT {", ".join(shown)} FROM "$g"{joins}'
    )
    tree: exp.Expr = exp.maybe_parse(text, dialect="duckdb")
    origin: exp.Expr = named.get("origin") or exp.Literal.string("1950-01-01")
    start = exp.cast(origin.copy(), "TIMESTAMP", dialect="duckdb")
    width, began = tree.args["with_"].expressions[0].this.expressions
    width.set("this", named["bucket_width"].copy())
    began.set("this", start)
    for table in list(tree.find_all(exp.Table)):
        if table.name == "_source":
            table.replace(source.copy())
    return tree


def _filled(name: str, column: str, method: str, ignoring: bool) -> tuple[str, str]:
    """The joins that find a value's neighbours, and what is made of them."""
    only = f" WHERE {column} IS NOT NULL" if ignoring else ""
    known = f'(SELECT "$key", "$at", {column} AS "$v" FROM "$s"{only})'
    before, after = f'"$b{name}"', f'"$a{name}"'
    joins = f' ASOF LEFT JOIN {known} AS {before} ON {before}."$key" = "$g"."$key" AND {before}."$at" <= "$g"."$at"'
    if method == "locf":
        return joins, f'{before}."$v"'
    exact = f'WHEN {before}."$at" = "$g"."$at" THEN {before}."$v"'
    if method == "null":
        return joins, f"CASE {exact} END"
    joins += (
        f' ASOF LEFT JOIN {known} AS {after} ON {after}."$key" = "$g"."$key" AND {after}."$at" >= "$g"."$at"'
    )
    low, high = f'CAST({before}."$v" AS DOUBLE)', f'CAST({after}."$v" AS DOUBLE)'
    share = (
        f'CAST(epoch_us("$g"."$at") - epoch_us({before}."$at") AS DOUBLE) / '
        f'(epoch_us({after}."$at") - epoch_us({before}."$at"))'
    )
    return joins, f'CASE {exact} ELSE cast_to_type({low} + ({high} - {low}) * {share}, {before}."$v") END'


def _refused(said: str) -> InvalidArgument:
    return InvalidArgument(f"GAP_FILL: {said}", reason="invalidQuery")


def _text(one: exp.Expr, name: str) -> str:
    if not isinstance(one, exp.Literal) or not one.is_string:
        raise _refused(f"{name} must be names of columns, as string literals")
    return one.name


def _listed(named: dict[str, exp.Expr], name: str) -> list[exp.Expr]:
    one = named.get(name)
    inner = one.this if isinstance(one, exp.Cast) else one
    if inner is None or isinstance(inner, exp.Null):
        return []
    if not isinstance(inner, exp.Array):
        raise _refused(f"{name} must be an array")
    return list(inner.expressions)


def _value(one: exp.Expr) -> tuple[str, str]:
    """A value column and its method."""
    parts = [each.expression if isinstance(each, exp.PropertyEQ) else each for each in one.expressions]
    if len(parts) != 2:
        raise _refused("value_columns are pairs of a column and a method, such as ('x', 'locf')")
    column, method = _text(parts[0], "value_columns"), _text(parts[1], "value_columns").lower()
    if method not in _METHODS:
        raise _refused(f"the method of {column} must be {', '.join(_METHODS)}, not {method!r}")
    return quoted(column), method
