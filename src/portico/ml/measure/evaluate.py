"""Evaluation metrics in the form of Google's schemas (gs://google-cloud-aiplatform/schema/modelevaluation/).

Numbers are JSON numbers, counts strings (int64 in proto3 JSON), as Vertex AI answers for tabular models. What
is undefined is left out, never NaN or infinite. With weights every metric is weighted; counts and the
confusion matrix stay counts of rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from portico.ml.errors import DataError
from portico.ml.measure.curves import Floats, rank, thin
from portico.ml.measure.evaluate_confidence import (
    THRESHOLDS,
    Ints,
    confidence_metrics,
    defined,
    macro_f1,
    tally,
)

_SCHEMAS = "gs://google-cloud-aiplatform/schema/modelevaluation"
CLASSIFICATION_SCHEMA = f"{_SCHEMAS}/classification_metrics_1.0.0.yaml"
REGRESSION_SCHEMA = f"{_SCHEMAS}/regression_metrics_1.0.0.yaml"

_CURVE_POINTS = 76
_MAX_CONFUSION = 100
_SMALLEST_SCORE = 1e-15


def evaluate_classification(
    y_true: Ints, scores: Floats, labels: Sequence[str], weights: Floats | None = None
) -> dict[str, Any]:
    """Metrics of a classifier, micro-averaged over the classes.

    `y_true`, shape (N,), holds positions in `labels` (K names); `scores`, shape (N, K), probabilities.
    Confidence metrics are at the schema's thresholds and at some on the model's own curve, so that the curves
    drawn from them are smooth. The areas are left out where the rows are all of one class, the confusion matrix (rows
    the truth, columns the highest score) beyond 100 classes.

    Raises:
        DataError: the shapes do not fit, there are no rows, or a score is no finite number.
    """
    y_true, scores, weights = checked_classes(y_true, scores, labels, weights)
    truth = y_true[:, None] == np.arange(len(labels))
    repeated = None if weights is None else np.repeat(weights, len(labels))
    ranking = rank(truth.ravel(), scores.ravel(), repeated)
    own = ranking.thresholds[thin(ranking, _CURVE_POINTS)]
    thresholds = np.unique(np.concatenate((THRESHOLDS, own[(own > 0) & (own <= 1)])))
    weighted = tally(y_true, scores, thresholds, weights)
    counted = weighted if weights is None else tally(y_true, scores, thresholds)
    entries = confidence_metrics(thresholds, weighted.sum(axis=1), counted.sum(axis=1))
    for entry, macro in zip(entries, macro_f1(weighted), strict=True):
        entry |= {"f1ScoreMicro": entry["f1Score"], "f1ScoreMacro": float(macro)}
    metrics: dict[str, Any] = {
        "auPrc": None if one_class(y_true, weights) else ranking.au_prc(),
        "auRoc": None if one_class(y_true, weights) else ranking.au_roc(),
        "logLoss": log_loss(y_true, scores, weights),
        "confidenceMetrics": entries,
    }
    if len(labels) <= _MAX_CONFUSION:
        rows = np.zeros((len(labels), len(labels)), int)
        np.add.at(rows, (y_true, scores.argmax(axis=1)), 1)
        specs = [{"id": str(place), "displayName": label} for place, label in enumerate(labels)]
        metrics["confusionMatrix"] = {"annotationSpecs": specs, "rows": rows.tolist()}
    return defined(metrics)


def evaluate_regression(y_true: Floats, y_pred: Floats, weights: Floats | None = None) -> dict[str, float]:
    """Metrics of a regressor; `y_true` and `y_pred` have shape (N,).

    rSquared is the square of Pearson's correlation (as Vertex AI defines it, not 1 - SSE/SST), left out where
    either side is constant. meanAbsolutePercentageError is in percent, left out where a true value is 0;
    rootMeanSquaredLogError is left out where a value is negative.

    Raises:
        DataError: the shapes differ, there are no rows, or a number is not finite.
    """
    y_true, y_pred = np.asarray(y_true, float), np.asarray(y_pred, float)
    if y_true.shape != y_pred.shape or y_true.ndim != 1 or len(y_true) == 0:
        raise DataError(f"Cannot compare {y_pred.shape} predictions with {y_true.shape} true values.")
    if not np.isfinite(y_true).all() or not np.isfinite(y_pred).all():
        raise DataError("A true or predicted value is not a finite number.")
    weights = _checked_weights(weights, len(y_true))
    error = y_pred - y_true
    metrics: dict[str, float | None] = {
        "rootMeanSquaredError": float(np.sqrt(np.average(error**2, weights=weights))),
        "meanAbsoluteError": float(np.average(np.abs(error), weights=weights)),
        "rSquared": _pearson_squared(y_true, y_pred, weights),
    }
    if (y_true != 0).all():
        with np.errstate(over="ignore"):
            share = float(np.average(np.abs(error / y_true), weights=weights))
        metrics["meanAbsolutePercentageError"] = 100 * share
    if (y_true >= 0).all() and (y_pred >= 0).all():
        logs = np.log1p(y_pred) - np.log1p(y_true)
        metrics["rootMeanSquaredLogError"] = float(np.sqrt(np.average(logs**2, weights=weights)))
    return defined(metrics)


def one_class(y_true: Ints, weights: Floats | None = None) -> bool:
    """Whether all rows (with a weight) are of one class: then nothing can be ranked above anything."""
    known = y_true if weights is None else y_true[weights > 0]
    return bool((known == known[0]).all())


def not_computed(
    metrics: Mapping[str, Any], y_true: NDArray[Any], labels: Sequence[str], weights: Floats | None = None
) -> dict[str, str]:
    """Of each metric that an evaluation left out, why. `labels` is empty for a regression."""
    if labels:
        areas = [name for name in ("auPrc", "auRoc") if name not in metrics]
        known = y_true if weights is None else y_true[weights > 0]
        only = f"All test rows are of the class {labels[int(known[0])]!r}, so nothing can be ranked above anything."
        return dict.fromkeys(areas, only)
    reasons = {
        "rSquared": "The true or the predicted values of the test rows are all the same.",
        "meanAbsolutePercentageError": "A true value of the test rows is 0, of which nothing is a percentage.",
        "rootMeanSquaredLogError": "A true or predicted value of the test rows is negative.",
    }
    return {name: why for name, why in reasons.items() if name not in metrics}


def log_loss(y_true: Ints, scores: Floats, weights: Floats | None = None) -> float:
    """Mean negative natural logarithm of the true class's score, which counts as at least 1e-15."""
    of_truth = scores[np.arange(len(y_true)), y_true]
    return float(np.average(-np.log(np.clip(of_truth, _SMALLEST_SCORE, 1.0)), weights=weights))


def checked_classes(
    y_true: NDArray[Any], scores: Floats, labels: Sequence[str], weights: Floats | None
) -> tuple[Ints, Floats, Floats | None]:
    """The arguments as arrays of the right types, or a DataError."""
    y_true, scores = np.asarray(y_true, np.int64), np.asarray(scores, float)
    if y_true.ndim != 1 or scores.shape != (len(y_true), len(labels)):
        raise DataError(
            f"Cannot compare scores of shape {scores.shape} with {len(y_true)} rows of {len(labels)} classes."
        )
    if len(y_true) == 0:
        raise DataError("There are no rows to measure on.")
    if not np.isfinite(scores).all():
        raise DataError("A score is not a finite number.")
    if y_true.min() < 0 or y_true.max() >= len(labels):
        raise DataError("A true class is not one of the labels.")
    return y_true, scores, _checked_weights(weights, len(y_true))


def _checked_weights(weights: Floats | None, rows: int) -> Floats | None:
    if weights is None:
        return None
    weights = np.asarray(weights, float)
    if weights.shape != (rows,) or not (weights >= 0).all() or not 0 < weights.sum() < np.inf:
        raise DataError("Weights must be one number of at least 0 a row, and not all 0.")
    return weights


def _pearson_squared(one: Floats, other: Floats, weights: Floats | None) -> float | None:
    spread_one = one - np.average(one, weights=weights)
    spread_other = other - np.average(other, weights=weights)
    scale_one, scale_other = np.abs(spread_one).max(), np.abs(spread_other).max()
    # What is left of a constant after subtracting its mean is rounding, not spread.
    if scale_one <= 1e-12 * np.abs(one).max() or scale_other <= 1e-12 * np.abs(other).max():
        return None
    spread_one, spread_other = spread_one / scale_one, spread_other / scale_other
    both = np.average(spread_one * spread_other, weights=weights)
    parts = np.average(spread_one**2, weights=weights) * np.average(spread_other**2, weights=weights)
    return float(both**2 / parts) if parts > 0 else None
