"""A trained model: native files, one fitted transform, the same answers online and in batch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from portico.ml.arrays import Floats, Mask
from portico.ml.errors import DataError
from portico.ml.learn.bounds import Bounds
from portico.ml.learn.fastbooster import FastBooster
from portico.ml.learn.links import Link
from portico.ml.learn.transform import Transform

if TYPE_CHECKING:
    from portico.ml.explain.leaves import Leaves

FORMAT = "portico-tabular-1"


@dataclass(slots=True)
class Predictions:
    """For each row probabilities (rows, classes) or values (rows,) with bounds.

    Rows in `bad` were not predicted; `messages[row]` says why, and their numbers mean nothing.
    """

    labels: list[str]
    scores: Floats | None
    values: Floats | None
    lower: Floats | None
    upper: Floats | None
    bad: Mask
    messages: dict[int, str]
    threshold: float | None = None

    def instance(self, row: int) -> dict[str, Any]:
        """One row in Google's shape of an AutoML tabular prediction."""
        if self.scores is not None:
            return _classified(self.labels, self.scores[row].tolist(), self.threshold)
        assert self.values is not None and self.lower is not None and self.upper is not None
        return {
            "value": float(self.values[row]),
            "lower_bound": float(self.lower[row]),
            "upper_bound": float(self.upper[row]),
        }


@dataclass(slots=True)
class Manifest:
    """What `model.json` holds beside the transform.

    `threshold` is the score of the second of two classes from which on it is decided for; where it is None the model
    decides nothing, and its answers have scores alone.
    """

    prediction_type: str
    target: str
    labels: list[str]
    objective: str
    link: dict[str, Any]
    bounds: dict[str, Any] | None
    feature_importance: dict[str, float]
    kinds: dict[str, str]
    background: list[list[float | None]]
    seed: int
    versions: dict[str, str] = field(default_factory=dict)
    threshold: float | None = None


class Model:
    """Safe for threads. Loading needs NumPy and LightGBM's library, no scikit-learn and no pickle."""

    def __init__(self, manifest: Manifest, transform: Transform, forest: str, threads: int = 1) -> None:
        """`forest` is its text (see `forest.join`); `threads` are those of tables, rows use the caller's."""
        self.manifest = manifest
        self.transform = transform
        self.forest = FastBooster(forest, threads=threads, raw_score=True)
        self._text = forest
        self.labels = manifest.labels
        self.link = Link(**manifest.link)
        self.bounds = Bounds(**manifest.bounds) if manifest.bounds else None
        self.background: Floats = np.array(manifest.background, np.float64).reshape(-1, transform.width)

    @property
    def features(self) -> list[str]:
        return self.transform.features

    def predict_table(self, table: pa.Table | pa.RecordBatch) -> Predictions:
        """Predicts every row whose values can be read; the others are marked bad."""
        encoded = self.transform.transform(table)
        return self._answer(self._margins(encoded.matrix), encoded.bad, encoded.messages)

    def predict_instances(
        self, instances: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Instances (feature name to value) to Google's AutoML tabular predictions.

        A feature that is absent or null is missing; features that the model does not know are ignored; an unseen
        category counts as unknown.

        Raises:
            DataError: a value of a wrong type; the message names the instance and the feature.
        """
        if len(instances) > _FEW:
            matrix = self.encode_instances(instances)
            predictions = self._answer(self._margins(matrix), np.zeros(len(matrix), bool), {})
            return [predictions.instance(position) for position in range(len(matrix))]
        row = self.forest.row
        answers: list[dict[str, Any]] = []
        for position, instance in enumerate(instances):
            self._pack(instance, position, row.buffer)
            row.run()
            made = self.link.answer_row(row.outputs[:])
            if self.bounds is None:
                answers.append(_classified(self.labels, made, self.manifest.threshold))
            else:
                lower, upper = self.bounds.around_one(made[0])
                answers.append({"value": made[0], "lower_bound": lower, "upper_bound": upper})
        return answers

    def explain_instances(
        self,
        instances: Sequence[Mapping[str, Any]],
        parameters: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> list[dict[str, Any]]:
        """Google's `Explanation` JSON of each instance: see `explain.explain_instances`."""
        from portico.ml.explain.shapley import explain_instances

        return explain_instances(self, instances, parameters, **options)

    def encode_instances(self, instances: Sequence[Mapping[str, Any]]) -> Floats:
        """(instances, width), as `Transform.transform` would. Raises DataError as `predict_instances`."""
        matrix = np.empty((len(instances), self.transform.width))
        for position, instance in enumerate(instances):
            self._pack(instance, position, matrix[position])
        return matrix

    def output(self, matrix: Floats) -> Floats:
        """Probabilities (rows, classes) or values (rows, 1) of encoded rows."""
        return self.answers(self._margins(matrix))

    def answers(self, margins: Floats) -> Floats:
        """Margins (rows, outputs of the forest) as `output` has them."""
        made = self.link.answer(margins)
        return made if made.ndim == 2 else made[:, None]

    @cached_property
    def leaves(self) -> Leaves:
        """The forest's leaves, read when they are first asked for."""
        from portico.ml.explain.leaves import read_leaves

        return read_leaves(self._text)

    def _margins(self, matrix: Floats) -> Floats:
        return self.forest.predict_matrix(matrix).reshape(len(matrix), self.forest.num_classes)

    def _pack(self, instance: Mapping[str, Any], position: int, buffer: Any) -> None:
        try:
            self.transform.pack_row(instance, buffer)
        except DataError as error:
            raise DataError(
                f"instances[{position}]: {error.message}", field=error.field, row=position
            ) from None

    def _answer(self, margins: Floats, bad: Mask, messages: dict[int, str]) -> Predictions:
        made = self.link.answer(margins)
        if self.bounds is None:
            threshold = self.manifest.threshold
            return Predictions(self.labels, made, None, None, None, bad, messages, threshold)
        lower, upper = self.bounds.around(made)
        return Predictions([], None, made, lower, upper, bad, messages)

    def texts(self) -> tuple[str, str]:
        """What `read` makes it of: `model.json` and `forest.txt`."""
        body = {"format": FORMAT, **asdict(self.manifest), "transform": self.transform.to_json()}
        return json.dumps(body, allow_nan=False), self._text

    def save(self, directory: Path) -> None:
        """Writes `model.json` and `forest.txt` into `directory`, which is made."""
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in zip(("model.json", "forest.txt"), self.texts(), strict=True):
            (directory / name).write_text(text)

    @classmethod
    def load(cls, directory: Path, threads: int = 1) -> Model:
        """Raises DataError: `directory` holds no model of this format."""
        try:
            text = (directory / "model.json").read_text()
        except FileNotFoundError:
            raise DataError(f"{directory.name} holds no model.json") from None
        return cls.read(text, (directory / "forest.txt").read_text(), threads)

    @classmethod
    def read(cls, told: str, forest: str, threads: int = 1) -> Model:
        """Raises DataError: `told` is no model.json of this format."""
        body = json.loads(told)
        if body.pop("format", None) != FORMAT:
            raise DataError(f"model.json is not of the format {FORMAT}")
        transform = Transform.from_json(body.pop("transform"))
        return cls(Manifest(**body), transform, forest, threads)


def _classified(labels: list[str], scores: list[float], threshold: float | None) -> dict[str, Any]:
    if threshold is None:
        return {"classes": labels, "scores": scores}
    return {"classes": labels, "scores": scores, "decision": labels[scores[1] >= threshold]}


_FEW = 4  # up to so many rows one by one is faster than a matrix
