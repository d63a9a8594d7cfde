"""Confidence metrics: what a classifier finds when only scores above a threshold count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from portico.ml.measure.curves import Floats

Ints = NDArray[np.int64]

# The thresholds that Google's classification schema names.
THRESHOLDS = np.array([*(step / 20 for step in range(20)), 0.96, 0.97, 0.98, 0.99])

# The first axis of a tally.
_HITS, _FOUND, _TOP_HITS, _TOP_FOUND, _POSITIVES, _TOTAL = range(6)


def tally(y_true: Ints, scores: Floats, thresholds: Floats, weights: Floats | None = None) -> Floats:
    """What is found per class and threshold, in weight; shape (6, K, T).

    `y_true` (N,), `scores` (N, K), `thresholds` (T,) ascending. A (row, class) pair is found where its score
    reaches the threshold, and a hit where the class is the row's. Along the first axis: hits, found; the same
    counting a row only under the class of its highest score; all rows of the class, all rows. Summed over K
    it is the tally of the micro average.
    """
    rows, classes = scores.shape
    weight = np.ones(rows) if weights is None else weights
    # How many thresholds a score reaches: it is found at those and at none above.
    reached = np.searchsorted(thresholds, scores, side="right")
    width = len(thresholds) + 1

    def found(of_class: Ints, levels: Ints, mass: Floats) -> Floats:
        histogram = np.bincount(of_class * width + levels, mass, classes * width).reshape(classes, width)
        return histogram[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]

    every = np.arange(rows)
    top = scores.argmax(axis=1)
    right = top == y_true
    result = np.empty((6, classes, len(thresholds)))
    result[_HITS] = found(y_true, reached[every, y_true], weight)
    result[_FOUND] = found(np.tile(np.arange(classes), rows), reached.ravel(), np.repeat(weight, classes))
    result[_TOP_HITS] = found(y_true[right], reached[every, y_true][right], weight[right])
    result[_TOP_FOUND] = found(top, reached[every, top], weight)
    result[_POSITIVES] = np.bincount(y_true, weight, classes)[:, None]
    result[_TOTAL] = weight.sum()
    return result


def confidence_metrics(thresholds: Floats, weighted: Floats, counted: Floats) -> list[dict[str, Any]]:
    """One entry per threshold, of tallies of shape (6, T): `weighted` for rates, `counted` for counts."""
    entries = []
    for threshold, masses, counts in zip(thresholds, weighted.T, counted.T, strict=True):
        entry: dict[str, Any] = {"confidenceThreshold": float(threshold)}
        positives, negatives = masses[_POSITIVES], masses[_TOTAL] - masses[_POSITIVES]
        for suffix, hits, found in (
            ("", masses[_HITS], masses[_FOUND]),
            ("At1", masses[_TOP_HITS], masses[_TOP_FOUND]),
        ):
            entry |= {
                f"recall{suffix}": _share(hits, positives),
                f"precision{suffix}": _share(hits, found),
                f"falsePositiveRate{suffix}": _share(found - hits, negatives),
                f"f1Score{suffix}": _share(2 * hits, found + positives),
            }
        missed, wrong = counts[_POSITIVES] - counts[_HITS], counts[_FOUND] - counts[_HITS]
        entry |= {
            "truePositiveCount": _count(counts[_HITS]),
            "falsePositiveCount": _count(wrong),
            "falseNegativeCount": _count(missed),
            "trueNegativeCount": _count(counts[_TOTAL] - counts[_POSITIVES] - wrong),
        }
        entries.append(defined(entry))
    return entries


def macro_f1(weighted: Floats) -> Floats:
    """The mean of the classes' F1 scores per threshold, shape (T,), of a tally (6, K, T).

    A class that neither is nor is found counts as 0.
    """
    both = weighted[_FOUND] + weighted[_POSITIVES]
    per_class = np.divide(2 * weighted[_HITS], both, out=np.zeros_like(both), where=both > 0)
    means: Floats = per_class.mean(axis=0)
    return means


def defined(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """`metrics` without what is None, NaN or infinite."""
    return {
        name: value
        for name, value in metrics.items()
        if value is not None and not (isinstance(value, float) and not np.isfinite(value))
    }


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole > 0 else None


def _count(number: float) -> str:
    return str(round(number))  # int64 in proto3 JSON
