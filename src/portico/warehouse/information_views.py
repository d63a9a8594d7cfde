"""The views of INFORMATION_SCHEMA: their columns, in BigQuery's order, and their rows."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from portico.warehouse import (
    catalog,
    definition_text,
    information_access,
    information_indexes,
    information_jobs,
    options,
    partitions,
    routines,
    sizes,
    standard_types,
)
from portico.warehouse.catalog import Entry
from portico.warehouse.information_schema import Scope, View, sql_type
from portico.warehouse.information_schema import columns as _columns
from portico.warehouse.information_schema import time_of as _time
from portico.warehouse.models import kept
from portico.warehouse.storage import AT
from portico.warehouse.types import Field

Rows = Iterator[dict[str, Any]]

_TEXT, _WHOLE, _TRUTH, _TIME = pa.string(), pa.int64(), pa.bool_(), pa.timestamp("us", "UTC")


def _table(one: Entry) -> dict[str, Any]:
    return {"table_catalog": one.project, "table_schema": one.dataset, "table_name": one.table}


def _kind(one: Entry) -> str:
    kind = str(one.body.get("type", "TABLE"))
    if kind == "TABLE":
        return "CLONE" if one.body.get("cloneDefinition") else "BASE TABLE"
    return kind.replace("_", " ")


def _schemata(scope: Scope) -> Rows:
    for one in scope.datasets:
        yield {
            "catalog_name": one.project, "schema_name": one.dataset, "location": one.body.get("location", "US"),
            "creation_time": _time(one.body, "creationTime"),
            "default_collation_name": one.body.get("defaultCollation") or "NULL",
            "last_modified_time": _time(one.body, "lastModifiedTime"), "ddl": definition_text.dataset(one),
        }  # fmt: skip


def _schemata_options(scope: Scope) -> Rows:
    for one in scope.datasets:
        for name, kind, value in options.shown("SCHEMA", one.body):
            yield {
                "catalog_name": one.project, "schema_name": one.dataset,
                "option_name": name, "option_type": kind, "option_value": value,
            }  # fmt: skip


def _tables(scope: Scope) -> Rows:
    for one in scope.tables:
        plain = one.body.get("type", "TABLE") == "TABLE"
        told = one.body.get("snapshotDefinition") or one.body.get("cloneDefinition") or {}
        base, at = told.get("baseTableReference") or {}, told.get("snapshotTime") or told.get("cloneTime")
        yield {
            **_table(one), "table_type": _kind(one), "is_insertable_into": "YES" if plain else "NO", "is_typed": "NO",
            "managed_table_type": "NATIVE" if one.storage else None, "is_fine_grained_mutations_enabled": "NO",
            "is_change_history_enabled": "YES" if one.body.get("enableChangeHistory") else "NO",
            "creation_time": _time(one.body, "creationTime"), "ddl": definition_text.table(one),
            "base_table_catalog": base.get("projectId"), "base_table_schema": base.get("datasetId"),
            "base_table_name": base.get("tableId"), "snapshot_time_ms": dt.datetime.fromisoformat(at) if at else None,
            "default_collation_name": one.body.get("defaultCollation") or "NULL",
        }  # fmt: skip


def _table_snapshots(scope: Scope) -> Rows:
    for row in _tables(scope):
        if row["table_type"] == "SNAPSHOT":
            yield row | {"snapshot_time": row["snapshot_time_ms"]}


def _table_options(scope: Scope) -> Rows:
    for one in scope.tables:
        kind = {"VIEW": "VIEW", "MATERIALIZED_VIEW": "MATERIALIZED VIEW"}.get(
            str(one.body.get("type")), "TABLE"
        )
        for name, option, value in options.shown(kind, one.body):
            yield {**_table(one), "option_name": name, "option_type": option, "option_value": value}


def _of_columns(scope: Scope) -> Rows:
    for one in scope.tables:
        clustering = (one.body.get("clustering") or {}).get("fields") or []
        partition = (one.body.get("timePartitioning") or one.body.get("rangePartitioning") or {}).get("field")
        for place, column in enumerate(one.fields, 1):
            yield {
                **_table(one), "column_name": column["name"], "ordinal_position": place,
                "is_nullable": "NO" if str(column.get("mode", "")).upper() == "REQUIRED" else "YES",
                "data_type": sql_type(column), "is_generated": "NEVER", "is_hidden": "NO", "is_system_defined": "NO",
                "is_partitioning_column": "YES" if column["name"] == partition else "NO",
                "clustering_ordinal_position": {name: i for i, name in enumerate(clustering, 1)}.get(column["name"]),
                "collation_name": column.get("collation") or "NULL",
                "column_default": column.get("defaultValueExpression") or "NULL",
                "rounding_mode": column.get("roundingMode"), "policy_tags": _policy_tags(column),
            }  # fmt: skip


def _field_paths(scope: Scope) -> Rows:
    for one in scope.tables:
        for column in one.fields:
            for path, field in _paths(column, ""):
                yield {
                    **_table(one), "column_name": column["name"], "field_path": path, "data_type": sql_type(field),
                    "description": field.get("description"), "collation_name": field.get("collation") or "NULL",
                    "rounding_mode": field.get("roundingMode"), "policy_tags": _policy_tags(field),
                }  # fmt: skip


def _policy_tags(field: Field) -> list[str]:
    return list((field.get("policyTags") or {}).get("names") or ())


def _paths(field: Field, above: str) -> Iterator[tuple[str, Field]]:
    path = f"{above}{field['name']}"
    yield path, field
    for inner in field.get("fields") or ():
        yield from _paths(inner, f"{path}.")


def _views(scope: Scope) -> Rows:
    for one in scope.tables:
        if one.is_view:
            yield {**_table(one), "view_definition": one.query, "use_standard_sql": "YES"}


def _materialized_views(scope: Scope) -> Rows:
    for one in scope.tables:
        if one.body.get("type") == "MATERIALIZED_VIEW":  # computed when it is read: as fresh as can be
            now = dt.datetime.now(dt.UTC)
            yield {**_table(one), "last_refresh_time": now, "refresh_watermark": now}


def _partitions(scope: Scope) -> Rows:
    for one in scope.tables:
        if not one.storage:
            continue
        ids = partitions.id_sql(one) if partitions.is_partitioned(one) else "NULL"
        rows = catalog.do(
            scope.cursor,
            f"SELECT {ids}, count(*), {sizes.total(one.fields)}, max({AT}) FROM {one.place} GROUP BY 1 ORDER BY 1",
        )
        for name, count, size, at in rows:
            yield {
                **_table(one), "partition_id": name, "total_rows": count, "total_logical_bytes": size,
                "total_billable_bytes": size, "last_modified_time": _at(at), "storage_tier": "ACTIVE",
            }  # fmt: skip


def _at(micros: int | None) -> dt.datetime | None:
    return None if micros is None else dt.datetime.fromtimestamp(micros / 1e6, dt.UTC)


def _table_storage(scope: Scope) -> Rows:
    for one in scope.tables:
        if not one.storage:
            continue
        ids = partitions.id_sql(one) if partitions.is_partitioned(one) else ""
        parts = f"count(DISTINCT {ids})" if ids else "0"
        [(rows, parts, size, at)] = catalog.do(
            scope.cursor, f"SELECT count(*), {parts}, {sizes.total(one.fields)}, max({AT}) FROM {one.place}"
        )
        yield {
            **_table(one), "project_id": one.project, "creation_time": _time(one.body, "creationTime"),
            "total_rows": rows, "total_partitions": parts, "total_logical_bytes": size, "active_logical_bytes": size,
            "long_term_logical_bytes": 0, "storage_last_modified_time": _at(at), "deleted": False,
            "table_type": _kind(one),
        }  # fmt: skip


def _meta_tables(scope: Scope) -> Rows:
    for one in scope.tables:
        rows, size = 0, 0
        if one.storage:
            [(rows, size)] = catalog.do(
                scope.cursor, f"SELECT count(*), {sizes.total(one.fields)} FROM {one.place}"
            )
        yield {
            "project_id": one.project, "dataset_id": one.dataset, "table_id": one.table, "row_count": rows,
            "creation_time": int(one.body["creationTime"]), "size_bytes": size,
            "last_modified_time": int(one.body["lastModifiedTime"]),
            "type": {"VIEW": 2, "EXTERNAL": 3, "MATERIALIZED_VIEW": 4}.get(str(one.body.get("type")), 1),
        }  # fmt: skip


def _keys(one: Entry) -> Iterator[tuple[str, str, list[dict[str, Any]], dict[str, Any]]]:
    """Name, type, columns and the table that is referenced."""
    told = one.body.get("tableConstraints") or {}
    if primary := told.get("primaryKey"):
        columns = [{"referencingColumn": name} for name in primary["columns"]]
        yield f"{one.table}.pk$", "PRIMARY KEY", columns, {}
    for key in told.get("foreignKeys") or ():
        yield f"{one.table}.{key['name']}", "FOREIGN KEY", key["columnReferences"], key["referencedTable"]


def _constraint(one: Entry, name: str) -> dict[str, Any]:
    return {"constraint_catalog": one.project, "constraint_schema": one.dataset, "constraint_name": name}


def _table_constraints(scope: Scope) -> Rows:
    for one in scope.tables:
        for name, kind, _, _ in _keys(one):
            yield {
                **_constraint(one, name), **_table(one), "constraint_type": kind, "is_deferrable": "NO",
                "initially_deferred": "NO", "enforced": "NO",
            }  # fmt: skip


def _key_columns(scope: Scope) -> Rows:
    for one in scope.tables:
        for name, kind, columns, _ in _keys(one):
            for place, column in enumerate(columns, 1):
                yield {
                    **_constraint(one, name), **_table(one), "column_name": column["referencingColumn"],
                    "ordinal_position": place,
                    "position_in_unique_constraint": place if kind == "FOREIGN KEY" else None,
                }  # fmt: skip


def _constraint_columns(scope: Scope) -> Rows:
    for one in scope.tables:
        for name, _, columns, other in _keys(one):
            place = (
                {
                    "table_catalog": other["projectId"],
                    "table_schema": other["datasetId"],
                    "table_name": other["tableId"],
                }
                if other
                else _table(one)
            )
            for column in columns:
                used = column.get("referencedColumn") or column["referencingColumn"]
                yield {**place, "column_name": used, **_constraint(one, name)}


def _routine(one: routines.Routine, before: str) -> dict[str, Any]:
    return {f"{before}_catalog": one.project, f"{before}_schema": one.dataset, f"{before}_name": one.name}


def _routines(scope: Scope) -> Rows:
    for holder in scope.datasets:
        for one in routines.listed(scope.cursor, scope.project, holder.dataset):
            kind = {"SCALAR_FUNCTION": "FUNCTION", "TABLE_VALUED_FUNCTION": "TABLE FUNCTION"}.get(
                one.kind, one.kind
            )
            language = one.body.get("language", "SQL")
            returned = one.body.get("returnType")
            yield {
                **_routine(one, "specific"), **_routine(one, "routine"), "routine_type": kind,
                "data_type": standard_types.data_type(returned).sql("bigquery") if returned else None,
                "routine_body": "SQL" if language == "SQL" else "EXTERNAL",
                "routine_definition": one.body.get("definitionBody"),
                "external_language": None if language == "SQL" else language, "is_deterministic": None,
                "created": _time(one.body, "creationTime"), "last_altered": _time(one.body, "lastModifiedTime"),
            }  # fmt: skip


def _routine_options(scope: Scope) -> Rows:
    for holder in scope.datasets:
        for one in routines.listed(scope.cursor, scope.project, holder.dataset):
            said = {"description": one.body.get("description"), "strict_mode": one.body.get("strictMode")}
            for name, value in said.items():
                if value is not None:
                    kind = "BOOL" if isinstance(value, bool) else "STRING"
                    shown = {"option_name": name, "option_type": kind, "option_value": json.dumps(value)}
                    yield {**_routine(one, "specific"), **shown}


def _models(scope: Scope) -> Rows:
    for holder in scope.datasets:
        for one in kept.listed(scope.cursor, scope.project, holder.dataset):
            yield {
                "model_catalog": one.project, "model_schema": one.dataset, "model_name": one.name,
                "model_type": one.body.get("modelType"), "creation_time": _time(one.body, "creationTime"),
                "last_modified_time": _time(one.body, "lastModifiedTime"),
            }  # fmt: skip


def _parameters(scope: Scope) -> Rows:
    for holder in scope.datasets:
        for one in routines.listed(scope.cursor, scope.project, holder.dataset):
            if returned := one.body.get("returnType"):
                shown = standard_types.data_type(returned).sql("bigquery")
                yield {
                    **_routine(one, "specific"),
                    "ordinal_position": 0,
                    "is_result": "YES",
                    "data_type": shown,
                }
            for place, argument in enumerate(one.arguments, 1):
                kind = argument.get("dataType")
                yield {
                    **_routine(one, "specific"), "ordinal_position": place, "is_result": "NO",
                    "parameter_mode": argument.get("mode"), "parameter_name": argument["name"],
                    "is_aggregate": "NO" if argument.get("isAggregate") is False else None,
                    "data_type": standard_types.data_type(kind).sql("bigquery") if kind else _table_type(argument),
                }  # fmt: skip


def _table_type(argument: dict[str, Any]) -> str:
    if not str(argument.get("argumentKind")).endswith("_TABLE"):
        return "ANY TYPE"
    columns = (argument.get("tableType") or {}).get("columns") or []
    shown = (f"{one['name']} {standard_types.data_type(one['type']).sql('bigquery')}" for one in columns)
    return f"TABLE<{', '.join(shown)}>" if columns else "ANY TABLE"


_TEXTS = pa.list_(_TEXT)
_TABLE = "table_catalog table_schema table_name"
_CONSTRAINT = "constraint_catalog constraint_schema constraint_name"
_OPTION = "option_name option_type option_value"
VIEWS = {
    "SCHEMATA": View(
        _columns(
            "catalog_name schema_name schema_owner creation_time last_modified_time location ddl "
            "default_collation_name sync_status", creation_time=_TIME, last_modified_time=_TIME),
        _schemata),
    "SCHEMATA_OPTIONS": View(_columns(f"catalog_name schema_name {_OPTION}"), _schemata_options),
    "TABLES": View(
        _columns(
            f"{_TABLE} table_type managed_table_type is_insertable_into is_fine_grained_mutations_enabled is_typed "
            "is_change_history_enabled creation_time base_table_catalog base_table_schema base_table_name "
            "snapshot_time_ms replica_source_catalog replica_source_schema replica_source_name replication_status "
            "replication_error ddl default_collation_name sync_status upsert_stream_apply_watermark",
            creation_time=_TIME, snapshot_time_ms=_TIME, upsert_stream_apply_watermark=_TIME),
        _tables),
    "TABLE_SNAPSHOTS": View(
        _columns(
            f"{_TABLE} base_table_catalog base_table_schema base_table_name snapshot_time", snapshot_time=_TIME),
        _table_snapshots),
    "TABLE_OPTIONS": View(_columns(f"{_TABLE} {_OPTION}"), _table_options),
    "COLUMNS": View(
        _columns(
            f"{_TABLE} column_name ordinal_position is_nullable data_type is_generated generation_expression "
            "is_stored is_hidden is_updatable is_system_defined is_partitioning_column clustering_ordinal_position "
            "collation_name column_default rounding_mode policy_tags",
            ordinal_position=_WHOLE, clustering_ordinal_position=_WHOLE, policy_tags=_TEXTS),
        _of_columns),
    "COLUMN_FIELD_PATHS": View(
        _columns(
            f"{_TABLE} column_name field_path data_type description collation_name rounding_mode policy_tags",
            policy_tags=_TEXTS),
        _field_paths),
    "VIEWS": View(_columns(f"{_TABLE} view_definition check_option use_standard_sql"), _views),
    "MATERIALIZED_VIEWS": View(
        _columns(f"{_TABLE} last_refresh_time refresh_watermark", last_refresh_time=_TIME, refresh_watermark=_TIME),
        _materialized_views),
    "PARTITIONS": View(
        _columns(
            f"{_TABLE} partition_id total_rows total_logical_bytes total_billable_bytes last_modified_time "
            "storage_tier",
            total_rows=_WHOLE, total_logical_bytes=_WHOLE, total_billable_bytes=_WHOLE, last_modified_time=_TIME),
        _partitions),
    "TABLE_STORAGE": View(
        _columns(
            f"project_id {_TABLE} creation_time total_rows total_partitions total_logical_bytes active_logical_bytes "
            "long_term_logical_bytes storage_last_modified_time deleted table_type",
            creation_time=_TIME, total_rows=_WHOLE, total_partitions=_WHOLE, total_logical_bytes=_WHOLE,
            active_logical_bytes=_WHOLE, long_term_logical_bytes=_WHOLE, storage_last_modified_time=_TIME,
            deleted=_TRUTH),
        _table_storage),
    "TABLE_CONSTRAINTS": View(
        _columns(f"{_CONSTRAINT} {_TABLE} constraint_type is_deferrable initially_deferred enforced"),
        _table_constraints),
    "KEY_COLUMN_USAGE": View(
        _columns(
            f"{_CONSTRAINT} {_TABLE} column_name ordinal_position position_in_unique_constraint",
            ordinal_position=_WHOLE, position_in_unique_constraint=_WHOLE),
        _key_columns),
    "CONSTRAINT_COLUMN_USAGE": View(_columns(f"{_TABLE} column_name {_CONSTRAINT}"), _constraint_columns),
    "ROUTINES": View(
        _columns(
            "specific_catalog specific_schema specific_name routine_catalog routine_schema routine_name routine_type "
            "data_type routine_body routine_definition external_language is_deterministic security_type created "
            "last_altered", created=_TIME, last_altered=_TIME),
        _routines),
    "MODELS": View(
        _columns(
            "model_catalog model_schema model_name model_type creation_time last_modified_time",
            creation_time=_TIME, last_modified_time=_TIME),
        _models),
    "PARAMETERS": View(
        _columns(
            "specific_catalog specific_schema specific_name ordinal_position parameter_mode is_result parameter_name "
            "data_type parameter_default is_aggregate", ordinal_position=_WHOLE),
        _parameters),
    "ROUTINE_OPTIONS": View(
        _columns(f"specific_catalog specific_schema specific_name {_OPTION}"), _routine_options),
    **information_access.VIEWS, **information_indexes.VIEWS, **information_jobs.VIEWS,
}  # fmt: skip
VIEWS["TABLE_STORAGE_BY_PROJECT"] = VIEWS["TABLE_STORAGE"]
"""By name; TABLE_STORAGE tells no bytes on disk, which DuckDB does not keep by table."""

META_TABLES = View(
    _columns(
        "project_id dataset_id table_id creation_time last_modified_time row_count size_bytes type",
        creation_time=_WHOLE, last_modified_time=_WHOLE, row_count=_WHOLE, size_bytes=_WHOLE, type=_WHOLE,
    ),
    _meta_tables,
)  # fmt: skip
"""`__TABLES__`, of a data set."""
