"""What windows are compared with: training data in bins, chance's distances, and the model's answers and reasons."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from portico.errors import FailedPrecondition
from portico.services.aiplatform.datasets import DATASETS, data_of
from portico.services.aiplatform.monitoring import deployed_models as monitoring_model
from portico.services.aiplatform.monitoring.deployed_models import WatchedModels
from portico.services.call import Rooms
from portico.services.standard import sources
from portico.store import resources
from portico.store.resources import Resource

if TYPE_CHECKING:
    from portico.ml.watch.attributions import Attributions
    from portico.ml.watch.bins import FeatureBins, Window
    from portico.ml.watch.calibrate import Null

_PREDICTED: Final = 50_000  # training rows, the newest, whose predictions are counted
_EXPLAINED: Final = 300  # training rows, evenly spaced, whose attributions are averaged
_LEFT_OUT: Final = frozenset({"timestamp", "constant", "missing", "unsupported"})


@dataclass(slots=True)
class Part:
    """Columns in bins: what training had in them (None without it), and what chance does to them."""

    bins: list[FeatureBins] = field(default_factory=list)
    training: Window | None = None
    nulls: dict[str, Null] = field(default_factory=dict)

    @classmethod
    def of(cls, table: Any, kinds: Mapping[str, str] | None, training: bool) -> Part:
        from portico.ml.watch.bins import count, fit_bins
        from portico.ml.watch.calibrate import calibrate

        bins = fit_bins(table, kinds)
        return cls(bins, count(table, bins) if training else None, calibrate(table, bins))

    def to_json(self) -> dict[str, Any]:
        return {
            "bins": [feature.to_json() for feature in self.bins],
            "training": None if self.training is None else {n: c.to_json() for n, c in self.training.items()},
            "nulls": {name: null.to_json() for name, null in self.nulls.items()},
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Part:
        from portico.ml.watch.bins import Counts, FeatureBins
        from portico.ml.watch.calibrate import Null

        training = body["training"]
        return cls(
            [FeatureBins.from_json(feature) for feature in body["bins"]],
            None if training is None else {n: Counts.from_json(c) for n, c in training.items()},
            {name: Null.from_json(null) for name, null in body["nulls"].items()},
        )


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
        from portico.ml.watch.attributions import Attributions

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

    def begin(self, table: Any, answers: list[Any]) -> None:
        """Makes what training data did not, from the first rows of the first window and their answers."""
        from portico.ml.watch.outputs import outputs_table

        if not self.features.bins:
            self.features = Part.of(_as_table(table), self.kinds, False)
            self.rows, self._digest = table.num_rows, ""
            self.known = frozenset([*table.schema.names, *(self.kinds or {})])
        if not self.outputs.bins and answers:
            batch, kinds = outputs_table(answers)
            self.outputs, self._digest = Part.of(_as_table(batch), kinds, False), ""


def make(rooms: Rooms, models: WatchedModels, job: Resource, config: Mapping[str, Any]) -> Baseline:
    """Reads the training data of one objective config, where it has some.

    Raises:
        FailedPrecondition: the data can't be read, or attributions are asked of a model that gives none.
    """
    objective, deployed_id = config["objectiveConfig"], config["deployedModelId"]
    kinds = _kinds(rooms, job, deployed_id)
    if not objective.get("trainingDataset"):
        return Baseline(kinds)
    table = _training(rooms, job, objective["trainingDataset"])
    target = objective["trainingDataset"].get("targetField", "")
    features = table.drop_columns([target]) if target in table.column_names else table
    made = Baseline(
        kinds,
        table.num_rows,
        frozenset([*table.column_names, *(kinds or {})]),
        Part.of(features, kinds, True),
    )
    model = models.load(job.body["endpoint"], deployed_id)
    if model is not None:
        from portico.ml.watch.outputs import outputs_table

        newest = features.slice(max(features.num_rows - _PREDICTED, 0)).to_pylist()
        batch, output_kinds = outputs_table(monitoring_model.predictions(model, newest))
        made.outputs = Part.of(_as_table(batch), output_kinds, True)
        if (objective.get("explanationConfig") or {}).get("enableFeatureAttributes"):
            from portico.ml.watch.attributions import measure

            step = max(features.num_rows / _EXPLAINED, 1)
            chosen = [int(place * step) for place in range(min(_EXPLAINED, features.num_rows))]
            made.attributions = measure(
                monitoring_model.attributions(model, features.take(chosen).to_pylist())
            )
    return made


def _as_table(batch: Any) -> Any:
    import pyarrow as pa

    return batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])


def _training(rooms: Rooms, job: Resource, data: Mapping[str, Any]) -> Any:
    from portico.ml.errors import DataError

    gcs = sources.gcs_of(rooms)
    try:
        if data.get("dataset"):
            with rooms.database.read() as connection:
                dataset = DATASETS.require(connection, data["dataset"])
            pinned = data_of(rooms, dataset, job.name)
        else:
            pinned = sources.pin(gcs, data["gcsSource"]["uris"], job.name, "trainingDataset")
        declared = data.get("dataFormat", "")
        return sources.read_table(rooms.home, pinned, declared, "trainingDataset.dataFormat").table
    except DataError as error:
        raise FailedPrecondition(f"The training data can't be read: {error.message}.") from None
    finally:
        gcs.unpin(job.name)


def _kinds(rooms: Rooms, job: Resource, deployed_id: str) -> dict[str, str] | None:
    """The kinds of the columns as the deployed model reads them, where it says so."""
    with rooms.database.read() as connection:
        endpoint = resources.get(connection, job.body["endpoint"])
        for deployed in (endpoint.body.get("deployedModels") or []) if endpoint else []:
            if deployed["id"] == deployed_id:
                version = resources.get(connection, f"{deployed['model']}@{deployed['modelVersionId']}")
                metadata = (version.body.get("metadata") or {}) if version else {}
                return metadata.get("columns") if isinstance(metadata, dict) else None
    return None
