"""Loads, extracts and copies of whole tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from portico.errors import InvalidArgument
from portico.warehouse import catalog, loading, storage
from portico.warehouse.catalog import Cursor, Entry
from portico.warehouse.dispositions import TABLE_SETTINGS, store
from portico.warehouse.engine import Warehouse
from portico.warehouse.statements import refused
from portico.warehouse.types import Field, quoted


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
        return _typed(cursor, table, fields, bad, limit)


def _typed(cursor: Cursor, table: pa.Table, fields: list[Field], bad: list[str], limit: int) -> pa.Table:
    by_name = {name.lower(): name for name in table.column_names}
    missing = [one["name"] for one in fields if one["name"].lower() not in by_name]
    for name in missing:
        table = table.append_column(name, pa.nulls(table.num_rows, pa.string()))
        by_name[name.lower()] = name
    cursor.register("_rows", table)

    def cells(wrap: Callable[[str], str]) -> str:
        shown = []
        for one in fields:
            name = by_name[one["name"].lower()]
            made = loading.cast_sql(one, quoted(name), table.schema.field(name).type)
            shown.append(f"{wrap(made)} AS {quoted(one['name'])}")
        return ", ".join(shown)

    try:
        return cursor.sql(f"SELECT {cells(lambda made: made)} FROM _rows").to_arrow_table()
    except duckdb.Error as error:
        said = refused(error).message
        if limit <= 0:
            bad.append(said)
            raise loading.Bad from None
    tried = cursor.sql(f"SELECT {cells(lambda made: f'TRY({made})')} FROM _rows").to_arrow_table()
    keep = []
    for place in range(table.num_rows):
        lost = [name for name in tried.column_names if _lost(tried, name, table, by_name, place)]
        if lost:
            bad.append(f"{lost[0]}: {table.column(by_name[lost[0].lower()])[place].as_py()!r} can't be read")
            if len(bad) > limit:
                raise loading.Bad
        else:
            keep.append(place)
    return tried.take(pa.array(keep, pa.int64()))


def extract(
    warehouse: Warehouse, source: dict[str, str], folder: str, form: str, options: dict[str, Any]
) -> dict[str, Any]:
    """Writes a table to a file in `folder`, and returns its name."""
    with warehouse.reading() as cursor:
        found = catalog.require(cursor, **source)
        table = cursor.sql(f"SELECT {storage.names(found.fields)} FROM {found.place}").to_arrow_table()
    data = loading.write_file(table, found.fields, form, options)
    path = Path(folder) / "extract"
    path.write_bytes(data)
    return {"path": str(path), "rows": table.num_rows}


def copy(
    warehouse: Warehouse,
    job: str,
    sources: list[dict[str, str]],
    destination: dict[str, str],
    create: str,
    write: str,
) -> dict[str, Any]:
    with warehouse.transaction(job) as cursor:
        found = [catalog.require(cursor, **one) for one in sources]
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


def _lost(tried: pa.Table, name: str, table: pa.Table, by_name: dict[str, str], place: int) -> bool:
    """Whether a cell that holds something could not be read."""
    given = table.column(by_name[name.lower()])[place].as_py()
    return given is not None and tried.column(name)[place].as_py() is None


def entry_of(named: dict[str, str]) -> Entry:
    return Entry(named["project"], named["dataset"], named["table"])
