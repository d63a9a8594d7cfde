"""Rows of tables and results in JSON, page by page."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from portico.errors import InvalidArgument
from portico.warehouse import catalog, decorators, intervals, json_rows
from portico.warehouse.engine import Warehouse
from portico.warehouse.types import Field, quoted

_PAGE_BYTES = 10_000_000


def page(table: pa.Table, fields: list[Field], start: int, most: int, times: str) -> dict[str, Any]:
    chosen = table.slice(start, most)
    wide = chosen.nbytes / max(1, chosen.num_rows) * 4 + 1
    chosen = chosen.slice(0, max(1, int(_PAGE_BYTES / wide)))
    return {
        "rows": json_rows.encoded(chosen, fields, times=times),
        "total": table.num_rows,
        "taken": chosen.num_rows,
    }


def rows(
    warehouse: Warehouse,
    project: str,
    dataset: str,
    table: str,
    start: int,
    most: int,
    times: str,
    columns: list[str] | None = None,
    caller: str = "",
) -> dict[str, Any]:
    """A page of the rows that the caller may see of a table, or of what its name says of it."""
    with warehouse.reading() as cursor:
        named = {"project": project, "dataset": dataset, "table": table}
        found = decorators.source(warehouse, cursor, named, caller)
        wanted = {name.lower() for name in columns or ()}
        if unknown := sorted(wanted - {one["name"].lower() for one in found.fields}):
            raise InvalidArgument(
                f"selectedFields names what is no column of the table: {', '.join(unknown)}",
                reason="invalid",
                field="selectedFields",
            )
        fields = [one for one in found.fields if not wanted or one["name"].lower() in wanted]
        names = ", ".join(quoted(one["name"]) for one in fields) or "1"
        total = catalog.first(cursor, f"SELECT count(*) FROM ({found.select})")
        wished = f"SELECT {names} FROM ({found.select}) LIMIT {int(most)} OFFSET {int(start)}"
        chosen = cursor.sql(intervals.told(wished, fields)).to_arrow_table()
        if not fields:
            return {"rows": [], "total": 0, "taken": 0}
        shown = page(chosen, fields, 0, most, times)
        return {**shown, "total": total[0] if total else 0}
