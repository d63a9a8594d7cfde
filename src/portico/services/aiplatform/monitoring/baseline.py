"""What the windows of a deployed model are compared with: training data, the model's answers to it, and its reasons."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
import pyarrow as pa

from portico.ml.watch.attributions import Attributions, measure
from portico.ml.watch.outputs import outputs_table
from portico.services.aiplatform.monitoring import models, reader
from portico.services.aiplatform.monitoring.engine import Part
from portico.services.aiplatform.monitoring.models import WatchedModels
from portico.services.call import Rooms
from portico.store import resources
from portico.store.resources import Resource

_PREDICTED: Final = 50_000  # training rows, the newest, whose predictions are counted
_EXPLAINED: Final = 300  # training rows, evenly spaced, whose attributions are averaged


@dataclass(slots=True)
class Baseline:
    """Of one deployed model. Without training data the first window makes `features`, `outputs` and `known`.

    `known` are the names of all columns that may come; `rows` those of training, or of the first window.
    """

    kinds: dict[str, str] | None = None
    rows: int = 0
    known: frozenset[str] = frozenset()
    features: Part = field(default_factory=Part)
    outputs: Part = field(default_factory=Part)
    attributions: Attributions | None = None
    _digest: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "kinds": self.kinds,
            "rows": self.rows,
            "known": sorted(self.known),
            "features": self.features.to_json(),
            "outputs": self.outputs.to_json(),
            "attributions": None if self.attributions is None else self.attributions.to_json(),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Baseline:
        found = body["attributions"]
        return cls(
            body["kinds"], body["rows"], frozenset(body["known"]), Part.from_json(body["features"]),
            Part.from_json(body["outputs"]), None if found is None else Attributions.from_json(found),
        )  # fmt: skip

    def digest(self) -> str:
        """Of the bins: counts of two windows can be compared where it is the same."""
        if not self._digest:
            shown = [feature.to_json() for part in (self.features, self.outputs) for feature in part.bins]
            self._digest = hashlib.sha256(orjson.dumps(shown)).hexdigest()
        return self._digest

    def begin(self, table: pa.RecordBatch, answers: list[Any]) -> None:
        """Makes what training data did not, from the first rows of the first window and their answers."""
        if not self.features.bins:
            self.features = Part.of(table, self.kinds, False)
            self.rows, self._digest = table.num_rows, ""
            self.known = frozenset([*table.schema.names, *(self.kinds or {})])
        if not self.outputs.bins and answers:
            self.outputs, self._digest = Part.of(*outputs_table(answers), False), ""


def make(rooms: Rooms, watched: WatchedModels, job: Resource, config: Mapping[str, Any]) -> Baseline:
    """Reads the training data of one objective config, where it has some.

    Raises:
        FailedPrecondition: the data can't be read, or attributions are asked of a model that gives none.
    """
    objective, deployed_id = config["objectiveConfig"], config["deployedModelId"]
    kinds = _kinds(rooms, job, deployed_id)
    data = objective.get("trainingDataset")
    if not data:
        return Baseline(kinds)
    made, features = of_training(rooms, data, job.name, kinds)
    model = watched.load(job.body["endpoint"], deployed_id)
    if model is not None:
        newest = features.slice(max(features.num_rows - _PREDICTED, 0)).to_pylist()
        made.outputs = Part.of(*outputs_table(models.predictions(model, newest)), True)
    if (objective.get("explanationConfig") or {}).get("enableFeatureAttributes"):
        explaining = watched.explaining(job.body["endpoint"], deployed_id)
        step = max(features.num_rows / _EXPLAINED, 1)
        chosen = [int(place * step) for place in range(min(_EXPLAINED, features.num_rows))]
        if explaining is not None:
            rows = models.explained_rows(explaining, features.take(chosen).to_pylist())
            made.attributions = measure(models.attributions(explaining, rows))
    return made


def of_training(
    rooms: Rooms, data: Mapping[str, Any], reader_name: str, kinds: dict[str, str] | None
) -> tuple[Baseline, pa.Table]:
    """What the training data of an objective says of features, and its table without the target. `kinds` of the
    columns are as the model reads them.

    Raises:
        FailedPrecondition: the data can't be read.
    """
    table = reader.training(rooms, data, reader_name)
    target = data.get("targetField", "")
    features = table.drop_columns([target]) if target in table.column_names else table
    known = frozenset([*table.column_names, *(kinds or {})])
    return Baseline(kinds, table.num_rows, known, Part.of(features, kinds, True)), features


def kinds_of(version: Resource | None) -> dict[str, str] | None:
    """The kinds of the columns as that version of a model reads them, where it says so."""
    metadata = version.body.get("metadata") if version else None
    found = metadata.get("columns") if isinstance(metadata, dict) else None
    return found if isinstance(found, dict) else None


def _kinds(rooms: Rooms, job: Resource, deployed_id: str) -> dict[str, str] | None:
    with rooms.database.read() as connection:
        endpoint = resources.get(connection, job.body["endpoint"])
        for deployed in (endpoint.body.get("deployedModels") or []) if endpoint else []:
            if deployed["id"] == deployed_id:
                return kinds_of(
                    resources.get(connection, f"{deployed['model']}@{deployed['modelVersionId']}")
                )
    return None
