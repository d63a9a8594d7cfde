"""The predictions that endpoints log, as the table of BigQuery that Vertex AI documents: no copy, but the log's own
files, read when the table is. (https://cloud.google.com/vertex-ai/docs/predictions/online-prediction-logging)
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from portico.errors import InvalidArgument
from portico.store import log_tables, segments
from portico.store.database import Database
from portico.warehouse import catalog
from portico.warehouse.catalog import Cursor, Entry
from portico.warehouse.types import quoted

if TYPE_CHECKING:
    from portico.warehouse.engine import Warehouse

log = logging.getLogger(__name__)

STREAMS = "_log"  # of a table's body: the streams whose rows it has
_FIELDS = [
    {"name": "endpoint", "type": "STRING", "mode": "NULLABLE"},
    {"name": "deployed_model_id", "type": "STRING", "mode": "NULLABLE"},
    {"name": "logging_time", "type": "TIMESTAMP", "mode": "NULLABLE"},
    {"name": "request_id", "type": "NUMERIC", "mode": "NULLABLE"},
    {"name": "request_payload", "type": "STRING", "mode": "REPEATED"},
    {"name": "response_payload", "type": "STRING", "mode": "REPEATED"},
    {"name": "model", "type": "STRING", "mode": "NULLABLE"},
    {"name": "model_version", "type": "STRING", "mode": "NULLABLE"},
    {"name": "api_method", "type": "STRING", "mode": "NULLABLE"},
]
_TYPES = {"STRING": pa.string(), "TIMESTAMP": pa.timestamp("us", "UTC"), "NUMERIC": pa.decimal128(38, 0)}
_SCHEMA = pa.schema(
    {
        one["name"]: pa.list_(pa.string()) if one["mode"] == "REPEATED" else _TYPES[one["type"]]
        for one in _FIELDS
    }
)


def create(warehouse: Warehouse, project: str, dataset: str, table: str, stream: str) -> dict[str, Any]:
    """The table that shows a stream of the log, made with its data set where they are not there. Several streams may
    share a table.

    Raises:
        InvalidArgument: the table is there and is none of a log.
    """
    with warehouse.transaction() as cursor:
        if catalog.find(cursor, project, dataset) is None:
            catalog.create_dataset(cursor, Entry(project, dataset, ""))
        found = catalog.find(cursor, project, dataset, table)
        if found is not None and STREAMS not in found.body:
            raise InvalidArgument(
                f"{project}.{dataset}.{table} is a table of rows of its own; name one that is not there, or another "
                "endpoint's log."
            )
        if found is None:
            body = {"type": "EXTERNAL", "schema": {"fields": _FIELDS}, STREAMS: [stream]}
            body["description"] = (
                "Requests to endpoints of Vertex AI and their responses, read from the prediction log."
            )
            found = Entry(project, dataset, table, body)
            catalog.create_table(cursor, found)
        elif stream not in found.body[STREAMS]:
            found.body[STREAMS].append(stream)
            catalog.write(cursor, found)
    return found.body


def make_wanted(warehouse: Warehouse) -> None:
    """Makes the tables that were wanted while the warehouse did not run, as `create` does. One whose name somebody has
    taken meanwhile is not made, which the server's log tells."""
    with contextlib.closing(Database(warehouse.folder.parent)) as database:
        with database.read() as connection:
            wanted = log_tables.wanted(connection)
        for one in wanted:
            try:
                create(warehouse, *one)
            except InvalidArgument as error:
                log.error("a table of logged predictions is not made: %s", error.message)
            with database.write() as connection:
                log_tables.made(connection, one)


def select(cursor: Cursor, entry: Entry, home: Path) -> str:
    """DuckDB's query of the rows of a log's table as it is now, on this cursor. Of files only what is asked for is
    read."""
    from pyarrow import dataset

    folder = segments.folder(home)
    paths = [str(folder / one.file) for one in _segments(entry, home)]
    name = f"_log_{entry.dataset}_{entry.table}"
    rows = dataset.dataset(paths, schema=_SCHEMA, format="parquet") if paths else _SCHEMA.empty_table()
    cursor.register(name, rows)
    where = {None: "", True: " WHERE api_method = 'explain'", False: " WHERE api_method <> 'explain'"}
    return (
        f"SELECT * REPLACE (TRY_CAST(request_id AS DECIMAL(38, 9)) AS request_id) FROM {quoted(name)}"
        f"{where[_is_of_explanations(entry)]}"
    )


def count(entry: Entry, home: Path) -> int:
    """How many rows a log's table has now."""
    found, explained = _segments(entry, home), _is_of_explanations(entry)
    if explained is None:
        return sum(one.rows for one in found)
    from pyarrow import compute, dataset

    paths = [str(segments.folder(home) / one.file) for one in found]
    if not paths:
        return 0
    method = compute.field("api_method")
    asked = method == "explain" if explained else method != "explain"
    return int(dataset.dataset(paths, schema=_SCHEMA, format="parquet").count_rows(filter=asked))


def _is_of_explanations(entry: Entry) -> bool | None:
    """Whether a table is of requests to explain, or of the others; None: of all. Vertex AI names those of a monitoring
    job by that (ModelDeploymentMonitoringBigQueryTable)."""
    if not entry.dataset.startswith("model_deployment_monitoring_"):
        return None
    return {"serving_explain": True, "serving_predict": False}.get(entry.table)


def _segments(entry: Entry, home: Path) -> list[segments.Segment]:
    database = Database(home)
    with contextlib.closing(database), database.read() as connection:
        return [one for stream in entry.body[STREAMS] for one in segments.listed(connection, stream)]
