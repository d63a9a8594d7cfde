"""Evaluation of parts of the data: of each class against the rest, and of each value of a feature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from portico.ml.measure.curves import Floats, rank
from portico.ml.measure.evaluate import (
    CLASSIFICATION_SCHEMA,
    REGRESSION_SCHEMA,
    checked_classes,
    evaluate_classification,
    evaluate_regression,
    log_loss,
)
from portico.ml.measure.evaluate_confidence import THRESHOLDS, Ints, confidence_metrics, defined, tally


def evaluate_slices(
    y_true: NDArray[Any],
    output: Floats,
    *,
    labels: Sequence[str] | None = None,
    features: Mapping[str, Sequence[Any]] | None = None,
    weights: Floats | None = None,
    minimum: int = 30,
    most: int = 10,
) -> list[dict[str, Any]]:
    """ModelEvaluationSlices: one per class (for a classifier, `labels` given), one per value of a feature.

    A class's slice measures it against all others on all rows. `features` holds categorical columns, N values
    each; of every column the `most` frequent values with at least `minimum` rows become slices, missing ones
    (None, NaN) do not. Slices hold confidence metrics at the schema's thresholds alone.

    Raises:
        DataError: as `evaluate_classification` and `evaluate_regression`.
    """
    slices: list[dict[str, Any]] = []
    if labels is not None:
        y_true, output, weights = checked_classes(y_true, output, labels, weights)
        for place, metrics in enumerate(_class_metrics(y_true, output, weights)):
            if metrics:
                dimension = {"dimension": "annotationSpec", "value": labels[place]}
                slices.append(
                    {"slice": dimension, "metricsSchemaUri": CLASSIFICATION_SCHEMA, "metrics": metrics}
                )
    for name, column in (features or {}).items():
        for value, rows in _groups(column, minimum, most):
            part = None if weights is None else weights[rows]
            if part is not None and not part.any():
                continue
            if labels is not None:
                metrics = evaluate_classification(y_true[rows], output[rows], labels, part)
                grid = set(THRESHOLDS.tolist())
                metrics["confidenceMetrics"] = [
                    entry for entry in metrics["confidenceMetrics"] if entry["confidenceThreshold"] in grid
                ]
            else:
                metrics = evaluate_regression(y_true[rows], output[rows], part)
            slices.append(
                {
                    "slice": {
                        "dimension": "slice",
                        "value": f"{name}={value}",
                        "sliceSpec": {"configs": {name: {"value": _slice_value(value)}}},
                    },
                    "metricsSchemaUri": REGRESSION_SCHEMA if labels is None else CLASSIFICATION_SCHEMA,
                    "metrics": metrics,
                }
            )
    return slices


def _class_metrics(y_true: Ints, scores: Floats, weights: Floats | None) -> list[dict[str, Any]]:
    """Metrics of each class against the rest; empty for a class that is nowhere the truth."""
    weighted = tally(y_true, scores, THRESHOLDS, weights)
    counted = weighted if weights is None else tally(y_true, scores, THRESHOLDS)
    found: list[dict[str, Any]] = []
    for place in range(scores.shape[1]):
        positive = y_true == place
        if not positive.any():
            found.append({})
            continue
        ranking = rank(positive, scores[:, place], weights)
        score = np.clip(scores[:, place], 0.0, 1.0)
        either = np.column_stack((1 - score, score))
        metrics: dict[str, Any] = {
            "auPrc": ranking.au_prc(),
            "auRoc": ranking.au_roc(),
            "logLoss": log_loss(positive.astype(int), either, weights),
            "confidenceMetrics": confidence_metrics(THRESHOLDS, weighted[:, place], counted[:, place]),
        }
        found.append(defined(metrics))
    return found


def _groups(column: Sequence[Any], minimum: int, most: int) -> list[tuple[Any, Ints]]:
    """The most frequent values of a column with the places of their rows."""
    rows: dict[Any, list[int]] = {}
    for place, value in enumerate(np.asarray(column, object).tolist()):
        if value is not None and value == value:
            rows.setdefault(value, []).append(place)
    large = [(value, np.array(places)) for value, places in rows.items() if len(places) >= minimum]
    return sorted(large, key=lambda group: -len(group[1]))[:most]


def _slice_value(value: Any) -> dict[str, Any]:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return {"floatValue": float(value)}
    return {"stringValue": str(value)}
