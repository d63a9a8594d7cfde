"""Performance before labels come: estimates, marked as such, and held to the truth when it comes (see `ml.estimate`).

An estimate is made where fewer than half of the newest predictions have a label. It sees a change of the inputs, and
cannot see one of the concept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from portico.clock import rfc3339
from portico.ml.errors import DataError
from portico.ml.measure.estimate import CLASSIFIED, Estimated, Estimator, fit_estimator, score_estimates
from portico.ml.measure.estimate_loss import LOSSES
from portico.ml.measure.performance import HALF
from portico.services.portico.joining import Outcome
from portico.services.portico.steward.decide import decide
from portico.services.portico.steward.decision import Decision
from portico.services.portico.steward.evidence import Rows
from portico.services.portico.steward.measures import measured
from portico.services.portico.steward.performance import Finding
from portico.services.portico.steward.rows import Models, answered, rows_of
from portico.services.portico.steward.spec import Acceptable, Spec
from portico.services.portico.steward.watched import Watched
from portico.services.portico.stewards import StewardPrivate

_REFERENCE = 5_000  # newest labelled predictions that estimators learn from
_LEAST = 200
_AGAIN = 1.2  # they learn again when so many times as many labels have come
_KEPT = 60  # estimates that are remembered
_COME = 0.9  # the share of a window's labels that is its truth
_DECIDED = ("accuracy", "precision", "recall", "f1Score", "falsePositiveRate")  # they depend on the threshold


@dataclass(slots=True)
class Estimates:
    """What a look estimated: `kept` is remembered, the others are shown."""

    findings: list[Finding] = field(default_factory=list)
    shown: list[dict[str, Any]] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    kept: list[dict[str, Any]] = field(default_factory=list)


class Estimating:
    def __init__(self, models: Models) -> None:
        self._models = models
        # By deployed model and metric: what was fitted, and how many labels had come by then.
        self._fitted: dict[tuple[str, str], tuple[Estimator, int]] = {}

    def look(
        self,
        watched: Watched,
        spec: Spec,
        private: StewardPrivate,
        champion: dict[str, Any],
        found: Sequence[Finding],
    ) -> Estimates:
        """`found` are the findings of what is acceptable: their limits hold for estimates, too."""
        made = Estimates(kept=[dict(one) for one in private.estimates])
        classes = self._models.classes(champion)
        for one in made.kept:
            if "realised" not in one and one["deployedModelId"] == champion["id"]:
                self._score(one, watched, spec, champion, classes)
        for item, finding in zip(spec.acceptable, found, strict=False):
            if not self._can(item, champion, classes):
                continue
            window = watched.newest(champion["id"], item.labels)
            if len(window) < item.labels or not _wait(window):
                continue
            estimate = self._estimate(watched, window, finding, champion, classes)
            if estimate is not None:
                made.findings.append(estimate)
                made.shown.append(_shown(estimate, window))
                self._remember(made.kept, estimate, window, champion)
        made.kept = made.kept[-_KEPT:]
        made.records = _records(made.kept)
        return made

    def _can(self, item: Acceptable, champion: dict[str, Any], classes: Sequence[str]) -> bool:
        if not classes and not self._models.kinds(champion):
            return False  # the error of a regression is estimated from what its model makes of the features
        if item.attributes or item.metric not in (CLASSIFIED if classes else LOSSES):
            return False
        if len(classes) != 2 and item.metric not in (*LOSSES, "accuracy", "logLoss"):
            return False
        return item.metric not in _DECIDED or self._models.threshold(champion) == HALF

    def _estimate(
        self,
        watched: Watched,
        window: list[Outcome],
        finding: Finding,
        champion: dict[str, Any],
        classes: Sequence[str],
    ) -> Finding | None:
        metric = finding.rule["metric"]
        try:
            estimator = self._estimator(watched, metric, champion, classes)
            if estimator is None or finding.facts.get("reference", 0.0) is None:
                return None
            output = answered(window, classes)
            good = np.flatnonzero(np.isfinite(output.reshape(len(output), -1)).all(axis=1))
            kept = [window[position] for position in good.tolist()]
            expected = estimator.expected(output[good], self._features(kept, champion, classes))
        except DataError:
            return None
        rows = Rows(
            np.array([row.time for row in kept], float),
            np.zeros(len(kept)),
            {"champion": output[good], "expected": expected},
        )
        facts = {**finding.facts, "error": estimator.error(len(kept)), "referenceRows": estimator.rows}
        decision: Decision = decide("estimate", finding.rule, facts, rows)
        return Finding("ESTIMATE", "estimate", finding.rule, facts, rows, decision)

    def _estimator(
        self, watched: Watched, metric: str, champion: dict[str, Any], classes: Sequence[str]
    ) -> Estimator | None:
        known = watched.of(champion["id"], classes, _REFERENCE)
        held = self._fitted.get((champion["id"], metric))
        newest = known[-1].request_id if known else 0
        if held is not None and (newest == held[1] or len(known) < _AGAIN * held[0].rows < _REFERENCE):
            return held[0]
        if len(known) < _LEAST:
            return None
        rows = rows_of(known, classes)
        if len(rows) < len(known):  # some can't be read: the features must be of the same rows
            known = [row for row in known if len(rows_of([row], classes))]
        features = self._features(known, champion, classes)
        kind = "classification" if classes else "regression"
        made = fit_estimator(kind, metric, rows.truth, rows.outputs["champion"], features)
        self._fitted = {key: one for key, one in self._fitted.items() if key[1] != metric}
        self._fitted[champion["id"], metric] = (made, newest)
        return made

    def _features(self, rows: Sequence[Outcome], champion: dict[str, Any], classes: Sequence[str]) -> Any:
        if classes:
            return None
        model = self._models.load(f"{champion['model']}@{champion['modelVersionId']}")
        return model.encode_instances([row.instance for row in rows])

    def _score(
        self,
        one: dict[str, Any],
        watched: Watched,
        spec: Spec,
        champion: dict[str, Any],
        classes: Sequence[str],
    ) -> None:
        """Notes the truth of an estimate once the labels of its window have come."""
        first, last = tuple(one["first"]), tuple(one["last"])
        rows = [row for row in watched.newest(champion["id"], 1 << 60) if first <= row.place <= last]
        labelled = list({row.label.name: row for row in rows if row.label and row.judges}.values())
        if not rows or len(labelled) < max(_COME * (len(labelled) + sum(not row.judges for row in rows)), 1):
            return
        labelled.sort(key=lambda row: row.place)
        found = rows_of(labelled, classes, (), self._models.threshold(champion))
        if len(found):
            one["realised"] = measured(spec.measured_by(one["metric"], classes), found, "champion").value

    def _remember(
        self, kept: list[dict[str, Any]], estimate: Finding, window: list[Outcome], champion: dict[str, Any]
    ) -> None:
        """For the truth to be held against; windows of remembered estimates do not overlap."""
        same = [
            o
            for o in kept
            if o["metric"] == estimate.rule["metric"] and o["deployedModelId"] == champion["id"]
        ]
        if not same or tuple(same[-1]["last"]) < window[0].place:
            numbers = estimate.decision.numbers
            kept.append({
                "metric": estimate.rule["metric"], "deployedModelId": champion["id"], "first": list(window[0].place),
                "last": list(window[-1].place), "value": numbers["value"], "interval": numbers["interval"],
                "rows": numbers["rows"],
            })  # fmt: skip


def _wait(window: Sequence[Outcome]) -> bool:
    """Whether most of the predictions wait for a label; those that share one count once."""
    known = len({row.label.name for row in window if row.label})
    return known < sum(row.label is None for row in window)


def _shown(estimate: Finding, window: list[Outcome]) -> dict[str, Any]:
    known = {k: estimate.decision.numbers[k] for k in ("metric", "value", "interval", "limit", "rows")}
    return {
        **{key: value for key, value in known.items() if value is not None}, "holds": not estimate.broken,
        "startTime": rfc3339(window[0].time), "endTime": rfc3339(window[-1].time),
    }  # fmt: skip


def _records(kept: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    made = []
    for metric in dict.fromkeys(one["metric"] for one in kept if "realised" in one):
        known = [one for one in kept if one["metric"] == metric and "realised" in one]
        estimates = [
            Estimated(metric, o["value"], tuple(o["interval"]) if o["interval"] else None, o["rows"])
            for o in known
        ]
        found = score_estimates(estimates, [one["realised"] for one in known])
        record = {"metric": metric, "scored": found.windows, "meanAbsoluteError": found.error}
        made.append(record if found.covered is None else {**record, "covered": found.covered})
    return made
