"""Ranking curves of scores against the truth: ROC, precision and recall, calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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


def curves(
    positive: Bools, scores: Floats, weights: Floats | None = None, *, points: int = 200
) -> dict[str, Any]:
    """`roc`, `precisionRecall` and `calibration` as lists of JSON points.

    `positive` and `scores` have shape (N,), scores between 0 and 1. Curves are thinned to at most `points`
    thresholds and exact at those. Rates that have nothing to be a share of are left out.
    """
    ranking = rank(positive, scores, weights)
    kept = thin(ranking, points)
    precision = ranking.precision()
    roc, precision_recall = [], []
    for place in kept:
        threshold = float(ranking.thresholds[place])
        if ranking.positives > 0:
            recall = float(ranking.true_positives[place] / ranking.positives)
            precision_recall.append(
                {"threshold": threshold, "recall": recall, "precision": float(precision[place])}
            )
            if ranking.negatives > 0:
                rate = float(ranking.false_positives[place] / ranking.negatives)
                roc.append({"threshold": threshold, "falsePositiveRate": rate, "truePositiveRate": recall})
    return {
        "roc": roc,
        "precisionRecall": precision_recall,
        "calibration": calibration(positive.astype(float), scores, weights),
    }


def calibration(
    actual: Floats, predicted: Floats, weights: Floats | None = None, *, bins: int = 20
) -> list[dict[str, float]]:
    """Mean prediction against mean truth in groups of like predictions, shape (N,) both.

    Groups hold about as many rows each and never part equal predictions. For a class, `actual` is 1 or 0 and
    its mean the observed rate; for regression the same points compare predicted with actual values.
    """
    edges = np.unique(np.quantile(predicted, np.linspace(0, 1, bins + 1)[1:-1]))
    group = np.searchsorted(edges, predicted, side="right")
    weight = np.ones(len(predicted)) if weights is None else weights
    mass = np.bincount(group, weight)
    count = np.bincount(group)
    mean_predicted = np.bincount(group, weight * predicted)
    mean_actual = np.bincount(group, weight * actual)
    return [
        {
            "meanPredicted": float(mean_predicted[place] / mass[place]),
            "meanActual": float(mean_actual[place] / mass[place]),
            "count": int(count[place]),
        }
        for place in np.flatnonzero(mass > 0)
    ]
