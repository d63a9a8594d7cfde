"""The monitored models as monitoring asks them: what they answer for rows, and how much each feature weighs in that."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, Final, Protocol, TypeVar

import orjson
import pyarrow as pa

from portico.errors import DeadlineExceeded, FailedPrecondition, PorticoError, Unavailable
from portico.ml.errors import DataError
from portico.ml.tables import rows_to_batch
from portico.prediction.models import predictors
from portico.prediction.models.native.files import check_digest
from portico.prediction.models.native.process import Spec, WatchedProcess
from portico.prediction.models.predictors import Predictor
from portico.services.aiplatform.batch import models as batch_models
from portico.services.aiplatform.batch.instances import InstanceConfig, Table
from portico.services.aiplatform.batch.models import BatchModel
from portico.services.aiplatform.batch.read import Chunk
from portico.services.aiplatform.monitoring.model_deployment_monitoring_jobs import NATIVE, served
from portico.services.aiplatform.monitoring.reader import outputs_of
from portico.services.call import Rooms
from portico.services.registry import model_store
from portico.store import resources
from portico.store.resources import Resource
from portico.store.served import ServedModel

_HELD: Final = 4  # models in memory
_ROWS: Final = 4_096  # asked at once
_AWAY: Final = 3  # rows for which nobody answered, before the others are given up
_EXPLAINED: Final = 32  # explained at once: a row takes some milliseconds
_BY_TABLE: Final[
    Mapping[str, Callable[[Path], BatchModel]]
] = {  # the formats that a monitor's job can ask by itself
    "portico": batch_models.PorticoModel,
    "lightgbm": lambda folder: batch_models.LightGBMModel(folder, None),
}

_T = TypeVar("_T")


class Explaining(Protocol):
    """What explains rows: a predictor, or the replicas of a model."""

    def explain(self, instances: list[Any], parameters: Any, /) -> list[dict[str, Any]]: ...


class WatchedModels:
    """Loaded deployed models; the newest used stay in memory."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._loaded: OrderedDict[str, Predictor] = OrderedDict()

    def load(self, endpoint: str, deployed_id: str) -> Predictor | None:
        """None for a model that runs in replicas only, or is gone."""
        with self._rooms.database.read() as connection:
            model = served(resources.get(connection, endpoint), deployed_id)
        if model is None or model.format not in NATIVE:
            return None
        key = f"{model.path}/{deployed_id}"
        found = self._loaded.pop(key, None)
        self._loaded[key] = found = _opened(model) if found is None else found
        while len(self._loaded) > _HELD:
            self._loaded.popitem(last=False)
        return found

    def explaining(self, endpoint: str, deployed_id: str) -> Explaining | None:
        """What explains the deployed model's rows: itself, or the replicas that serve it. None where it is gone."""
        with self._rooms.database.read() as connection:
            model = served(resources.get(connection, endpoint), deployed_id)
        if model is None or model.format in NATIVE:
            return self.load(endpoint, deployed_id)
        return batch_models.ReplicaModel(model.replicas, model.explanation)


def _opened(model: ServedModel) -> Predictor:
    if model.format == "onnx":  # it may take for ever, or more memory than the watcher has
        return WatchedProcess(Spec(model.format, model.path, model.digest, model.explanation))
    check_digest(Path(model.path), model.digest)
    return predictors.load(model.format, Path(model.path), model.explanation or None)


def artifact(home: Path, version: Resource) -> Path:
    """Where the files of a model version are."""
    return model_store.folder(home, model_store.VersionPrivate.of(version).artifact)


def predictions(model: Predictor, rows: Sequence[Any]) -> list[Any]:
    """One answer a row; None for rows that the model refuses."""
    return _answers(lambda chosen: model.predict(chosen, None), rows, _ROWS)[0]


def attributions(
    model: Explaining,
    rows: Sequence[Any],
    refused: str = "Not one row can be explained",
    check: Callable[[], None] = lambda: None,
) -> list[dict[str, float]]:
    """By feature, of each row that can be explained; of several outputs that are explained the first's. `check` raises
    where the work shall end.

    Raises:
        FailedPrecondition: not one row can be explained. The message begins with `refused` and says why.
        Unavailable, DeadlineExceeded: nobody answers.
    """
    explained, why = _answers(lambda chosen: model.explain(chosen, None), rows, _EXPLAINED, check)
    if why and not any(explained):
        raise FailedPrecondition(f"{refused}: {why}")
    parts = [e["attributions"][0]["featureAttributions"] for e in explained if e]
    return [{name: _size(value) for name, value in part.items()} for part in parts]


def _answers(
    ask: Callable[[list[Any]], list[_T]],
    rows: Sequence[Any],
    at_once: int,
    check: Callable[[], None] = lambda: None,
) -> tuple[list[_T | None], str]:
    """An answer a row, None for those that were refused; and why the first was."""
    made: list[_T | None] = []
    why, away = "", 0
    for start in range(0, len(rows), at_once):
        check()
        chosen = list(rows[start : start + at_once])
        try:
            made += ask(chosen)
        except (PorticoError, DataError):
            for row in chosen:
                try:
                    made += ask([row])
                except (PorticoError, DataError) as error:
                    made.append(None)
                    why = why or error.message
                    away += isinstance(error, (Unavailable, DeadlineExceeded))
                    if away > _AWAY:  # it is no row that ends the model
                        raise
    return made, why


def explained_rows(
    model: Explaining, rows: list[dict[str, Any]], left_out: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Rows of a data set as `model` takes them: a model of one's own without the columns `left_out`, and from a file of
    texts alone, as CSV is, with numbers where a column has nothing else."""
    if not isinstance(model, batch_models.ReplicaModel):
        return rows
    kept = [{name: value for name, value in row.items() if name not in left_out} for row in rows]
    if not all(isinstance(value, (str, NoneType)) for row in kept for value in row.values()):
        return kept
    numeric = {name for name in (kept or [{}])[0] if all(_is_number(row.get(name)) for row in kept)}
    return [
        {name: float(value) if name in numeric and value else value for name, value in row.items()}
        for row in kept
    ]


def _is_number(text: str | None) -> bool:
    try:
        return not text or math.isfinite(float(text))
    except ValueError:
        return False


def _size(value: Any) -> float:
    """Of a feature that is a list, the sum of its parts' absolute values."""
    return sum(map(_size, value)) if isinstance(value, list) else abs(float(value or 0.0))


class Outputs:
    """Adds the outputs `names` to tables of features that lack them."""

    def __init__(self, home: Path, version: Resource, names: Sequence[str]) -> None:
        self._names = list(names)
        self._folder, self._format = artifact(home, version), model_store.VersionPrivate.of(version).format
        self._model: BatchModel | None = None
        self._refused = ""

    @property
    def reason(self) -> str:
        """Why the model itself gave none, in words; empty where it did."""
        if self._format in _BY_TABLE:
            return f" The model answers no row: {self._refused}" if self._refused else ""
        return f" Its outputs can't be computed here: the model's format is {self._format or 'unknown'}."

    def added(self, table: pa.Table | pa.RecordBatch) -> pa.Table | pa.RecordBatch:
        missing = [name for name in self._names if name not in table.schema.names]
        if not missing or self._format not in _BY_TABLE or not table.num_rows:
            return table
        whole = table if isinstance(table, pa.Table) else pa.Table.from_batches([table])
        batch = whole.combine_chunks().to_batches()[0]
        self._model = self._model or _BY_TABLE[self._format](self._folder)
        answers = self._model.answer(Table(Chunk("", 0, 0, batch=batch), InstanceConfig(), False), False)
        self._refused = self._refused or next(iter(answers.bad.values()), "")
        rows = [
            dict.fromkeys(missing) if position in answers.bad else outputs_of(orjson.loads(text), self._names)
            for position, text in enumerate(answers.output.texts())
        ]
        made = rows_to_batch(rows)
        for name in missing:
            whole = whole.append_column(name, made.column(made.schema.get_field_index(name)))
        return whole
