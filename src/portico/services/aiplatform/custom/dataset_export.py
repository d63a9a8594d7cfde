"""A managed dataset as a custom training finds it: CSV files in their splits, in Cloud Storage.

https://cloud.google.com/vertex-ai/docs/training/using-managed-datasets
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from portico.clock import rfc3339
from portico.errors import InvalidArgument
from portico.jobs.worker import Context
from portico.services.registry.datasets import DATASETS, data_of
from portico.services.registry.training_inputs import split_of
from portico.services.standard import sources

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
    pinned = data_of(context, dataset, holder)
    try:
        table = sources.read_table(context.home, pinned, "", "inputDataConfig").table
        split = split_rows(table, split_of(config))
    except DataError as error:
        raise InvalidArgument(f"{error.message}.", field=error.field) from None
    prefix = config["gcsDestination"]["outputUriPrefix"].rstrip("/")
    dataset_id = dataset_name.rpartition("/")[2]
    folder = f"{prefix}/dataset-{dataset_id}-tabular-{rfc3339(context.clock.now())}"
    made = {"AIP_DATA_FORMAT": "csv"}
    for part in ("training", "validation", "test"):
        rows = table.take(getattr(split, part))
        _write(context, rows, f"{folder}/{part}")
        made[f"AIP_{part.upper()}_DATA_URI"] = f"{folder}/{part}-*"
        context.say(f"{rows.num_rows:,} {part} rows in {folder}/{part}-*")
    if split.ignored:
        context.say(f"{split.ignored:,} rows are in no split")
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
