"""How a classifier's decisions differ between groups of people, with intervals; by fairlearn.

A group is a value of a sensitive attribute, or of several together ("sex=Female, race=Black"). Groups smaller than a
minimum are counted and not judged. Intervals are 95% percentile intervals of a block bootstrap that draws the groups'
rows together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from portico.ml.arrays import Floats
from portico.ml.errors import DataError
from portico.ml.measure.baseline import block_length_of
from portico.ml.measure.baseline_bootstrap import Resample

Interval = tuple[float, float]

# The rates of a group, and the gaps between groups that a rule may bound. Equalised odds bounds the larger of two.
RATES = (
    "selectionRate",
    "truePositiveRate",
    "falsePositiveRate",
    "positivePredictiveValue",
    "calibrationError",
)
GAPS = {
    "demographicParityDifference": ("selectionRate",),
    "equalOpportunityDifference": ("truePositiveRate",),
    "equalizedOddsDifference": ("truePositiveRate", "falsePositiveRate"),
    "predictiveParityDifference": ("positivePredictiveValue",),
    "calibrationDifference": ("calibrationError",),
}


@dataclass(frozen=True, slots=True)
class Gap:
    """The largest difference of a rate between two groups; `high` and `low` name them."""

    metric: str
    value: float
    interval: Interval | None
    rate: str
    high: str
    low: str

    def to_json(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "value": self.value,
            "interval": None if self.interval is None else list(self.interval),
            "rate": self.rate,
            "high": self.high,
            "low": self.low,
        }


@dataclass(frozen=True, slots=True)
class Fairness:
    """`groups` has for each group its `rows` and its `RATES`, None where a rate is undefined; `small` has the rows of
    groups that are too small to judge."""

    groups: dict[str, dict[str, float | None]]
    small: dict[str, int]
    gaps: dict[str, Gap]

    def to_json(self) -> dict[str, Any]:
        return {
            "groups": self.groups,
            "small": self.small,
            "gaps": {name: gap.to_json() for name, gap in self.gaps.items()},
        }


def groups_of(attributes: Mapping[str, list[Any]]) -> list[str]:
    """The group of each row, of one attribute or the intersection of several: "sex=Male, race=White"."""
    from portico.ml import values

    columns = [[f"{name}={values.category(cell)}" for cell in cells] for name, cells in attributes.items()]
    return [", ".join(cells) for cells in zip(*columns, strict=True)]


def measure_fairness(
    truth: Floats,
    scores: Floats,
    groups: list[str],
    times: Floats,
    *,
    threshold: float = 0.5,
    minimum: int = 50,
    seed: int = 0,
) -> Fairness:
    """The groups' rates and the gaps between them.

    `truth` (N,) is 1 for the positive class, `scores` (N,) its probability, `groups` (N,) the group of each row and
    `times` (N,) seconds that do not fall. A group with fewer than `minimum` rows is not judged.

    Raises:
        DataError: the shapes do not fit.
    """
    if not len(truth) == len(scores) == len(groups) == len(times):
        raise DataError("truth, scores, groups and times must have the same number of rows")
    names, place = np.unique(np.array(groups, object).astype(str), return_inverse=True)
    counts = np.bincount(place, minlength=len(names)) if len(truth) else np.zeros(0, int)
    judged = [n for n in range(len(names)) if counts[n] >= minimum]
    small = {str(names[n]): int(counts[n]) for n in range(len(names)) if counts[n] < minimum}
    rates = _rates(truth, scores, place, judged, threshold, names)
    shown = {
        str(names[n]): {"rows": float(counts[n]), **{rate: rates[rate][position] for rate in RATES}}
        for position, n in enumerate(judged)
    }
    gaps: dict[str, Gap] = {}
    if len(judged) > 1:
        draws = Resample(len(truth), block_length_of(times), seed)
        drawn = _drawn(truth, scores, place, judged, threshold, draws)
        for metric, of in GAPS.items():
            found = [
                gap
                for rate in of
                if (gap := _gap(metric, rate, rates[rate], drawn[rate], names[judged], draws))
            ]
            if found:
                gaps[metric] = max(found, key=lambda gap: gap.value)
    return Fairness(shown, small, gaps)


def _rates(
    truth: Floats, scores: Floats, place: Any, judged: list[int], threshold: float, names: Any
) -> dict[str, list[float | None]]:
    """By fairlearn's MetricFrame, which is the field's reference."""
    from fairlearn.metrics import MetricFrame, false_positive_rate, selection_rate, true_positive_rate
    from sklearn.metrics import precision_score

    keep = np.isin(place, judged)
    if not keep.any():
        return {rate: [] for rate in RATES}
    true, chosen, group = truth[keep].astype(int), (scores[keep] >= threshold).astype(int), place[keep]
    frame = MetricFrame(
        metrics={
            "selectionRate": selection_rate,
            "truePositiveRate": lambda t, p: true_positive_rate(t, p) if (t == 1).any() else float("nan"),
            "falsePositiveRate": lambda t, p: false_positive_rate(t, p) if (t == 0).any() else float("nan"),
            "positivePredictiveValue": lambda t, p: precision_score(t, p) if p.any() else float("nan"),
        },
        y_true=true,
        y_pred=chosen,
        sensitive_features=group,
    )
    table = frame.by_group
    made = {
        rate: [_defined(table.loc[n, rate]) for n in judged] for rate in RATES if rate != "calibrationError"
    }
    # By how much the mean score is off the share of positives: what the group is promised too much.
    made["calibrationError"] = [
        _defined(scores[place == n].mean() - truth[place == n].mean()) for n in judged
    ]
    return made


def _drawn(
    truth: Floats, scores: Floats, place: Any, judged: list[int], threshold: float, draws: Resample
) -> dict[str, list[Floats]]:
    """The same rates on each resample."""
    chosen, positive = (scores >= threshold).astype(float), (truth == 1).astype(float)
    made: dict[str, list[Floats]] = {rate: [] for rate in RATES}
    ones = np.ones(len(truth))

    def rate(above: Floats, below: Floats) -> Floats:
        top, bottom = draws.means(above, ones), draws.means(below, ones)
        return np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0)

    for number in judged:
        inside = (place == number).astype(float)
        made["selectionRate"].append(rate(inside * chosen, inside))
        made["truePositiveRate"].append(rate(inside * chosen * positive, inside * positive))
        made["falsePositiveRate"].append(rate(inside * chosen * (1 - positive), inside * (1 - positive)))
        made["positivePredictiveValue"].append(rate(inside * chosen * positive, inside * chosen))
        made["calibrationError"].append(rate(inside * (scores - positive), inside))
    return made


def _gap(
    metric: str, rate: str, values: list[float | None], drawn: list[Floats], names: Any, draws: Resample
) -> Gap | None:
    known = [n for n, value in enumerate(values) if value is not None]
    if len(known) < 2:
        return None
    high = max(known, key=lambda n: values[n] or 0.0)
    low = min(known, key=lambda n: values[n] or 0.0)
    value = float((values[high] or 0.0) - (values[low] or 0.0))
    # Of these two groups: the largest of many differences on each resample would lie too high.
    interval = draws.interval(value, drawn[high] - drawn[low])
    return Gap(metric, value, interval, rate, str(names[high]), str(names[low]))


def _defined(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
