"""A metric of rows of evidence, whichever kind it is: the evaluation's, or what errors cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from portico.ml.measure import performance
from portico.ml.measure.baseline import block_length_of
from portico.ml.measure.baseline_bootstrap import Resample
from portico.ml.measure.cost import CostRule, cost, costs_of
from portico.ml.measure.performance import HALF, Compared, Measured
from portico.services.portico.steward.evidence import Rows
from portico.services.portico.steward.spec import COST


def threshold_of(rows: Rows, who: str) -> float:
    return rows.thresholds.get(who, HALF)


def higher_is_better(metric: str) -> bool:
    return metric != COST and performance.higher_is_better(metric)


def measured(rule: Mapping[str, Any], rows: Rows, who: str) -> Measured:
    """The metric of the rule over the outputs of `who`; a cost is that of a row.

    Raises:
        DataError: there are no rows.
    """
    metric, output, threshold = rule["metric"], rows.outputs[who], threshold_of(rows, who)
    if metric == COST:
        found = cost(
            rows.truth,
            output,
            CostRule.from_json(rule["cost"]),
            rows.times,
            threshold,
            repeated=rows.repeated(),
        )
        return Measured(COST, found.value, found.interval, found.rows)
    return performance.measure(
        metric, rows.truth, output, rows.times, threshold=threshold, repeated=rows.repeated()
    )


def compared(rule: Mapping[str, Any], rows: Rows, first: str, second: str) -> Compared:
    """`first` beside `second` on the same rows, by the metric of the rule. Raises DataError as `measured`."""
    thresholds = threshold_of(rows, first), threshold_of(rows, second)
    one, other = rows.outputs[first], rows.outputs[second]
    if rule["metric"] != COST:
        return performance.compare(
            rule["metric"],
            rows.truth,
            one,
            other,
            rows.times,
            thresholds=thresholds,
            repeated=rows.repeated(),
        )
    costs = CostRule.from_json(rule["cost"])
    mine = costs_of(rows.truth, one, costs, thresholds[0])
    theirs = costs_of(rows.truth, other, costs, thresholds[1])
    gain = float(np.mean(theirs - mine))
    draws = Resample(len(rows), block_length_of(rows.times), 0, rows.repeated())
    interval = draws.interval(gain, draws.means(theirs - mine, np.ones(len(rows))))
    return Compared(COST, float(mine.mean()), float(theirs.mean()), gain, interval, len(rows))


def ratio(metric: str, first: float, second: float) -> float:
    """The first loss as a multiple of the second; of a metric that is better high, what is missing to 1 is the loss.

    Costs may be gains: there it is by how many times the second's size the first lies above it, and 1.
    """
    if metric == COST:
        return 1 + (first - second) / abs(second) if second else (1.0 if first <= second else float("inf"))
    if higher_is_better(metric):
        first, second = 1 - first, 1 - second
    if second <= 0:
        return 1.0 if first <= 0 else float("inf")
    return float(first / second)
