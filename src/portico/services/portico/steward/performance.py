"""What a steward measures of its champion: everything that must be acceptable, each as a decision."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from sqlalchemy.engine import Connection

from portico.clock import duration_seconds
from portico.services.call import Rooms
from portico.services.portico.joining import Outcome
from portico.services.portico.service import service_numbers
from portico.services.portico.steward import rows as steward_rows
from portico.services.portico.steward.decide import decide
from portico.services.portico.steward.decision import Decision
from portico.services.portico.steward.evidence import Rows, nothing
from portico.services.portico.steward.rows import Models
from portico.services.portico.steward.spec import COST, SERVICE, Acceptable, Spec
from portico.services.portico.steward.watched import Watched
from portico.services.portico.stewards import StewardPrivate
from portico.services.registry.evaluations import SLICES
from portico.store import resources

_EVALUATIONS = "aiplatform:models.evaluations"
_SLICES = 50
_VALUES = 12  # a number with more values is cut at its quartiles


@dataclass(slots=True)
class Finding:
    """A decision, and all that it was made from. `trigger` is what it would open an episode as."""

    trigger: str
    question: str
    rule: dict[str, Any]
    facts: dict[str, Any]
    rows: Rows
    decision: Decision

    @property
    def broken(self) -> bool:
        return self.decision.answer == "breached"

    def shown(self) -> dict[str, Any]:
        """As an `AcceptableStatus`."""
        known = {key: value for key, value in self.decision.numbers.items() if value is not None}
        return {**known, "holds": not self.broken}


class Performance:
    def __init__(self, rooms: Rooms, models: Models) -> None:
        self._rooms, self._models = rooms, models

    def measure(
        self, watched: Watched, spec: Spec, private: StewardPrivate, champion: dict[str, Any], now: float
    ) -> tuple[list[Finding], list[Outcome]]:
        """A finding for each item of what is acceptable; its decision has no numbers where labels are too few.

        And the predictions among the newest whose label can't be read.
        """
        classes = self._models.classes(champion)
        most = max(item.labels for item in spec.acceptable)
        window = watched.window(champion["id"], classes, most)
        rows = steward_rows.rows_of(window.rows, classes, spec.grouped, self._models.threshold(champion))
        found = []
        for item in spec.acceptable:
            rule = {**spec.measured_by(item.metric, classes), "labels": item.labels, "certain": item.certain}
            if item.attributes:
                rule |= {"attributes": item.grouped, "minimumGroup": item.minimum_group}
            facts: dict[str, Any] = {}
            if item.limit is not None:
                rule["limit"] = item.limit
            else:
                rule["timesReference"] = item.times_reference
                facts["reference"] = self.reference(private, champion, rule, watched)
            if item.metric in SERVICE:
                measured, more = self._service(watched, spec, champion, item, now)
                facts |= more
            else:
                measured = rows.newest(item.labels)
            if "reference" in facts and facts["reference"] is None:
                decision = Decision("waits", f"{item.metric} has no reference yet.")
            else:
                decision = decide("breach", rule, facts, measured)
            found.append(Finding("PERFORMANCE", "breach", rule, facts, measured, decision))
        return found, window.unreadable

    def slices(self, watched: Watched, spec: Spec, champion: dict[str, Any]) -> list[dict[str, Any]]:
        """The metric apart for the values of each of the columns that the spec names, the worst first."""
        from portico.ml.measure.performance_slices import measure_slices

        classes = self._models.classes(champion)
        item = next(
            (a for a in spec.acceptable if not a.attributes and a.metric not in (*SERVICE, COST)), None
        )
        if item is None:
            return []
        known = watched.of(champion["id"], classes, item.labels)
        threshold = self._models.threshold(champion)
        rows = steward_rows.rows_of(known, classes, spec.slices, threshold)
        if len(rows) < item.labels:
            return []
        cells = {
            name: _banded([group.partition("=")[2] for group in rows.groups[name]]) for name in spec.slices
        }
        found = measure_slices(
            item.metric, rows.truth, rows.outputs["champion"], rows.times, cells, threshold=threshold
        )
        return [
            {
                "slice": f"{one.name}={one.value}", "rows": one.rows, "metric": item.metric, "worse": one.worse,
                **({} if one.measured is None else {"value": one.measured.value}),
                **({"interval": list(one.measured.interval)} if one.measured and one.measured.interval else {}),
            }
            for one in found[:_SLICES]
        ]  # fmt: skip

    def _service(
        self, watched: Watched, spec: Spec, champion: dict[str, Any], item: Acceptable, now: float
    ) -> tuple[Rows, dict[str, Any]]:
        """A latency's rows are its newest requests; errors and saturation are counted by the minute since it looked."""
        if item.metric.endswith("Latency"):
            return watched.seconds(champion["id"], item.labels), {}
        start = now - duration_seconds(spec.check_interval)
        with self._rooms.database.read() as connection:
            found = service_numbers(connection, watched.endpoint, champion["id"], start, now)
        value = found.metric(item.metric)
        if found.requests < item.labels or value is None:
            return nothing(), {}
        return nothing(), {"service": {"requests": found.requests, item.metric: value}}

    def reference(
        self, private: StewardPrivate, champion: dict[str, Any], rule: dict[str, Any], watched: Watched
    ) -> float | None:
        """The metric when the model was deployed: of its gates or its evaluation, else over its first labels."""
        held = private.references.setdefault(champion["id"], {})
        metric, count = rule["metric"], rule["labels"]
        if metric not in held:
            classes = self._models.classes(champion)
            with self._rooms.database.read() as connection:
                name = f"{champion['model']}@{champion['modelVersionId']}"
                measured = _evaluated(connection, name, metric, classes)
            if measured is not None:
                held[metric] = measured
            elif len(first := watched.first(champion["id"], classes, count)) == count:
                rows = steward_rows.rows_of(first, classes, (), self._models.threshold(champion))
                found = decide("breach", {**rule, "labels": len(rows), "limit": 0.0}, {}, rows)
                held[metric] = float(found.numbers["value"])
        return held.get(metric)


def _evaluated(connection: Connection, model: str, metric: str, classes: list[str]) -> float | None:
    """What the model's newest evaluation says; of an area what it says of the positive class, which a steward
    measures, where it tells that apart from the area of all classes together."""
    for evaluation in resources.listed(connection, _EVALUATIONS, model, limit=1):
        metrics = evaluation.body.get("metrics") or {}
        if metric in ("auRoc", "auPrc") and len(classes) == 2:
            for one in resources.listed(connection, SLICES.kind, evaluation.name):
                of = one.body.get("slice") or {}
                if of.get("dimension") == "annotationSpec" and of.get("value") == classes[1]:
                    metrics = one.body.get("metrics") or {}
        return None if metrics.get(metric) is None else float(metrics[metric])
    return None


def _banded(cells: list[str]) -> list[str]:
    """The cells as they are, or the quarter of a number that each is in."""
    if len(set(cells)) <= _VALUES:
        return cells
    try:
        numbers = np.array(cells, float)
    except ValueError:
        return cells
    edges = np.quantile(numbers, [0.25, 0.5, 0.75])
    names = [
        f"below {edges[0]:g}",
        *(f"{low:g} to {high:g}" for low, high in pairwise(edges)),
        f"{edges[2]:g} or more",
    ]
    return [names[place] for place in np.searchsorted(edges, numbers, side="right").tolist()]
