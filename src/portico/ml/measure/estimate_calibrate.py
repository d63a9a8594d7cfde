"""Scores to probabilities on reference rows: by isotonic regression, by Platt's sigmoid where rows are few."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from portico.ml.arrays import Floats
from portico.ml.errors import DataError
from portico.ml.measure.recalibrate import Recalibration, fit_recalibration

_ENOUGH = 50  # rows of a class, and of the others, from which isotonic regression is the better
_ROWS = 1000  # as scikit-learn advises: with fewer it overfits


@dataclass(frozen=True, slots=True)
class Calibrator:
    """`steps` has for each class (of two, for the second alone) scores and probabilities to interpolate between; else
    `sigmoid` is the correction."""

    steps: list[tuple[list[float], list[float]]] = field(default_factory=list)
    sigmoid: Recalibration | None = None

    def apply(self, scores: Floats) -> Floats:
        """Probabilities (N, K) of scores (N, K), each row's sum 1; where no class has any, the scores as they are."""
        if self.sigmoid is not None:
            return self.sigmoid.apply(scores)
        if scores.shape[1] == 2:
            positive = np.interp(scores[:, 1], *self.steps[0])
            return np.stack([1 - positive, positive], axis=1)
        made = np.column_stack([np.interp(scores[:, k], *self.steps[k]) for k in range(scores.shape[1])])
        total = made.sum(axis=1, keepdims=True)
        return np.where(total > 0, made / np.where(total > 0, total, 1), scores)

    def to_json(self) -> dict[str, Any]:
        if self.sigmoid is not None:
            return {"sigmoid": self.sigmoid.to_json()}
        return {"steps": [[scores, made] for scores, made in self.steps]}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Calibrator:
        if "sigmoid" in body:
            return cls(sigmoid=Recalibration.from_json(body["sigmoid"]))
        return cls([(list(scores), list(made)) for scores, made in body["steps"]])


def fit_calibrator(truth: Floats, scores: Floats) -> Calibrator:
    """From `scores` (N, K) with `truth` (N,) as positions among the classes.

    Isotonic regression for each class against the rest (Zadrozny and Elkan, KDD 2002) from 1,000 rows on with 50 of
    each class; with fewer the sigmoid of `recalibrate`.

    Raises:
        DataError: as `recalibrate.fit_recalibration`.
    """
    counts = np.bincount(truth.astype(int), minlength=scores.shape[1])
    if len(counts) > scores.shape[1]:
        raise DataError("a true class is not one of the model's")
    if len(truth) < _ROWS or counts.min() < _ENOUGH:
        return Calibrator(sigmoid=fit_recalibration(truth, scores))
    from sklearn.isotonic import IsotonicRegression

    steps = []
    for place in [1] if scores.shape[1] == 2 else range(scores.shape[1]):
        fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        fitted.fit(scores[:, place], (truth == place).astype(float))
        steps.append((fitted.X_thresholds_.tolist(), fitted.y_thresholds_.tolist()))
    return Calibrator(steps)
