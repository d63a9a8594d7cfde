"""The views of INFORMATION_SCHEMA about search and vector indexes.

BigQuery uses no index of a small table; here none is used at all: each is shown as disabled, with that as the reason.
https://cloud.google.com/bigquery/docs/information-schema-indexes
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from portico.warehouse.catalog import Entry
from portico.warehouse.information_schema import Scope, View

_TEXT, _WHOLE, _TIME = pa.string(), pa.int64(), pa.timestamp("us", "UTC")
_NAMED = "index_catalog index_schema table_name index_name"
_REASON = "Portico looks at every row: it has no index"


def _indexes(scope: Scope, kind: str) -> Iterator[tuple[Entry, dict[str, Any], dict[str, Any]]]:
    """Each index of a kind: its table, what is kept of it, and how it is named."""
    for one in scope.tables:
        for key, kept in (one.body.get("_indexes") or {}).items():
            if kept["kind"] == kind:
                name = kept.get("name", key)
                yield (
                    one,
                    kept,
                    {
                        "index_catalog": one.project,
                        "index_schema": one.dataset,
                        "table_name": one.table,
                        "index_name": name,
                    },
                )


def _ddl(one: Entry, kept: dict[str, Any], name: str) -> str:
    columns = ", ".join(kept["columns"]) or "ALL COLUMNS"
    text = f"CREATE {kept['kind']} INDEX `{name}` ON `{one.project}.{one.dataset}.{one.table}`({columns})"
    if kept.get("storing"):
        text += f" STORING({', '.join(kept['storing'])})"
    if given := kept.get("options"):
        text += f" OPTIONS ({', '.join(f'{key} = {value}' for key, value in given.items())})"
    return text


def _all(kind: str) -> Callable[[Scope], Iterator[dict[str, Any]]]:
    def rows(scope: Scope) -> Iterator[dict[str, Any]]:
        for one, kept, named in _indexes(scope, kind):
            made = (
                dt.datetime.fromtimestamp(int(kept["created"]) / 1000, dt.UTC) if "created" in kept else None
            )
            yield {
                **named, "index_status": "TEMPORARILY DISABLED", "creation_time": made, "last_modification_time": made,
                "disable_time": made, "disable_reason": _REASON, "ddl": _ddl(one, kept, named["index_name"]),
                "coverage_percentage": 0, "total_logical_bytes": 0, "total_storage_bytes": 0,
                "analyzer": str((kept.get("options") or {}).get("analyzer") or "'LOG_ANALYZER'").strip("'\""),
            }  # fmt: skip

    return rows


def _columns(kind: str) -> Callable[[Scope], Iterator[dict[str, Any]]]:
    def rows(scope: Scope) -> Iterator[dict[str, Any]]:
        for one, kept, named in _indexes(scope, kind):
            searched = [field["name"] for field in one.fields if field["type"] in ("STRING", "JSON")]
            for name in kept["columns"] or searched:
                yield {**named, "index_column_name": name, "index_field_path": name}

    return rows


def _options(kind: str) -> Callable[[Scope], Iterator[dict[str, Any]]]:
    def rows(scope: Scope) -> Iterator[dict[str, Any]]:
        for _, kept, named in _indexes(scope, kind):
            for name, value in (kept.get("options") or {}).items():
                array = value.startswith("[")
                yield {
                    **named, "option_name": name, "option_type": "ARRAY<STRING>" if array else "STRING",
                    "option_value": value.strip("'\""),
                }  # fmt: skip

    return rows


def _shape(names: str) -> dict[str, pa.DataType]:
    kinds = {"time": _TIME, "percentage": _WHOLE, "count": _WHOLE, "bytes": _WHOLE}
    return {name: kinds.get(name.rpartition("_")[2], _TEXT) for name in names.split()}


_SHOWN = (
    f"{_NAMED} index_status creation_time last_modification_time last_refresh_time disable_time disable_reason ddl "
    "coverage_percentage unindexed_row_count total_logical_bytes total_storage_bytes"
)
VIEWS = {
    f"{kind}_INDEX{part}": View(_shape(names), rows(kind))
    for kind, more in (("SEARCH", " analyzer"), ("VECTOR", ""))
    for part, names, rows in (
        ("ES", _SHOWN + more, _all),
        ("_COLUMNS", f"{_NAMED} index_column_name index_field_path", _columns),
        ("_OPTIONS", f"{_NAMED} option_name option_type option_value", _options),
    )
}
