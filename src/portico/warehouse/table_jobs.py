"""Loads, extracts and copies of whole tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse import (
    access,
    catalog,
    decimal_targets,
    decorators,
    intervals,
    load_options,
    loading,
    storage,
)
from portico.warehouse.asked import Asked
from portico.warehouse.catalog import Entry
from portico.warehouse.dispositions import TABLE_SETTINGS, check_modes, store
from portico.warehouse.engine import Warehouse
from portico.warehouse.transfers import ROWS
from portico.warehouse.typed_rows import typed
from portico.warehouse.types import Field

_ROW_GROUP = 65_536
_BATCH = 65_536  # rows
_FILE = 256 << 20  # bytes of a file's rows in memory
_CLONES = {
    "SNAPSHOT": ("SNAPSHOT TABLE", "CLONE"), "CLONE": ("TABLE", "CLONE"), "RESTORE": ("TABLE", "COPY"),
}  # fmt: skip


def load(
    warehouse: Warehouse, job: str, destination: dict[str, str], files: list[dict[str, str]], form: str,
    options: dict[str, Any], schema: list[Field] | None, create: str, write: str, caller: str = "",
    reference: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Loads files (`path`, `uri`) into a table, all or nothing; tells the rows and what could not be read. `reference`:
    the path of a file that shows the columns of all."""
    entry = decorators.entry_of(destination)
    decimal_targets.wanted(form, options)
    load_options.check(options)
    limit = int(options.get("maxBadRecords") or 0)
    bad: list[str] = []
    written, begun = 0, False
    with warehouse.transaction(job) as cursor:
        storage.written_by(cursor, caller)
        found = catalog.find(cursor, entry.project, entry.dataset, entry.table)
        truncates = write == "WRITE_TRUNCATE" and not entry.partition
        properties = options.get("destinationTableProperties") or {}
        if found is not None and not truncates and any(found.body.get(k) != v for k, v in properties.items()):
            raise InvalidArgument(
                f"Table {found.shown} has other properties than destinationTableProperties, which are of a new table: "
                "leave them out",
                reason="invalid",
            )
        options = {**options, **properties}
        if schema and not options.get("sourceColumnMatch"):
            options["sourceColumnMatch"] = "POSITION"
        detects = truncates and options.get("autodetect")
        updates = options.get("schemaUpdateOptions") or []
        if schema and found and not truncates:
            check_modes(found, schema, updates)
        plain = form in ("CSV", "NEWLINE_DELIMITED_JSON")
        if plain and schema is None and found and updates and options.get("autodetect"):
            detected = loading.table_fields(loading.schema_file(files, form), form, options)
            have = {one["name"].lower(): one for one in found.fields}
            schema = [have.get(one["name"].lower(), one) for one in detected]
        if plain and schema is None and found and not detects:
            schema = found.fields or None
        if plain and schema is None and not options.get("autodetect"):
            raise InvalidArgument("No schema specified on job or table.", reason="invalid")
        fields = schema or loading.table_fields(
            Path(reference) if reference else loading.schema_file(files, form), form, options
        )

        def put(select: str) -> int:
            disposition = "WRITE_APPEND" if begun else write
            return store(
                cursor, decorators.entry_of(destination), fields, select, create, disposition, options
            )

        for file in files:
            noted: list[str] = []
            try:
                for table in loading.batches(
                    Path(file["path"]), form, fields, options, noted, limit - len(bad)
                ):
                    cursor.register("_good", _read(warehouse, table, fields, noted, limit - len(bad)))
                    written += put("SELECT * FROM _good")
                    begun = True
            except loading.Bad:
                raise InvalidArgument(
                    f"Error while reading data, error message: {form} processing encountered too many errors, "
                    f"giving up. File: {file['uri']}: {noted[-1]}",
                    reason="invalid",
                ) from None
            except (pa.ArrowInvalid, UnicodeDecodeError) as error:
                raise InvalidArgument(
                    f"Error while reading {file['uri']}: {error}", reason="invalid"
                ) from None
            bad += [f"{file['uri']}, {one}" for one in noted]
        if not begun:  # no rows at all: the table is there all the same
            cursor.register("_good", pa.table({one["name"]: pa.array([], pa.string()) for one in fields}))
            put("SELECT * FROM _good WHERE false")
    return {"rows": written, "bad": bad, "bytes": sum(Path(one["path"]).stat().st_size for one in files)}


def _read(warehouse: Warehouse, table: pa.Table, fields: list[Field], bad: list[str], limit: int) -> pa.Table:
    """A batch with its columns' own types; rows that hold something else are bad. Outside any transaction: what
    can't be read would end it."""
    with warehouse.reading() as cursor:
        return typed(cursor, table, fields, bad, limit)


def extract(
    warehouse: Warehouse,
    source: dict[str, str],
    folder: str,
    form: str,
    options: dict[str, Any],
    several: bool,
    caller: str = "",
) -> dict[str, Any]:
    """Writes the rows of a table that the caller may see to files in `folder`, to one unless `several` may be; tells
    the files' names, in order.

    Raises:
        InvalidArgument: one file can't hold them.
    """
    written: list[str] = []
    with warehouse.reading() as cursor:
        found = decorators.source(warehouse, cursor, source, caller)
        wished = f"SELECT {storage.names(found.fields)} FROM ({found.select})"
        rows = cursor.sql(intervals.told(wished, found.fields))
        for table in _pieces(rows.to_arrow_reader(_BATCH)):
            if written and not several:
                raise InvalidArgument(
                    f"Table {found.entry.shown} too large to be exported to a single file. Specify a uri including a * "
                    "to shard export.",
                    reason="invalid",
                )
            path = Path(folder) / f"{len(written):012d}"
            path.write_bytes(loading.write_file(table, found.fields, form, options))
            written.append(str(path))
    return {"paths": written}


def _pieces(reader: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """The rows as tables, each of a file's size; one at the least."""
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in reader:
        if held and (rows + batch.num_rows > ROWS or size + batch.nbytes > _FILE):
            yield pa.Table.from_batches(held)
            held, rows, size = [], 0, 0
        held.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
    yield pa.Table.from_batches(held, reader.schema)


def export(warehouse: Warehouse, project: str, text: str, path: str) -> dict[str, Any]:
    """Writes what a query yields as a Parquet file to `path`; tells how many rows.

    Raises:
        InvalidArgument: a column has a type that Parquet lacks.
    """
    done = warehouse.run(text, Asked(project))[-1]
    if done.rows is None:
        raise InvalidArgument("The query must be a SELECT.", reason="invalidQuery")
    for column in done.rows.schema:
        if pa.types.is_interval(column.type):
            raise InvalidArgument(f"The column {column.name} has the type INTERVAL, which can't be read.")
    pq.write_table(done.rows, path, row_group_size=_ROW_GROUP)
    return {"rows": done.rows.num_rows}


def copy(
    warehouse: Warehouse,
    job: str,
    sources: list[dict[str, str]],
    destination: dict[str, str],
    create: str,
    write: str,
    caller: str = "",
    encryption: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Copies tables, or partitions of them, or what they were, into one.

    Raises:
        PermissionDenied: the caller may not see all rows.
    """
    with warehouse.transaction(job) as cursor:
        found = [decorators.source(warehouse, cursor, one, caller) for one in sources]
        for one in found:
            access.require_all(one.entry, caller, "a copy")
        target = decorators.entry_of(destination)
        first = found[0]
        # Rows stay in their partitions, unless one is named.
        keeps = not target.partition and all(storage.ingested_by(one.entry) for one in found)
        names = storage.names(first.fields) + (f", {storage.PARTITION}" if keeps else "")
        select = " UNION ALL ".join(f"SELECT {names} FROM ({one.select})" for one in found)
        settings = {key: first.entry.body[key] for key in TABLE_SETTINGS if key in first.entry.body}
        settings["destinationEncryptionConfiguration"] = encryption
        catalog.do(cursor, f"CREATE TEMP TABLE _copied AS {select}")
        rows = store(
            cursor, target, first.fields, "SELECT * FROM _copied", create, write, settings, partitioned=keeps
        )
        catalog.do(cursor, "DROP TABLE _copied")
    return {"rows": rows}


def clone(
    warehouse: Warehouse,
    job: str,
    source: dict[str, str],
    destination: dict[str, str],
    operation: str,
    write: str,
    expires: str = "",
    caller: str = "",
) -> dict[str, Any]:
    """A copy job of which `operation` is SNAPSHOT, CLONE or RESTORE: what the statements of these names do.

    Raises:
        InvalidArgument: the source is none of which that can be made.
    """
    table, mark, moment = source["table"].partition("@")
    target = decorators.entry_of(destination)
    if "$" in table or target.partition:
        raise InvalidArgument(f"{operation} is for whole tables, not for a partition", reason="invalid")
    with warehouse.reading() as cursor:
        found = catalog.find(cursor, source["project"], source["dataset"], table)
        at = (
            decorators.moment_of(cursor, Entry(source["project"], source["dataset"], table), moment)
            if mark
            else None
        )
    wanted = "SNAPSHOT" if operation == "RESTORE" else "TABLE"
    if found is not None and found.body.get("type", "TABLE") != wanted:
        raise InvalidArgument(
            f"{operation} needs a {wanted} to copy from; {found.shown} is a {found.body.get('type')}",
            reason="invalid",
        )
    replace = "OR REPLACE " if write.startswith("WRITE_TRUNCATE") else ""
    what, how = _CLONES[operation]
    base = Entry(source["project"], source["dataset"], table)
    text = f"CREATE {replace}{what} {_quoted(target)} {how} {_quoted(base)}"
    if at is not None:
        text += f" FOR SYSTEM_TIME AS OF TIMESTAMP_MICROS({at})"
    if expires:
        text += f" OPTIONS (expiration_timestamp = TIMESTAMP {exp.Literal.string(expires).sql('bigquery')})"
    warehouse.run(text, Asked(target.project, caller=caller), job)
    with warehouse.reading() as cursor:
        made = catalog.require(cursor, *catalog.key_of(target))
        [(rows,)] = catalog.do(cursor, f"SELECT count(*) FROM {made.place}")
    return {"rows": rows}


def _quoted(entry: Entry) -> str:
    return exp.table_(entry.table, entry.dataset, entry.project, quoted=True).sql("bigquery")
