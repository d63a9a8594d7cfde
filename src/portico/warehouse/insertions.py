"""Rows of JSON that are appended to tables; a row whose insertId came within the last minute is not taken again."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa

from portico.warehouse import catalog, decorators, loading, storage
from portico.warehouse.catalog import Cursor, Entry
from portico.warehouse.defaults import defaulted
from portico.warehouse.dispositions import into_partition
from portico.warehouse.engine import Warehouse
from portico.warehouse.refusals import refused
from portico.warehouse.typed_rows import is_typed
from portico.warehouse.types import Field, canonical, quoted


def insert_all(
    warehouse: Warehouse,
    project: str,
    dataset: str,
    table: str,
    rows: list[dict[str, Any]],
    ids: list[str],
    ignore: bool,
    skip: bool,
    caller: str = "",
) -> list[dict[str, Any]]:
    """Appends rows of JSON, each with its insertId or ""; returns what is wrong with which. Without `skip` one bad row
    keeps all out."""
    known, kept = warehouse.insert_ids, list[str]()
    with known.alone():
        with warehouse.transaction() as cursor:
            asked = decorators.entry_of({"project": project, "dataset": dataset, "table": table})
            found = catalog.require(cursor, project, dataset, asked.table)
            found.partition = asked.partition
            new = known.unseen(found.storage, ids)
            good, errors = _checked_all(warehouse, found, [rows[place] for place in new], ignore, caller)
            bad = {one["index"] for one in errors}
            if errors and not skip:
                errors += [
                    {
                        "index": place,
                        "errors": [{"reason": "stopped", "location": "", "debugInfo": "", "message": ""}],
                    }
                    for place in range(len(new))
                    if place not in bad
                ]
            elif good.num_rows:
                _append(cursor, found, good)
                kept = [ids[place] for number, place in enumerate(new) if number not in bad]
                known.write(cursor, found.storage, kept)
        known.written(found.storage, kept)
    shown = [{**one, "index": new[one["index"]]} for one in errors]
    return sorted(shown, key=lambda one: one["index"])


def _checked_all(
    warehouse: Warehouse, found: Entry, rows: list[dict[str, Any]], ignore: bool, caller: str
) -> tuple[pa.Table, list[dict[str, Any]]]:
    """The rows that the table can hold, in its types, and what is wrong with the others."""
    try:
        return _typed(warehouse, found, rows, ignore, caller), []
    except (ValueError, duckdb.Error):
        good, errors = _sorted(warehouse, found, rows, ignore, caller)
        return _typed(warehouse, found, good, ignore, caller), errors


def _sorted(
    warehouse: Warehouse, found: Entry, rows: list[dict[str, Any]], ignore: bool, caller: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    good, errors = [], []
    for place, row in enumerate(rows):
        try:
            _typed(warehouse, found, [row], ignore, caller)
            good.append(row)
        except (ValueError, duckdb.Error) as error:
            said = refused(error).message if isinstance(error, duckdb.Error) else str(error)
            location = said.removeprefix("no such field: ").rstrip(".") if said.startswith("no such") else ""
            one = {"reason": "invalid", "location": location, "debugInfo": "", "message": said}
            errors.append({"index": place, "errors": [one]})
    return good, errors


def _typed(
    warehouse: Warehouse, found: Entry, rows: list[dict[str, Any]], ignore: bool, caller: str
) -> pa.Table:
    """Rows of JSON in the types of the table's columns; not in a transaction, which a failure would end.

    Raises:
        ValueError, duckdb.Error: what keeps the table from holding them.
    """
    known, exact = loading.lowered_names(found.fields), {one["name"] for one in found.fields}
    absent = defaulted(found.fields)
    required = [
        one["name"]
        for one in found.fields
        if str(one.get("mode", "")).upper() == "REQUIRED" and one not in absent
    ]
    plain = all(canonical(one["type"]) != "RECORD" for one in found.fields)
    for row in rows:
        if not (plain and row.keys() <= exact):
            loading.check_names(row, known, found.fields, ignore=ignore)
        for name in required:
            if row.get(name) is None:
                raise ValueError(f"Missing required field: {name}.")
    table = loading.as_texts(rows, found.fields)
    given = [{name.lower() for name in row} for row in rows] if absent else []
    for one in absent:
        lacks = pa.array([one["name"].lower() not in names for names in given])
        table = table.append_column(_absent(one), lacks)
    if not absent and all(is_typed(one, table.schema.field(one["name"]).type) for one in found.fields):
        return table

    def cell(one: Field) -> str:
        made = loading.cast_sql(one, quoted(one["name"]), table.schema.field(one["name"]).type)
        if one in absent:
            made = f"CASE WHEN {quoted(_absent(one))} THEN {one['_default']} ELSE {made} END"
        return f"{made} AS {quoted(one['name'])}"

    cells = ", ".join(map(cell, found.fields))
    with warehouse.reading() as cursor:
        storage.written_by(cursor, caller)
        cursor.register("_rows", table)
        return cursor.sql(f"SELECT {cells} FROM _rows").to_arrow_table()


def _absent(field: Field) -> str:
    """The column that tells, beside rows of JSON, which lack a field that has a default."""
    return f"$absent {field['name']}"


def _append(cursor: Cursor, found: Entry, rows: pa.Table) -> None:
    cursor.register("_rows", rows)
    select = "SELECT * FROM _rows"
    if found.partition:
        into_partition(cursor, found, found.partition, found.fields, select)
    else:
        storage.insert(cursor, found, found.fields, select)
    catalog.write(cursor, found)
