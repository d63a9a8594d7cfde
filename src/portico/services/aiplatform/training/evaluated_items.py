"""exportEvaluatedDataItemsConfig of an AutoML training: its test rows, with what the model says of each, as a table."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from portico.errors import AlreadyExists, InvalidArgument, PorticoError
from portico.jobs.worker import Context
from portico.ml.learn.train import TrainedModel
from portico.services.aiplatform.batch.answers import Classes, Values
from portico.services.registry.training_inputs import EXPORT
from portico.services.standard import bq
from portico.services.standard.bq import Name

_FIELD = f"trainingTaskInputs.{EXPORT}.destinationBigqueryUri"


def place(context: Context, inputs: dict[str, Any], pipeline: dict[str, Any], project: str) -> Name | None:
    """The table that the rows go to; by default one in a dataset of the training's own. `inputs` are the task's.

    Raises:
        InvalidArgument: it is there already, and is not to be overridden.
    """
    config = inputs.get(EXPORT)
    if config is None:
        return None
    if not (uri := config.get("destinationBigqueryUri")):
        shown = (pipeline.get("modelToUpload") or {}).get("displayName") or pipeline.get("displayName", "")
        own = f"export_evaluated_examples_{shown}_{bq.stamp(context.clock.now())}"
        return Name(project, re.sub(r"\W", "_", own, flags=re.ASCII), "evaluated_examples")
    name = bq.parse(uri, _FIELD)
    if not config.get("overrideExistingTable"):
        try:
            bq.require(context.home, uri, _FIELD)
        except PorticoError:
            return name
        raise InvalidArgument(f"{uri} exists; set overrideExistingTable to write in its place.", field=_FIELD)
    return name


def export(context: Context, name: Name, table: pa.Table, trained: TrainedModel, target: str) -> str:
    """Writes the test rows of `table` that can be read, with `predicted_TARGET` as batch predictions have it; where."""
    found = trained.test_predictions
    good = np.flatnonzero(~found.bad)
    output: Any
    if found.scores is not None:
        output = Classes(target, found.labels, found.scores, found.threshold)
    else:
        assert found.values is not None and found.lower is not None and found.upper is not None
        output = Values(target, found.values, found.lower, found.upper)
    return write(context, name, table.take(pa.array(trained.split.test[good])), output.cells(good))


def write(context: Context, name: Name, rows: pa.Table, made: Mapping[str, pa.Array]) -> str:
    """Writes `rows` with the columns that were `made` of them, which win where names are the same; where."""
    rows = rows.drop_columns([column for column in made if column in rows.column_names])
    for column, cells in made.items():
        rows = rows.append_column(column, cells)
    with contextlib.suppress(AlreadyExists):
        bq.create_dataset(context.home, name)
    scratch = context.home / "tmp"
    scratch.mkdir(mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder) / "rows.parquet"
        pq.write_table(rows, path)
        bq.load_parquet(context.home, name, [path])
    return bq.SCHEME + name.path
