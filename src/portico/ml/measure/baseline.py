"""Whether a model beats a simple answer, by a margin that the data support."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from portico.ml.errors import DataError
from portico.ml.measure.baseline_bootstrap import Resample
from portico.ml.measure.curves import Floats, rank

Interval = tuple[float, float]

_ROOTS = ("minimize-rmse", "minimize-rmsle", "minimize-rmspe")

_WORD = {
    "minimize-rmse": "root mean squared error",
    "minimize-mae": "mean absolute error",
    "minimize-rmsle": "root mean squared logarithmic error",
    "minimize-rmspe": "root mean squared percentage error",
    "minimize-mape": "mean absolute percentage error",
    "minimize-log-loss": "log loss",
    "maximize-au-roc": "area under the ROC curve",
    "maximize-au-prc": "area under the precision-recall curve",
    # Their exact values jump with single rows; the curve that they are points of carries the comparison.
    "maximize-precision-at-recall": "area under the precision-recall curve",
    "maximize-recall-at-precision": "area under the precision-recall curve",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A model beside its baselines on the same rows; `sentence` says it in words.

    Losses are the objective's, lower is better; an objective that is maximised counts as 1 minus it.
    `difference` is the best baseline's loss minus the model's, `interval` its 95% bootstrap interval (None for
    fewer than two blocks), and `model_is_better` whether all of that lies above 0.
    """

    objective: str
    model_loss: float
    baseline_losses: dict[str, float]
    best_baseline: str
    difference: float
    interval: Interval | None
    model_is_better: bool
    rows: int
    block_length: int
    sentence: str

    def to_json(self) -> dict[str, Any]:
        return {
            "objective": self.objective,
            "metric": _WORD[self.objective],
            "modelLoss": self.model_loss,
            "baselineLosses": dict(self.baseline_losses),
            "bestBaseline": self.best_baseline,
            "difference": self.difference,
            "interval": None if self.interval is None else list(self.interval),
            "confidence": 0.95,
            "modelIsBetter": self.model_is_better,
            "rows": self.rows,
            "blockLength": self.block_length,
            "sentence": self.sentence,
        }


def compare(
    y_true: NDArray[Any],
    model_output: Floats,
    baselines: Mapping[str, Floats],
    objective: str,
    block_length: int = 1,
    seed: int = 0,
    weights: Floats | None = None,
) -> Verdict:
    """Whether the model beats the best baseline by a margin that the rows support.

    `y_true` (N,), outputs as the baselines': values (N,), or scores (N, K), of which the area objectives use
    the second class. Rows that follow each other in time must come in that order, and `block_length` rows be
    about as long as errors stay alike (see `block_length_of`); 1 is for rows that do not.

    The interval is the percentile interval of a paired bootstrap: both losses are taken on the same resampled
    rows, so what both find hard cancels (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch.
    13). Rows are resampled in consecutive blocks (Carlstein, Annals of Statistics 14, 1986).

    Raises:
        DataError: the shapes do not fit, there are no rows or baselines, the objective is unknown, or an area is
            asked for of rows that are all of one class.
    """
    if objective not in _WORD:
        raise DataError(f"There is no objective {objective!r}.", field="optimizationObjective")
    if not baselines or len(y_true) == 0 or len(model_output) != len(y_true):
        raise DataError(f"Cannot compare {len(model_output)} outputs on {len(y_true)} rows.")
    weight = np.ones(len(y_true)) if weights is None else np.asarray(weights, float)
    losses = {name: loss(y_true, output, objective, weight) for name, output in baselines.items()}
    best = min(losses, key=lambda name: losses[name])
    model_loss = loss(y_true, model_output, objective, weight)
    draws = Resample(len(y_true), block_length, seed)
    drawn_model = _drawn(draws, y_true, model_output, objective, weight)
    drawn_best = _drawn(draws, y_true, baselines[best], objective, weight)
    difference = losses[best] - model_loss
    bounds = draws.interval(difference, drawn_best - drawn_model)
    relative = None
    if objective.startswith("minimize") and losses[best] > 0 and (drawn_best > 0).all():
        relative = draws.interval(difference / losses[best], 1 - drawn_model / drawn_best)
    return Verdict(
        objective=objective,
        model_loss=model_loss,
        baseline_losses=losses,
        best_baseline=best,
        difference=difference,
        interval=bounds,
        model_is_better=bounds is not None and bounds[0] > 0,
        rows=len(y_true),
        block_length=draws.block_length,
        sentence=_sentence(objective, model_loss, best, losses[best], bounds, relative),
    )


def block_length_of(times: Floats) -> int:
    """How many consecutive rows, in order of `times` (seconds, shape (N,)), make a block for `compare`.

    A day's rows, at least N^(1/3) (the order that Hall, Horowitz and Jing find best, Biometrika 82, 1995), at
    most a twentieth of all.
    """
    span = float(np.max(times) - np.min(times))
    a_day = len(times) * 86400.0 / span if span > 0 else 1.0
    return int(max(1, min(max(a_day, len(times) ** (1 / 3)), len(times) / 20)))


def loss(y_true: NDArray[Any], output: Floats, objective: str, weights: Floats) -> float:
    """The objective's loss of `output`, lower is better. Raises DataError: an area, and the rows are of one class."""
    if objective.startswith("maximize"):
        ranking = rank(y_true == 1, output[:, 1], weights)
        area = ranking.au_roc() if objective == "maximize-au-roc" else ranking.au_prc()
        if area is None:
            raise DataError(
                f"The {_WORD[objective]} can't be computed: all rows are of one class, so nothing can be ranked above "
                "anything."
            )
        return 1.0 - area
    mean = float(np.average(_errors(y_true, output, objective), weights=weights))
    return mean**0.5 if objective in _ROOTS else mean


def _errors(y_true: NDArray[Any], output: Floats, objective: str) -> Floats:
    """Each row's part in the mean that the objective is, or is the root of."""
    errors: Floats
    if objective == "minimize-log-loss":
        of_truth = output[np.arange(len(y_true)), np.asarray(y_true, int)]
        errors = -np.log(np.clip(of_truth, 1e-15, 1.0))
    elif objective == "minimize-mae":
        errors = np.abs(output - y_true)
    elif objective in ("minimize-mape", "minimize-rmspe"):
        if (y_true == 0).any():
            raise DataError(f"{objective} needs true values other than 0.")
        errors = np.abs((output - y_true) / y_true) ** (1 if objective == "minimize-mape" else 2)
    elif objective == "minimize-rmsle":
        if np.min(y_true) < 0:
            raise DataError("minimize-rmsle needs true values of at least 0.")
        errors = (np.log1p(np.maximum(output, 0)) - np.log1p(y_true)) ** 2
    else:
        errors = (output - y_true) ** 2
    return errors


def _drawn(draws: Resample, y_true: NDArray[Any], output: Floats, objective: str, weights: Floats) -> Floats:
    """The loss on each resample."""
    if objective.startswith("maximize"):
        curve: Literal["roc", "prc"] = "roc" if objective == "maximize-au-roc" else "prc"
        return 1.0 - draws.areas(y_true == 1, output[:, 1], weights, curve)
    means = draws.means(_errors(y_true, output, objective), weights)
    return np.sqrt(means) if objective in _ROOTS else means


def _sentence(
    objective: str,
    model: float,
    best: str,
    baseline: float,
    bounds: Interval | None,
    relative: Interval | None,
) -> str:
    word = _WORD[objective]
    if objective.startswith("maximize"):
        model, baseline = 1 - model, 1 - baseline
    article = "an" if word[0] in "aeiou" else "a"
    if bounds is None:
        return f"There are too few rows to say whether the model is better than '{best}'."
    worse = baseline > model if objective.startswith("maximize") else model > baseline
    margin = _margin(model, baseline, bounds, relative, worse)
    if bounds[0] > 0:
        return f"The model's {word} of {number(model)} beats '{best}' ({number(baseline)}) by {margin}."
    if bounds[1] < 0:
        return (
            f"A simple answer is better: '{best}' reaches {article} {word} of {number(baseline)}, the model "
            f"{number(model)}, which is worse by {margin}."
        )
    return (
        f"A simple answer is as good: '{best}' reaches {article} {word} of {number(baseline)}, the model "
        f"{number(model)}; these rows do not tell them apart: the model is {'worse' if worse else 'better'} "
        f"by {margin}."
    )


def _margin(model: float, baseline: float, bounds: Interval, relative: Interval | None, worse: bool) -> str:
    """By how much, as a share of the baseline's loss where there is one, with its interval."""
    low, high = bounds if relative is None else relative
    low, high = (-high, -low) if worse else (low, high)
    if relative is None:
        return f"{number(abs(baseline - model))} (95% interval {number(low)} to {number(high)})"
    places = 0 if high - low >= 0.03 else 1
    share = abs(1 - model / baseline)
    return f"{share:.{places}%} (95% interval {low:.{places}%} to {high:.{places}%})"


def number(value: float) -> str:
    """`value` to about three digits, for a sentence."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
