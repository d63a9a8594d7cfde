"""The optimisation objectives as losses on the validation rows (lower is better)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from portico.ml.arrays import Floats
from portico.ml.errors import DataError
from portico.ml.learn.spec import QUANTILE_OBJECTIVE, TrainSpec

_EPSILON = 1e-15

Loss = Callable[[Floats, Floats, Floats], float]


def objective_of(spec: TrainSpec, classes: int) -> str:
    """The spec's objective, or Google's default.

    Raises:
        DataError: an objective for two classes was asked for more.
    """
    if spec.optimization_objective:
        if classes > 2 and spec.optimization_objective != "minimize-log-loss":
            raise DataError(
                f"{spec.optimization_objective} is for two classes and the target has {classes}; for more classes "
                "use minimize-log-loss",
                field="optimizationObjective",
            )
        return spec.optimization_objective
    if spec.prediction_type == "regression":
        return "minimize-rmse"
    return "maximize-au-roc" if classes == 2 else "minimize-log-loss"


def loss_of(objective: str, spec: TrainSpec) -> Loss:
    """loss(y (rows,), output, weights (rows,)): output is probabilities (rows, classes) or values (rows,).

    Objectives that Google maximises come back as 1 - metric; the positive class is the second label. Where
    the rows are all of one class these can't be computed, and the log loss stands in.
    """

    def positive(metric: Callable[..., float]) -> Loss:
        def measured(y: Floats, output: Floats, weights: Floats) -> float:
            if y.min() == y.max():  # nothing to rank: of one class only the probability can be judged
                return log_loss(y, output, weights)
            return 1.0 - metric(y, output[:, 1], weights)

        return measured

    losses: dict[str, Loss] = {
        "minimize-log-loss": log_loss,
        "maximize-au-roc": positive(au_roc),
        "maximize-au-prc": positive(au_prc),
        "maximize-precision-at-recall": positive(
            lambda y, score, w: precision_at_recall(y, score, w, spec.recall_value or 0.0)
        ),
        "maximize-recall-at-precision": positive(
            lambda y, score, w: recall_at_precision(y, score, w, spec.precision_value or 0.0)
        ),
        "minimize-rmse": lambda y, value, w: float(np.sqrt(np.average((y - value) ** 2, weights=w))),
        "minimize-mae": lambda y, value, w: float(np.average(np.abs(y - value), weights=w)),
        "minimize-rmsle": lambda y, value, w: float(
            np.sqrt(np.average((np.log1p(y) - np.log1p(np.maximum(value, 0))) ** 2, weights=w))
        ),
        QUANTILE_OBJECTIVE: lambda y, value, w: pinball_loss(y, value, w, spec.quantile or 0.5),
    }
    return losses[objective]


def pinball_loss(y: Floats, value: Floats, weights: Floats | None, quantile: float) -> float:
    """The mean of what a forecast of a quantile loses (Koenker and Bassett 1978)."""
    short = y - value
    return float(np.average(np.maximum(quantile * short, (quantile - 1) * short), weights=weights))


def log_loss(y: Floats, probabilities: Floats, weights: Floats) -> float:
    chosen = probabilities[np.arange(len(y)), y.astype(int)]
    return float(np.average(-np.log(np.clip(chosen, _EPSILON, 1)), weights=weights))


def au_roc(y: Floats, score: Floats, weights: Floats) -> float:
    """Area under the ROC curve, ties counted half; 0.5 when a class is absent."""
    true, false = _cumulative(y, score, weights)
    if true[-1] == 0 or false[-1] == 0:
        return 0.5
    area = np.sum(np.diff(false, prepend=0.0) * (true + np.concatenate([[0.0], true[:-1]])) / 2)
    return float(area / true[-1] / false[-1])


def au_prc(y: Floats, score: Floats, weights: Floats) -> float:
    """Average precision: the sum over thresholds of precision times the gain in recall."""
    true, false = _cumulative(y, score, weights)
    if true[-1] == 0:
        return 0.0
    return float(np.sum(np.diff(true, prepend=0.0) * true / (true + false)) / true[-1])


def precision_at_recall(y: Floats, score: Floats, weights: Floats, recall: float) -> float:
    """The best precision of a threshold that reaches `recall`."""
    true, false = _cumulative(y, score, weights)
    if true[-1] == 0:
        return 0.0
    reached = true / true[-1] >= recall - 1e-12
    return float((true / (true + false))[reached].max(initial=0.0))


def recall_at_precision(y: Floats, score: Floats, weights: Floats, precision: float) -> float:
    """The best recall of a threshold that reaches `precision`."""
    true, false = _cumulative(y, score, weights)
    if true[-1] == 0:
        return 0.0
    reached = true / (true + false) >= precision - 1e-12
    return float((true / true[-1])[reached].max(initial=0.0))


def _cumulative(y: Floats, score: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Weights of true and of false positives at each distinct score, from the highest down."""
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(y) - 1)
    positive = weights[order] * (y[order] == 1)
    return np.cumsum(positive)[ends], np.cumsum(weights[order] - positive)[ends]


def describe(objective: str, loss: float) -> dict[str, Any]:
    """The loss under the metric's own name and direction."""
    name = objective.split("-", 1)[1]
    return {"metric": name, "value": 1 - loss if objective.startswith("maximize") else loss}
