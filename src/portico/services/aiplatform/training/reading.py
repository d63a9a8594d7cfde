"""The data of a training by Portico's own learners, read and learned from."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import pyarrow as pa

from portico.errors import Cancelled, InvalidArgument
from portico.jobs.worker import Context
from portico.ml.errors import DataError, TrainingStopped
from portico.ml.tables import Read
from portico.services.aiplatform.reruns import pins
from portico.services.registry import model_store
from portico.services.registry.datasets import DATASETS, data_of
from portico.services.standard import sources

_T = TypeVar("_T")


def pinned_data(context: Context) -> list[sources.Source]:
    """What the job learns from: what the training was pinned to that it repeats, else what its dataset holds now."""
    first = (context.job.payload.get("rerun") or {}).get("record")
    if first:
        return sources.from_json(first["data"])
    with context.database.read() as connection:
        dataset = DATASETS.require(connection, context.job.payload["dataset"])
    return data_of(context, dataset, context.job.resource)


def learned(
    context: Context, pinned: list[sources.Source], learn: Callable[[pa.Table], _T]
) -> tuple[Read, _T]:
    """Reads the rows and learns from them.

    Raises:
        InvalidArgument: the data or the parameters cannot be used; it names the file and the row where one is at
            fault. Cancelled: it was stopped.
    """
    read, began = None, context.clock.monotonic()
    try:
        read = sources.read_table(context.home, pinned, "", "inputDataConfig")
        table = read.table
        context.progress(0.01, f"{table.num_rows:,} rows read")
        took = context.clock.monotonic() - began
        context.say(f"{table.num_rows:,} rows of {table.num_columns:,} columns read in {took:.1f} s")
        return read, learn(table)
    except DataError as error:
        where = f"{read.place(error.row)}: " if read and error.row is not None else ""
        raise InvalidArgument(f"{where}{error.message}.", field=error.field) from None
    except TrainingStopped:
        raise Cancelled("The training was cancelled.") from None


def record_of(
    context: Context,
    pinned: list[sources.Source],
    threads: int,
    versions: Mapping[str, str],
    plan: Mapping[str, Any],
) -> dict[str, Any]:
    """What repeats a training: see `reruns.pins`."""
    return {
        "machine": pins.machine(),
        "python": platform.python_version(),
        "versions": dict(versions),
        "threads": threads,
        "data": [source.to_json() for source in pinned],
        "plan": dict(plan),
        "outputs": pins.hashes(model_store.folder(context.home, context.job.payload["artifact"])),
    }
