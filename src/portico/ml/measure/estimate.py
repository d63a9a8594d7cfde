"""Performance before labels arrive: what a metric comes to if only the inputs have changed.

Classifiers: confidence-based estimation (NannyML's CBPE; Białek et al., "Estimating Model Performance Under Covariate
Shift Without Labels", 2024). Scores are calibrated on labelled reference rows; a row whose calibrated probability is p
is right with probability p, and the metric is taken in expectation. Regressions: direct loss estimation (see
`estimate_loss`).

Both answer for a change of the inputs alone, into regions that the reference knows. When the relation between inputs
and truth changes (concept drift), no estimate from inputs can see it: the estimate stays where it was and is wrong. So
an estimate is never more than a reason to look, and `score_estimates` holds it to the truth when that comes. Far from
most of the reference it also is less sure than its interval says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np

from portico.ml.arrays import Floats
from portico.ml.errors import DataError
from portico.ml.measure.baseline import block_length_of
from portico.ml.measure.baseline_bootstrap import Resample
from portico.ml.measure.curves import rank
from portico.ml.measure.estimate_calibrate import Calibrator, fit_calibrator
from portico.ml.measure.estimate_loss import LOSSES, fit_trees, out_of_fold, predict_trees, spans, with_output
from portico.ml.measure.performance import Measured

CLASSIFIED: Final = (
    "accuracy",
    "precision",
    "recall",
    "f1Score",
    "falsePositiveRate",
    "logLoss",
    "auRoc",
    "auPrc",
)
_ROOTS: Final = ("rootMeanSquaredError", "rootMeanSquaredLogError")
_LEAST = 200
_NORMAL = 1.959964


@dataclass(frozen=True, slots=True)
class Estimated(Measured):
    """An estimate over rows without labels. `interval` (95%) is None for too few of them."""

    def to_json(self) -> dict[str, Any]:
        return {**Measured.to_json(self), "estimated": True}


@dataclass(frozen=True, slots=True)
class Scored:
    """Past estimates beside what came true: `error` is how far off on average, `covered` the share of intervals that
    held it."""

    error: float
    covered: float | None
    windows: int

    def to_json(self) -> dict[str, Any]:
        return {"meanAbsoluteError": self.error, "covered": self.covered, "windows": self.windows}


@dataclass(frozen=True, slots=True)
class Estimator:
    """What reference rows teach: a `calibrator` of a classifier, or `trees` of a regression (one text each part).

    `noise` is the variance of estimate minus truth, out of fold on the reference, times the rows of a window; `rows`
    are the reference's.
    """

    kind: Literal["classification", "regression"]
    metric: str
    noise: float
    rows: int
    calibrator: Calibrator | None = None
    trees: list[str] = field(default_factory=list)

    def expected(self, output: Floats, features: Floats | None = None) -> Floats:
        """What is to be expected of each row, from the model's `output` and the encoded `features` (N, D).

        Classifiers: probabilities (N, K) for scores (N, K). Regressions: the loss (N, 1), or the parts of the ratio
        that the metric is (N, 2), for values (N,).
        """
        if self.calibrator is not None:
            return self.calibrator.apply(output)
        given = with_output(_given(features, output), output)
        return np.maximum(np.column_stack([predict_trees(text, given) for text in self.trees]), 0.0)

    def error(self, rows: int) -> float:
        """The standard error of an estimate over so many rows: the labels' own chance, and the reference's."""
        return float(np.sqrt(self.noise * (1 / max(rows, 1) + 1 / self.rows)))

    def to_json(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "kind": self.kind,
            "metric": self.metric,
            "noise": self.noise,
            "rows": self.rows,
        }
        if self.calibrator is not None:
            return body | {"calibrator": self.calibrator.to_json()}
        return body | {"trees": self.trees}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Estimator:
        held = body.get("calibrator")
        calibrator = Calibrator.from_json(held) if held else None
        trees = list(body.get("trees") or [])
        return cls(body["kind"], body["metric"], float(body["noise"]), int(body["rows"]), calibrator, trees)


def fit_estimator(
    kind: str, metric: str, truth: Floats, output: Floats, features: Floats | None = None, seed: int = 0
) -> Estimator:
    """From labelled reference rows in order of time, which the model did not train on.

    `output` are values (N,), or scores (N, K) with `truth` (N,) as positions among the classes; `features` (N, D) are
    encoded, NaN is missing, and only a regression needs them.

    Raises:
        DataError: the metric can't be estimated, the shapes do not fit, or there are fewer than 200 rows.
    """
    known = CLASSIFIED if kind == "classification" else tuple(LOSSES)
    if metric not in known:
        raise DataError(
            f"{metric} of a {kind} can't be estimated before labels are there; {', '.join(known)} can",
            field="metric",
        )
    if len(output) != len(truth) or (output.ndim == 2) != (kind == "classification"):
        raise DataError(f"predictions of shape {output.shape} are not those of a {kind} of {len(truth)} rows")
    if len(truth) < _LEAST:
        raise DataError(f"{len(truth)} labelled rows are too few to estimate from; {_LEAST} are needed")
    fold = spans(len(truth))
    if kind == "classification":
        expected = np.empty(output.shape)
        for number in np.unique(fold):
            inside = fold == number
            expected[inside] = fit_calibrator(truth[~inside], output[~inside]).apply(output[inside])
        real = np.eye(output.shape[1])[truth.astype(int)]
        noise = _noise(metric, output, expected, real)
        return Estimator("classification", metric, noise, len(truth), fit_calibrator(truth, output))
    real = LOSSES[metric](truth, output).astype(float)
    given = with_output(_given(features, output), output)
    expected = np.column_stack([out_of_fold(given, part, fold, seed=seed) for part in real.T])
    noise = _noise(metric, output, np.maximum(expected, 0.0), real)
    trees = [fit_trees(given, part, seed=seed) for part in real.T]
    return Estimator("regression", metric, noise, len(truth), trees=trees)


def estimated(
    metric: str, output: Floats, expected: Floats, times: Floats, error: float = 0.0, seed: int = 0
) -> Estimated:
    """The metric to be expected over rows of which `expected` is what `Estimator.expected` made.

    Its 95% interval holds the rows' own chance (a block bootstrap; `times` (N,) are seconds that do not fall) and the
    `error` of the estimator for so many rows (`Estimator.error`), as independent parts.

    Raises:
        DataError: the metric can't be estimated, the shapes do not fit, or there are no rows.
    """
    if metric not in CLASSIFIED and metric not in LOSSES:
        raise DataError(f"{metric} can't be estimated before labels are there", field="metric")
    if len(expected) == 0 or len(output) != len(expected) or len(times) != len(expected):
        raise DataError(f"cannot estimate from {len(output)} predictions and {len(expected)} expectations")
    draws = Resample(len(expected), block_length_of(times), seed)
    value = _value(metric, output, expected)
    bounds = draws.interval(value, _drawn(metric, output, expected, draws))
    if bounds is not None:
        own = _NORMAL * error
        low = value - float(np.hypot(value - bounds[0], own))
        high = value + float(np.hypot(bounds[1] - value, own))
        most = 1.0 if metric in CLASSIFIED and metric != "logLoss" else np.inf
        bounds = (max(low, 0.0), min(high, most))
    return Estimated(metric, value, bounds, len(expected))


def score_estimates(estimates: Sequence[Estimated], truths: Sequence[float]) -> Scored:
    """Estimates of past windows beside the metric's values there once labels had come.

    Raises:
        DataError: not as many of both, or none.
    """
    if len(estimates) != len(truths) or not estimates:
        raise DataError(f"{len(estimates)} estimates can't be scored against {len(truths)} values")
    off = [abs(one.value - true) for one, true in zip(estimates, truths, strict=True)]
    held = [
        one.interval[0] <= true <= one.interval[1]
        for one, true in zip(estimates, truths, strict=True)
        if one.interval is not None
    ]
    return Scored(float(np.mean(off)), float(np.mean(held)) if held else None, len(estimates))


# --- the metrics in expectation; with the truth itself for what is expected, they are the metrics ---


def _parts(metric: str, output: Floats, expected: Floats) -> tuple[Floats, Floats]:
    """Each row's part above and below the line of the ratio of sums that the metric is."""
    ones = np.ones(len(expected))
    if metric in LOSSES:
        return expected[:, 0], expected[:, 1] if expected.shape[1] == 2 else ones
    if metric == "accuracy":
        return expected[np.arange(len(output)), np.argmax(output, axis=1)], ones
    if metric == "logLoss":
        return -(expected * np.log(np.clip(output, 1e-15, 1))).sum(axis=1), ones
    positive, chosen = expected[:, 1], (output[:, 1] >= 0.5).astype(float)
    if metric == "precision":
        return positive * chosen, chosen
    if metric == "recall":
        return positive * chosen, positive
    if metric == "f1Score":
        return 2 * positive * chosen, positive + chosen
    return (1 - positive) * chosen, 1 - positive


def _value(metric: str, output: Floats, expected: Floats) -> float:
    if metric in ("auRoc", "auPrc"):
        # Each row is positive with its probability and negative with the rest.
        share, scores = expected[:, 1], output[:, 1]
        sides = np.repeat([True, False], len(scores))
        ranking = rank(sides, np.concatenate([scores, scores]), np.concatenate([share, 1 - share]))
        area = ranking.au_roc() if metric == "auRoc" else ranking.au_prc()
        return float("nan") if area is None else area
    above, below = _parts(metric, output, expected)
    total = float(below.sum())
    ratio = float(above.sum()) / total if total else float("nan")
    return float(np.sqrt(ratio)) if metric in _ROOTS else ratio


def _drawn(metric: str, output: Floats, expected: Floats, draws: Resample) -> Floats:
    ones = np.ones(len(expected))
    if metric in ("auRoc", "auPrc"):
        return draws.areas(expected[:, 1], output[:, 1], ones, "roc" if metric == "auRoc" else "prc")
    above, below = _parts(metric, output, expected)
    top, bottom = draws.means(above, ones), draws.means(below, ones)
    ratio = np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0)
    return np.sqrt(ratio) if metric in _ROOTS else ratio


def _noise(metric: str, output: Floats, expected: Floats, real: Floats) -> float:
    """From estimates and truths of 5 to 20 spans of the reference: the mean squared difference, of one row.

    A little more for few spans, as Student's t is wider than the normal distribution.
    """
    from scipy.special import stdtrit

    off = []
    for rows in np.array_split(np.arange(len(output)), int(np.clip(len(output) // 100, 5, 20))):
        made = _value(metric, output[rows], expected[rows]) - _value(metric, output[rows], real[rows])
        if np.isfinite(made):
            off.append(made**2 * len(rows))
    if not off:
        raise DataError(f"{metric} is defined in no part of the labelled rows", field="metric")
    wider = float(stdtrit(len(off), 0.975)) / _NORMAL
    return float(np.mean(off)) * wider**2


def _given(features: Floats | None, output: Floats) -> Floats:
    if features is None:
        return np.empty((len(output), 0))
    if features.ndim != 2 or len(features) != len(output):
        raise DataError(f"features of shape {features.shape} do not fit {len(output)} predictions")
    return features
