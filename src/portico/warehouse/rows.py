"""Rows of tables in JSON: listed, and appended."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa
from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse import catalog, json_rows, loading, storage
from portico.warehouse.catalog import Cursor, Entry
from portico.warehouse.engine import Warehouse
from portico.warehouse.queries import Asked, Query
from portico.warehouse.refusals import refused
from portico.warehouse.types import Field, quoted

_PAGE_BYTES = 10_000_000


def page(table: pa.Table, fields: list[Field], start: int, most: int, micros: bool) -> dict[str, Any]:
    chosen = table.slice(start, most)
    wide = chosen.nbytes / max(1, chosen.num_rows) * 4 + 1
    chosen = chosen.slice(0, max(1, int(_PAGE_BYTES / wide)))
    return {
        "rows": json_rows.encoded(chosen, fields, micros=micros),
        "total": table.num_rows,
        "taken": chosen.num_rows,
    }


def visible(warehouse: Warehouse, cursor: Cursor, entry: Entry, caller: str) -> str:
    """DuckDB's condition for the rows of a table that a caller may see."""
    asked = Asked(entry.project, caller=caller, warehouse=warehouse)
    return Query(cursor, asked, exp.Null()).visible(entry)


def rows(
    warehouse: Warehouse,
    project: str,
    dataset: str,
    table: str,
    start: int,
    most: int,
    micros: bool,
    columns: list[str] | None = None,
    caller: str = "",
) -> dict[str, Any]:
    """A page of a table's rows that the caller may see."""
    with warehouse.reading() as cursor:
        found = catalog.require(cursor, project, dataset, table)
        if found.is_view:
            raise InvalidArgument(f"Cannot list a table of type VIEW: {found.shown}", reason="invalid")
        wanted = {name.lower() for name in columns or ()}
        fields = [one for one in found.fields if not wanted or one["name"].lower() in wanted]
        names = ", ".join(quoted(one["name"]) for one in fields) or "1"
        source = f"{found.place} WHERE {visible(warehouse, cursor, found, caller)}"
        total = catalog.first(cursor, f"SELECT count(*) FROM {source}")
        chosen = cursor.sql(
            f"SELECT {names} FROM {source} LIMIT {int(most)} OFFSET {int(start)}"
        ).to_arrow_table()
        shown = page(chosen, fields, 0, most, micros)
        return {**shown, "total": total[0] if total else 0}


def insert_all(
    warehouse: Warehouse,
    project: str,
    dataset: str,
    table: str,
    rows: list[dict[str, Any]],
    ignore: bool,
    skip: bool,
) -> list[dict[str, Any]]:
    """Appends rows of JSON; returns what is wrong with which. Without `skip` one bad row keeps all out."""
    errors: list[dict[str, Any]] = []
    with warehouse.transaction() as cursor:
        found = catalog.require(cursor, project, dataset, table)
        good = rows
        try:
            for row in rows:
                _checked(found, row, ignore)
            _read_rows(warehouse, found, rows)
        except (ValueError, duckdb.Error):
            good, errors = _sorted(warehouse, found, rows, ignore)
        if errors and not skip:
            bad = {one["index"] for one in errors}
            errors += [
                {"index": place, "errors": [{"reason": "stopped", "location": "", "debugInfo": "", "message": ""}]}
                for place in range(len(rows)) if place not in bad
            ]  # fmt: skip
            return sorted(errors, key=lambda one: one["index"])
        if good:
            _append(cursor, found, good)
    return errors


def _sorted(
    warehouse: Warehouse, found: Entry, rows: list[dict[str, Any]], ignore: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows that the table can hold, and what is wrong with the others."""
    good, errors = [], []
    for place, row in enumerate(rows):
        try:
            _checked(found, row, ignore)
            _read_rows(warehouse, found, [row])
            good.append(row)
        except (ValueError, duckdb.Error) as error:
            said = refused(error).message if isinstance(error, duckdb.Error) else str(error)
            location = said.removeprefix("no such field: ").rstrip(".") if said.startswith("no such") else ""
            one = {"reason": "invalid", "location": location, "debugInfo": "", "message": said}
            errors.append({"index": place, "errors": [one]})
    return good, errors


def _checked(found: Entry, row: dict[str, Any], ignore: bool) -> None:
    loading.check_names(row, found.fields, ignore=ignore)
    for one in found.fields:
        if str(one.get("mode", "")).upper() == "REQUIRED" and row.get(one["name"]) is None:
            raise ValueError(f"Missing required field: {one['name']}.")


def _read_rows(warehouse: Warehouse, found: Entry, rows: list[dict[str, Any]]) -> None:
    """Raises what keeps the table from holding these rows; not in a transaction, which that would end."""
    with warehouse.reading() as cursor:
        _select(cursor, found.fields, loading.as_texts(rows, found.fields))


def _append(cursor: Cursor, found: Entry, rows: list[dict[str, Any]]) -> None:
    table = loading.as_texts(rows, found.fields)
    cursor.register("_rows", table)
    cells = ", ".join(loading.cast_sql(one, quoted(one["name"]), pa.string()) for one in found.fields)
    storage.insert(cursor, found, found.fields, f"SELECT {cells} FROM _rows")
    catalog.write(cursor, found)


def _select(cursor: Cursor, fields: list[Field], table: pa.Table) -> None:
    cursor.register("_rows", table)
    cells = ", ".join(
        loading.cast_sql(one, quoted(one["name"]), table.schema.field(one["name"]).type) for one in fields
    )
    catalog.do(cursor, f"SELECT {cells} FROM _rows")
