"""Partitions of a table: in which a row lies, which are over, and which a name such as `table$20240101` means.

Ids are BigQuery's: 2024, 202401, 20240131, 2024013123, the start of a range, __NULL__, __UNPARTITIONED__.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from portico.errors import InvalidArgument
from portico.warehouse.catalog import Entry
from portico.warehouse.storage import PARTITION, ingested_by
from portico.warehouse.types import canonical, quoted

NULL, REST = "__NULL__", "__UNPARTITIONED__"
_FORMATS = {"HOUR": "%Y%m%d%H", "DAY": "%Y%m%d", "MONTH": "%Y%m", "YEAR": "%Y"}
_LENGTHS = {4: "YEAR", 6: "MONTH", 8: "DAY", 10: "HOUR"}  # of ids
_CLUSTERED = 4  # columns
_PSEUDO = ("_PARTITIONTIME", "_PARTITIONDATE", "_PARTITION_LOAD_TIME")


def unit(entry: Entry) -> str:
    """HOUR, DAY, MONTH or YEAR; "" of a table that time does not partition."""
    told = entry.body.get("timePartitioning")
    return str(told.get("type") or "DAY").upper() if told else ""


def is_partitioned(entry: Entry) -> bool:
    return bool(unit(entry) or entry.body.get("rangePartitioning"))


def _column(entry: Entry) -> str:
    told = entry.body.get("timePartitioning") or entry.body.get("rangePartitioning") or {}
    return quoted(str(told["field"])) if told.get("field") else PARTITION


def id_sql(entry: Entry) -> str:
    """DuckDB's SQL for the id of the partition in which a row lies."""
    column = _column(entry)
    if time := unit(entry):
        found = f"strftime(CAST({column} AS TIMESTAMP), '{_FORMATS[time]}')"
    else:
        start, end, width = _range(entry)
        bucket = f"{start} + ({column} - {start}) // {width} * {width}"
        found = f"CASE WHEN {column} >= {start} AND {column} < {end} THEN CAST({bucket} AS VARCHAR) ELSE '{REST}' END"
    return f"CASE WHEN {column} IS NULL THEN '{NULL}' ELSE {found} END"


def _range(entry: Entry) -> tuple[int, int, int]:
    told = entry.body["rangePartitioning"]["range"]
    return int(told["start"]), int(told["end"]), int(told["interval"])


def chosen(entry: Entry, partition: str) -> str:
    """DuckDB's condition for the rows of one partition.

    Raises:
        InvalidArgument: the table has no such partitions.
    """
    if not is_partitioned(entry):
        raise InvalidArgument(
            f"Cannot address the partition ${partition} of {entry.shown}: the table is not partitioned",
            reason="invalid",
        )
    if partition not in (NULL, REST):
        moment(entry, partition)
    return f"{id_sql(entry)} = '{partition}'"


def of_id(partition: str) -> dict[str, str]:
    """How a table is partitioned that is made by a load into the partition of this id."""
    return {"type": _LENGTHS.get(len(partition), "DAY")}


def moment(entry: Entry, partition: str) -> str:
    """The start of a partition in DuckDB's SQL, of a table that ingestion time partitions; else "".

    Raises:
        InvalidArgument: the id is none of this table's.
    """
    time = unit(entry)
    if not time:
        if not re.fullmatch(r"-?\d{1,18}", partition):
            raise _refused(entry, partition)
        return ""
    try:
        start = dt.datetime.strptime(partition, _FORMATS[time]).replace(tzinfo=dt.UTC)
    except ValueError:
        raise _refused(entry, partition) from None
    if start.strftime(_FORMATS[time]) != partition:
        raise _refused(entry, partition)
    return f"TIMESTAMPTZ '{start.isoformat(sep=' ')}'" if ingested_by(entry) else ""


def _refused(entry: Entry, partition: str) -> InvalidArgument:
    wanted = _FORMATS.get(unit(entry), "the start of its range")
    return InvalidArgument(
        f"Invalid partition ${partition} of {entry.shown}: its partitions are named by {wanted}",
        reason="invalid",
    )


def live(entry: Entry) -> str:
    """DuckDB's condition for the rows of partitions that have not expired; "" where none does."""
    told = entry.body.get("timePartitioning") or {}
    expires = int(told.get("expirationMs") or 0)
    if not expires:
        return ""
    column = _column(entry)
    start = f"date_trunc('{unit(entry)}', CAST({column} AS TIMESTAMP))"
    return f"({column} IS NULL OR {start} + to_milliseconds({expires}) > CAST(now() AS TIMESTAMP))"


def filters(entry: Entry) -> tuple[str, ...]:
    """The columns of which a query must name one in a filter; none where none is required."""
    told = entry.body.get("timePartitioning") or entry.body.get("rangePartitioning") or {}
    if not (entry.body.get("requirePartitionFilter") or told.get("requirePartitionFilter")):
        return ()
    return (str(told["field"]),) if told.get("field") else _PSEUDO


def check(entry: Entry) -> None:
    """
    Raises:
        InvalidArgument: a table can't be partitioned or clustered so.
    """
    fields = {str(one["name"]).lower(): one for one in entry.fields}
    for key, kinds in (
        ("timePartitioning", ("DATE", "DATETIME", "TIMESTAMP")),
        ("rangePartitioning", ("INTEGER",)),
    ):
        name = str((entry.body.get(key) or {}).get("field") or "")
        if not name:
            continue
        one = fields.get(name.lower())
        if one is None:
            raise InvalidArgument(
                "The field specified for partitioning cannot be found in the schema.", reason="invalid"
            )
        if canonical(one["type"]) not in kinds or str(one.get("mode", "")).upper() == "REPEATED":
            raise InvalidArgument(
                f"The field specified for partitioning can only be of type {', '.join(kinds)}. The type found is: "
                f"{one['type']}.",
                reason="invalid",
            )
    told: dict[str, Any] = entry.body.get("timePartitioning") or {}
    if told and unit(entry) not in _FORMATS:
        raise InvalidArgument(
            f"Invalid time partitioning type {told.get('type')!r}; it is {', '.join(_FORMATS)}",
            reason="invalid",
        )
    clustered = (entry.body.get("clustering") or {}).get("fields") or ()
    if len(clustered) > _CLUSTERED:
        raise InvalidArgument(
            f"Tables can be clustered by at most {_CLUSTERED} columns, and {len(clustered)} are given",
            reason="invalid",
        )
    for name in clustered:
        if name.split(".")[0].lower() not in fields:
            raise InvalidArgument(
                f"The field specified for clustering cannot be found in the schema: {name}", reason="invalid"
            )
