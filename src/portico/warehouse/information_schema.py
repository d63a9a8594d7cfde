"""INFORMATION_SCHEMA: what the catalog has, as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse import catalog
from portico.warehouse.catalog import Cursor, Entry
from portico.warehouse.types import Field

_SQL_NAMES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}


def sql_type(one: Field) -> str:
    """A field's type as SQL writes it."""
    kind = str(one["type"]).upper()
    shown = _SQL_NAMES.get(kind, kind)
    if kind == "RECORD":
        members = ", ".join(f"{inner['name']} {sql_type(inner)}" for inner in one.get("fields") or ())
        shown = f"STRUCT<{members}>"
    return f"ARRAY<{shown}>" if str(one.get("mode", "")).upper() == "REPEATED" else shown


def _schemata(entries: list[Entry]) -> Iterator[dict[str, Any]]:
    for one in entries:
        yield {
            "catalog_name": one.project, "schema_name": one.dataset, "schema_owner": None,
            "location": one.body.get("location", "US"),
        }  # fmt: skip


def _tables(entries: list[Entry]) -> Iterator[dict[str, Any]]:
    for one in entries:
        kind = one.body.get("type", "TABLE")
        yield {
            "table_catalog": one.project, "table_schema": one.dataset, "table_name": one.table,
            "table_type": "BASE TABLE" if kind == "TABLE" else kind,
            "is_insertable_into": "YES" if kind == "TABLE" else "NO", "is_typed": "NO",
        }  # fmt: skip


def _columns(entries: list[Entry]) -> Iterator[dict[str, Any]]:
    for one in entries:
        clustering = (one.body.get("clustering") or {}).get("fields") or []
        partition = (one.body.get("timePartitioning") or one.body.get("rangePartitioning") or {}).get("field")
        for place, column in enumerate(one.fields, 1):
            yield {
                "table_catalog": one.project, "table_schema": one.dataset, "table_name": one.table,
                "column_name": column["name"], "ordinal_position": place,
                "is_nullable": "NO" if str(column.get("mode", "")).upper() == "REQUIRED" else "YES",
                "data_type": sql_type(column), "is_hidden": "NO", "is_system_defined": "NO",
                "is_partitioning_column": "YES" if column["name"] == partition else "NO",
                "clustering_ordinal_position": {name: i for i, name in enumerate(clustering, 1)}.get(column["name"]),
                "column_default": column.get("defaultValueExpression"),
            }  # fmt: skip


def _views(entries: list[Entry]) -> Iterator[dict[str, Any]]:
    for one in entries:
        if one.is_view:
            yield {
                "table_catalog": one.project, "table_schema": one.dataset, "table_name": one.table,
                "view_definition": one.query, "check_option": None, "use_standard_sql": "YES",
            }  # fmt: skip


_VIEWS: dict[str, tuple[Callable[[list[Entry]], Iterator[dict[str, Any]]], dict[str, str]]] = {
    "SCHEMATA": (_schemata, dict.fromkeys(("catalog_name", "schema_name", "schema_owner", "location"), "VARCHAR")),
    "TABLES": (_tables, dict.fromkeys(
        ("table_catalog", "table_schema", "table_name", "table_type", "is_insertable_into", "is_typed"), "VARCHAR")),
    "COLUMNS": (_columns, {
        **dict.fromkeys(("table_catalog", "table_schema", "table_name", "column_name"), "VARCHAR"),
        "ordinal_position": "BIGINT",
        **dict.fromkeys(
            ("is_nullable", "data_type", "is_hidden", "is_system_defined", "is_partitioning_column"), "VARCHAR"),
        "clustering_ordinal_position": "BIGINT", "column_default": "VARCHAR",
    }),
    "VIEWS": (_views, dict.fromkeys(
        ("table_catalog", "table_schema", "table_name", "view_definition", "check_option", "use_standard_sql"),
        "VARCHAR")),
}  # fmt: skip


def view(cursor: Cursor, project: str, default: str, parts: list[str]) -> exp.Expr | None:
    """What `[PROJECT.]DATASET.INFORMATION_SCHEMA.VIEW` stands for; None where the parts name no such thing.

    Raises:
        InvalidArgument: there is no such view.
    """
    upper = [one.upper() for one in parts]
    if "INFORMATION_SCHEMA" not in upper:
        return None
    place = upper.index("INFORMATION_SCHEMA")
    name, before = ".".join(upper[place + 1 :]), parts[:place]
    if name not in _VIEWS:
        raise InvalidArgument(
            f"INFORMATION_SCHEMA.{name} is not built in Portico yet; it has {', '.join(_VIEWS)}.",
            reason="invalidQuery",
        )
    rows, columns = _VIEWS[name]
    regional = not before or before[-1].lower().startswith("region-")
    owner = before[0] if len(before) > 1 else project
    if name == "SCHEMATA":
        entries = catalog.listed(cursor, owner)
    elif regional:
        entries = [
            table
            for one in catalog.listed(cursor, owner)
            for table in catalog.listed(cursor, owner, one.dataset)
        ]
    else:
        entries = catalog.listed(cursor, owner, before[-1])
    selects = [
        exp.Select(expressions=[_cell(row[column], column, kind) for column, kind in columns.items()])
        for row in rows(entries)
    ]
    empty = exp.Select(
        expressions=[_cell(None, column, kind) for column, kind in columns.items()],
        limit=exp.Limit(expression=exp.Literal.number(0)),
    )
    found: exp.Expr = exp.Subquery(this=empty)
    for select in selects:
        found = exp.Union(this=found, expression=select, distinct=False)
    return exp.Subquery(this=found)


def _cell(value: Any, name: str, kind: str) -> exp.Expr:
    literal = exp.Null() if value is None else exp.convert(value)
    return exp.alias_(exp.cast(literal, kind, dialect="duckdb"), name, quoted=True)
