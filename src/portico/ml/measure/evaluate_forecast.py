"""Google's metrics of a forecasting model (forecasting_metrics_1.0.0)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from portico.ml.learn.objectives import pinball_loss
from portico.ml.measure.curves import Floats
from portico.ml.measure.evaluate import evaluate_regression, not_computed


def evaluate_forecast(
    y_true: Floats,
    y_pred: Floats,
    weights: Floats | None = None,
    quantiles: Sequence[float] = (),
    of_quantiles: Floats | None = None,
) -> dict[str, Any]:
    """`y_true`, `y_pred` (N,), `of_quantiles` (N, quantiles).

    Those of a regression, and: rootMeanSquaredPercentageError in percent, left out where a true value is 0;
    weightedAbsolutePercentageError, the sum of absolute errors as percent of that of absolute true values, left out
    where all are 0; `quantileMetrics`, of each quantile its mean pinball loss and the share of true values below what
    was forecast.

    Raises:
        DataError: as `evaluate_regression`.
    """
    metrics: dict[str, Any] = dict(evaluate_regression(y_true, y_pred, weights))
    errors, sizes = np.abs(y_pred - y_true), np.abs(y_true)
    if (sizes > 0).all():
        share = float(np.sqrt(np.average((errors / sizes) ** 2, weights=weights)))
        metrics["rootMeanSquaredPercentageError"] = 100 * share
    if (whole := float(np.average(sizes, weights=weights))) > 0:
        metrics["weightedAbsolutePercentageError"] = 100 * metrics["meanAbsoluteError"] / whole
    if of_quantiles is not None and len(quantiles):
        metrics["quantileMetrics"] = [
            {
                "quantile": quantile,
                "scaledPinballLoss": pinball_loss(y_true, of_quantiles[:, place], weights, quantile),
                "observedQuantile": float(np.average(y_true < of_quantiles[:, place], weights=weights)),
            }
            for place, quantile in enumerate(quantiles)
        ]
    return metrics


def not_computed_of(metrics: dict[str, Any], y_true: Floats, weights: Floats | None = None) -> dict[str, str]:
    """Of each metric that an evaluation left out, why."""
    reasons = not_computed(metrics, y_true, [], weights)
    zero = "A true value of the test rows is 0, of which nothing is a percentage."
    if "rootMeanSquaredPercentageError" not in metrics:
        reasons["rootMeanSquaredPercentageError"] = zero
    if "weightedAbsolutePercentageError" not in metrics:
        reasons["weightedAbsolutePercentageError"] = "All true values of the test rows are 0."
    return reasons
