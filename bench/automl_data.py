"""The data sets of the AutoML benchmark: which columns, which metric, which rows train and which only test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from bench.automl_tables import NEW, table_of
from portico.ml.learn.split import SplitSpec, split_rows
from portico.sandbox import samples


@dataclass(frozen=True)
class Problem:
    """`objective` is Google's name; `time` is the column of a timestamp split, empty for a random one."""

    sample: str
    target: str
    prediction_type: str
    objective: str
    columns: tuple[str, ...] = ()
    time: str = ""
    rows: int = 0
    only: tuple[str, str] = ("", "")


_FLIGHTS = (
    "month day sched_dep_time sched_arr_time dep_delay carrier flight tailnum origin dest distance time_hour"
)
_EMPLOYMENT = "AGEP SCHL MAR RELP DIS ESP CIT MIG MIL ANC NATIVITY DEAR DEYE DREM SEX RAC1P"

PROBLEMS = {
    "census": Problem("census", "income", "classification", "minimize-log-loss"),
    "bikes": Problem("bikes", "count", "regression", "minimize-rmse", ("ts", "tmin", "tmax", "pn"), "ts"),
    "flights": Problem(
        "flights", "arr_delay", "regression", "minimize-rmse", tuple(_FLIGHTS.split()), rows=60_000
    ),
    "houses": Problem("houses", "price", "regression", "minimize-rmse"),
    "employment": Problem(
        "employment",
        "employed",
        "classification",
        "minimize-log-loss",
        tuple(_EMPLOYMENT.split()),
        only=("year", "2015"),
    ),
    "digits": Problem("digits", "digit", "classification", "minimize-log-loss"),
}
OLD = tuple(PROBLEMS)
PROBLEMS |= {name: Problem("", target, *kind) for name, (_, target, kind, _) in NEW.items()}


def write_split(name: str, seed: int, folder: Path) -> None:
    """Writes train.parquet, validation.parquet and test.parquet (80:10:10) into `folder`.

    Every side learns from train and validation together, and may choose by a validation of its own; with a
    timestamp split the validation rows are the youngest before the test.
    """
    problem = PROBLEMS[name]
    table = _read(samples.path(problem.sample)) if problem.sample else table_of(name)
    if problem.only[0]:
        table = table.filter(pa.compute.equal(table[problem.only[0]].cast(pa.string()), problem.only[1]))
    table = table.filter(table[problem.target].is_valid())
    columns = problem.columns or tuple(c for c in table.column_names if c not in (problem.target, "id"))
    table = table.select([*columns, problem.target])
    if problem.rows:
        chosen = np.random.default_rng(0).permutation(table.num_rows)[: problem.rows]
        table = table.take(np.sort(chosen))
    kind = "timestamp" if problem.time else "fraction"
    split = split_rows(table, SplitSpec(kind, problem.time, seed=seed))
    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in (("train", split.training), ("validation", split.validation), ("test", split.test)):
        pq.write_table(table.take(rows), folder / f"{part}.parquet")


def _read(path: Path) -> pa.Table:
    """With the types that any reader of the file would find, as the other sides expect."""
    table = pq.read_table(path) if path.suffix == ".parquet" else pyarrow.csv.read_csv(path)
    dates = [i for i, field in enumerate(table.schema) if pa.types.is_date(field.type)]
    for i in dates:  # FLAML and AutoGluon know times, and take dates for text
        table = table.set_column(i, table.column_names[i], table.column(i).cast(pa.timestamp("s")))
    return table
