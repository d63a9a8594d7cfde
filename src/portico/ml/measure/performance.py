"""How well a deployed model does on labelled rows: the evaluation's metrics, each with an interval.

Metrics have the names of Google's evaluation schemas. Intervals are 95% percentile intervals of a block bootstrap
(see `baseline.compare`, whose resamples these are): rows must come in order of time, because errors that follow each
other are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from portico.ml.errors import DataError
from portico.ml.measure.baseline import block_length_of
from portico.ml.measure.baseline_bootstrap import Resample
from portico.ml.measure.curves import Floats, rank

Interval = tuple[float, float]

HALF: Final = 0.5  # the threshold of a model that has none of its own

Drawn = tuple[float, Floats]
_Measure = Callable[[Floats, Floats, Resample, float], Drawn]


@dataclass(frozen=True, slots=True)
class Measured:
    """`interval` is None where there are too few rows to say. Loss metrics are better low, the others high."""

    metric: str
    value: float
    interval: Interval | None
    rows: int

    def to_json(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "value": self.value,
            "interval": None if self.interval is None else list(self.interval),
            "rows": self.rows,
        }


@dataclass(frozen=True, slots=True)
class Compared:
    """Two models on the same rows. `gain` is by how much the first is better, positive where it is."""

    metric: str
    first: float
    second: float
    gain: float
    interval: Interval | None
    rows: int

    @property
    def supported(self) -> bool:
        """Whether the rows support that the first is better at all."""
        return self.interval is not None and self.interval[0] > 0

    def to_json(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "first": self.first,
            "second": self.second,
            "gain": self.gain,
            "interval": None if self.interval is None else list(self.interval),
            "rows": self.rows,
        }


def measure(
    metric: str,
    truth: Floats,
    output: Floats,
    times: Floats,
    seed: int = 0,
    threshold: float = HALF,
    repeated: NDArray[np.int64] | None = None,
) -> Measured:
    """The metric of `output`: values (N,), or scores (N, K) with `truth` (N,) as positions among the classes.

    `times` (N,), in seconds, must not fall. Of two classes the second is decided for from a score of `threshold` on.
    `repeated` are rows that say the same thing (see `Resample`).

    Raises:
        DataError: the metric is unknown or does not fit the outputs, or there are no rows.
    """
    draws, (point,) = resampled(metric, truth, [output], times, seed, [threshold], repeated)
    return Measured(metric, point[0], draws.interval(*point), len(truth))


def intervals(truth: Floats, output: Floats, times: Floats | None = None) -> dict[str, list[float]]:
    """The 95% interval of every metric that fits `output` (as `measure`); those that the rows can't tell are left out.

    Without `times` the rows come in no order.
    """
    if not len(truth):
        return {}
    if output.ndim == 1:
        names = metrics_of("regression")
    else:
        names = metrics_of("classification") if output.shape[1] == 2 else ["logLoss", "accuracy"]
    order = np.zeros(len(truth)) if times is None else times
    found = {name: measure(name, truth, output, order).interval for name in names}
    if output.ndim == 2:  # an evaluation's areas are of all classes together
        draws = Resample(len(truth), block_length_of(order), 0)
        found["auRoc"] = draws.interval(*_micro_area("roc", truth, output, draws))
        found["auPrc"] = draws.interval(*_micro_area("prc", truth, output, draws))
    return {
        name: list(bounds)
        for name, bounds in found.items()
        if bounds is not None and np.isfinite(bounds).all()
    }


def compare(
    metric: str,
    truth: Floats,
    first: Floats,
    second: Floats,
    times: Floats,
    seed: int = 0,
    thresholds: tuple[float, float] = (HALF, HALF),
    repeated: NDArray[np.int64] | None = None,
) -> Compared:
    """The `first` model's outputs beside the `second`'s, on the same rows and the same resamples of them.

    Raises:
        DataError: as `measure`.
    """
    draws, (one, other) = resampled(metric, truth, [first, second], times, seed, thresholds, repeated)
    sign = 1.0 if higher_is_better(metric) else -1.0
    gain = sign * (one[0] - other[0])
    return Compared(
        metric, one[0], other[0], gain, draws.interval(gain, sign * (one[1] - other[1])), len(truth)
    )


def resampled(
    metric: str,
    truth: Floats,
    outputs: list[Floats],
    times: Floats,
    seed: int = 0,
    thresholds: Sequence[float] = (),
    repeated: NDArray[np.int64] | None = None,
) -> tuple[Resample, list[Drawn]]:
    """The metric of each of `outputs`, and its values on the same resamples of the rows.

    Raises:
        DataError: as `measure`.
    """
    if metric not in _METRICS:
        raise DataError(f"There is no metric {metric!r}; there are {', '.join(_METRICS)}", field="metric")
    if len(truth) == 0:
        raise DataError("there are no labelled rows to measure on")
    kind, _, measured = _METRICS[metric]
    for output in outputs:
        if (output.ndim == 2) != (kind == "classification") or len(output) != len(truth):
            raise DataError(
                f"{metric} is a metric of {kind}, which these predictions are not", field="metric"
            )
    draws = Resample(len(truth), block_length_of(times), seed, repeated)
    true, at = np.asarray(truth, float), thresholds or [HALF] * len(outputs)
    return draws, [measured(true, o, draws, t) for o, t in zip(outputs, at, strict=True)]


def metrics_of(prediction_type: str) -> list[str]:
    """The names of the metrics that fit a kind of prediction."""
    return [name for name, of in _METRICS.items() if of[0] == prediction_type]


def higher_is_better(metric: str) -> bool:
    return _METRICS[metric][1]


# --- the metrics ---


def _ratio(
    above: Floats, below: Floats, draws: Resample, finish: Callable[[Any], Any] = lambda x: x
) -> Drawn:
    """A ratio of sums, and the same on each resample; NaN where the lower sum is 0."""
    ones = np.ones(len(above))
    total = float(below.sum())
    point = float(finish(above.sum() / total)) if total else float("nan")
    top, bottom = draws.means(above, ones), draws.means(below, ones)
    drawn = np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom != 0)
    return point, np.asarray(finish(drawn), float)


def _mean_of(
    error: Callable[[Floats, Floats], Floats], finish: Callable[[Any], Any] = lambda x: x
) -> _Measure:
    def measured(truth: Floats, output: Floats, draws: Resample, threshold: float) -> Drawn:
        return _ratio(error(truth, output), np.ones(len(truth)), draws, finish)

    return measured


def _weighted_percentage(truth: Floats, output: Floats, draws: Resample, threshold: float) -> Drawn:
    """The sum of absolute errors as percent of the sum of absolute true values (Google's forecasting metric)."""
    return _ratio(100 * np.abs(output - truth), np.abs(truth), draws)


def _percentage(truth: Floats, output: Floats, draws: Resample, threshold: float) -> Drawn:
    known = truth != 0
    error = np.abs(output - truth) / np.where(known, np.abs(truth), 1)
    return _ratio(100 * error * known, known.astype(float), draws)


def _log_loss(truth: Floats, output: Floats) -> Floats:
    return np.asarray(-np.log(np.clip(output[np.arange(len(truth)), truth.astype(int)], 1e-15, 1)))


def _accuracy(truth: Floats, output: Floats, draws: Resample, threshold: float) -> Drawn:
    if output.shape[1] == 2 and threshold != HALF:
        right = (output[:, 1] >= threshold) == (truth == 1)
    else:
        right = np.argmax(output, axis=1) == truth
    return _ratio(np.asarray(right, float), np.ones(len(truth)), draws)


def _area(curve: str) -> _Measure:
    def measured(truth: Floats, output: Floats, draws: Resample, threshold: float) -> Drawn:
        ones, positive = np.ones(len(truth)), truth == 1
        ranking = rank(positive, output[:, 1], ones)
        point = ranking.au_roc() if curve == "roc" else ranking.au_prc()
        drawn = draws.areas(positive, output[:, 1], ones, "roc" if curve == "roc" else "prc")
        return float("nan") if point is None else float(point), drawn

    return measured


def _micro_area(curve: Literal["roc", "prc"], truth: Floats, output: Floats, draws: Resample) -> Drawn:
    """Of the pairs of a row and a class, as `evaluate.evaluate_classification` has it."""
    positive = (truth[:, None] == np.arange(output.shape[1])).ravel()
    scores, ones = output.ravel(), np.ones(output.size)
    ranking = rank(positive, scores, ones)
    point = ranking.au_roc() if curve == "roc" else ranking.au_prc()
    return float("nan") if point is None else point, draws.areas(positive, scores, ones, curve)


def _hits(of: Callable[[NDArray[np.bool_], NDArray[np.bool_]], tuple[Any, Any]]) -> _Measure:
    """Of two classes, the second positive from the threshold on."""

    def measured(truth: Floats, output: Floats, draws: Resample, threshold: float) -> Drawn:
        above, below = of(truth == 1, output[:, 1] >= threshold)
        return _ratio(np.asarray(above, float), np.asarray(below, float), draws)

    return measured


# Name -> (kind of prediction, whether higher is better, how it is measured).
_METRICS: Final[dict[str, tuple[str, bool, _Measure]]] = {
    "meanAbsoluteError": ("regression", False, _mean_of(lambda t, p: np.abs(p - t))),
    "rootMeanSquaredError": ("regression", False, _mean_of(lambda t, p: (p - t) ** 2, np.sqrt)),
    "rootMeanSquaredLogError": (
        "regression",
        False,
        _mean_of(lambda t, p: (np.log1p(np.maximum(p, 0)) - np.log1p(np.maximum(t, 0))) ** 2, np.sqrt),
    ),
    "meanAbsolutePercentageError": ("regression", False, _percentage),
    "weightedAbsolutePercentageError": ("regression", False, _weighted_percentage),
    "logLoss": ("classification", False, _mean_of(_log_loss)),
    "accuracy": ("classification", True, _accuracy),
    "auRoc": ("classification", True, _area("roc")),
    "auPrc": ("classification", True, _area("prc")),
    "precision": ("classification", True, _hits(lambda t, p: (t & p, p))),
    "recall": ("classification", True, _hits(lambda t, p: (t & p, t))),
    "f1Score": ("classification", True, _hits(lambda t, p: (2.0 * (t & p), t * 1.0 + p))),
    "falsePositiveRate": ("classification", False, _hits(lambda t, p: (~t & p, ~t))),
}
