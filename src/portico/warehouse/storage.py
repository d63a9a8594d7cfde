"""Where a table's rows lie, and what they were before.

A table's rows are in a DuckDB table under a name of its own. Beside the schema's columns that has `$at`, the
microsecond in which a row was written, `$was`, the place of the row that an UPDATE made it of, and, of a table
partitioned by ingestion time, `$partition`. What changes or removes rows copies them to the table's past first, with
`$until` and `$deleted`, FALSE where an UPDATE put another in its place: so at a time t the table held its rows with
$at <= t and its past's with $at <= t < $until. Tables that are dropped or replaced are kept as they are in
`portico.versions`. Both are swept once they are older than their dataset's maxTimeTravelHours.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import duckdb

from portico.warehouse.types import Field, duckdb_type, quoted

if TYPE_CHECKING:
    from portico.warehouse.catalog import Entry

FILE = "w"  # as which the warehouse's file is attached
KEPT = f"{FILE}.portico"
AT, UNTIL, PARTITION, ROW = '"$at"', '"$until"', '"$partition"', '"$row"'
WAS, DELETED = '"$was"', '"$deleted"'
NOW = "epoch_us(now())"  # of the transaction
COLLATIONS = {"und:ci": " COLLATE NOCASE"}
"""By Google's names, how DuckDB declares a column that compares so."""
USER = "portico_user"
"""The variable of a cursor that says who writes, for the columns whose default is SESSION_USER()."""
_DATA = f"{FILE}.data"
_HOURS = 168  # of time travel, where a dataset says none
_MICROS = 3_600_000_000  # of an hour

Cursor = duckdb.DuckDBPyConnection


def prepare(cursor: Cursor) -> None:
    cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {_DATA}")
    _whole_bignumerics(cursor)
    _told_changes(cursor)
    cursor.execute(
        f"CREATE TABLE IF NOT EXISTS {KEPT}.versions (project VARCHAR, dataset VARCHAR, name VARCHAR, body VARCHAR, "
        "began BIGINT, ended BIGINT)"
    )


def _whole_bignumerics(cursor: Cursor) -> None:
    """BIGNUMERIC of a file that an older version wrote had 18 places."""
    for table, name in cursor.execute(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE database_name = ? AND schema_name = 'data' AND "
        "data_type = 'DECIMAL(38,18)'",
        [FILE],
    ).fetchall():
        kind, value = (
            duckdb_type({"type": "BIGNUMERIC"}),
            f"gs_py_big_read(CAST({quoted(name)} AS VARCHAR))",
        )
        cursor.execute(f"ALTER TABLE {place(table)} ALTER {quoted(name)} SET DATA TYPE {kind} USING {value}")


def _told_changes(cursor: Cursor) -> None:
    """A file that an older version wrote does not say which rows were updated and which deleted; the places of the rows
    do."""
    told = "SELECT table_name FROM duckdb_columns() WHERE database_name = ? AND schema_name = 'data'"
    without = f"{told} GROUP BY 1 HAVING NOT bool_or(column_name = '$was') ORDER BY 1"
    older = [name for (name,) in cursor.execute(without, [FILE]).fetchall()]
    for name in older:
        cursor.execute(f"ALTER TABLE {place(name)} ADD COLUMN {WAS} BIGINT")
    for name in [one for one in older if one.endswith("~past")]:
        cursor.execute(f"ALTER TABLE {place(name)} ADD COLUMN {DELETED} BOOLEAN")
        now_in = place(name.removesuffix("~past"))
        for table, row in ((now_in, "rowid"), (place(name), ROW)):
            cursor.execute(
                f"UPDATE {table} AS t SET {WAS} = p.{ROW} FROM {place(name)} AS p WHERE p.{ROW} = t.{row} AND "
                f"p.{UNTIL} = t.{AT}"
            )
        followed = (
            f"SELECT rowid AS r, {AT} AS a FROM {now_in} UNION ALL SELECT {ROW}, {AT} FROM {place(name)}"
        )
        cursor.execute(
            f"UPDATE {place(name)} SET {DELETED} = ({ROW}, {UNTIL}) NOT IN (SELECT (r, a) FROM ({followed}))"
        )


def place(storage: str) -> str:
    """A stored table, as DuckDB's SQL names it."""
    return f"{_DATA}.{quoted(storage)}"


def past(storage: str) -> str:
    return f"{_DATA}.{quoted(storage + '~past')}"


def now(cursor: Cursor) -> int:
    """Microseconds since the epoch at which the transaction began."""
    [(found,)] = cursor.execute(f"SELECT {NOW}").fetchall()
    return int(found)


def written_by(cursor: Cursor, caller: str) -> None:
    """Says who writes rows through the cursor."""
    cursor.execute(f"SET VARIABLE {USER} = '{caller.replace(chr(39), chr(39) * 2)}'")


def has_past(entry: Entry) -> bool:
    return bool(entry.body.get("_past"))


# --- tables ---


def create(cursor: Cursor, entry: Entry) -> None:
    """An empty table of the entry's schema, under a new name."""
    entry.body["_storage"] = uuid.uuid4().hex
    entry.body["_began"] = now(cursor)
    entry.body.pop("_past", None)
    entry.body.pop("_gone", None)
    columns = [column(one) for one in entry.fields]
    if unit := ingested_by(entry):
        columns.append(f"{PARTITION} TIMESTAMPTZ DEFAULT date_trunc('{unit}', now())")
    columns += [f"{AT} BIGINT DEFAULT {NOW}", f"{WAS} BIGINT"]
    cursor.execute(f"CREATE TABLE {entry.place} ({', '.join(columns)})")


def column(one: Field) -> str:
    required = " NOT NULL" if str(one.get("mode", "")).upper() == "REQUIRED" else ""
    default = f" DEFAULT {one['_default']}" if one.get("_default") else ""
    collation = COLLATIONS.get(str(one.get("collation") or ""), "")
    return f"{quoted(one['name'])} {duckdb_type(one)}{collation}{default}{required}"


def ingested_by(entry: Entry) -> str:
    """HOUR, DAY, MONTH or YEAR, of a table that is partitioned by ingestion time; else ""."""
    told = entry.body.get("timePartitioning")
    return str(told.get("type") or "DAY").upper() if told and not told.get("field") else ""


def names(fields: list[Field]) -> str:
    return ", ".join(quoted(one["name"]) for one in fields)


def add_column(cursor: Cursor, entry: Entry, one: Field) -> None:
    one["_added"] = now(cursor)
    _each(cursor, entry, f"ADD COLUMN {column(one)}", f"ADD COLUMN {quoted(one['name'])} {duckdb_type(one)}")


def drop_column(cursor: Cursor, entry: Entry, one: Field) -> None:
    """Hides a column; it is really gone once no time can be asked for that has it."""
    gone = entry.body.setdefault("_gone", [])
    kept = f"$gone{len(gone)}"
    gone.append({"field": one, "column": kept, "until": now(cursor)})
    if str(one.get("mode", "")).upper() == "REQUIRED":
        alter(cursor, entry, f"ALTER COLUMN {quoted(one['name'])} DROP NOT NULL")
    _each(cursor, entry, f"RENAME COLUMN {quoted(one['name'])} TO {quoted(kept)}")


def rename_column(cursor: Cursor, entry: Entry, old: str, new: str) -> None:
    _each(cursor, entry, f"RENAME COLUMN {quoted(old)} TO {quoted(new)}")


def retype_column(cursor: Cursor, entry: Entry, one: Field, value: str = "") -> None:
    """`value` is what a cell becomes, in DuckDB's SQL, where a cast is not enough."""
    using = f" USING {value}" if value else ""
    _each(cursor, entry, f"ALTER COLUMN {quoted(one['name'])} SET DATA TYPE {duckdb_type(one)}{using}")


def set_default(cursor: Cursor, entry: Entry, one: Field) -> None:
    """Makes the default that the field has the stored column's, or takes that away."""
    default = f"SET DEFAULT {one['_default']}" if one.get("_default") else "DROP DEFAULT"
    alter(cursor, entry, f"ALTER COLUMN {quoted(one['name'])} {default}")


def alter(cursor: Cursor, entry: Entry, action: str) -> None:
    cursor.execute(f"ALTER TABLE {entry.place} {action}")


def _each(cursor: Cursor, entry: Entry, action: str, of_past: str = "") -> None:
    alter(cursor, entry, action)
    if has_past(entry):
        cursor.execute(f"ALTER TABLE {past(entry.storage)} {of_past or action}")


# --- rows ---


def insert(
    cursor: Cursor,
    entry: Entry,
    fields: list[Field],
    select: str,
    *,
    partition: str = "",
    partitioned: bool = False,
) -> int:
    """Appends what `select` (DuckDB's SQL) yields in the order of `fields`: into one `partition` (a time, in SQL),
    or where `partitioned` into those that the last column says."""
    columns = names(fields)
    if partition:
        select = f"SELECT *, {partition} FROM ({select})"
    if partition or partitioned:
        columns = f"{columns}, {PARTITION}"
    row = cursor.execute(f"INSERT INTO {entry.place} ({columns}) {select}").fetchall()
    return int(row[0][0]) if row else 0


def keep(cursor: Cursor, entry: Entry, chosen: str, deleted: bool | None) -> None:
    """Copies the rows for which `chosen` holds (DuckDB's SQL, which may name `rowid`) to the table's past. `deleted`:
    whether none comes in their place; None where `settle` is to find that out."""
    told = "NULL" if deleted is None else str(deleted).upper()
    copied = (
        f"SELECT *, rowid AS {ROW}, {NOW} AS {UNTIL}, CAST({told} AS BOOLEAN) AS {DELETED} FROM {entry.place}"
    )
    if not has_past(entry):
        entry.body["_past"] = True
        cursor.execute(f"CREATE TABLE {past(entry.storage)} AS {copied} LIMIT 0")
    cursor.execute(f"INSERT INTO {past(entry.storage)} BY NAME {copied} WHERE {chosen}")


def settle(cursor: Cursor, entry: Entry) -> None:
    """Of what `keep` copied in this transaction without knowing: takes rows that were not changed after all out of the
    past, and tells the deleted ones from those that have another in their place."""
    mine = f"{UNTIL} = {NOW} AND {DELETED} IS NULL"
    cursor.execute(
        f"DELETE FROM {past(entry.storage)} AS p WHERE {mine} AND EXISTS (SELECT 1 FROM {entry.place} AS t "
        f"WHERE t.rowid = p.{ROW} AND t.{AT} = p.{AT} AND t.{AT} < {NOW})"
    )
    cursor.execute(
        f"UPDATE {past(entry.storage)} SET {DELETED} = {ROW} NOT IN (SELECT {WAS} FROM {entry.place} WHERE {WAS} "
        f"IS NOT NULL AND {AT} = {NOW}) WHERE {mine}"
    )


def delete(cursor: Cursor, entry: Entry, chosen: str) -> int:
    """Removes the rows for which `chosen` holds; how many."""
    keep(cursor, entry, chosen, True)
    row = cursor.execute(f"DELETE FROM {entry.place} WHERE {chosen}").fetchall()
    return int(row[0][0]) if row else 0


def at(entry: Entry, moment: int, extra: str = "") -> tuple[list[Field], str]:
    """The schema and a query of what the table held at `moment`; `extra` are more columns."""
    gone = [one for one in entry.body.get("_gone") or () if _lived(one["field"], moment, one["until"])]
    fields = [one for one in entry.fields if _lived(one, moment)]
    shown = names(fields)
    for one in gone:
        shown += f", {quoted(one['column'])} AS {quoted(one['field']['name'])}"
    found = f"SELECT {shown}{extra} FROM {entry.place} WHERE {AT} <= {moment}"
    if has_past(entry):
        found += f" UNION ALL SELECT {shown}{extra} FROM {past(entry.storage)} "
        found += f"WHERE {AT} <= {moment} AND {UNTIL} > {moment}"
    return [*fields, *(one["field"] for one in gone)], found


def _lived(one: Field, moment: int, until: int | None = None) -> bool:
    return int(one.get("_added") or 0) <= moment and (until is None or moment < until)


# --- versions ---


def retire(cursor: Cursor, entry: Entry) -> None:
    """Keeps a table that is dropped or replaced for as long as it may be asked for."""
    ended = now(cursor)
    began = int(entry.body.get("_began") or 0)
    if began == ended:
        destroy(cursor, entry)
        return
    cursor.execute(
        f"INSERT INTO {KEPT}.versions VALUES (?, ?, ?, ?, ?, ?)",
        [entry.project, entry.dataset, entry.table, json.dumps(entry.body), began, ended],
    )


def destroy(cursor: Cursor, entry: Entry) -> None:
    if entry.storage:
        cursor.execute(f"DROP TABLE IF EXISTS {past(entry.storage)}")
        cursor.execute(f"DROP TABLE {entry.place}")


def versions(cursor: Cursor, project: str, dataset: str, name: str) -> list[tuple[dict[str, Any], int, int]]:
    """What was named so before: the resource and when it began and ended, the latest first."""
    found = cursor.execute(
        f"SELECT body, began, ended FROM {KEPT}.versions WHERE project = ? AND dataset = ? AND name = ? "
        "ORDER BY ended DESC",
        [project, dataset, name],
    ).fetchall()
    return [(json.loads(body), int(began), int(ended)) for body, began, ended in found]


def revive(cursor: Cursor, project: str, dataset: str, name: str, ended: int) -> None:
    """A version is no version any more: it is back in the catalog."""
    cursor.execute(
        f"DELETE FROM {KEPT}.versions WHERE project = ? AND dataset = ? AND name = ? AND ended = ?",
        [project, dataset, name, ended],
    )


def window(dataset: dict[str, Any]) -> int:
    """Microseconds for which a dataset's rows can be asked for."""
    return int(dataset.get("maxTimeTravelHours") or _HOURS) * _MICROS


def dropped_at(cursor: Cursor, project: str, dataset: str, ended: int) -> list[tuple[str, dict[str, Any]]]:
    """What was dropped with a dataset: its own resource is named ""."""
    found = cursor.execute(
        f"SELECT name, body FROM {KEPT}.versions WHERE project = ? AND dataset = ? AND ended = ?",
        [project, dataset, ended],
    ).fetchall()
    return [(str(name), json.loads(body)) for name, body in found]


# --- the sweep ---


def sweep(cursor: Cursor) -> None:
    """Forgets what can't be asked for any more, and tables that nothing names."""
    windows = {
        (project, dataset): window(json.loads(body))
        for project, dataset, body in cursor.execute(
            f"SELECT project, dataset, body FROM {KEPT}.entries WHERE name = ''"
        ).fetchall()
    }
    present = now(cursor)
    for project, dataset, name, ended in cursor.execute(
        f"SELECT project, dataset, name, ended FROM {KEPT}.versions"
    ).fetchall():
        if ended < present - windows.get((project, dataset), window({})):
            revive(cursor, project, dataset, name, ended)
    named = set()
    for project, dataset, body in cursor.execute(
        f"SELECT project, dataset, body FROM {KEPT}.entries WHERE name <> '' UNION ALL "
        f"SELECT project, dataset, body FROM {KEPT}.versions"
    ).fetchall():
        told = json.loads(body)
        if storage := told.get("_storage"):
            named |= {storage, f"{storage}~past"}
            if told.get("_past"):
                oldest = present - windows.get((project, dataset), window({}))
                cursor.execute(f"DELETE FROM {past(storage)} WHERE {UNTIL} < {oldest}")
    for (table,) in cursor.execute(
        f"SELECT table_name FROM duckdb_tables() WHERE database_name = '{FILE}' AND schema_name = 'data'"
    ).fetchall():
        if table not in named:
            cursor.execute(f"DROP TABLE {place(table)}")
