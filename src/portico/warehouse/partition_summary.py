"""The meta table of a partitioned table, `t$__PARTITIONS_SUMMARY__`: which partitions there are, and since when.

https://cloud.google.com/bigquery/docs/managing-partitioned-tables#get_partition_metadata_using_meta-tables
"""

from __future__ import annotations

from typing import Final

from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse import partitions, storage
from portico.warehouse.catalog import Entry, key_of
from portico.warehouse.types import Field

MARK: Final = "$__PARTITIONS_SUMMARY__"

FIELDS: Final[list[Field]] = [
    {"name": name, "type": kind, "mode": "NULLABLE"}
    for name, kind in (
        ("project_id", "STRING"), ("dataset_id", "STRING"), ("table_id", "STRING"), ("partition_id", "STRING"),
        ("creation_time", "INTEGER"), ("last_modified_time", "INTEGER"),
    )
]  # fmt: skip
"""Times are milliseconds since the epoch."""


def select(entry: Entry, condition: str) -> str:
    """A query of a table's partitions with rows that meet `condition`.

    Raises:
        InvalidArgument: the table is not partitioned.
    """
    if not entry.storage or not partitions.is_partitioned(entry):
        raise InvalidArgument(
            f"Cannot read partition information from a table that is not partitioned: {entry.shown}",
            reason="invalid",
        )
    project, dataset, table = (exp.Literal.string(one).sql("duckdb") for one in key_of(entry))
    return (
        f"SELECT {project} AS project_id, {dataset} AS dataset_id, {table} AS table_id, partition_id, "
        "min(_at) // 1000 AS creation_time, max(_at) // 1000 AS last_modified_time FROM "
        f"(SELECT {partitions.id_sql(entry)} AS partition_id, {storage.AT} AS _at FROM {entry.place} "
        f"WHERE {condition}) "
        "GROUP BY partition_id ORDER BY partition_id"
    )
