"""What ML.EVALUATE says of predictions beside the truth."""

from __future__ import annotations

from typing import Any

import numpy as np

Numbers = np.ndarray[Any, Any]


def regression(truth: Numbers, found: Numbers) -> dict[str, float | None]:
    """Of (rows,) numbers; the squared log error is None where a number is below zero, as are R² and kin of one row."""
    from sklearn import metrics

    if not len(truth):
        return dict.fromkeys(REGRESSION)
    logs = None
    if truth.min() >= 0 and found.min() >= 0:
        logs = float(np.mean((np.log1p(truth) - np.log1p(found)) ** 2))
    varied = len(truth) > 1 and float(np.var(truth)) > 0
    return {
        "mean_absolute_error": float(np.mean(np.abs(truth - found))),
        "mean_squared_error": float(np.mean((truth - found) ** 2)),
        "mean_squared_log_error": logs,
        "median_absolute_error": float(np.median(np.abs(truth - found))),
        "r2_score": float(metrics.r2_score(truth, found)) if varied else None,
        "explained_variance": float(metrics.explained_variance_score(truth, found)) if varied else None,
    }


REGRESSION = (
    "mean_absolute_error", "mean_squared_error", "mean_squared_log_error", "median_absolute_error", "r2_score",
    "explained_variance",
)  # fmt: skip
MINIMIZED = (
    "mean_absolute_error", "mean_squared_error", "mean_squared_log_error", "median_absolute_error", "log_loss",
)  # fmt: skip
CLASSIFICATION = ("precision", "recall", "accuracy", "f1_score", "log_loss", "roc_auc")


def classification(truth: Numbers, scores: Numbers, threshold: float) -> dict[str, float | None]:
    """
    Args:
        truth: (rows,) places of the classes.
        scores: (rows, classes) probabilities.
        threshold: of the last class, where there are two.

    Returns:
        Precision, recall and F1 of the last of two classes, of more the unweighted mean over the classes; the area
        under the ROC is None where only one class is there.
    """
    from sklearn import metrics

    if not len(truth):
        return dict.fromkeys(CLASSIFICATION)
    classes = scores.shape[1]
    binary = classes == 2
    chosen = (scores[:, 1] >= threshold).astype(int) if binary else scores.argmax(axis=1)
    average = "binary" if binary else "macro"
    labels = None if binary else list(range(classes))
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        truth, chosen, average=average, labels=labels, pos_label=1, zero_division=0.0
    )
    own = np.clip(scores[np.arange(len(truth)), truth], 1e-15, 1.0)
    return {
        "precision": float(precision),
        "recall": float(recall),
        "accuracy": float(np.mean(chosen == truth)),
        "f1_score": float(f1),
        "log_loss": float(-np.mean(np.log(own))),
        "roc_auc": _area(truth, scores),
    }


def _area(truth: Numbers, scores: Numbers) -> float | None:
    from sklearn import metrics

    there = np.unique(truth)
    if len(there) < 2:
        return None
    if scores.shape[1] == 2:
        return float(metrics.roc_auc_score(truth, scores[:, 1]))
    areas = [metrics.roc_auc_score(truth == one, scores[:, one]) for one in there]
    return float(np.mean(areas))


def curve(truth: Numbers, scores: Numbers, thresholds: list[float] | None) -> list[dict[str, float | int]]:
    """ROC: counts at each threshold for the last of two classes; by default at a hundred quantiles of the scores."""
    chosen = np.unique(thresholds if thresholds is not None else np.quantile(scores, np.linspace(0, 1, 101)))[
        ::-1
    ]
    positives, negatives = np.sort(scores[truth == 1]), np.sort(scores[truth == 0])
    rows: list[dict[str, float | int]] = []
    for one in chosen:
        true = len(positives) - int(np.searchsorted(positives, one, "left"))
        false = len(negatives) - int(np.searchsorted(negatives, one, "left"))
        rows.append(
            {
                "threshold": float(one),
                "recall": true / len(positives) if len(positives) else 0.0,
                "false_positive_rate": false / len(negatives) if len(negatives) else 0.0,
                "true_positives": true,
                "false_positives": false,
                "true_negatives": len(negatives) - false,
                "false_negatives": len(positives) - true,
            }
        )
    return rows
