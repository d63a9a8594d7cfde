"""Predictions that influence their own labels: what was acted upon, beside a random share that was not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from portico.ml.arrays import Floats
from portico.ml.measure.baseline import block_length_of
from portico.ml.measure.baseline_bootstrap import Resample
from portico.services.portico.joining import Outcome
from portico.services.portico.steward.measures import measured
from portico.services.portico.steward.rows import rows_of

_LEAST = 30  # rows of either side


def influence(
    rule: Mapping[str, Any], outcomes: Sequence[Outcome], classes: Sequence[str], threshold: float
) -> dict[str, Any] | None:
    """The metric and the mean truth of labelled predictions that were acted upon, minus those of the held-out share.

    Held out is drawn at random, so a difference beyond its 95% interval is what acting did (two independent samples:
    each is resampled in blocks of its own). None where either side has fewer than 30 rows.
    """
    sides = {
        "held": rows_of([o for o in outcomes if o.holdout], classes, (), threshold),
        "acted": rows_of([o for o in outcomes if not o.holdout], classes, (), threshold),
    }
    if min(len(rows) for rows in sides.values()) < _LEAST:
        return None
    made: dict[str, Any] = {"metric": rule["metric"]}
    metric: dict[str, tuple[float, float]] = {}
    drawn: dict[str, Floats] = {}
    for seed, (side, rows) in enumerate(sides.items()):
        found = measured(rule, rows, "champion")
        truth = rows.truth if not classes else (rows.truth == len(classes) - 1).astype(float)
        draws = Resample(len(rows), block_length_of(rows.times), seed)
        drawn[side] = draws.means(truth, np.ones(len(rows)))
        half = (found.interval[1] - found.interval[0]) / 2 if found.interval else float("nan")
        metric[side] = (found.value, half)
        made[side] = {"rows": len(rows), "value": found.value, "outcome": float(truth.mean())}
    difference = metric["acted"][0] - metric["held"][0]
    width = float(np.hypot(metric["acted"][1], metric["held"][1]))
    made["difference"] = difference
    if np.isfinite(width):
        made["interval"] = [difference - width, difference + width]
    made["outcome"] = made["acted"]["outcome"] - made["held"]["outcome"]
    made["outcomeInterval"] = [float(q) for q in np.quantile(drawn["acted"] - drawn["held"], [0.025, 0.975])]
    return made
