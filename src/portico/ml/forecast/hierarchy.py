"""Hierarchical forecasting: a model is chosen by the errors of sums of its forecasts, too.

Forecasts are added up over the series of a group, over the steps of the horizon, or over both; the loss by which
candidates are compared is that of single forecasts, and of each of these sums times its weight
(https://cloud.google.com/vertex-ai/docs/tabular-data/forecasting/hierarchical).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from portico.ml import arrays
from portico.ml.arrays import Floats
from portico.ml.forecast.panel import Ints, Panel
from portico.ml.forecast.spec import ForecastSpec
from portico.ml.forecast.windows import Windows
from portico.ml.learn.objectives import pinball_loss


@dataclass(slots=True)
class Hierarchy:
    """Of some windows: `true` (n,) and `weights` (n,) as given; `sums` says by the name of each kind of sum which one a
    window belongs to (n,)."""

    spec: ForecastSpec
    true: Floats
    weights: Floats
    sums: Mapping[str, Ints]

    def added(self, name: str, values: Floats, rows: Ints) -> Floats:
        """The sums of the kind `name` of some windows' values."""
        _, codes = np.unique(self.sums[name][rows], return_inverse=True)
        return np.asarray(np.bincount(codes, values), np.float64)

    def loss(self, said: Floats, rows: Ints, quantile: float | None) -> float:
        """`said` (rows,) of the windows `rows`, in the target's unit."""
        true, objective = self.true[rows], self.spec.objective
        total = _loss(objective, true, said, self.weights[rows], quantile)
        for name, weight in self.spec.sum_weights.items():
            sums = self.added(name, true, rows), self.added(name, said, rows)
            total += weight * _loss(objective, *sums, np.ones(len(sums[0])), quantile)
        return total


def hierarchy_of(
    table: pa.Table, panel: Panel, windows: Windows, spec: ForecastSpec, true: Floats, weights: Floats
) -> Hierarchy | None:
    """None where nothing is asked of sums. Without a context, where all is forecast from one origin, the steps of a
    horizon are those of one stretch of its length."""
    if not spec.sum_weights:
        return None
    rows = pa.array(panel.row[windows.target])
    group = np.zeros(len(windows), np.int64)
    for name in spec.group_columns:
        group = _together(group, arrays.factorize(table[name].take(rows))[0])
    target = np.unique(panel.time[windows.target], return_inverse=True)[1]
    if spec.context:
        origin = np.unique(panel.time[windows.origin], return_inverse=True)[1]
    else:
        origin = target // spec.horizon
    sums = {
        "group": _together(group, _together(target, origin)),
        "temporal": _together(panel.series[windows.target], origin),
        "groupTemporal": _together(group, origin),
    }
    return Hierarchy(spec, true, weights, {name: sums[name] for name in spec.sum_weights})


def _together(first: Ints, second: Ints) -> Ints:
    """A number for each pair."""
    return np.asarray(np.unique(np.stack([first, second]), axis=1, return_inverse=True)[1].ravel())


def _loss(objective: str, true: Floats, said: Floats, weights: Floats, quantile: float | None) -> float:
    if quantile is not None:
        return pinball_loss(true, said, weights, quantile)
    if objective == "minimize-rmsle":
        true, said = np.log1p(true), np.log1p(np.maximum(said, 0.0))
    errors = np.abs(said - true)
    if objective in ("minimize-mape", "minimize-rmspe"):
        weights = np.where(true != 0, weights, 0.0)
        errors = errors / np.where(true != 0, np.abs(true), 1.0)
    if not weights.any():
        return 0.0
    if objective in ("minimize-mae", "minimize-wape-mae", "minimize-mape"):
        return float(np.average(errors, weights=weights))
    return float(np.sqrt(np.average(errors**2, weights=weights)))
