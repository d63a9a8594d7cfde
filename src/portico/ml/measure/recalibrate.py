"""A classifier's scores made honest again on newest labelled rows: a cheap correction in the space of margins.

Two classes: logit(p') = scale * logit(p) + shift, which is Platt's sigmoid on the model's own log-odds (Platt 1999).
More: p' = softmax(scale * log p + shift), with a shift for each class: temperature scaling with a bias (Guo et al.,
ICML 2017). The scale is above 0, so of two classes the ranking stays as it is.

A model's margins are its log-odds, or log p up to a constant of the row. So the same correction of a `links.Link` is to
answer from `scale * margins + shift`: of two classes with the one margin and the one shift (sigmoid), of more class by
class (softmax). It differs from `Recalibration.apply` only where a score is nearer to 0 or 1 than 1e-12.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from portico.ml.arrays import Floats
from portico.ml.errors import DataError

_SMALLEST = 1e-12
_SCALES = (0.05, 20.0)
_LEAST = 20


@dataclass(frozen=True, slots=True)
class Recalibration:
    """`shift` has one number for two classes, one for each class for more (their sum is 0)."""

    scale: float
    shift: tuple[float, ...]

    def apply(self, scores: Floats) -> Floats:
        """Scores (N, K) corrected, each row's sum 1."""
        return _answer(_margins(scores), self.scale, np.array(self.shift))

    def to_json(self) -> dict[str, Any]:
        return {"scale": self.scale, "shift": list(self.shift)}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Recalibration:
        return cls(float(body["scale"]), tuple(map(float, body["shift"])))


def fit_recalibration(truth: Floats, scores: Floats) -> Recalibration:
    """The correction with the greatest likelihood for `scores` (N, K) with `truth` (N,) as positions among the classes.

    Regularised as by Platt: the true class k counts as (N_k + 1) / (N_k + 2) and the others share the rest, so that a
    class that scores part perfectly gets no infinite margin. The likelihood has one maximum.

    Raises:
        DataError: the shapes do not fit, there are fewer than 20 rows, or all rows are of one class.
    """
    from scipy.optimize import minimize

    _check(truth, scores)
    if len(truth) < _LEAST:
        raise DataError(f"{len(truth)} labelled rows are too few to recalibrate on; {_LEAST} are needed")
    classes = scores.shape[1]
    place = truth.astype(int)
    counts = np.bincount(place, minlength=classes)
    if (counts > 0).sum() < 2:
        raise DataError("all labelled rows are of one class: scores can't be recalibrated on them")
    targets = np.repeat((1 / (counts[place] + 2) / (classes - 1))[:, None], classes, axis=1)
    targets[np.arange(len(place)), place] = (counts[place] + 1) / (counts[place] + 2)
    margins = _margins(scores)
    width = margins.shape[1]

    def loss(parameters: Floats) -> tuple[float, Floats]:
        made = _answer(margins, parameters[0], parameters[1:])
        slope = (made - targets)[:, classes - width :] / len(made)
        value = -float(np.mean(np.sum(targets * np.log(np.maximum(made, 1e-300)), axis=1)))
        return value, np.concatenate([[np.sum(slope * margins)], slope.sum(axis=0)])

    start = np.concatenate([[1.0], np.zeros(width)])
    limits = [_SCALES, *[(-50.0, 50.0)] * width]
    found = minimize(loss, start, jac=True, bounds=limits, method="L-BFGS-B", options={"maxiter": 500})
    shift = found.x[1:] - (found.x[1:].mean() if width > 1 else 0.0)
    return Recalibration(float(found.x[0]), tuple(shift.tolist()))


def _margins(scores: Floats) -> Floats:
    """(N, 1) log-odds of the second of two classes, or (N, K) logarithms."""
    clipped = np.clip(scores, _SMALLEST, 1 - _SMALLEST)
    logs = np.log(clipped)
    return logs[:, 1:] - logs[:, :1] if scores.shape[1] == 2 else logs


def _answer(margins: Floats, scale: float, shift: Floats) -> Floats:
    moved = scale * margins + shift
    if moved.shape[1] == 1:
        moved = np.column_stack([np.zeros(len(moved)), moved])
    powers = np.exp(moved - moved.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float64)


def _check(truth: Floats, scores: Floats) -> None:
    if scores.ndim != 2 or scores.shape[1] < 2 or len(scores) != len(truth):
        raise DataError(f"cannot compare scores of shape {scores.shape} with {len(truth)} true classes")
    if len(truth) == 0:
        raise DataError("there are no labelled rows to measure on")
    if not np.isfinite(scores).all():
        raise DataError("a score is not a finite number")
    if truth.min() < 0 or truth.max() >= scores.shape[1]:
        raise DataError("a true class is not one of the model's")
