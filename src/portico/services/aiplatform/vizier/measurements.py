"""What trials measured: which measurement counts, and which trials are the best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from portico.clock import duration_seconds
from portico.errors import InvalidArgument

Measurement = Mapping[str, Any]
_FAR = 1e100


def step(measurement: Measurement) -> int:
    return int(measurement.get("stepCount") or 0)


def elapsed(measurement: Measurement) -> float:
    """Seconds."""
    return duration_seconds(measurement.get("elapsedDuration") or "0s")


def value(measurement: Measurement, metric: str) -> float | None:
    found = [one for one in measurement.get("metrics") or [] if one.get("metricId") == metric]
    return float(found[-1].get("value") or 0.0) if found else None


def sign(metric: Mapping[str, Any]) -> float:
    """What a value is multiplied with, so that more is better."""
    return 1.0 if metric["goal"] == "MAXIMIZE" else -1.0


def check(measurement: Measurement, spec: Mapping[str, Any], field: str, *, whole: bool) -> None:
    """Checks a measurement that a caller reports; a `whole` one has all of the study's metrics.

    Raises:
        InvalidArgument: naming the field.
    """
    known = [metric["metricId"] for metric in spec["metrics"]]
    given = measurement.get("metrics") or []
    for number, one in enumerate(given):
        where = f"{field}.metrics[{number}]"
        if one.get("metricId") not in known:
            raise InvalidArgument(
                f"The study has no metric {one.get('metricId', '')!r}; it has {', '.join(known)}.",
                field=f"{where}.metricId",
            )
        if not math.isfinite(float(one.get("value") or 0.0)):
            raise InvalidArgument(
                "A metric is a finite number; complete the trial with trialInfeasible.",
                field=f"{where}.value",
            )
    missing = [name for name in known if value(measurement, name) is None]
    if not given or (whole and missing):
        raise InvalidArgument(
            f"The measurement has no value of {', '.join(missing)}.", field=f"{field}.metrics"
        )
    if step(measurement) < 0:
        raise InvalidArgument("A stepCount is not negative.", field=f"{field}.stepCount")


def added(measurements: Sequence[Measurement], new: Measurement) -> list[Measurement]:
    """`measurements` with a new one, in their order. One of the same place is replaced."""
    return ordered([*measurements, new])


def ordered(measurements: Sequence[Measurement]) -> list[Measurement]:
    """By step, then by time; of those of one place the last."""
    kept = {(step(one), elapsed(one)): one for one in measurements}
    return [kept[place] for place in sorted(kept)]


def thinned(measurements: Sequence[Measurement], spec: Mapping[str, Any], most: int) -> list[Measurement]:
    """About `most` of ordered ones, evenly over their curve, and of these what is `final` of all."""
    count = len(measurements)
    if count <= most:
        return list(measurements)
    places = {round(number * (count - 1) / (most - 1)) for number in range(most)}
    names = [metric["metricId"] for metric in spec["metrics"]]
    having = {
        name: [at for at, one in enumerate(measurements) if value(one, name) is not None] for name in names
    }
    places |= {found[-1] for found in having.values() if found}
    if whole := sorted(set.intersection(*map(set, having.values()))):
        places |= {whole[-1], max(whole, key=lambda at: scores(measurements[at], spec))}
    return [measurements[at] for at in sorted(places)]


def final(measurements: Sequence[Measurement], spec: Mapping[str, Any]) -> Measurement | None:
    """The measurement that counts, of those that a trial reported: the last, or where the spec says so the best by its
    only metric. None where a metric was never reported."""
    names = [metric["metricId"] for metric in spec["metrics"]]
    whole = [one for one in measurements if all(value(one, name) is not None for name in names)]
    if whole and len(names) == 1 and spec.get("measurementSelectionType") == "BEST_MEASUREMENT":
        return max(whole, key=lambda one: scores(one, spec))
    if whole:
        return whole[-1]
    last = {name: [one for one in measurements if value(one, name) is not None] for name in names}
    if not all(last.values()):
        return None
    newest = max((found[-1] for found in last.values()), key=lambda one: (step(one), elapsed(one)))
    return {
        **newest, "metrics": [{"metricId": name, "value": value(found[-1], name)} for name, found in last.items()]
    }  # fmt: skip


def scores(measurement: Measurement, spec: Mapping[str, Any]) -> tuple[float, ...]:
    """By metric, more is better."""
    return tuple(sign(metric) * (value(measurement, metric["metricId"]) or 0.0) for metric in spec["metrics"])


def reckoned(value: float) -> float:
    """A value for sums and squares, which a float must hold: what is farther off is all the same."""
    return min(max(value, -_FAR), _FAR)


def optimal(trials: Sequence[Mapping[str, Any]], spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Of those that succeeded the best, or with several metrics those than which no other is better in all (the Pareto
    front); the first where some are as good."""
    scored = [(scores(one["finalMeasurement"], spec), one) for one in trials if one["state"] == "SUCCEEDED"]
    if len(spec["metrics"]) == 1:
        return [max(scored, key=lambda pair: pair[0])[1]] if scored else []
    return [one for mine, one in scored if not any(_dominates(other, mine) for other, _ in scored)]


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))
