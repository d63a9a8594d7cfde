"""Whether a trial under way is to stop, by the rule that its study's spec names: pure functions of the trials.

The rules are those of the documents of StudySpec (`decayCurveStoppingSpec`, `medianAutomatedStoppingSpec`,
`convexAutomatedStoppingSpec`). A curve is what a trial measured of the study's only metric, with a sign that makes more
better, by step or by seconds.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from portico.services.aiplatform.vizier import measurements, study_spec

_ENDED = 3  # trials that the median asks for
_LEARNT = 5  # trials that the decay curve asks for
_UNLIKELY = 0.05  # that a trial will be the best

Trial = Mapping[str, Any]
Curve = list[tuple[float, float]]


def should_stop(spec: Mapping[str, Any], trial: Trial, others: Sequence[Trial]) -> bool:
    """Whether `trial` is to stop, given the `others` of its study."""
    if trial["state"] == "STOPPING":
        return True
    rule = next((name for name in study_spec.STOPPING if name in spec), None)
    if trial["state"] != "ACTIVE" or rule is None:
        return False
    settings = spec[rule]
    by_time = bool(settings.get("useElapsedDuration"))
    mine = _curve(spec, trial, by_time)
    ended = [_curve(spec, one, by_time) for one in others if one["state"] == "SUCCEEDED"]
    ended = [curve for curve in ended if curve]
    if not mine or not ended:
        return False
    if rule == "medianAutomatedStoppingSpec":
        return _below_median(mine, ended)
    if rule == "convexAutomatedStoppingSpec":
        return _cannot_reach(mine, ended, settings)
    return _is_unlikely(mine, ended)


def _curve(spec: Mapping[str, Any], trial: Trial, by_time: bool) -> Curve:
    metric = spec["metrics"][0]
    where = measurements.elapsed if by_time else measurements.step
    told = list(trial.get("measurements") or [])
    if not told and trial.get("finalMeasurement"):
        told = [trial["finalMeasurement"]]
    found = [(float(where(one)), measurements.value(one, metric["metricId"])) for one in told]
    sign = measurements.sign(metric)
    return sorted((x, sign * measurements.reckoned(y)) for x, y in found if y is not None)


def _until(curve: Curve, x: float) -> list[float]:
    return [y for at, y in curve if at <= x]


def _below_median(mine: Curve, ended: Sequence[Curve]) -> bool:
    """Its best is below the median of what the others had on average until then."""
    x = mine[-1][0]
    averages = [statistics.fmean(values) for curve in ended if (values := _until(curve, x))]
    return len(averages) >= _ENDED and max(y for _, y in mine) < statistics.median(averages)


def _cannot_reach(mine: Curve, ended: Sequence[Curve], settings: Mapping[str, Any]) -> bool:
    """Also if it goes on to rise as it did in its second half, which a curve that flattens does not, it won't be as
    good as the best at the last step."""
    count = int(settings.get("minMeasurementCount") or 5)
    last = float(settings.get("maxStepCount") or max(curve[-1][0] for curve in ended))
    least = float(settings.get("minStepCount") or last / 10)
    x, y = mine[-1]
    if len(ended) < count + 1 or len(mine) < count or x <= least:
        return False
    before, then = mine[(len(mine) - 1) // 2]
    if x == before or y == then:
        return False  # a flat curve says nothing
    slope = (y - then) / (x - before)
    reached = max(value for _, value in mine) + max(slope, 0.0) * max(last - x, 0.0)
    return reached < max(curve[-1][1] for curve in ended)


def _is_unlikely(mine: Curve, ended: Sequence[Curve]) -> bool:
    """A Gaussian process, which has learnt from the others how one ends that stands as this one does, gives it less
    than _UNLIKELY to end better than the best."""
    x = mine[-1][0]
    known = [(values, curve[-1][1]) for curve in ended if (values := _until(curve, x))]
    best = max(curve[-1][1] for curve in ended)
    if len(known) < _LEARNT or max(y for _, y in mine) >= best:
        return False
    import warnings

    import numpy as np
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    def stand(values: Sequence[float]) -> tuple[float, float]:
        return values[-1], statistics.fmean(values)

    places = np.array([stand(values) for values, _ in known])
    spread = places.std(axis=0)
    spread[spread == 0] = 1.0
    kernel = ConstantKernel() * RBF() + WhiteKernel(1e-3)
    process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit((places - places.mean(axis=0)) / spread, [final for _, final in known])
    here = (np.array([stand([y for _, y in mine])]) - places.mean(axis=0)) / spread
    mean, deviation = process.predict(here, return_std=True)
    chance = 1 - statistics.NormalDist(float(mean[0]), max(float(deviation[0]), 1e-12)).cdf(best)
    return bool(chance < _UNLIKELY)
