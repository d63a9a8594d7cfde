"""Compares a target with a baseline, column by column: the one engine of monitoring.

A `Part` is columns in bins that its baseline fixed. All rows, of baseline and target, are counted in them, so memory
does not grow with the data; `compared` scores the counts and says which are above a threshold. A
ModelDeploymentMonitoringJob declares for it windows of what an endpoint was asked (`window`), a ModelMonitor data sets
that its jobs name (`monitor_run`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa

from portico.ml.watch.bins import Counts, FeatureBins, Window, count, fit_bins
from portico.ml.watch.calibrate import DISTANCES, RATE, Null, Reference, calibrate, distance_threshold
from portico.ml.watch.distances import FeatureScore, score_column
from portico.ml.watch.shares import SHARES, share_threshold
from portico.services.aiplatform.monitoring.monitor_spec import DEFAULT_THRESHOLD

SHARE_RATE: Final = RATE * (1 - DISTANCES)  # of windows in which chance alone exceeds a share's threshold


@dataclass(slots=True)
class Part:
    """Columns in bins: what the baseline had in them (None without one), and what chance does to them."""

    bins: list[FeatureBins] = field(default_factory=list)
    training: Window | None = None
    nulls: dict[str, Null] = field(default_factory=dict)

    @classmethod
    def of(cls, table: pa.Table | pa.RecordBatch, kinds: Mapping[str, str] | None, training: bool) -> Part:
        whole = table if isinstance(table, pa.Table) else pa.Table.from_batches([table])
        bins = fit_bins(whole, kinds)
        return cls(bins, count(whole, bins) if training else None, calibrate(whole, bins))

    def to_json(self) -> dict[str, Any]:
        return {
            "bins": [feature.to_json() for feature in self.bins],
            "training": None if self.training is None else {n: c.to_json() for n, c in self.training.items()},
            "nulls": {name: null.to_json() for name, null in self.nulls.items()},
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Part:
        training = body["training"]
        return cls(
            [FeatureBins.from_json(feature) for feature in body["bins"]],
            None if training is None else {n: Counts.from_json(c) for n, c in training.items()},
            {name: Null.from_json(null) for name, null in body["nulls"].items()},
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """How a column is watched: by the distance `measure` (Google's for its kind where empty), and at which `threshold`,
    which is calibrated where it is None."""

    threshold: float | None = None
    measure: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """`shares` are those of rows that are missing, new or invalid, where they are above their thresholds."""

    score: FeatureScore
    threshold: float
    calibrated: bool
    shares: dict[str, dict[str, float]]

    def to_json(self) -> dict[str, Any]:
        beside = {"threshold": self.threshold, "calibrated": self.calibrated, "shares": self.shares}
        return {**self.score.to_json(), **beside}


def compared(
    part: Part,
    target: Window,
    baseline: Window,
    rules: Mapping[str, Rule],
    against: Reference = "training",
    tests: int = 1,
) -> dict[str, Found]:
    """By column that a rule watches, how far `target` is from `baseline`, both counted in the part's bins.

    Calibrated thresholds are those of comparisons `against` training data or another window, with so many `tests`.
    """
    made = {}
    for bins in part.bins:
        rule = rules.get(bins.name)
        if rule is None:
            continue
        now, old, null = target[bins.name], baseline[bins.name], part.nulls.get(bins.name)
        found = score_column(bins, now, old, rule.measure)
        threshold, shares = rule.threshold, dict[str, dict[str, float]]()
        if null is not None:
            if threshold is None:
                threshold = distance_threshold(null, now.present, old.present, against, tests)
            shares = _shares(found, now, old, null, against, tests)
        calibrated = rule.threshold is None and threshold is not None
        limit = DEFAULT_THRESHOLD if threshold is None else threshold
        made[bins.name] = Found(found, limit, calibrated, shares)
    return made


def _shares(
    found: FeatureScore, now: Counts, old: Counts, null: Null, against: Reference, tests: int
) -> dict[str, dict[str, float]]:
    above: dict[str, dict[str, float]] = {}
    for share in SHARES:
        value = float(getattr(found, share))
        counted = {"missing": old.missing, "invalid": old.invalid, "new": old.unbinned}[share]
        before = None if against == "training" else (counted, old.rows)
        of = tests * len(SHARES)
        limit = share_threshold(null.shares, share, now.rows, of, SHARE_RATE, before) if value else 1.0
        share_before = counted / max(old.rows, 1)
        if value > max(limit, share_before):  # a column that is empty on both sides did not move
            above[share] = {"now": value, "before": share_before, "threshold": limit}
    return above


class Sample:
    """An even sample of up to `size` rows: each draws a lot, and the lowest stay, however they come."""

    def __init__(self, size: int, seed: int = 0) -> None:
        self._size, self._rows = size, 0
        self._random = np.random.default_rng(seed)
        self._kept: list[tuple[float, int, Any]] = []

    def add(self, rows: int, row: Callable[[int], Any]) -> None:
        """`row` gives one of these by its place."""
        lots = self._random.random(rows)
        low = np.argsort(lots)[: self._size].tolist()
        drawn = [(float(lots[place]), self._rows + place, row(place)) for place in low]
        self._kept = sorted([*self._kept, *drawn], key=lambda one: one[0])[: self._size]
        self._rows += rows

    def rows(self) -> list[Any]:
        """In the order in which they came."""
        return [row for _, _, row in sorted(self._kept, key=lambda one: one[1])]
