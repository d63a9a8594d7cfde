"""Rows into a table by a job's dispositions."""

from __future__ import annotations

from typing import Any

from portico.errors import AlreadyExists, InvalidArgument, NotFound
from portico.warehouse import catalog, partitions, storage
from portico.warehouse.assignments import bounded_rows
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
    *,
    partitioned: bool = False,
) -> int:
    """Rows into a table, or into the partition of it that `entry` addresses, by the dispositions of a job; returns how
    many. `partitioned`: what `select` yields last is the time of a row's partition.

    Raises:
        NotFound: there is no such table or dataset, and none is to be made. AlreadyExists: there are rows already.
        InvalidArgument: the table takes no such rows.
    """
    catalog.require(cursor, entry.project, entry.dataset)
    updating = write in ("WRITE_APPEND", "WRITE_TRUNCATE_DATA") or entry.partition
    if settings.get("schemaUpdateOptions") and not updating:
        raise InvalidArgument(
            "Schema update options should only be specified with WRITE_APPEND disposition, or with WRITE_TRUNCATE "
            "disposition on a table partition.",
            reason="invalid",
        )
    found = catalog.find(cursor, entry.project, entry.dataset, entry.table)
    if found is None and create == "CREATE_NEVER":
        raise NotFound(f"Not found: Table {entry.shown}", reason="notFound")
    if entry.partition:
        return _into_partition(cursor, entry, found, fields, select, write, settings)
    shapeless = (
        found is not None and found.is_stored and not found.fields
    )  # it takes the columns of its first rows
    if found is None or shapeless or write == "WRITE_TRUNCATE":
        kept = found.body if found is not None and shapeless else {}
        entry.body = {
            **kept,
            **{key: value for key, value in settings.items() if key in TABLE_SETTINGS and value},
        }
        if encryption := settings.get("destinationEncryptionConfiguration"):
            entry.body["encryptionConfiguration"] = encryption
        entry.body["schema"] = {"fields": fields}
        partitions.check(entry)
        partitioned &= bool(storage.ingested_by(entry))
        return catalog.create_table(cursor, entry, replace=True, select=select, partitioned=partitioned)
    if write == "WRITE_EMPTY" and catalog.first(cursor, f"SELECT 1 FROM {found.place} LIMIT 1"):
        raise AlreadyExists(f"Already Exists: Table {entry.shown}", reason="duplicate")
    updates = settings.get("schemaUpdateOptions") or []
    _match(cursor, found, fields, updates)
    if write == "WRITE_TRUNCATE_DATA":  # the schema stays
        storage.delete(cursor, found, "true")
    partitioned &= bool(storage.ingested_by(found))
    if not partitioned:
        select = _bounded(found, fields, select)
    rows = storage.insert(cursor, found, fields, select, partitioned=partitioned)
    catalog.write(cursor, found)
    return rows


def _into_partition(
    cursor: Cursor,
    entry: Entry,
    found: Entry | None,
    fields: list[Field],
    select: str,
    write: str,
    settings: dict[str, Any],
) -> int:
    if found is None:
        body = {key: value for key, value in settings.items() if key in TABLE_SETTINGS and value}
        if not body.get("timePartitioning") and not body.get("rangePartitioning"):
            body["timePartitioning"] = partitions.of_id(entry.partition)
        found = Entry(entry.project, entry.dataset, entry.table, {**body, "schema": {"fields": fields}})
        catalog.create_table(cursor, found)
    chosen = partitions.chosen(found, entry.partition)
    if write == "WRITE_EMPTY" and catalog.first(
        cursor, f"SELECT 1 FROM {found.place} WHERE {chosen} LIMIT 1"
    ):
        raise AlreadyExists(f"Already Exists: Table {entry.shown}${entry.partition}", reason="duplicate")
    _match(cursor, found, fields, settings.get("schemaUpdateOptions") or [])
    if write.startswith("WRITE_TRUNCATE"):
        storage.delete(cursor, found, chosen)
    rows = into_partition(cursor, found, entry.partition, fields, _bounded(found, fields, select))
    catalog.write(cursor, found)
    return rows


def _bounded(found: Entry, fields: list[Field], select: str) -> str:
    """The rows for `fields`, in their order, no larger than the table's columns hold."""
    have = {one["name"].lower(): one for one in found.fields}
    return bounded_rows(select, [have[one["name"].lower()] for one in fields])


def into_partition(cursor: Cursor, found: Entry, partition: str, fields: list[Field], select: str) -> int:
    """Appends what `select` yields in the order of `fields` to one partition.

    Raises:
        InvalidArgument: a row belongs to another.
    """
    chosen = partitions.chosen(found, partition)
    moment = partitions.moment(found, partition) if storage.ingested_by(found) else ""
    if not moment:
        named = f"({select}) AS _t({storage.names(fields)})"
        if catalog.first(cursor, f"SELECT 1 FROM {named} WHERE NOT ({chosen}) LIMIT 1"):
            raise InvalidArgument(
                f"Some rows belong to different partitions rather than destination partition {partition}",
                reason="invalid",
            )
    return storage.insert(cursor, found, fields, select, partition=moment)


def check_modes(found: Entry, fields: list[Field], updates: list[str]) -> None:
    """Looks at the schema that a job says for rows that are appended.

    Raises:
        InvalidArgument: a column of the table is required, by the job's it is not, and may not be relaxed.
    """
    said = {one["name"].lower(): one for one in fields}
    for one in found.fields:
        other = said.get(one["name"].lower())
        if other and _required(one) and not _required(other) and "ALLOW_FIELD_RELAXATION" not in updates:
            raise InvalidArgument(
                f"Provided Schema does not match Table {found.shown}. Field {one['name']} has changed mode from "
                "REQUIRED to NULLABLE",
                reason="invalid",
            )


def _required(one: Field | None) -> bool:
    return one is not None and str(one.get("mode", "")).upper() == "REQUIRED"


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
        required = _required(one)
        other = next((each for each in fields if each["name"].lower() == name), None)
        relaxed = required and "ALLOW_FIELD_RELAXATION" in updates and not _required(other)
        if required and name not in given and not relaxed and not one.get("_default"):
            raise InvalidArgument(
                f"Provided Schema does not match Table {found.shown}. Field {one['name']} is missing in new schema",
                reason="invalid",
            )
        if other is not None and duckdb_type(other) != duckdb_type(one):
            raise InvalidArgument(
                f"Provided Schema does not match Table {found.shown}. Field {one['name']} has changed type from "
                f"{one['type']} to {other['type']}",
                reason="invalid",
            )
        merged.append({**one, "mode": "NULLABLE"} if relaxed else one)
    if new or merged != found.fields:
        catalog.add_fields(cursor, found, [*merged, *new])
