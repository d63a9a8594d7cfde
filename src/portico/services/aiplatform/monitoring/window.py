"""One window of one deployed model: its rows counted part by part, and its scores against what it is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from portico.ml.tables import rows_to_batch
from portico.ml.watch import attributions
from portico.ml.watch.attributions import Attributions
from portico.ml.watch.bins import Counts, Window, count, merge
from portico.ml.watch.calibrate import RATE, Reference
from portico.ml.watch.outputs import outputs_table
from portico.ml.watch.shares import Shares, share_threshold
from portico.ml.watch.sketches import Sketches, merge_sketches, sketch
from portico.services.aiplatform.monitoring import models
from portico.services.aiplatform.monitoring.baseline import Baseline
from portico.services.aiplatform.monitoring.engine import SHARE_RATE, Rule, Sample, compared
from portico.services.aiplatform.monitoring.words import KINDS
from portico.services.aiplatform.thresholds import DRIFT, SKEW

_CONFIGS: Final = {
    "skew": (SKEW, "skewThresholds", "defaultSkewThreshold"),
    "drift": (DRIFT, "driftThresholds", "defaultDriftThreshold"),
}
_ATTRIBUTED: Final = {"skew": "attributionScoreSkewThresholds", "drift": "attributionScoreDriftThresholds"}
_EXPLAINED: Final = (
    100  # rows of a window whose attributions are averaged: an AutoML model takes some 10 ms for one
)
_MOST_UNKNOWN: Final = 200  # names of columns that nobody knew


class Counted:
    """What is kept of a window while it is read: of bounded size, however many rows there are."""

    def __init__(self, baseline: Baseline, start: float, explain: bool) -> None:
        self.baseline = baseline
        self.rows = 0
        self.parts: dict[str, Window] = {"features": {}, "outputs": {}}
        self.sketches: Sketches = {}
        self.unknown: dict[str, int] = {}
        self._sample = Sample(_EXPLAINED, int(abs(start))) if explain else None

    def add(self, rows: list[Any], named: list[dict[str, Any]], answers: list[Any]) -> None:
        """`rows` are the instances as they came, `named` by feature; `answers` theirs, or none."""
        self.add_table(rows_to_batch(named), answers)
        if self._sample is not None:
            self._sample.add(len(rows), rows.__getitem__)

    def add_table(self, batch: pa.RecordBatch, answers: Sequence[Any] = ()) -> None:
        """Rows in columns, which are not sampled for attributions."""
        baseline = self.baseline
        baseline.begin(batch, list(answers))
        features, outputs = baseline.features.bins, baseline.outputs.bins
        self.parts["features"] = merge(self.parts["features"], count(batch, features))
        self.sketches = merge_sketches(self.sketches, sketch(batch, features))
        if answers and outputs:
            told = outputs_table(list(answers))[0]
            self.parts["outputs"] = merge(self.parts["outputs"], count(told, outputs))
        for name in batch.schema.names:
            if name not in baseline.known and (name in self.unknown or len(self.unknown) < _MOST_UNKNOWN):
                known = batch.num_rows - batch.column(name).null_count
                self.unknown[name] = self.unknown.get(name, 0) + known
        self.rows += batch.num_rows

    def attributions(self, model: models.Explaining | None) -> Attributions | None:
        """Of the sampled rows; None where none are asked for, or the model gives none."""
        if self._sample is None or model is None:
            return None
        return attributions.measure(models.attributions(model, self._sample.rows()))


def body_of(
    counted: Counted,
    reasons: Attributions | None,
    config: Mapping[str, Any],
    before: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The window's counts and scores as they are stored.

    `config` is the objective config, `before` the body of the window before, where its bins are the same. By column of
    `features` and `outputs`: `counts`, and `skew` and `drift` where they are watched: the score, its `threshold`,
    whether that is `calibrated`, and `shares`: those that are above theirs. `unknown`: rows by name of columns that
    nobody knew, where they are too many for chance.
    """
    baseline = counted.baseline
    body: dict[str, Any] = {"rows": counted.rows, "bins": baseline.digest(), "unknown": _unknown(counted)}
    for group, part in (("features", baseline.features), ("outputs", baseline.outputs)):
        window = counted.parts[group]
        body[group] = {name: {"counts": counts.to_json()} for name, counts in window.items()}
        tests = len(baseline.features.bins) + len(counted.parts["outputs"])
        for kind in KINDS:
            told = config.get(_CONFIGS[kind][0])
            reference = part.training if kind == "skew" else _counts(before, group)
            if told is None or not reference or reference.keys() != window.keys():
                continue
            every = {name: Rule() for name in window}
            rules = every if group == "outputs" else _rules(told, kind, every)
            against: Reference = "training" if kind == "skew" else "window"
            for name, found in compared(part, window, reference, rules, against, tests).items():
                body[group][name][kind] = found.to_json()
    if reasons is not None:
        body["attributions"] = _attributed(baseline, reasons, config, before)
    return body


def _rules(told: Mapping[str, Any], kind: str, every: dict[str, Rule]) -> dict[str, Rule]:
    """The features that a config watches, by its thresholds or its default. One without any watches every feature, at
    thresholds that are calibrated."""
    _, thresholds, default = _CONFIGS[kind]
    own = {name: Rule(float(each.get("value", 0.0))) for name, each in (told.get(thresholds) or {}).items()}
    if told.get(default):
        return dict.fromkeys(every, Rule(float(told[default].get("value", 0.0)))) | own
    return own or every


def _counts(before: Mapping[str, Any] | None, group: str) -> Window:
    found = (before or {}).get(group) or {}
    return {name: Counts.from_json(about["counts"]) for name, about in found.items()}


def _unknown(counted: Counted) -> dict[str, int]:
    never = Shares(counted.baseline.rows, (), (), (), ())
    limit = share_threshold(never, "new", counted.rows, len(counted.unknown), SHARE_RATE)
    return {name: rows for name, rows in counted.unknown.items() if rows / counted.rows > limit}


def _attributed(
    baseline: Baseline, now: Attributions, config: Mapping[str, Any], before: Mapping[str, Any] | None
) -> dict[str, Any]:
    """`sample`, and by kind and feature its score, that of the reference, their distance and its threshold."""
    stored = ((before or {}).get("attributions") or {}).get("sample")
    previous = None if stored is None else Attributions.from_json(stored)
    made: dict[str, Any] = {"sample": now.to_json()}
    for kind, old in (("skew", baseline.attributions), ("drift", previous)):
        part = config.get(_CONFIGS[kind][0])
        if part is None or old is None:
            continue
        given: Iterable[str] = part.get(_ATTRIBUTED[kind]) or now.scores
        for name in given:
            if name not in now.scores:
                continue
            own = (part.get(_ATTRIBUTED[kind]) or {}).get(name)
            limit = attributions.distance_threshold(
                name, now, old, baseline.attributions or old, len(now.scores), RATE
            )
            score, score_before = now.scores[name], old.scores.get(name, 0.0)
            made.setdefault(kind, {})[name] = {
                "score": score,
                "before": score_before,
                "distance": abs(score - score_before),
                "threshold": limit if own is None else float(own.get("value", 0.0)),
                "calibrated": own is None,
            }
    return made
