"""The decisions that open an episode without labels: by an estimate, by drift, by a schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from portico.clock import rfc3339
from portico.ml.measure.baseline import number
from portico.ml.measure.estimate import estimated
from portico.ml.watch.bins import Counts, FeatureBins
from portico.ml.watch.distances import FeatureScore, score
from portico.services.portico.steward.decision import Decision, limit_of
from portico.services.portico.steward.evidence import Rows
from portico.services.portico.steward.measures import higher_is_better

_CHANCE = 0.01  # of calling anything drifted that has not, over all features of a window


def _estimate(rule: Mapping[str, Any], facts: Mapping[str, Any], rows: Rows) -> Decision:
    """Whether the metric to be expected before labels is beyond what is acceptable: "breached" or "holds".

    Rule: an item of `acceptable`. Facts: `error`, the estimator's standard error, and `reference`, where the rule is
    relative to it. Rows: outputs of "champion", and "expected" of each row (see `ml.estimate`); there is no truth.
    """
    found = estimated(
        rule["metric"], rows.outputs["champion"], rows.outputs["expected"], rows.times, facts["error"]
    )
    limit, high = limit_of(rule, facts), higher_is_better(rule["metric"])
    beyond = found.value < limit if high else found.value > limit
    edge = found.interval and (found.interval[1] if high else found.interval[0])
    surely = beyond and edge is not None and (edge < limit if high else edge > limit)
    between = (
        f" (95% interval {number(found.interval[0])} to {number(found.interval[1])})"
        if found.interval
        else ""
    )
    at = f"{number(found.value)}{between} over {found.rows} predictions"
    words = f"{rule['metric']} is estimated, before labels, at {at}"
    numbers = {**found.to_json(), "limit": limit, "reference": facts.get("reference")}
    if surely if rule.get("certain") else beyond:
        return Decision("breached", f"{words}, beyond the acceptable {number(limit)}.", numbers)
    return Decision("holds", f"{words}; {number(limit)} is acceptable.", numbers)


def _drift(rule: Mapping[str, Any], facts: Mapping[str, Any], rows: Rows) -> Decision:
    """Whether features have drifted: "breached" or "holds".

    Rule: `threshold`, a distance, or 0 for what chance does not reach. Facts: `bins` (JSON of `FeatureBins`), and in
    them the counts of the `reference` and of the `window`.
    """
    bins = [FeatureBins.from_json(one) for one in facts["bins"]]
    sides = [
        {name: Counts.from_json(c) for name, c in facts[side].items()} for side in ("window", "reference")
    ]
    found: list[dict[str, Any]] = []
    for one in score(sides[0], sides[1], bins):
        value, most = _beyond(
            one, rule["threshold"], next(b for b in bins if b.name == one.name).size, len(bins)
        )
        if value > most:
            found.append({"feature": one.name, "distance": value, "threshold": most, "most": one.most})
    found.sort(key=lambda one: one["threshold"] - one["distance"])
    count = next((sum(c["bins"]) for c in facts["window"].values()), 0)
    numbers = {"metric": "drift", "rows": facts.get("rows", count), "features": found}
    if not found:
        return Decision("holds", "No feature has drifted.", numbers)
    first = found[0]
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    words = (
        f"{first['feature']}{more} drifted: {number(first['distance'])} from the reference, beyond "
        f"{number(first['threshold'])} ({first['most']})."
    )
    return Decision("breached", words, {**numbers, "value": first["distance"], "limit": first["threshold"]})


def _beyond(one: FeatureScore, threshold: float, bins: int, features: int) -> tuple[float, float]:
    """A feature's distance and what it must not exceed.

    Without a threshold: of numbers the Kolmogorov-Smirnov statistic and its critical value (Smirnov 1948); of
    categories the largest difference of a share and Hoeffding's bound (1963) for the largest of so many; both at 1%
    over all features. They take rows for independent: seasons are drift.
    """
    if threshold:
        return one.distance, threshold
    size = math.sqrt(1 / max(one.rows, 1) + 1 / max(one.rows_before, 1))
    if one.kolmogorov_smirnov is not None:
        return one.kolmogorov_smirnov, math.sqrt(-math.log(_CHANCE / features / 2) / 2) * size
    return one.distance, math.sqrt(math.log(2 * (bins + 1) * features / _CHANCE) / 2) * size


def _schedule(rule: Mapping[str, Any], facts: Mapping[str, Any], rows: Rows) -> Decision:
    """Whether it is time: rule `every`, facts `since` and `now`, in domain seconds."""
    due = facts["since"] + rule["every"]
    numbers = {"metric": "schedule", "value": facts["now"] - facts["since"], "limit": rule["every"]}
    if facts["now"] < due:
        return Decision("holds", f"The schedule's next retraining is at {rfc3339(due)}.", numbers)
    return Decision(
        "breached", f"The schedule asks for a retraining every {rule['every'] / 86400:g} days.", numbers
    )


QUESTIONS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any], Rows], Decision]] = {
    "estimate": _estimate,
    "drift": _drift,
    "schedule": _schedule,
}
