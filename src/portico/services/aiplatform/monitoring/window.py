"""One window of one deployed model: its rows counted part by part, and its scores against what it is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from portico.services.aiplatform.monitoring import deployed_models as monitoring_model
from portico.services.aiplatform.monitoring import model_deployment_monitoring_jobs as jobs
from portico.services.aiplatform.monitoring.baseline import Baseline, Part

if TYPE_CHECKING:
    import pyarrow as pa

    from portico.ml.watch.attributions import Attributions
    from portico.ml.watch.bins import Counts, Window
    from portico.ml.watch.distances import FeatureScore
    from portico.ml.watch.sketches import Sketches
    from portico.prediction.models.predictors import Predictor

Kind = Literal["skew", "drift"]
KINDS: Final[tuple[Kind, ...]] = ("skew", "drift")
_CONFIGS: Final = {
    "skew": ("trainingPredictionSkewDetectionConfig", "skewThresholds", "defaultSkewThreshold"),
    "drift": ("predictionDriftDetectionConfig", "driftThresholds", "defaultDriftThreshold"),
}
_ATTRIBUTED: Final = {"skew": "attributionScoreSkewThresholds", "drift": "attributionScoreDriftThresholds"}
_EXPLAINED: Final = (
    100  # rows of a window whose attributions are averaged: an AutoML model takes some 10 ms for one
)
_MOST_UNKNOWN: Final = 200  # names of columns that nobody knew


class Counted:
    """What is kept of a window while it is read: of bounded size, however many rows there are."""

    def __init__(self, baseline: Baseline, start: float, explain: bool) -> None:
        import random

        self.baseline = baseline
        self.rows = 0
        self.features: Window = {}
        self.outputs: Window = {}
        self.sketches: Sketches = {}
        self.unknown: dict[str, int] = {}
        self._explain = explain
        self._chosen: list[tuple[float, int, Any]] = []  # a uniform sample: the rows with the smallest keys
        self._random = random.Random(start)

    def add(self, rows: list[Any], named: list[dict[str, Any]], answers: list[Any]) -> None:
        """`rows` are the instances as they came, `named` by feature; `answers` theirs, or none."""
        from portico.ml.tables import rows_to_batch
        from portico.ml.watch.bins import count
        from portico.ml.watch.outputs import outputs_table
        from portico.ml.watch.sketches import merge_sketches, sketch

        baseline, batch = self.baseline, rows_to_batch(named)
        baseline.begin(batch, answers)
        self.features = _added(self.features, count(batch, baseline.features.bins))
        sketched = sketch(batch, baseline.features.bins)
        self.sketches = merge_sketches(self.sketches, sketched) if self.sketches else sketched
        if answers and baseline.outputs.bins:
            self.outputs = _added(self.outputs, count(outputs_table(answers)[0], baseline.outputs.bins))
        self._note_unknown(batch)
        if self._explain:
            keyed = [(self._random.random(), self.rows + place, row) for place, row in enumerate(rows)]
            self._chosen = sorted([*self._chosen, *keyed], key=lambda one: one[0])[:_EXPLAINED]
        self.rows += len(rows)

    def attributions(self, model: Predictor | None) -> Attributions | None:
        """Of the sampled rows; None where none are asked for, or the model gives none."""
        if not self._chosen or model is None:
            return None
        from portico.ml.watch.attributions import measure

        in_time = [row for _, _, row in sorted(self._chosen, key=lambda one: one[1])]
        return measure(monitoring_model.attributions(model, in_time))

    def _note_unknown(self, batch: pa.RecordBatch) -> None:
        for name in batch.schema.names:
            if name not in self.baseline.known and (
                name in self.unknown or len(self.unknown) < _MOST_UNKNOWN
            ):
                rows = batch.num_rows - batch.column(name).null_count
                self.unknown[name] = self.unknown.get(name, 0) + rows


def _added(window: Window, part: Window) -> Window:
    from portico.ml.watch.bins import merge

    return merge(window, part) if window else part


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
    body: dict[str, Any] = {
        "rows": counted.rows,
        "bins": baseline.digest(),
        "features": {name: {"counts": counts.to_json()} for name, counts in counted.features.items()},
        "outputs": {name: {"counts": counts.to_json()} for name, counts in counted.outputs.items()},
        "unknown": _unknown(counted),
    }
    for kind in KINDS:
        if config.get(_CONFIGS[kind][0]) is None:
            continue
        tests = len(baseline.features.bins) + len(counted.outputs)
        for group, part, window in (
            ("features", baseline.features, counted.features),
            ("outputs", baseline.outputs, counted.outputs),
        ):
            reference = part.training if kind == "skew" else _counts(before, group)
            if reference is not None and window and reference.keys() == window.keys():
                for name, found in _scored(kind, part, window, reference, config, tests, group).items():
                    body[group][name][kind] = found
    if reasons is not None:
        body["attributions"] = _attributed(counted.baseline, reasons, config, before)
    return body


def _counts(before: Mapping[str, Any] | None, group: str) -> Window | None:
    from portico.ml.watch.bins import Counts

    found = (before or {}).get(group) or {}
    return {name: Counts.from_json(about["counts"]) for name, about in found.items()} or None


def _scored(
    kind: Kind,
    part: Part,
    window: Window,
    reference: Window,
    config: Mapping[str, Any],
    tests: int,
    group: str,
) -> dict[str, dict[str, Any]]:
    """By column that is watched, its score and what is above a threshold."""
    from portico.ml.watch.calibrate import distance_threshold
    from portico.ml.watch.distances import score

    name_of_part, thresholds, default = _CONFIGS[kind]
    against: Literal["training", "window"] = "training" if kind == "skew" else "window"
    made = {}
    for found in score(window, reference, part.bins):
        watched, own = True, None
        if group == "features":
            watched, own = jobs.threshold_of(config[name_of_part], found.name, thresholds, default)
        if not watched:
            continue
        now, old = window[found.name], reference[found.name]
        null = part.nulls.get(found.name)
        threshold = own
        if threshold is None and null is not None:
            threshold = distance_threshold(null, now.present, old.present, against, tests)
        made[found.name] = {
            **found.to_json(),
            "threshold": jobs.DEFAULT_THRESHOLD if threshold is None else threshold,
            "calibrated": own is None and threshold is not None,
            "shares": _shares(found, now, old, part, against, tests),
        }
    return made


def _shares(
    found: FeatureScore, now: Counts, old: Counts, part: Part, against: str, tests: int
) -> dict[str, dict[str, float]]:
    """The shares of rows that are missing, new or invalid, where they are above their thresholds."""
    from portico.ml.watch.calibrate import DISTANCES, RATE
    from portico.ml.watch.shares import SHARES, share_threshold

    null = part.nulls.get(found.name)
    if null is None:
        return {}
    above: dict[str, dict[str, float]] = {}
    for share in SHARES:
        value = float(getattr(found, share))
        counted = {"missing": old.missing, "invalid": old.invalid, "new": old.unbinned}[share]
        before = None if against == "training" else (counted, old.rows)
        rate = RATE * (1 - DISTANCES)
        limit = (
            share_threshold(null.shares, share, now.rows, tests * len(SHARES), rate, before) if value else 1.0
        )
        share_before = counted / max(old.rows, 1)
        if value > max(limit, share_before):  # a column that is empty on both sides did not move
            above[share] = {"now": value, "before": share_before, "threshold": limit}
    return above


def _unknown(counted: Counted) -> dict[str, int]:
    from portico.ml.watch.calibrate import DISTANCES, RATE
    from portico.ml.watch.shares import Shares, share_threshold

    never = Shares(counted.baseline.rows, (), (), (), ())
    limit = share_threshold(never, "new", counted.rows, len(counted.unknown), RATE * (1 - DISTANCES))
    return {name: rows for name, rows in counted.unknown.items() if rows / counted.rows > limit}


def _attributed(
    baseline: Baseline, now: Attributions, config: Mapping[str, Any], before: Mapping[str, Any] | None
) -> dict[str, Any]:
    """`sample`, and by kind and feature its score, that of the reference, their distance and its threshold."""
    from portico.ml.watch.attributions import Attributions, distance_threshold
    from portico.ml.watch.calibrate import RATE

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
            limit = distance_threshold(name, now, old, baseline.attributions or old, len(now.scores), RATE)
            score, score_before = now.scores[name], old.scores.get(name, 0.0)
            made.setdefault(kind, {})[name] = {
                "score": score,
                "before": score_before,
                "distance": abs(score - score_before),
                "threshold": limit if own is None else float(own.get("value", 0.0)),
                "calibrated": own is None,
            }
    return made
