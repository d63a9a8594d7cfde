"""What the image of the model evaluation does with data before a batch prediction: EvaluationDataSamplerOp takes a
sample of the instances, TargetFieldDataRemoverOp leaves out the column that is to be predicted."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portico.errors import AlreadyExists, InvalidArgument, Unimplemented
from portico.jobs.worker import Context
from portico.services.standard import bq
from portico.services.standard.names import location_of
from portico.services.standard.sources import gcs_of, pin, read_table

if TYPE_CHECKING:
    import argparse

    import pyarrow as pa

TASKS = ("data_sampler", "data_splitter")
_DATASET = "vertex_evaluation"  # in the project, of the tables that are made
_SEED = 7
_FORMATS = ("jsonl", "csv")


def run(context: Context, asked: argparse.Namespace, executor_input: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the instances anew, in the form in which they came; the outputs of the component.

    `asked`: its arguments; `sample_size` rows are kept, or all but the column `target_field_name`.

    Raises:
        InvalidArgument: there are no instances, or no such column. Unimplemented: a form that is not written here.
    """
    uris = [asked.bigquery_source_uri] if asked.bigquery_source_uri else asked.gcs_source_uris
    if not uris:
        raise InvalidArgument("Give gcs_source_uris or bigquery_source_uri: where the instances are.")
    table = _read(context, uris, "" if asked.bigquery_source_uri else asked.instances_format)
    made = _sample(table, int(asked.sample_size)) if asked.task == "data_sampler" else _without(asked, table)
    context.say(
        f"{made.num_rows} of {table.num_rows} rows, {made.num_columns} of {table.num_columns} columns."
    )
    values: dict[str, Any] = {"gcs_output_directory": [], "bigquery_output_table": ""}
    if asked.bigquery_source_uri:
        values["bigquery_output_table"] = _as_table(context, asked, made)
    else:
        values["gcs_output_directory"] = [_as_file(context, asked, made)]
    declared = (executor_input.get("outputs") or {}).get("parameters") or {}
    values = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
    values["gcp_resources"] = json.dumps({"resources": []})  # no job of Dataflow's
    return {"parameterValues": {name: values[name] for name in declared if name in values}, "artifacts": {}}


def _read(context: Context, uris: Sequence[str], form: str) -> pa.Table:
    gcs, holder = gcs_of(context), f"{context.job.resource}/evaluation"
    try:
        pinned = pin(gcs, uris, holder, "gcs_source_uris")
        return read_table(context.home, pinned, form, "gcs_source_uris").table
    finally:
        gcs.unpin(holder)


def _sample(table: pa.Table, size: int) -> pa.Table:
    """`size` rows at random, in their order; all where there are fewer."""
    import numpy as np

    if table.num_rows <= size:
        return table
    return table.take(np.sort(np.random.default_rng(_SEED).choice(table.num_rows, size, replace=False)))


def _without(asked: argparse.Namespace, table: pa.Table) -> pa.Table:
    name = (asked.target_field_name or "ground_truth").removeprefix("instance.")
    if name not in table.column_names:
        raise InvalidArgument(
            f"The instances have no column {name!r} (target_field_name); they have "
            f"{', '.join(table.column_names[:20])}."
        )
    return table.drop_columns([name])


def _as_table(context: Context, asked: argparse.Namespace, table: pa.Table) -> str:
    """The bq:// name of a new table with the types of the source's."""
    from pyarrow import parquet

    source = bq.parse(asked.bigquery_source_uri, "bigquery_source_uri")
    project, home = location_of(context.job.resource).split("/")[1], context.home
    number = context.job.resource.rpartition("/")[2]
    target = bq.Name(project, _DATASET, f"{source.table}_{asked.task}_{number}")
    with contextlib.suppress(AlreadyExists):
        bq.create_dataset(home, bq.Name(project, _DATASET))
    known = bq.require(home, asked.bigquery_source_uri, "bigquery_source_uri")["schema"]["fields"]
    with tempfile.NamedTemporaryFile(dir=context.folder, suffix=".parquet") as file:
        parquet.write_table(table, file.name)
        bq.load_parquet(home, target, [Path(file.name)], known)
    return bq.SCHEME + target.path


def _as_file(context: Context, asked: argparse.Namespace, table: pa.Table) -> str:
    """The gs:// name of a new file."""
    from pyarrow import csv

    if asked.instances_format not in _FORMATS:
        raise Unimplemented(
            f"Instances in {asked.instances_format} are not written anew in Portico; give them as "
            f"{' or '.join(_FORMATS)}, or as a table of BigQuery."
        )
    uri = f"{asked.root_dir.rstrip('/')}/{asked.task}/instances.{asked.instances_format}"
    with tempfile.NamedTemporaryFile("wb", dir=context.folder, suffix=".data") as file:
        if asked.instances_format == "csv":
            csv.write_csv(table, file)
        else:
            for row in table.to_pylist():
                file.write(json.dumps(row, default=str).encode() + b"\n")
        file.flush()
        gcs_of(context).write(uri, Path(file.name))
    return uri
