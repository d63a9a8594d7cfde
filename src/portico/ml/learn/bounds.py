"""Prediction intervals of a regression, from residuals on rows that did not train it.

Split conformal prediction (Lei et al. 2018), with the residuals' scale depending on the predicted value
(Mondrian bins, Vovk et al. 2005): within each bin of predictions the bounds are finite-sample quantiles of the
signed residuals. For exchangeable rows the bounds hold the true value in at least `coverage` of cases; rows later
than the validation rows (a timestamp split) may differ from them, and then the coverage is less.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from portico.ml.arrays import Floats

COVERAGE = 0.95
_ROWS_PER_BIN = 200
_MAX_BINS = 20


@dataclass
class Bounds:
    """`edges` (bins - 1,) between bins of the predicted value; `lower`, `upper` (bins,) are added to it."""

    edges: list[float]
    lower: list[float]
    upper: list[float]
    coverage: float = COVERAGE

    def __post_init__(self) -> None:
        self._edges, self._lower, self._upper = map(np.asarray, (self.edges, self.lower, self.upper))

    def around(self, values: Floats) -> tuple[Floats, Floats]:
        """Lower and upper bounds (rows,) of predicted `values` (rows,)."""
        place = self._edges.searchsorted(values, side="right")
        return values + self._lower[place], values + self._upper[place]

    def around_one(self, value: float) -> tuple[float, float]:
        """`around` for a single value, bit for bit."""
        place = bisect_right(self.edges, value)
        return value + self.lower[place], value + self.upper[place]


def fit_bounds(predicted: Floats, true: Floats, coverage: float = COVERAGE) -> Bounds:
    """From predictions and true values (rows,) of rows that did not train the model."""
    bins = int(np.clip(len(true) // _ROWS_PER_BIN, 1, _MAX_BINS))
    edges = np.unique(np.quantile(predicted, np.linspace(0, 1, bins + 1)[1:-1])) if bins > 1 else np.zeros(0)
    place = np.searchsorted(edges, predicted, side="right")
    residuals = true - predicted
    lower, upper = [], []
    for number in range(len(edges) + 1):
        inside = np.sort(residuals[place == number])
        if len(inside) == 0:
            inside = np.sort(residuals)
        # The k-th smallest of n with k = (n + 1) * quantile, rounded outwards, covers a new exchangeable row.
        tail = (1 - coverage) / 2
        low = max(int(np.floor((len(inside) + 1) * tail)) - 1, 0)
        high = min(int(np.ceil((len(inside) + 1) * (1 - tail))) - 1, len(inside) - 1)
        lower.append(min(float(inside[low]), 0.0))
        upper.append(max(float(inside[high]), 0.0))
    return Bounds(edges.tolist(), lower, upper, coverage)
