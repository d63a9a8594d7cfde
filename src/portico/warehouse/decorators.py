"""What a table's name may say beside its name: a partition (`t$20240101`), or a moment (`t@1700000000000`).

https://cloud.google.com/bigquery/docs/managing-partitioned-tables, …/docs/access-historical-data: a moment is
milliseconds since the epoch, or, where it is negative, before now; 0 is as long ago as can be asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse import catalog, partition_summary, partitions, prediction_logs, storage, timetravel
from portico.warehouse.asked import Asked
from portico.warehouse.catalog import Cursor, Entry
from portico.warehouse.engine import Warehouse
from portico.warehouse.queries import Query
from portico.warehouse.types import Field

_PARTITION = re.compile(r"-?\d{1,20}|__NULL__|__UNPARTITIONED__")
_MOMENT = re.compile(r"-?\d{1,15}")


@dataclass(slots=True)
class Source:
    """A table, or a part of it, that is read: a query of its `fields`, and last of `$partition` where it has that."""

    entry: Entry
    fields: list[Field]
    select: str


def entry_of(named: dict[str, str]) -> Entry:
    """A table that is written to, whether or not there is one.

    Raises:
        InvalidArgument: its name says a moment, or no partition after `$`.
    """
    table, moment = _split(named["table"], "@")
    if moment is not None:
        raise InvalidArgument(f"A table as it was can't be written to: {named['table']}", reason="invalid")
    table, partition = _split(table, "$")
    if partition is not None and not _PARTITION.fullmatch(partition):
        raise InvalidArgument(f"Invalid partition ${partition} of {table}", reason="invalid")
    return Entry(named["project"], named["dataset"], table, partition=partition or "")


def source(warehouse: Warehouse, cursor: Cursor, named: dict[str, str], caller: str) -> Source:
    """The rows of a table that a caller may see, of one partition or as of a moment where its name says so.

    Raises:
        InvalidArgument: it is a view, or its name says what can't be. NotFound: there is no such table.
    """
    table, moment = _split(named["table"], "@")
    if moment is not None:
        return _as_of(warehouse, cursor, {**named, "table": table}, moment, caller)
    if table.endswith(partition_summary.MARK):
        of = table.removesuffix(partition_summary.MARK)
        found = catalog.require(cursor, named["project"], named["dataset"], of)
        select = partition_summary.select(found, visible(warehouse, cursor, found, caller))
        return Source(found, partition_summary.FIELDS, select)
    asked = entry_of(named)
    found = catalog.require(cursor, asked.project, asked.dataset, asked.table)
    if prediction_logs.STREAMS in found.body:
        home = warehouse.folder.parent
        return Source(found, found.fields, prediction_logs.select(cursor, found, home))
    if not found.storage:
        raise InvalidArgument(
            f"Cannot read {found.shown} here: it is of type {found.body.get('type')}; query it instead",
            reason="invalid",
        )
    condition = visible(warehouse, cursor, found, caller)
    if asked.partition:
        condition += f" AND {partitions.chosen(found, asked.partition)}"
        found.partition = asked.partition
    names = storage.names(found.fields) or "NULL AS _none"
    extra = f", {storage.PARTITION}" if storage.ingested_by(found) else ""
    return Source(found, found.fields, f"SELECT {names}{extra} FROM {found.place} WHERE {condition}")


def _as_of(warehouse: Warehouse, cursor: Cursor, named: dict[str, str], moment: str, caller: str) -> Source:
    asked = entry_of(named)
    if asked.partition:
        raise InvalidArgument(
            "A partition as of a moment is not built in Portico: query it instead", reason="invalid"
        )
    entry, at = timetravel.find(cursor, asked, moment_of(cursor, asked, moment))
    extra = f", {storage.PARTITION}" if storage.ingested_by(entry) else ""
    fields, select = storage.at(entry, at, extra)
    return Source(
        entry, fields, f"SELECT * FROM ({select}) WHERE {visible(warehouse, cursor, entry, caller)}"
    )


def moment_of(cursor: Cursor, entry: Entry, said: str) -> int:
    """What stands after @, in microseconds since the epoch.

    Raises:
        InvalidArgument: it is no moment. NotFound: there is no such dataset.
    """
    if not _MOMENT.fullmatch(said):
        raise InvalidArgument(
            f"Invalid snapshot decorator @{said}: it is milliseconds since the epoch, or negative ones before now",
            reason="invalid",
        )
    present, when = storage.now(cursor), int(said)
    if when > 0:  # the whole millisecond belongs to it
        return min(when * 1000 + 999, max(present, when * 1000))
    holder = catalog.require(cursor, entry.project, entry.dataset)
    return present + when * 1000 if when else present - storage.window(holder.body)


def visible(warehouse: Warehouse, cursor: Cursor, entry: Entry, caller: str) -> str:
    """DuckDB's condition for the rows of a table that a caller may see."""
    asked = Asked(entry.project, caller=caller, warehouse=warehouse)
    return Query(cursor, asked, exp.Null()).visible(entry)


def _split(table: str, mark: str) -> tuple[str, str | None]:
    name, found, said = table.partition(mark)
    return name, said if found else None


def newest(cursor: Cursor, asked: Entry) -> Entry | None:
    """Of the tables that a name with a wildcard means the one made last, whose columns the wildcard's are."""
    if not asked.table.endswith("*"):
        return None
    meant = [
        one
        for one in catalog.listed(cursor, asked.project, asked.dataset)
        if one.table.startswith(asked.table[:-1])
    ]
    return max(meant, key=lambda one: (int(one.body.get("creationTime") or 0), one.table), default=None)
