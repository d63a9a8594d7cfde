"""Scores ranked against the truth: the areas under the ROC and the precision-recall curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from portico.ml.errors import DataError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Ranking:
    """What is found at each distinct score, from the highest down; all of shape (T,), in weight.

    At `thresholds[i]`, everything scored at least that counts as found: `true_positives[i]` of `positives`
    rightly, `false_positives[i]` of `negatives` wrongly.
    """

    thresholds: Floats
    true_positives: Floats
    false_positives: Floats

    @property
    def positives(self) -> float:
        return float(self.true_positives[-1])

    @property
    def negatives(self) -> float:
        return float(self.false_positives[-1])

    def au_roc(self) -> float | None:
        """Area under the ROC curve by the trapezoidal rule; None where one side is empty."""
        if not self.positives > 0 or not self.negatives > 0:
            return None
        recall = np.concatenate(([0.0], self.true_positives)) / self.positives
        fall_out = np.concatenate(([0.0], self.false_positives)) / self.negatives
        return float(np.trapezoid(recall, fall_out))

    def au_prc(self) -> float | None:
        """Average precision, sum of (R_n - R_n-1) P_n, as Vertex AI's AuPRC; None without positives."""
        if not self.positives > 0:
            return None
        gained = np.diff(self.true_positives, prepend=0.0) / self.positives
        return float(np.sum(gained * self.precision()))

    def precision(self) -> Floats:
        found = self.true_positives + self.false_positives
        return np.divide(self.true_positives, found, out=np.ones_like(found), where=found > 0)


def rank(positive: Bools, scores: Floats, weights: Floats | None = None) -> Ranking:
    """Ranks the `scores`, shape (N,), of rows of which the `positive` ones, shape (N,), are to be found.

    Raises:
        DataError: there are no rows, or a score is no finite number.
    """
    if len(scores) == 0:
        raise DataError("There are no rows to measure on.")
    if not np.isfinite(scores).all():
        raise DataError("A score is not a finite number.")
    order = np.argsort(-scores, kind="stable")
    sorted_scores, hit = scores[order], positive[order].astype(float)
    weight = np.ones(len(order)) if weights is None else weights[order]
    last_of_score = np.append(np.flatnonzero(np.diff(sorted_scores)), len(order) - 1)
    true_positives = np.cumsum(hit * weight)[last_of_score]
    false_positives = np.cumsum((1 - hit) * weight)[last_of_score]
    return Ranking(sorted_scores[last_of_score], true_positives, false_positives)


def thin(ranking: Ranking, points: int) -> NDArray[np.intp]:
    """At most `points` places in the ranking, spread along the ROC curve; the first and the last are kept."""
    count = len(ranking.thresholds)
    if count <= points:
        return np.arange(count)
    along = ranking.true_positives / max(ranking.positives, 1e-300)
    along = along + ranking.false_positives / max(ranking.negatives, 1e-300)
    wanted = np.linspace(along[0], along[-1], points)
    return np.unique(np.minimum(np.searchsorted(along, wanted), count - 1))
