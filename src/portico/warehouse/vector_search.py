"""VECTOR_SEARCH: the rows of a table whose embeddings are nearest to those of another's. Every pair is looked at: what
an index would only guess is exact here.

https://cloud.google.com/bigquery/docs/reference/standard-sql/search_functions#vector_search
"""

from __future__ import annotations

import json

from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse.types import quoted

_DISTANCES = {
    "EUCLIDEAN": "list_distance", "COSINE": "list_cosine_distance", "DOT_PRODUCT": "list_negative_inner_product",
}  # fmt: skip
_NAMED = ("query_column_to_search", "query_value", "top_k", "distance_type", "options")
_OPTIONS = ("fraction_lists_to_search", "use_brute_force")
_MOST = 10_000  # neighbours of one query


def vector_search(arguments: list[exp.Expr]) -> exp.Expr:
    """DuckDB's query for a call whose tables are queries already: `query` (where there is a table of them), `base` and
    `distance`, which is the negative product for DOT_PRODUCT.

    Raises:
        InvalidArgument: an argument is missing, or is none that may stand there.
    """
    named = {one.this.name.lower(): one.expression for one in arguments if isinstance(one, exp.Kwarg)}
    given = [one for one in arguments if not isinstance(one, exp.Kwarg)]
    if unknown := set(named) - set(_NAMED):
        raise _refused(f"it has no argument {sorted(unknown)[0]}")
    if len(given) < 2 or not isinstance(given[0], exp.Subquery) or not _is_text(given[1]):
        raise _refused("it takes a TABLE or a query, and the name of its column of embeddings")
    if len(given) > 3 and "query_column_to_search" not in named:
        named["query_column_to_search"] = given.pop(3)
    value = named.get("query_value")
    if len(given) > 3 or (len(given) == 3) == (value is not None):
        raise _refused("it takes either a TABLE or a query of what is searched for, or query_value")
    kind = _text(named, "distance_type", "EUCLIDEAN").upper()
    if kind not in _DISTANCES:
        raise _refused(f"distance_type must be {', '.join(_DISTANCES)}, not {kind}")
    _check_options(_text(named, "options", "{}"))
    column = quoted(given[1].name)
    own = quoted(_text(named, "query_column_to_search", given[1].name))
    distance = f'{_DISTANCES[kind]}(CAST("$b".{column} AS DOUBLE[]), CAST("$q".{own} AS DOUBLE[]))'
    queries = 'SELECT row_number() OVER () AS "$n", "$r" AS "$row", "$r".' + own + ' FROM _query AS "$r"'
    shown = '"$row" AS query, '
    if value is not None:
        queries, own, shown = 'SELECT 1 AS "$n", 1 AS "$row", _value AS "$v"', '"$v"', ""
        distance = distance.rpartition('"$q".')[0] + '"$q"."$v" AS DOUBLE[]))'
    near = f'arg_min({{"b": "$b", "d": {distance}}}, {distance}, {_count(named)})'
    text = (
        f'SELECT {shown}"$near".b AS base, "$near".d AS distance FROM ('
        f'SELECT any_value("$q"."$row") AS "$row", unnest({near}) AS "$near" FROM ({queries}) AS "$q" '
        f'CROSS JOIN _base AS "$b" WHERE len("$b".{column}) > 0 AND len("$q".{own}) > 0 GROUP BY "$q"."$n")'
    )
    tree: exp.Expr = exp.maybe_parse(text, dialect="duckdb")
    for table in list(tree.find_all(exp.Table)):
        if table.name in ("_query", "_base"):
            source = given[2 if table.name == "_query" else 0].copy()
            source.set("alias", table.args.get("alias"))
            table.replace(source)
    if value is not None:
        next(one for one in tree.find_all(exp.Column) if one.name == "_value").replace(value.copy())
    return tree


def _refused(said: str) -> InvalidArgument:
    return InvalidArgument(f"VECTOR_SEARCH: {said}", reason="invalidQuery")


def _is_text(one: exp.Expr | None) -> bool:
    return isinstance(one, exp.Literal) and bool(one.is_string)


def _text(named: dict[str, exp.Expr], name: str, default: str) -> str:
    one = named.get(name)
    if one is None:
        return default
    if not _is_text(one):
        raise _refused(f"{name} must be a string literal")
    return one.name


def _count(named: dict[str, exp.Expr]) -> int:
    """top_k."""
    one = named.get("top_k")
    inner = one.this if isinstance(one, exp.Cast) else one
    if inner is None:
        return 10
    if not isinstance(inner, exp.Literal) or not inner.name.isdigit() or not 1 <= int(inner.name) <= _MOST:
        raise _refused(f"top_k must be a whole number from 1 to {_MOST:,}")
    return int(inner.name)


def _check_options(text: str) -> None:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise _refused(f"options are no JSON: {error}") from None
    if not isinstance(found, dict) or set(found) - set(_OPTIONS):
        raise _refused(f"options have {' and '.join(_OPTIONS)}")
