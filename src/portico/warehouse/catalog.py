"""What the warehouse knows of its datasets and tables: rows beside the data, written in the same transaction.

A dataset `PROJECT.DATASET` is the schema `PROJECT:DATASET` of the warehouse's one DuckDB file; a resource's JSON is
kept as BigQuery's API shows it, without what is computed when it is read.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

import duckdb

from portico.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from portico.warehouse import guard, locations, storage
from portico.warehouse.client import ANONYMOUS
from portico.warehouse.public.declared import check_writable
from portico.warehouse.public.tables import hint
from portico.warehouse.storage import FILE as FILE
from portico.warehouse.storage import KEPT as _KEPT
from portico.warehouse.types import Field, duckdb_type, quoted

Cursor = duckdb.DuckDBPyConnection

_HIDDEN = ("_script", ANONYMOUS)  # how the datasets begin that are not listed: scripts' temporary tables


@dataclass(slots=True)
class Entry:
    """A dataset (`table` is "") or a table. What of the body begins with _ only the warehouse knows."""

    project: str
    dataset: str
    table: str
    body: dict[str, Any] = field(default_factory=dict)
    partition: str = ""  # of the table, where one is addressed: table$20240101

    @property
    def storage(self) -> str:
        """Under which its rows are stored; "" of what has none, such as a view."""
        return str(self.body.get("_storage") or "")

    @property
    def place(self) -> str:
        """Its rows, as DuckDB's SQL names them.

        Raises:
            InvalidArgument: it has none of its own.
        """
        if not self.storage:
            kind = self.body.get("type", "TABLE")
            raise InvalidArgument(
                f"{self.shown} has no rows of its own: it is of type {kind}", reason="invalid"
            )
        return storage.place(self.storage)

    @property
    def shown(self) -> str:
        return f"{self.project}:{self.dataset}" + (f".{self.table}" if self.table else "")

    @property
    def is_view(self) -> bool:
        return self.body.get("type") in ("VIEW", "MATERIALIZED_VIEW")

    @property
    def is_stored(self) -> bool:
        return not self.is_view and self.body.get("type") != "EXTERNAL"

    @property
    def query(self) -> str:
        """Of a view."""
        return str((self.body.get("view") or self.body["materializedView"])["query"])

    @property
    def fields(self) -> list[Field]:
        return list((self.body.get("schema") or {}).get("fields") or ())


def key_of(entry: Entry) -> tuple[str, str, str]:
    return entry.project, entry.dataset, entry.table


def prepare(cursor: Cursor) -> None:
    do(cursor, f"CREATE SCHEMA IF NOT EXISTS {_KEPT}")
    do(
        cursor,
        f"CREATE TABLE IF NOT EXISTS {_KEPT}.entries (project VARCHAR, dataset VARCHAR, name VARCHAR, body VARCHAR, "
        "PRIMARY KEY (project, dataset, name))",
    )
    do(cursor, f"CREATE TABLE IF NOT EXISTS {_KEPT}.finished (job VARCHAR PRIMARY KEY, ended DOUBLE)")
    storage.prepare(cursor)


def do(cursor: Cursor, sql: str, values: list[Any] | None = None) -> list[tuple[Any, ...]]:
    """Runs a statement to its end; its rows."""
    return cursor.execute(sql, values or []).fetchall()


def first(cursor: Cursor, sql: str, values: list[Any] | None = None) -> tuple[Any, ...] | None:
    rows = do(cursor, sql, values)
    return rows[0] if rows else None


def now() -> str:
    """Milliseconds since the epoch, as the API writes times."""
    return str(int(time.time() * 1000))


def find(cursor: Cursor, project: str, dataset: str, table: str = "") -> Entry | None:
    guard.look(project, dataset, table)
    locations.look(project, dataset, lambda: _location(cursor, project, dataset))
    row = first(
        cursor,
        f"SELECT body FROM {_KEPT}.entries WHERE project = ? AND dataset = ? AND name = ?",
        [project, dataset, table],
    )
    if row is None and dataset == ANONYMOUS and not table:
        return Entry(project, dataset, "", {"location": "US"})  # each project has one, from its beginning
    found = None if row is None else Entry(project, dataset, table, json.loads(row[0]))
    return None if found is None or _expired(found) else found


def _location(cursor: Cursor, project: str, dataset: str) -> str | None:
    row = first(
        cursor,
        f"SELECT coalesce(json_extract_string(body, '$.location'), 'US') FROM {_KEPT}.entries "
        "WHERE project = ? AND dataset = ? AND name = ''",
        [project, dataset],
    )
    return None if row is None else str(row[0])


def dataset_locations(cursor: Cursor) -> dict[tuple[str, str], str]:
    """By project and data set."""
    rows = do(
        cursor,
        "SELECT project, dataset, coalesce(json_extract_string(body, '$.location'), 'US') "
        f"FROM {_KEPT}.entries WHERE name = ''",
    )
    return {(project, dataset): location for project, dataset, location in rows}


def _expired(entry: Entry) -> bool:
    return bool(entry.table and 0 < int(entry.body.get("expirationTime") or 0) <= time.time() * 1000)


def require(cursor: Cursor, project: str, dataset: str, table: str = "") -> Entry:
    """
    Raises:
        NotFound: there is no such dataset or table.
    """
    found = find(cursor, project, dataset, table)
    if found is None:
        missing = table and find(cursor, project, dataset) is not None
        kind, shown = (
            ("Table", f"{project}:{dataset}.{table}") if missing else ("Dataset", f"{project}:{dataset}")
        )
        where = locations.told() or locations.DEFAULT
        raise NotFound(
            f"Not found: {kind} {shown} was not found in location {where}{hint(project, dataset, table)}",
            reason="notFound",
        )
    return found


class Entries:
    """Tables as the last commit left them, for queries outside of a transaction; in the text that the catalog holds."""

    def __init__(self) -> None:
        self._bodies: dict[tuple[str, str, str], str] = {}

    def forget(self) -> None:
        """After a commit, before it is acknowledged. Who read before it keeps what it found where nobody looks."""
        self._bodies = {}

    def require(self, cursor: Cursor, project: str, dataset: str, table: str) -> Entry:
        """
        Raises:
            NotFound: there is no such table.
        """
        guard.look(project, dataset, table)
        locations.look(project, dataset, lambda: _location(cursor, project, dataset))
        bodies, key = self._bodies, (project, dataset, table)
        if body := bodies.get(key):
            found = Entry(project, dataset, table, json.loads(body))
            if not _expired(found):
                return found
        found = require(cursor, project, dataset, table)
        bodies[key] = json.dumps(found.body)
        return found


def projects(cursor: Cursor) -> list[str]:
    """Those that have a dataset."""
    return [
        str(name) for (name,) in do(cursor, f"SELECT DISTINCT project FROM {_KEPT}.entries WHERE name = ''")
    ]


def listed(cursor: Cursor, project: str, dataset: str | None = None) -> list[Entry]:
    """The datasets of a project, or the tables of a dataset, by name."""
    if dataset is not None:
        guard.look(project, dataset)
    where, values = (
        ("name = ''", [project]) if dataset is None else ("name <> '' AND dataset = ?", [project, dataset])
    )
    rows = do(
        cursor,
        f"SELECT dataset, name, body FROM {_KEPT}.entries WHERE project = ? AND {where} ORDER BY dataset, name",
        values,
    )
    found = [Entry(project, name, table, json.loads(body)) for name, table, body in rows]
    return [
        one
        for one in found
        if not _expired(one) and not (dataset is None and one.dataset.startswith(_HIDDEN))
    ]


def version(entry: Entry) -> int:
    """Which is another after each change of a table, of its rows too."""
    return int(entry.body.get("_changed") or 0)


def _check_writable(entry: Entry) -> None:
    if not entry.dataset.startswith(_HIDDEN):
        check_writable(entry.project, f"{'Table' if entry.table else 'Dataset'} {entry.shown}")


def write(cursor: Cursor, entry: Entry) -> None:
    """
    Raises:
        PermissionDenied: it is public data. Unimplemented: a data set is to tell no cases of letters apart.
    """
    _check_writable(entry)
    if not entry.table and entry.body.get("isCaseInsensitive"):
        raise Unimplemented(
            "Case-insensitive data sets are not built in Portico; leave isCaseInsensitive out."
        )
    guard.look(*key_of(entry))
    entry.body["lastModifiedTime"] = now()
    entry.body["_changed"] = time.time_ns()
    row = [json.dumps(entry.body), entry.project, entry.dataset, entry.table]
    # a third of what INSERT OR REPLACE takes, which looks into the key's index
    [(known,)] = do(
        cursor, f"UPDATE {_KEPT}.entries SET body = ? WHERE project = ? AND dataset = ? AND name = ?", row
    )
    if not known:
        do(cursor, f"INSERT INTO {_KEPT}.entries VALUES ($2, $3, $4, $1)", row)


def create_dataset(cursor: Cursor, entry: Entry) -> None:
    """
    Raises:
        AlreadyExists: there is one of this name.
    """
    if find(cursor, entry.project, entry.dataset) is not None:
        raise AlreadyExists(f"Already Exists: Dataset {entry.shown}", reason="duplicate")
    entry.body.setdefault("creationTime", now())
    entry.body.setdefault("location", "US")
    write(cursor, entry)


def drop_dataset(cursor: Cursor, entry: Entry, *, contents: bool) -> None:
    """
    Raises:
        FailedPrecondition: it has tables, and `contents` are not to go with it. PermissionDenied: it is public data.
    """
    _check_writable(entry)
    tables = listed(cursor, entry.project, entry.dataset)
    others = any(
        first(
            cursor,
            f"SELECT 1 FROM {_KEPT}.{kept} WHERE project = ? AND dataset = ?",
            [entry.project, entry.dataset],
        )
        for kept in ("routines", "models")
    )
    if (tables or others) and not contents:
        raise FailedPrecondition(f"Dataset {entry.shown} is still in use", reason="resourceInUse")
    for one in [*tables, entry]:
        if entry.dataset.startswith(_HIDDEN):
            storage.destroy(cursor, one)
        else:
            storage.retire(cursor, one)
    for kept in ("entries", "routines", "models"):
        do(
            cursor,
            f"DELETE FROM {_KEPT}.{kept} WHERE project = ? AND dataset = ?",
            [entry.project, entry.dataset],
        )


def create_table(
    cursor: Cursor, entry: Entry, *, replace: bool = False, select: str = "", partitioned: bool = False
) -> int:
    """Makes a table of its schema, or of what `select` (DuckDB's SQL) yields in its fields' order and, where that is
    told, last the time of the rows' partition; returns the rows.

    Raises:
        AlreadyExists: there is one of this name. NotFound: there is no such dataset.
    """
    holder = require(cursor, entry.project, entry.dataset)
    before = find(cursor, entry.project, entry.dataset, entry.table)
    if before is not None and not replace:
        raise AlreadyExists(f"Already Exists: Table {entry.shown}", reason="duplicate")
    if before is None and first(
        cursor,
        f"SELECT 1 FROM {_KEPT}.models WHERE project = ? AND dataset = ? AND name = ?",
        [entry.project, entry.dataset, entry.table],
    ):
        raise AlreadyExists(f"Already Exists: Model {entry.shown}", reason="duplicate")
    check_fields(entry.fields)
    entry.body.setdefault("type", "TABLE")
    entry.body.setdefault("creationTime", now())
    rows = 0
    if entry.is_stored:
        _inherit(entry, holder)
        _collate(entry.fields, str(entry.body.get("defaultCollation") or ""))
        storage.create(cursor, entry)
        if select:
            rows = storage.insert(cursor, entry, entry.fields, select, partitioned=partitioned)
    if before is not None and before.storage:
        storage.retire(cursor, before)
    write(cursor, entry)
    return rows


def _inherit(entry: Entry, holder: Entry) -> None:
    """What a dataset says of the tables that are made in it."""
    if (most := int(holder.body.get("defaultTableExpirationMs") or 0)) and not entry.body.get(
        "expirationTime"
    ):
        entry.body["expirationTime"] = str(int(time.time() * 1000) + most)
    told = entry.body.get("timePartitioning")
    if (
        told
        and not told.get("expirationMs")
        and (most := int(holder.body.get("defaultPartitionExpirationMs") or 0))
    ):
        entry.body["timePartitioning"] = {**told, "expirationMs": str(most)}


def _collate(fields: list[Field], default: str) -> None:
    """Gives columns of STRING the collation of their table where they have none of their own.

    Raises:
        InvalidArgument: there is no such collation, or a column can't have it.
    """
    for one in fields:
        is_text = one["type"] == "STRING" and str(one.get("mode", "")).upper() != "REPEATED"
        if default and is_text:
            one.setdefault("collation", default)
        told = one.get("collation") or ""
        if told not in ("", *storage.COLLATIONS):
            raise InvalidArgument(f"Collation '{told}' is not supported", reason="invalid")
        if told and not is_text:
            raise InvalidArgument(
                f"Field {one['name']} of type {one['type']} can't have a collation: only a STRING has one",
                reason="invalid",
            )
        if any(each.get("collation") for each in one.get("fields") or ()):
            raise Unimplemented(f"A collation within the column {one['name']} is not built in Portico yet.")


def drop_table(cursor: Cursor, entry: Entry) -> None:
    """
    Raises:
        PermissionDenied: it is public data.
    """
    _check_writable(entry)
    if entry.dataset.startswith(_HIDDEN):
        storage.destroy(cursor, entry)
    elif entry.storage:
        storage.retire(cursor, entry)
    do(
        cursor,
        f"DELETE FROM {_KEPT}.entries WHERE project = ? AND dataset = ? AND name = ?",
        [entry.project, entry.dataset, entry.table],
    )


def rename_table(cursor: Cursor, entry: Entry, name: str) -> Entry:
    """
    Raises:
        AlreadyExists: there is one of that name.
    """
    renamed = Entry(entry.project, entry.dataset, name, entry.body)
    if find(cursor, renamed.project, renamed.dataset, name) is not None:
        raise AlreadyExists(f"Already Exists: Table {renamed.shown}", reason="duplicate")
    do(
        cursor,
        f"DELETE FROM {_KEPT}.entries WHERE project = ? AND dataset = ? AND name = ?",
        [entry.project, entry.dataset, entry.table],
    )
    write(cursor, renamed)
    return renamed


def add_fields(cursor: Cursor, entry: Entry, wanted: list[Field]) -> None:
    """Changes a table's schema to `wanted`: new columns, columns that need no value any more, descriptions.

    Raises:
        InvalidArgument: a column would be gone, of another type or required.
    """
    check_fields(wanted)
    have = {one["name"].lower(): one for one in entry.fields}
    gone = have.keys() - {one["name"].lower() for one in wanted}
    if gone:
        raise InvalidArgument(
            f"Provided Schema does not match Table {entry.shown}. Field {sorted(gone)[0]} is missing in new schema",
            reason="invalid",
        )
    for one in wanted:
        old = have.get(one["name"].lower())
        if old is None:
            if str(one.get("mode", "")).upper() == "REQUIRED":
                raise InvalidArgument(
                    f"Provided Schema does not match Table {entry.shown}. Cannot add required fields to an existing "
                    f"schema. (field: {one['name']})",
                    reason="invalid",
                )
            if one.get("defaultValueExpression"):  # what would the rows have that are there?
                raise InvalidArgument(
                    f"The column {one['name']} can't be added with a default value: add it without, then give it one",
                    reason="invalid",
                )
            _collate([one], str(entry.body.get("defaultCollation") or ""))
            storage.add_column(cursor, entry, one)
            continue
        if duckdb_type(old) != duckdb_type(one):
            raise InvalidArgument(
                f"Provided Schema does not match Table {entry.shown}. Field {one['name']} has changed type from "
                f"{old['type']} to {one['type']}",
                reason="invalid",
            )
        one |= {key: value for key, value in old.items() if key.startswith("_") and key != "_default"}
        if one.get("_default") != old.get("_default"):
            storage.set_default(cursor, entry, one)
        modes = [str(each.get("mode", "NULLABLE")).upper() for each in (old, one)]
        if modes == ["NULLABLE", "REQUIRED"]:
            raise InvalidArgument(
                f"Provided Schema does not match Table {entry.shown}. Field {one['name']} has changed mode from "
                "NULLABLE to REQUIRED",
                reason="invalid",
            )
        if modes == ["REQUIRED", "NULLABLE"]:
            storage.alter(cursor, entry, f"ALTER COLUMN {quoted(one['name'])} DROP NOT NULL")
    entry.body["schema"] = {"fields": wanted}
    write(cursor, entry)


def check_fields(fields: list[Field]) -> None:
    """
    Raises:
        InvalidArgument: two of a name, or a name or type that BigQuery refuses. Unimplemented: a precision.
    """
    seen: set[str] = set()
    for one in fields:
        name = str(one.get("name", ""))
        if not name or len(name) > 300 or any(character in name for character in '!"$()*,./;?@[\\]^`{}~'):
            raise InvalidArgument(f'Invalid field name "{name}".', reason="invalid")
        if name.lower() in seen:
            raise InvalidArgument(f"Field {name} already exists in schema", reason="invalid")
        seen.add(name.lower())
        if (mode := str(one.get("mode") or "NULLABLE")).upper() not in ("NULLABLE", "REQUIRED", "REPEATED"):
            raise InvalidArgument(
                f"Invalid value for mode: {mode} is not a valid value; it is NULLABLE, REQUIRED or REPEATED",
                reason="invalid",
            )
        if int(one.get("timestampPrecision") or 6) != 6:
            raise Unimplemented(
                f"Field {name}: timestamps of picoseconds (timestampPrecision 12) are not built in Portico; it has 6."
            )
        duckdb_type(one)
        if one.get("fields"):
            check_fields(one["fields"])
