"""A batch job's output in BigQuery: Google's two tables in a dataset.

`predictions` holds the input's columns and then `predicted_TARGET` (of a model that Portico's training made: a struct)
or `prediction` (of a user's own: JSON text), and `explanation` in a job that explains; `errors` the rows that were not
predicted, with a struct `errors` of `code` and `message`; beside a table that the job names it is NAME_errors. Rows
that come from files are there in one column `instance`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from portico.errors import AlreadyExists
from portico.jobs.worker import Context
from portico.services.aiplatform.batch.answers import Answers
from portico.services.standard import bq
from portico.services.standard.bq import Name
from portico.store.objects import files as objects_files
from portico.store.objects.generations import StoredFile

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

PARTS = (1, 2, 3)
"""What the name of a destination may have: a project, a dataset in it, a table in that, which must not be there yet."""
Field = dict[str, Any]
_INSTANCE: Field = {"name": "instance", "type": "STRING", "mode": "NULLABLE"}
_ERRORS: Field = {
    "name": "errors", "type": "RECORD", "mode": "NULLABLE",
    "fields": [{"name": "code", "type": "INTEGER"}, {"name": "message", "type": "STRING"}],
}  # fmt: skip
_STRANGE = re.compile(r"""[!"$()*,./;?@\[\\\]^`{}~]""")


def place(uri: str, field: str, display_name: str, now: float) -> Name:
    """The table that takes the predictions: the one that is named, or one of the job's own in the dataset, or in a
    dataset of its own in the project.

    Raises:
        InvalidArgument: it names none of them.
    """
    stamp = bq.stamp(now)
    name = bq.parse(uri, field, PARTS)
    if name.table:
        return name
    if name.dataset:
        return Name(name.project, name.dataset, f"predictions_{stamp}")
    model = re.sub(r"[^A-Za-z0-9_]", "_", display_name)
    return Name(name.project, f"prediction_{model}_{stamp}", "predictions")


def columns(batch: pa.RecordBatch, answers: Answers, rows: np.ndarray) -> pa.RecordBatch:
    """The input's columns (`batch`, of `rows` alone) and the prediction's, under names that BigQuery takes."""
    import pyarrow as pa

    made = answers.output.cells(rows)
    if answers.explanations:
        told = [orjson.loads(answers.explanations[row]) for row in rows.tolist()]
        try:
            made["explanation"] = pa.array(told)
        except pa.ArrowException:  # values of several types
            made["explanation"] = pa.array([orjson.dumps(one).decode() for one in told], pa.string())
    every = {name: batch[name] for name in batch.schema.names if name not in made} | made
    return pa.record_batch({_STRANGE.sub("_", name): column for name, column in every.items()})


def put(context: Context, uri: str, known: Sequence[Field], files: Iterable[tuple[str, StoredFile]]) -> None:
    """Writes both tables from the files of an `Outputs`; another attempt writes them anew. `known` are the fields of
    the table that was read, none where files were.

    Raises:
        InvalidArgument: a column is not for BigQuery, or the dataset is gone.
    """
    paths = [(name, objects_files.path_of(context.home, stored.id)) for name, stored in files]
    target = bq.parse(uri, "outputConfig")
    if target.table == "predictions":
        with contextlib.suppress(AlreadyExists):
            bq.create_dataset(context.home, target)
    results = [path for name, path in paths if "errors" not in name]
    relaxed = [{**one, "mode": "NULLABLE"} if one.get("mode") == "REQUIRED" else one for one in known]
    if results:
        bq.load_parquet(context.home, target, results, relaxed)
    failed = next((path for name, path in paths if "errors" in name), None)
    columns = [*(relaxed or [_INSTANCE]), _ERRORS]
    lines = context.home / "tmp" / f"{context.job.id}.errors"
    lines.parent.mkdir(parents=True, exist_ok=True)
    try:
        with lines.open("wb") as out:
            for line in failed.read_bytes().splitlines() if failed else ():
                out.write(_error(orjson.loads(line), bool(known)) + b"\n")
        table = Name(target.project, target.dataset, _errors_beside(target.table))
        bq.load_lines(context.home, table, lines, columns)
    finally:
        lines.unlink(missing_ok=True)


def _errors_beside(predictions: str) -> str:
    if re.fullmatch(r"predictions(_\d.*)?", predictions):
        return predictions.replace("predictions", "errors", 1)
    return f"{predictions}_errors"


def _error(told: dict[str, Any], in_columns: bool) -> bytes:
    instance = told["instance"]
    if in_columns and isinstance(instance, dict):
        return orjson.dumps({**instance, "errors": told["error"]})
    return orjson.dumps({"instance": orjson.dumps(instance).decode(), "errors": told["error"]})
