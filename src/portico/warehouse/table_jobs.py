"""Loads, extracts and copies of whole tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from portico.errors import InvalidArgument
from portico.warehouse import access, catalog, loading, storage
from portico.warehouse.catalog import Entry
from portico.warehouse.dispositions import TABLE_SETTINGS, store
from portico.warehouse.engine import Warehouse
from portico.warehouse.queries import Asked
from portico.warehouse.rows import visible
from portico.warehouse.typed_rows import typed
from portico.warehouse.types import Field

_ROW_GROUP = 65_536


def load(
    warehouse: Warehouse, job: str, destination: dict[str, str], files: list[dict[str, str]], form: str,
    options: dict[str, Any], schema: list[Field] | None, create: str, write: str,
) -> dict[str, Any]:  # fmt: skip
    """Loads files (`path`, `uri`) into a table, all or nothing; tells the rows and what could not be read."""
    entry = entry_of(destination)
    limit = int(options.get("maxBadRecords") or 0)
    bad: list[str] = []
    written, begun = 0, False
    with warehouse.transaction(job) as cursor:
        found = catalog.find(cursor, entry.project, entry.dataset, entry.table)
        truncates = write.startswith("WRITE_TRUNCATE")
        if (
            schema is None
            and found is not None
            and not truncates
            and form in ("CSV", "NEWLINE_DELIMITED_JSON")
        ):
            schema = found.fields
        if schema is None and form in ("CSV", "NEWLINE_DELIMITED_JSON") and not options.get("autodetect"):
            raise InvalidArgument("No schema specified on job or table.", reason="invalid")
        fields = schema or loading.table_fields(Path(files[0]["path"]), form, options)

        def put(select: str) -> int:
            disposition = "WRITE_APPEND" if begun else write
            return store(cursor, entry_of(destination), fields, select, create, disposition, options)

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
    caller: str = "",
) -> dict[str, Any]:
    """Writes the rows of a table that the caller may see to a file in `folder`, and returns its name."""
    with warehouse.reading() as cursor:
        found = catalog.require(cursor, **source)
        seen = f"{found.place} WHERE {visible(warehouse, cursor, found, caller)}"
        table = cursor.sql(f"SELECT {storage.names(found.fields)} FROM {seen}").to_arrow_table()
    data = loading.write_file(table, found.fields, form, options)
    path = Path(folder) / "extract"
    path.write_bytes(data)
    return {"path": str(path), "rows": table.num_rows}


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
) -> dict[str, Any]:
    with warehouse.transaction(job) as cursor:
        found = [catalog.require(cursor, **one) for one in sources]
        for one in found:
            access.require_all(one, caller, "a copy")
        select = " UNION ALL ".join(f"SELECT {storage.names(one.fields)} FROM {one.place}" for one in found)
        settings = {key: found[0].body[key] for key in TABLE_SETTINGS if key in found[0].body}
        catalog.do(cursor, f"CREATE TEMP TABLE _copied AS {select}")
        rows = store(
            cursor,
            entry_of(destination),
            found[0].fields,
            "SELECT * FROM _copied",
            create,
            write,
            settings,
        )
        catalog.do(cursor, "DROP TABLE _copied")
    return {"rows": rows}


def entry_of(named: dict[str, str]) -> Entry:
    return Entry(named["project"], named["dataset"], named["table"])
