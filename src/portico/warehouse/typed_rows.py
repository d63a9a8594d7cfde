"""Rows of files in the types of a table's columns."""

from __future__ import annotations

from collections.abc import Callable

import duckdb
import pyarrow as pa

from portico.warehouse import loading
from portico.warehouse.catalog import Cursor
from portico.warehouse.refusals import refused
from portico.warehouse.types import Field, canonical, quoted


def typed(cursor: Cursor, table: pa.Table, fields: list[Field], bad: list[str], limit: int) -> pa.Table:
    """A batch with its columns' own types; rows that hold something else are told in `bad`.

    Raises:
        Bad: they are more than `limit`.
    """
    by_name = {name.lower(): name for name in table.column_names}
    missing = [one["name"] for one in fields if one["name"].lower() not in by_name]
    for name in missing:
        table = table.append_column(name, pa.nulls(table.num_rows, pa.string()))
        by_name[name.lower()] = name
    if all(is_typed(one, table.schema.field(by_name[one["name"].lower()]).type) for one in fields):
        chosen = table.select([by_name[one["name"].lower()] for one in fields])
        return chosen.rename_columns([one["name"] for one in fields])
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


_AS_THEY_ARE = {
    "INTEGER": pa.int64(), "FLOAT": pa.float64(), "STRING": pa.string(), "BOOLEAN": pa.bool_(), "DATE": pa.date32(),
    "DATETIME": pa.timestamp("us"), "TIMESTAMP": pa.timestamp("us", "UTC"),
}  # fmt: skip


def is_typed(one: Field, kind: pa.DataType) -> bool:
    """Whether a column's cells are read in the type that they have to have, so that none needs a look."""
    is_plain = str(one.get("mode", "")).upper() != "REPEATED" and not one.get("maxLength")
    return is_plain and _AS_THEY_ARE.get(canonical(one["type"])) == kind


def _lost(tried: pa.Table, name: str, table: pa.Table, by_name: dict[str, str], place: int) -> bool:
    """Whether a cell that holds something could not be read."""
    given = table.column(by_name[name.lower()])[place].as_py()
    return given is not None and tried.column(name)[place].as_py() is None
