"""What a model's errors cost: money per row and window, and the decision threshold that costs least.

A cost is positive, a gain negative; both are in the same unit of money, whichever that is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from portico.ml.arrays import Floats, Mask
from portico.ml.errors import DataError
from portico.ml.measure.baseline import block_length_of
from portico.ml.measure.baseline_bootstrap import Resample

Interval = tuple[float, float]

_FOLDS = 5
_LEAST = 20  # rows to choose a threshold on


@dataclass(frozen=True, slots=True)
class CostRule:
    """Either `matrix`, the cost of a row by its true class (row) and its predicted one (column), or what a unit of
    error costs where a regression's answer is `over` the truth and where it is `under` it."""

    matrix: tuple[tuple[float, ...], ...] = ()
    over: float = 0.0
    under: float = 0.0

    def to_json(self) -> dict[str, Any]:
        if self.matrix:
            return {"matrix": [list(row) for row in self.matrix]}
        return {"over": self.over, "under": self.under}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> CostRule:
        matrix = tuple(tuple(map(float, row)) for row in body.get("matrix") or ())
        return cls(matrix, float(body.get("over", 0.0)), float(body.get("under", 0.0)))


def matrix_rule(costs: Mapping[str, Mapping[str, float]], classes: Sequence[str]) -> CostRule:
    """The rule of {true class: {predicted class: money}}; what is not named costs 0.

    Raises:
        DataError: a class that is none of `classes`, a number that is not finite, or nothing that costs anything.
    """
    matrix = np.zeros((len(classes), len(classes)))
    for true, row in costs.items():
        for predicted, money in row.items():
            for name in (true, predicted):
                if name not in classes:
                    raise DataError(
                        f"costs names {name!r}; the classes are {', '.join(classes)}", field="costs"
                    )
            if not np.isfinite(money):
                raise DataError(
                    f"costs of {true!r} taken for {predicted!r} is not a finite number", field="costs"
                )
            matrix[classes.index(true), classes.index(predicted)] = money
    if not matrix.any():
        raise DataError("costs has nothing but zeros: say what at least one error costs", field="costs")
    return CostRule(tuple(tuple(row) for row in matrix.tolist()))


def error_rule(over: float, under: float) -> CostRule:
    """The rule of a regression: money for each unit by which an answer is over the truth, and under it.

    Raises:
        DataError: a number that is negative or not finite, or both are 0.
    """
    for name, money in (("over", over), ("under", under)):
        if not np.isfinite(money) or money < 0:
            raise DataError(f"{name} is {money}; it must be 0 or more", field=name)
    if over == under == 0:
        raise DataError("over and under are both 0: say what a unit of error costs", field="over")
    return CostRule(over=float(over), under=float(under))


@dataclass(frozen=True, slots=True)
class Costed:
    """`value` is the mean cost of a row, `interval` its 95% interval (None where there are too few rows), `total` the
    cost of all of them."""

    value: float
    interval: Interval | None
    total: float
    rows: int

    def to_json(self) -> dict[str, Any]:
        return {
            "metric": "cost",
            "value": self.value,
            "interval": None if self.interval is None else list(self.interval),
            "total": self.total,
            "rows": self.rows,
        }


@dataclass(frozen=True, slots=True)
class Threshold:
    """The `threshold` that costs least on all rows, beside the `present` one.

    `cost`, `present_cost` and `saving` (present minus new, of a row) are honest: every row was decided by a threshold
    that was chosen without it. `calibrated` is what the rule alone says where scores are probabilities (see
    `calibrated_threshold`).
    """

    threshold: float
    cost: Costed
    present: float
    present_cost: Costed
    saving: float
    saving_interval: Interval | None
    calibrated: float | None
    rows: int

    @property
    def supported(self) -> bool:
        """Whether the rows support that the new threshold saves anything at all."""
        return self.saving_interval is not None and self.saving_interval[0] > 0

    def to_json(self) -> dict[str, Any]:
        return {
            "threshold": self.threshold,
            "cost": self.cost.to_json(),
            "present": self.present,
            "presentCost": self.present_cost.to_json(),
            "saving": self.saving,
            "savingInterval": None if self.saving_interval is None else list(self.saving_interval),
            "calibrated": self.calibrated,
            "rows": self.rows,
        }


def cost(
    truth: Floats,
    output: Floats,
    rule: CostRule,
    times: Floats,
    threshold: float = 0.5,
    seed: int = 0,
    repeated: NDArray[np.int64] | None = None,
) -> Costed:
    """What `output` costs: values (N,), or scores (N, K) with `truth` (N,) as positions among the classes.

    Of two classes the second is decided for from `threshold` on, of more the highest score. `times` (N,), in
    seconds, must not fall; the interval is that of a block bootstrap (see `baseline.compare`).

    Raises:
        DataError: the rule does not fit the outputs, or there are no rows.
    """
    each = costs_of(truth, output, rule, threshold)
    return _costed(each, Resample(len(each), block_length_of(times), seed, repeated))


def costs_of(truth: Floats, output: Floats, rule: CostRule, threshold: float = 0.5) -> Floats:
    """The cost of each row (N,). Raises DataError as `cost`."""
    if len(truth) == 0:
        raise DataError("there are no labelled rows to measure on")
    if len(output) != len(truth):
        raise DataError(f"there are {len(output)} predictions for {len(truth)} true values")
    if output.ndim == 1:
        if rule.matrix:
            raise DataError("a regression has no classes: give over and under, not costs", field="costs")
        error = np.asarray(output - truth, float)
        return np.where(error > 0, rule.over * error, -rule.under * error)
    if len(rule.matrix) != output.shape[1]:
        raise DataError(
            f"costs is for {len(rule.matrix)} classes, the model has {output.shape[1]}", field="costs"
        )
    two = output.shape[1] == 2
    chosen = (output[:, 1] >= threshold).astype(int) if two else np.argmax(output, axis=1)
    return np.asarray(np.array(rule.matrix)[truth.astype(int), chosen])


def calibrated_threshold(rule: CostRule) -> float | None:
    """The best threshold for scores that are probabilities, by the rule alone (Elkan, IJCAI 2001, equation 2).

    None where an error of either kind costs no more than being right: then one class is the answer for every row.
    """
    (right_negative, false_positive), (false_negative, right_positive) = _two(rule)
    above, below = false_positive - right_negative, false_negative - right_positive
    return above / (above + below) if above > 0 and below > 0 else None


def best_threshold(
    truth: Floats, scores: Floats, rule: CostRule, times: Floats, present: float = 0.5, seed: int = 0
) -> Threshold:
    """The threshold that costs least on labelled rows, and what it saves beside the `present` one.

    `truth` (N,) is 1 for the second of two classes and 0 for the first, `scores` (N,) the second's probability, `times`
    (N,) seconds that do not fall. Every way of parting the distinct scores is tried; among equally cheap thresholds
    the one nearest to the present one is taken.

    A threshold looks better on the rows that chose it than it is. So the saving is cross-fitted: the rows are cut into
    5 spans of time, and each is decided by the threshold that the other four choose. Its interval is a block
    bootstrap's, the same resamples for both thresholds.

    Raises:
        DataError: the rule is not one of two classes, the shapes do not fit, or there are fewer than 20 rows.
    """
    _two(rule)
    if not len(truth) == len(scores) == len(times):
        raise DataError("truth, scores and times must have the same number of rows")
    if len(truth) < _LEAST:
        raise DataError(
            f"{len(truth)} labelled rows are too few to choose a threshold on; {_LEAST} are needed"
        )
    positive = truth == 1
    table = np.array(rule.matrix)
    rows = np.arange(len(truth))
    honest = np.empty(len(truth))
    for fold in np.array_split(rows, _FOLDS):
        others = np.ones(len(truth), bool)
        others[fold] = False
        chosen = _cheapest(positive[others], scores[others], table, present)
        honest[fold] = table[truth[fold].astype(int), (scores[fold] >= chosen).astype(int)]
    now = table[truth.astype(int), (scores >= present).astype(int)]
    draws = Resample(len(truth), block_length_of(times), seed)
    saving, ones = float(np.mean(now - honest)), np.ones(len(truth))
    return Threshold(
        threshold=_cheapest(positive, scores, table, present),
        cost=_costed(honest, draws),
        present=present,
        present_cost=_costed(now, draws),
        saving=saving,
        saving_interval=draws.interval(saving, draws.means(now - honest, ones)),
        calibrated=calibrated_threshold(rule),
        rows=len(truth),
    )


def _cheapest(positive: Mask, scores: Floats, table: Floats, present: float) -> float:
    """Cuts between distinct scores: cut i has the first i of them, from the lowest on, decided negative."""
    levels, place = np.unique(scores, return_inverse=True)
    # What it changes when a level's rows are decided negative instead of positive.
    change = np.where(positive, table[1, 0] - table[1, 1], table[0, 0] - table[0, 1])
    total = np.concatenate([[0.0], np.cumsum(np.bincount(place, change, len(levels)))])
    least = total.min()
    best = np.flatnonzero(total <= least + 1e-9 * max(np.abs(change).sum(), 1e-300))
    points = [_inside(levels, cut, present) for cut in best.tolist()]
    return min(points, key=lambda point: abs(point - present))


def _inside(levels: Floats, cut: int, present: float) -> float:
    """A threshold that makes this cut: the present one where it does, else the middle between the scores."""
    low = float(levels[cut - 1]) if cut else -np.inf
    high = float(levels[cut]) if cut < len(levels) else np.inf
    if low < present <= high:
        return present
    if not np.isfinite(low):
        return min(0.0, high)
    middle = (low + min(high, max(1.0, float(np.nextafter(low, np.inf))))) / 2
    return middle if low < middle else float(np.nextafter(low, np.inf))


def _costed(each: Floats, draws: Resample) -> Costed:
    value = float(each.mean())
    drawn = draws.means(each, np.ones(len(each)))
    return Costed(value, draws.interval(value, drawn), float(each.sum()), len(each))


def _two(rule: CostRule) -> tuple[tuple[float, ...], ...]:
    if len(rule.matrix) != 2:
        raise DataError("a threshold is for costs of two classes", field="costs")
    return rule.matrix
