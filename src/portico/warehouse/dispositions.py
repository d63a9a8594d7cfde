"""Rows into a table by a job's dispositions."""

from __future__ import annotations

from typing import Any

from portico.errors import AlreadyExists, InvalidArgument, NotFound
from portico.warehouse import catalog, storage
from portico.warehouse.catalog import Cursor, Entry
from portico.warehouse.types import Field, duckdb_type

TABLE_SETTINGS = (
    "timePartitioning",
    "rangePartitioning",
    "clustering",
    "labels",
    "description",
    "friendlyName",
    "expirationTime",
)


def store(
    cursor: Cursor,
    entry: Entry,
    fields: list[Field],
    select: str,
    create: str,
    write: str,
    settings: dict[str, Any],
) -> int:
    """Rows into a table by the dispositions of a job; returns how many."""
    catalog.require(cursor, entry.project, entry.dataset)
    found = catalog.find(cursor, entry.project, entry.dataset, entry.table)
    if found is None and create == "CREATE_NEVER":
        raise NotFound(f"Not found: Table {entry.shown}", reason="notFound")
    if found is None or write in ("WRITE_TRUNCATE", "WRITE_TRUNCATE_DATA"):
        kept = found.body if found is not None and write == "WRITE_TRUNCATE_DATA" else {}
        entry.body = {
            **kept,
            **{key: value for key, value in settings.items() if key in TABLE_SETTINGS and value},
        }
        entry.body["schema"] = {"fields": fields}
        return catalog.create_table(cursor, entry, replace=True, select=select)
    if write == "WRITE_EMPTY" and catalog.first(cursor, f"SELECT 1 FROM {found.place} LIMIT 1"):
        raise AlreadyExists(f"Already Exists: Table {entry.shown}", reason="duplicate")
    updates = settings.get("schemaUpdateOptions") or []
    _match(cursor, found, fields, updates)
    rows = storage.insert(cursor, found, fields, select)
    catalog.write(cursor, found)
    return rows


def _match(cursor: Cursor, found: Entry, fields: list[Field], updates: list[str]) -> None:
    have = {one["name"].lower(): one for one in found.fields}
    new = [one for one in fields if one["name"].lower() not in have]
    if new and "ALLOW_FIELD_ADDITION" not in updates:
        raise InvalidArgument(
            f"Provided Schema does not match Table {found.shown}. Cannot add fields (field: {new[0]['name']})",
            reason="invalid",
        )
    given = {one["name"].lower() for one in fields}
    merged = []
    for name, one in have.items():
        required = str(one.get("mode", "")).upper() == "REQUIRED"
        relaxed = required and "ALLOW_FIELD_RELAXATION" in updates
        if required and name not in given and not relaxed:
            raise InvalidArgument(
                f"Provided Schema does not match Table {found.shown}. Field {one['name']} is missing in new schema",
                reason="invalid",
            )
        other = next((each for each in fields if each["name"].lower() == name), None)
        if other is not None and duckdb_type(other) != duckdb_type(one):
            raise InvalidArgument(
                f"Provided Schema does not match Table {found.shown}. Field {one['name']} has changed type from "
                f"{one['type']} to {other['type']}",
                reason="invalid",
            )
        merged.append({**one, "mode": "NULLABLE"} if relaxed else one)
    if new or merged != found.fields:
        catalog.add_fields(cursor, found, [*merged, *new])
