"""What fairness costs in accuracy: reweighing, and LightGBM under fairlearn's constraints.

The fairness demo's mathematics: functions of frames and arrays, which know no server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from portico.ml.arrays import Floats
from portico.ml.measure.fairness import Fairness, groups_of, measure_fairness

# Gaps by their names in `ml.fairness`; the first two are what a constraint bounds.
PARITY, ODDS = "demographicParityDifference", "equalizedOddsDifference"
OPPORTUNITY = "equalOpportunityDifference"
# By how much a group's rate may differ from everyone's in ExponentiatedGradient's training rows.
BOUNDS = {PARITY: (0.08, 0.04, 0.01), ODDS: (0.04, 0.01)}
RATES = {
    "selectionRate": "selected",
    "truePositiveRate": "TPR",
    "falsePositiveRate": "FPR",
    "positivePredictiveValue": "PPV",
}
_ROUNDS = 15  # of ExponentiatedGradient: each fits a model


@dataclass(frozen=True, slots=True)
class Made:
    """A mitigated classifier's decisions (N,) of 0 and 1; `bound` is None where its method has none."""

    method: str
    constraint: str
    bound: float | None
    decisions: Floats


def reweighing(groups: Sequence[str], truth: Sequence[Any]) -> Floats:
    """Weights (N,) under which group and truth are independent, mean 1: P(group) P(truth) / P(group, truth).

    Kamiran and Calders, Data preprocessing techniques for classification without discrimination, 2012.
    """
    rows = pd.DataFrame({"group": list(groups), "truth": list(truth)})
    sizes = {key: rows.groupby(key)["truth"].transform("size") for key in ("group", "truth")}
    both = rows.groupby(["group", "truth"])["truth"].transform("size")
    weights: Floats = (sizes["group"] * sizes["truth"] / both / len(rows)).to_numpy(float)
    return weights


def mitigate(
    learn: pd.DataFrame,
    held: pd.DataFrame,
    features: Sequence[str],
    truth: NDArray[Any],
    attribute: str,
    seed: int = 0,
    told: Callable[[str], None] = lambda words: None,
) -> list[Made]:
    """LightGBM that learned `learn` and decides about `held`: unmitigated, and by fairlearn's methods.

    `truth` (N,) of 0 and 1 is that of `learn`; `attribute` the sensitive column of both.
    """
    from fairlearn.postprocessing import ThresholdOptimizer
    from fairlearn.reductions import DemographicParity, EqualizedOdds, ExponentiatedGradient
    from lightgbm import LGBMClassifier

    x, unseen = _encoded(learn, held, features)
    plain = LGBMClassifier(
        n_estimators=40, num_leaves=15, learning_rate=0.2, random_state=seed, n_jobs=1, verbose=-1
    )
    plain.fit(x, truth)
    made = [Made("LightGBM", "", None, np.asarray(plain.predict(unseen), float))]
    for constraint, moment, name in (
        (PARITY, DemographicParity, "demographic_parity"),
        (ODDS, EqualizedOdds, "equalized_odds"),
    ):
        for bound in BOUNDS[constraint]:
            told(f"ExponentiatedGradient, {constraint} at most {bound:g}")
            reduced = ExponentiatedGradient(plain, moment(difference_bound=bound), max_iter=_ROUNDS)
            reduced.fit(x, truth, sensitive_features=learn[attribute])
            decided = reduced.predict(unseen, random_state=seed)
            made.append(Made("ExponentiatedGradient", constraint, bound, np.asarray(decided, float)))
        told(f"ThresholdOptimizer, {constraint}")
        moved = ThresholdOptimizer(
            estimator=plain, constraints=name, prefit=True, predict_method="predict_proba"
        )
        moved.fit(x, truth, sensitive_features=learn[attribute])
        decided = moved.predict(unseen, sensitive_features=held[attribute], random_state=seed)
        made.append(Made("ThresholdOptimizer", constraint, None, np.asarray(decided, float)))
    return made


def _encoded(
    learn: pd.DataFrame, held: pd.DataFrame, features: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both as numbers: words by their place among the learned ones, -1 for others."""
    made: tuple[dict[str, Any], dict[str, Any]] = {}, {}
    for name in features:
        if pd.api.types.is_numeric_dtype(learn[name]):
            made[0][name], made[1][name] = learn[name].astype(float), held[name].astype(float)
            continue
        known = pd.Index(sorted(learn[name].dropna().unique()))
        for columns, rows in zip(made, (learn, held), strict=True):
            columns[name] = pd.Series(known.get_indexer(rows[name]).astype(float), index=rows.index)
    return pd.DataFrame(made[0]), pd.DataFrame(made[1])


def cost_of(decisions: Floats, beside: Floats, truth: Floats) -> tuple[float, tuple[float, float]]:
    """By how much the accuracy of `decisions` is below that of `beside`, with the 95% interval of a mean of pairs."""
    lost = (beside == truth).astype(float) - (decisions == truth)
    cost, half = float(lost.mean()), 1.96 * float(lost.std()) / len(lost) ** 0.5
    return cost, (cost - half, cost + half)


def cost_row(
    made: Made, truth: Floats, groups: Sequence[str], beside: Floats, minimum: int
) -> dict[str, Any]:
    """A line of the table: accuracy, what it costs beside the decisions `beside`, and the gaps."""
    cost, interval = cost_of(made.decisions, beside, truth)
    found = measure_fairness(truth, made.decisions, list(groups), _order(truth), minimum=minimum)
    return {
        "method": made.method,
        "constraint": made.constraint,
        "bound": made.bound,
        "accuracy": float((made.decisions == truth).mean()),
        "cost": cost,
        "costInterval": list(interval),
        "gaps": {name: found.gaps[name].to_json() for name in (PARITY, ODDS) if name in found.gaps},
    }


def fairness_of(
    rows: pd.DataFrame, truth: Floats, scores: Floats, attributes: Sequence[str], minimum: int
) -> Fairness:
    """The groups of `rows` by `attributes`, as `ml.fairness` measures them."""
    groups = groups_of({name: rows[name].tolist() for name in attributes})
    return measure_fairness(truth, scores, groups, _order(truth), minimum=minimum)


def rates_with_intervals(
    rows: pd.DataFrame, truth: Floats, scores: Floats, attributes: Sequence[str], minimum: int
) -> dict[str, dict[str, Any]]:
    """Group -> its rows, and each rate with its 95% interval (Wilson): {"value": …, "interval": […], "of": rows}."""
    from scipy.stats import binomtest

    groups = np.array(groups_of({name: rows[name].tolist() for name in attributes}))
    chosen, positive = scores >= 0.5, truth == 1
    made: dict[str, dict[str, Any]] = {}
    for group in sorted(set(groups)):
        inside = groups == group
        if inside.sum() < minimum:
            continue
        counted = {
            "selectionRate": (chosen, inside),
            "truePositiveRate": (chosen, inside & positive),
            "falsePositiveRate": (chosen, inside & ~positive),
            "positivePredictiveValue": (positive, inside & chosen),
        }
        made[group] = {"rows": int(inside.sum())}
        for rate, (hit, among) in counted.items():
            count = int(among.sum())
            if count:
                test = binomtest(int((hit & among).sum()), count)
                low, high = test.proportion_ci(method="wilson")
                made[group][rate] = {
                    "value": float(test.statistic), "interval": [float(low), float(high)], "of": count,
                }  # fmt: skip
    return made


def _order(truth: Floats) -> Floats:
    """The rows have no time: each is its own moment."""
    return np.arange(len(truth), dtype=float)
