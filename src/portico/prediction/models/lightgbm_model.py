"""A LightGBM booster (`model.txt`), served by its C functions."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from portico.errors import FailedPrecondition, Unimplemented
from portico.ml.learn.fastbooster import FastBooster
from portico.prediction.models.encoding import RowEncoder

if TYPE_CHECKING:
    import numpy as np

_FILES: Final = ("model.txt", "model.lgb", "model.bst")
_FEW_ROWS: Final = 8  # up to here row by row is faster than one call for a matrix


class LightGBMModel:
    """Answers what `Booster.predict` gives: a number, or a list with one number for each class.

    Instances are objects by feature name or lists in the features' order (see `RowEncoder`). Categories are
    those of the data frame that the booster was trained on; without one, categorical features are their codes.
    """

    def __init__(self, path: Path) -> None:
        self._booster = FastBooster(model_file(path))
        self._encoder = RowEncoder(self._booster.feature_names, categories(self._booster))
        self._pack = struct.Struct(f"{self._booster.num_features}d").pack_into
        self._single = self._booster.num_classes == 1
        self.predict([[None] * self._booster.num_features], None)  # the first call makes this thread's handle

    def predict(self, instances: list[Any], parameters: Any) -> list[Any]:
        encode = self._encoder.row
        if len(instances) > _FEW_ROWS:
            answers: list[Any] = self._booster.predict_matrix(self._matrix(instances)).tolist()
            return answers
        row, pack, predictions = self._booster.row, self._pack, []
        for position, instance in enumerate(instances):
            pack(row.buffer, 0, *encode(instance, position))
            row.run()
            predictions.append(row.outputs[0] if self._single else row.outputs[:])
        return predictions

    def sample(self) -> list[Any]:
        """Instances to try the model with."""
        count = self._booster.num_features
        return [[None] * count, [0.0] * count]

    def explain(self, instances: list[Any], parameters: Any) -> list[dict[str, Any]]:
        """TreeSHAP. For a class's probability the margins' attributions are scaled by one factor, so that
        they add up to the difference of the probabilities; of several classes the likeliest is explained."""
        link = _link(self._booster.objective)
        matrix = self._matrix(instances)
        contributions = self._booster.contributions(matrix)
        outputs = self._booster.predict_matrix(matrix).reshape(len(matrix), -1)
        explanations = []
        for values, output in zip(contributions, outputs, strict=True):
            chosen = int(output.argmax())
            baseline = float(link(values[:, -1])[chosen])
            instance = float(output[chosen])
            attributions = values[chosen, :-1]
            total = float(attributions.sum())
            factor = (instance - baseline) / total if abs(total) > 1e-12 else 0.0
            attribution: dict[str, Any] = {
                "baselineOutputValue": baseline,
                "instanceOutputValue": instance,
                "featureAttributions": {
                    name: value * factor
                    for name, value in zip(self._encoder.features, attributions.tolist(), strict=True)
                },
                "outputName": "prediction",
                "approximationError": 0.0,
            }
            if not self._single:
                attribution["outputIndex"] = [chosen]
            explanations.append({"attributions": [attribution]})
        return explanations

    def _matrix(self, instances: list[Any]) -> np.ndarray:
        import numpy as np

        encode = self._encoder.row
        rows = [encode(instance, position) for position, instance in enumerate(instances)]
        return np.array(rows, dtype=np.float64).reshape(len(rows), self._booster.num_features)


def model_file(path: Path) -> Path:
    """The model's file, which is `path` or in the folder `path`.

    Raises:
        FailedPrecondition: there is none.
    """
    if path.is_file():
        return path
    for name in _FILES:
        if (path / name).is_file():
            return path / name
    raise FailedPrecondition(f"The model's folder holds none of {', '.join(_FILES)}.")


def categories(booster: FastBooster) -> dict[int, list[Any]]:
    """By a categorical feature's position: the categories of the data frame that `booster` was trained on.

    Raises:
        FailedPrecondition: the model file doesn't tell which are whose.
    """
    known, positions = booster.pandas_categorical, booster.categorical_features
    if not known:
        return {}
    if len(known) != len(positions):
        raise FailedPrecondition(
            f"The LightGBM model has {len(known)} categorical columns of a data frame but {len(positions)} "
            "categorical features, so their order is not known: train with unordered categories only, or "
            "with codes."
        )
    return dict(zip(positions, known, strict=True))


def _link(objective: str) -> Callable[[np.ndarray], np.ndarray]:
    """What turns margins into the booster's output (LightGBM's src/objective/*.hpp, ConvertOutput)."""
    import numpy as np

    name, *options = objective.split(" ")
    settings = dict(option.partition(":")[::2] for option in options)
    if name in ("binary", "multiclassova"):
        slope = float(settings.get("sigmoid", 1))
        return lambda margins: 1 / (1 + np.exp(-slope * margins))
    if name == "cross_entropy":
        return lambda margins: 1 / (1 + np.exp(-margins))
    if name == "multiclass":
        return lambda margins: np.exp(margins - margins.max()) / np.exp(margins - margins.max()).sum()
    if name in ("poisson", "gamma", "tweedie"):
        return np.exp
    if "sqrt" in options:
        return lambda margins: np.sign(margins) * margins * margins
    if name in (
        "regression",
        "regression_l1",
        "huber",
        "fair",
        "quantile",
        "mape",
        "lambdarank",
        "rank_xendcg",
        "",
    ):
        return lambda margins: margins
    raise Unimplemented(f"LightGBM models with the objective {name!r} can't be explained in Portico yet.")
