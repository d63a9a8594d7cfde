"""A managed dataset as a custom training finds it, in its splits: CSV files in Cloud Storage, or tables of BigQuery.

https://cloud.google.com/vertex-ai/docs/training/using-managed-datasets
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portico.clock import rfc3339
from portico.errors import InvalidArgument
from portico.jobs.worker import Context
from portico.services.aiplatform.data_items import exporting
from portico.services.aiplatform.data_items.formats import kind_of
from portico.services.registry.datasets import DATASETS, data_of
from portico.services.registry.training_inputs import split_of
from portico.services.standard import bq, sources

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS = 100_000  # of one file


def export(context: Context, config: dict[str, Any], dataset_name: str, holder: str) -> dict[str, str]:
    """Writes the dataset's rows as an InputDataConfig says; the `AIP_*` variables that tell where.

    Raises:
        InvalidArgument: the data or the split can't be used, naming the field.
    """
    from portico.ml.errors import DataError
    from portico.ml.learn.split import split_rows

    with context.database.read() as connection:
        dataset = DATASETS.require(connection, dataset_name)
    if kind_of(dataset):
        return exporting.export(context, config, dataset)
    pinned = data_of(context, dataset, holder)
    try:
        table = sources.read_table(context.home, pinned, "", "inputDataConfig").table
        split = split_rows(table, split_of(config))
    except DataError as error:
        raise InvalidArgument(f"{error.message}.", field=error.field) from None
    parts = {part: table.take(getattr(split, part)) for part in ("training", "validation", "test")}
    if split.ignored:
        context.say(f"{split.ignored:,} rows are in no split")
    dataset_id = dataset_name.rpartition("/")[2]
    if config.get("bigqueryDestination"):
        project = bq.parse(config["bigqueryDestination"]["outputUri"], "inputDataConfig", (1,)).project
        return _to_tables(context, parts, project, dataset_id, pinned[0].uri)
    prefix = config["gcsDestination"]["outputUriPrefix"].rstrip("/")
    folder = f"{prefix}/dataset-{dataset_id}-tabular-{rfc3339(context.clock.now())}"
    made = {"AIP_DATA_FORMAT": "csv"}
    for part, rows in parts.items():
        _write(context, rows, f"{folder}/{part}")
        made[f"AIP_{part.upper()}_DATA_URI"] = f"{folder}/{part}-*"
        context.say(f"{rows.num_rows:,} {part} rows in {folder}/{part}-*")
    return made


def _to_tables(
    context: Context, parts: dict[str, pa.Table], project: str, dataset_id: str, source: str
) -> dict[str, str]:
    """A new dataset with a table for each part, with the column types of the table that they came from."""
    import pyarrow.parquet as pq

    dataset = f"dataset_{dataset_id}_tabular_{bq.stamp(context.clock.now())}"
    known = []
    with contextlib.suppress(InvalidArgument):  # files; or the table is gone, whose rows a version has kept
        known = bq.require(context.home, source, "")["schema"]["fields"]
    bq.create_dataset(context.home, bq.Name(project, dataset))
    made = {"AIP_DATA_FORMAT": "bigquery"}
    with tempfile.TemporaryDirectory() as folder:
        for part, rows in parts.items():
            context.check()
            path = Path(folder) / f"{part}.parquet"
            pq.write_table(rows, path)
            name = bq.Name(project, dataset, part)
            bq.load_parquet(context.home, name, [path], known)
            made[f"AIP_{part.upper()}_DATA_URI"] = bq.SCHEME + name.path
            context.say(f"{rows.num_rows:,} {part} rows in {bq.SCHEME}{name.path}")
    return made


def _write(context: Context, rows: pa.Table, uri: str) -> None:
    from pyarrow import csv

    gcs = sources.gcs_of(context)
    count = max(1, -(-rows.num_rows // _ROWS))
    for number in range(count):
        context.check()
        held = io.BytesIO()
        csv.write_csv(rows.slice(number * _ROWS, _ROWS), held)
        gcs.write(f"{uri}-{number:05d}-of-{count:05d}.csv", held.getvalue(), "text/csv")
