"""What a job asks the monitored model itself: outputs that the data lack, and how much each feature weighs in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from portico.errors import FailedPrecondition
from portico.jobs.worker import Context
from portico.ml.explain.shapley import global_importance
from portico.ml.learn.model import Model
from portico.ml.pace import Progress
from portico.ml.tables import concat, rows_to_batch
from portico.services.aiplatform import model_store
from portico.services.aiplatform.batch import models as batch_models
from portico.services.aiplatform.batch.instances import InstanceConfig, Table
from portico.services.aiplatform.batch.models import BatchModel
from portico.services.aiplatform.batch.read import Chunk
from portico.services.aiplatform.monitoring.reader import outputs_of
from portico.store.resources import Resource

_SAMPLE = 256  # rows that are explained; a row takes some milliseconds
_FORMATS = ("portico", "lightgbm")  # that a job can ask by itself


class Outputs:
    """Adds the outputs `names` to tables of features that lack them."""

    def __init__(self, context: Context, version: Resource, names: Sequence[str]) -> None:
        self._names = list(names)
        self._version = version
        self._folder = model_store.folder(context.home, model_store.VersionPrivate.of(version).artifact)
        self._format = model_store.VersionPrivate.of(version).format
        self._model: BatchModel | None = None
        self._refused = ""

    @property
    def reason(self) -> str:
        """Why the model itself gave none, in words; empty where it did."""
        if self._format in _FORMATS:
            return f" The model answers no row: {self._refused}" if self._refused else ""
        return f" Its outputs can't be computed here: the model's format is {self._format or 'unknown'}."

    def added(self, table: pa.Table | pa.RecordBatch) -> pa.Table | pa.RecordBatch:
        missing = [name for name in self._names if name not in table.schema.names]
        if not missing or self._format not in _FORMATS or not table.num_rows:
            return table
        whole = table if isinstance(table, pa.Table) else pa.Table.from_batches([table])
        batch = whole.combine_chunks().to_batches()[0]
        answers = self._loaded().answer(Table(Chunk("", 0, 0, batch=batch), InstanceConfig(), False), False)
        self._refused = self._refused or next(iter(answers.bad.values()), "")
        rows = [
            dict.fromkeys(missing) if position in answers.bad else outputs_of(orjson.loads(text), self._names)
            for position, text in enumerate(answers.output.texts())
        ]
        made = rows_to_batch(rows)
        for name in missing:
            whole = whole.append_column(name, made.column(made.schema.get_field_index(name)))
        return whole

    def _loaded(self) -> BatchModel:
        if self._model is None:
            if self._format == "portico":
                self._model = batch_models.PorticoModel(self._folder)
            else:
                self._model = batch_models.LightGBMModel(self._folder, None)
        return self._model


class Shares:
    """Each feature's share of all attribution, over an even sample of the rows that were added."""

    def __init__(self, context: Context, version: Resource) -> None:
        self._context = context
        self._model = Model.load(
            model_store.folder(context.home, model_store.VersionPrivate.of(version).artifact)
        )
        self._random = np.random.default_rng(0)
        self._lots: np.ndarray = np.zeros(0)
        self._rows: Any = None

    def add(self, table: pa.Table | pa.RecordBatch) -> None:
        """Every row draws a lot, and the `_SAMPLE` lowest stay: each row with the same chance, however they come."""
        kept = [name for name in table.schema.names if name in self._model.features]
        lots = self._random.random(table.num_rows)
        low = np.argsort(lots)[:_SAMPLE]
        fresh = table.select(kept).take(pa.array(low))
        fresh = fresh if isinstance(fresh, pa.Table) else pa.Table.from_batches([fresh])
        self._lots = np.concatenate([self._lots, lots[low]])
        rows = fresh if self._rows is None else concat([self._rows, fresh])
        chosen = np.argsort(self._lots, kind="stable")[:_SAMPLE]
        self._lots, self._rows = self._lots[chosen], rows.take(pa.array(chosen))

    def of(self, place: str, progress: Progress) -> dict[str, float]:
        """
        Raises:
            FailedPrecondition: the model can't read one of the rows.
        """
        encoded = self._model.transform.transform(self._rows)
        good = encoded.matrix[~encoded.bad]
        if not len(good):
            raise FailedPrecondition(
                f"The model can read no row of {place}: {next(iter(encoded.messages.values()), 'there are none')}."
            )
        found = global_importance(self._model, good, progress)
        total = sum(found.values()) or 1.0
        return {name: value / total for name, value in found.items()}
