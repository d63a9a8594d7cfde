"""What a challenger learns from: the first model's data, and below them every prediction that has its truth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from portico.errors import FailedPrecondition
from portico.jobs.worker import Context
from portico.prediction.prediction_log import stream_of
from portico.services.portico.joining import COLUMNS, Joined, Outcome
from portico.services.portico.steward.evidence import moment_of, truth_of
from portico.services.registry.datasets import DATASETS, data_of
from portico.services.standard import sources
from portico.store import labels
from portico.store.segments import Segments

if TYPE_CHECKING:
    import pyarrow as pa

_LEARNED = 1_000_000  # labelled predictions that a retraining takes, the newest


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The rows that may be learned from; `known` are the labelled predictions among them, in order of time, and
    `pinned` the generations of the first data."""

    table: pa.Table
    known: list[Outcome]
    pinned: list[sources.Source]

    @property
    def facts(self) -> dict[str, Any]:
        """What an episode says of them."""
        return {
            "trainedUntil": self.known[-1].time if self.known else None,
            "rows": self.table.num_rows,
            "labelledPredictions": len(self.known),
        }

    @property
    def generations(self) -> list[dict[str, str]]:
        return [{"uri": one.uri, "generation": str(one.generation)} for one in self.pinned]


def gathered(context: Context, asked: dict[str, Any], *, regression: bool, weight: str = "") -> TrainingData:
    """The first data with the predictions that were labelled and made before the cut-off.

    The newest rows, from `cutoff` on and by the labels `withheld` or that came after `change`, are for the gates:
    nothing here sees them. A label teaches once, by the newest of its predictions.

    Raises:
        DataError: the first data can't be read. FailedPrecondition: they don't fit the predictions.
    """
    withheld = set(asked["withheld"])
    every = _joined(context, asked["endpoint"], asked["cutoff"], asked.get("change")).labelled()
    newest = {row.label.name: row for row in every
              if row.label and row.judges and row.time < asked["cutoff"]
              and row.label.name not in withheld}  # fmt: skip
    known = [row for row in sorted(newest.values(), key=lambda row: row.place)
             if row.label and not (regression and math.isnan(truth_of(row.label.truth, ())))]  # fmt: skip
    table, pinned = _first_data(context, asked["dataset"])
    rows = _rows_of(known, asked, table.column_names, weight)
    return TrainingData(_cut(_with_rows(table, rows), asked), known, pinned)


def _joined(context: Context, endpoint: str, until: float, change: int | None) -> Joined:
    """The predictions of an endpoint's log that may have been made before `until`, with their labels up to `change`."""
    segments = Segments(context.home, context.database, context.clock, context.ids)
    made = Joined(_LEARNED)
    with context.database.read() as connection:
        every, _ = labels.since(connection, endpoint, -1, change)
    made.add_labels(every)  # first: then each prediction meets its own when it comes, and is looked at once
    for table in segments.scan(stream_of(endpoint), end=until, columns=COLUMNS):
        made.add_predictions(table)
    return made


def _first_data(context: Context, name: str) -> tuple[pa.Table, list[sources.Source]]:
    """The first model's data as they are now, and which generations these are."""
    from portico.store.objects import generations as objects
    from portico.store.objects.files import remove

    holder = context.job.resource
    with context.database.read() as connection:
        dataset = DATASETS.require(connection, name)
    try:
        pinned = data_of(context, dataset, holder)
        return sources.read_table(context.home, pinned, "", "data.dataset").table, pinned
    finally:
        with context.database.write() as connection:
            dropped = objects.unpin(connection, holder)
        remove(context.home, dropped)


def _rows_of(
    known: list[Outcome], asked: dict[str, Any], columns: list[str], weight: str
) -> list[dict[str, Any]]:
    """The predictions as rows of the first data; one that came without a weight weighs 1.

    Those that `_cut` will leave out for their age, most of a long log, are left out here.
    """
    rows: list[dict[str, Any]] = []
    newest = -math.inf
    features = [name for name in columns if name not in (asked["target"], weight)]
    for row in reversed(known):
        instance = _named(orjson.loads(row.request), features)
        assert row.label is not None
        if asked["timeColumn"] and asked["duration"] and (when := moment_of(instance, asked["timeColumn"])):
            if asked["before"] is None or when < asked["before"]:
                newest = max(newest, when)
            if when < newest - asked["duration"]:
                continue
        rows.append({**{name: instance.get(name) for name in columns}, asked["target"]: row.label.truth})
        if weight and rows[-1].get(weight) is None:
            rows[-1][weight] = 1.0
    return rows[::-1]


def _named(instance: Any, features: list[str]) -> dict[str, Any]:
    """An instance by the names of its features: one that is a list has them in the order of the first data.

    Raises:
        FailedPrecondition: it has others.
    """
    if isinstance(instance, dict):
        return instance
    cells = instance if isinstance(instance, list) else [instance]
    if len(cells) != len(features):
        raise FailedPrecondition(
            f"An instance that was asked for is a list of {len(cells)} values, and data.dataset has {len(features)} "
            f"columns beside the target ({', '.join(features)}): they must be the same, in the same order."
        )
    return dict(zip(features, cells, strict=True))


def _with_rows(table: pa.Table, rows: list[dict[str, Any]]) -> pa.Table:
    """`table` and below it `rows`, in its columns; numbers meet as numbers, anything else as text."""
    import pyarrow as pa

    from portico.ml.tables import concat, rows_to_batch

    if not rows:
        return table
    below = pa.Table.from_batches([rows_to_batch(rows)])
    numeric = [
        name
        for name in table.column_names
        if all(_is_number(t.schema.field(name).type) for t in (table, below))
    ]
    return concat([_as_numbers(table, numeric), _as_numbers(below, numeric)])


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _as_numbers(table: pa.Table, names: list[str]) -> pa.Table:
    import pyarrow as pa

    for name in names:
        table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.float64()))
    return table


def _cut(table: pa.Table, asked: dict[str, Any]) -> pa.Table:
    """The rows that may be learned from: by the time column before the gates' first, and of the sliding window."""
    import numpy as np

    from portico.ml.learn.split import SplitSpec, split_rows

    if not asked["timeColumn"]:
        return table
    times = split_rows(table, SplitSpec("timestamp", asked["timeColumn"], 1.0, 0.0, 0.0)).times
    assert times is not None
    before = asked["before"] if asked["before"] is not None else np.inf
    after = -np.inf
    if asked["duration"]:
        known = times[times < before]
        after = (known.max() if len(known) else -np.inf) - asked["duration"]
    return table.filter((times < before) & (times >= after))
