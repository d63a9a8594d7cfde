"""Gradient descent over all rows at once: what OPTIMIZE_STRATEGY, LEARN_RATE_STRATEGY and their learn rates ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from portico.ml.bqml.labels import Numbers
from portico.ml.errors import DataError

SETTINGS = ("learn_rate_strategy", "learn_rate", "ls_init_learn_rate")
_RATE, _ITERATIONS, _PROGRESS = 0.1, 20, 0.01  # what BigQuery takes where nothing is said
_QUARTERS = 30  # how often all four rates may be too great

Loss = Callable[[Numbers], tuple[float, Numbers]]


@dataclass(frozen=True, slots=True)
class Descent:
    """How far it goes: at a `rate` that stays, or by a search that begins with `rate`: of steps at twice the rate, at
    it, at its half and its quarter the best is taken, and its rate is the next step's."""

    constant: bool
    rate: float
    iterations: int
    progress: float  # the least, as a share of the loss; below it the training ends

    def run(
        self,
        loss: Loss,
        start: Numbers,
        penalised: Numbers,
        steep: float,
        note: Callable[[float, float], None],
    ) -> Numbers:
        """
        Args:
            loss: of a point, the mean loss and its gradient.
            steep: the weight of the sum of what is `penalised`, by its size.
            note: told of each step's loss and rate.

        Raises:
            DataError: the loss grows without end.
        """

        def moved(point: Numbers, slope: Numbers, rate: float) -> Numbers:
            there = point - rate * slope
            shrunk = np.sign(there) * np.maximum(np.abs(there) - rate * steep, 0)
            return np.where(penalised > 0, shrunk, there)

        def whole(point: Numbers) -> float:
            return loss(point)[0] + steep * float(np.abs(point * penalised).sum())

        point, rate, before = start, self.rate, whole(start)
        for _ in range(self.iterations):
            _, slope = loss(point)
            if self.constant:
                found = moved(point, slope, rate)
            else:
                for _attempt in range(_QUARTERS):
                    there = {one: moved(point, slope, one) for one in (rate * 2, rate, rate / 2, rate / 4)}
                    losses = {one: whole(step) for one, step in there.items()}
                    best = min(losses, key=lambda one: losses[one] if np.isfinite(losses[one]) else np.inf)
                    if losses[best] < before:
                        break
                    rate /= 4
                else:
                    break  # there is nothing to gain
                rate, found = best, there[best]
            now = whole(found)
            if not np.isfinite(now):
                raise DataError("The training diverged; set a smaller LEARN_RATE")
            point = found
            note(now, rate)
            if before - now < self.progress * abs(before):
                break
            before = now
        return point


def asked(options: Mapping[str, Any], model_type: str) -> Descent | None:
    """The descent that options ask for; None where the optimum is looked for.

    Raises:
        DataError: options exclude each other.
    """
    said = [name for name in SETTINGS if options[name] is not None]
    strategy = options["optimize_strategy"]
    if strategy == "NORMAL_EQUATION":
        if model_type != "LINEAR_REG":
            raise DataError("OPTIMIZE_STRATEGY = 'NORMAL_EQUATION' is only for model type LINEAR_REG")
        if said:
            raise DataError(
                f"{said[0].upper()} can't be used with OPTIMIZE_STRATEGY = 'NORMAL_EQUATION', which has no learn rate"
            )
    if strategy != "BATCH_GRADIENT_DESCENT" and not said:
        return None
    constant = options["learn_rate_strategy"] == "CONSTANT"
    other, needed = ("ls_init_learn_rate", "LINE_SEARCH") if constant else ("learn_rate", "CONSTANT")
    if options[other] is not None:
        raise DataError(f"{other.upper()} needs LEARN_RATE_STRATEGY = '{needed}'")
    if options["calculate_p_values"]:
        raise DataError("CALCULATE_P_VALUES is of the optimum: it can't be used with a gradient descent")
    rate = options["learn_rate" if constant else "ls_init_learn_rate"]
    progress = options["min_rel_progress"]
    return Descent(
        constant,
        _RATE if rate is None else float(rate),
        int(options["max_iterations"] or _ITERATIONS),
        (_PROGRESS if progress is None else float(progress)) if options["early_stop"] else -np.inf,
    )
