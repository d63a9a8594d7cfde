"""A steward's look: is what is acceptable held? It opens an episode for the first that is not."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import duration_seconds, rfc3339
from portico.services.call import Rooms
from portico.services.portico import alerts
from portico.services.portico.joining import Outcome
from portico.services.portico.steward import drift as steward_drift
from portico.services.portico.steward import influence as steward_influence
from portico.services.portico.steward.case import Moved
from portico.services.portico.steward.decide import decide
from portico.services.portico.steward.decision import recorded
from portico.services.portico.steward.drift import Drift, DriftSeen
from portico.services.portico.steward.estimates import Estimates, Estimating
from portico.services.portico.steward.evidence import nothing
from portico.services.portico.steward.performance import Finding, Performance
from portico.services.portico.steward.rows import Models
from portico.services.portico.steward.spec import Spec, spec_of
from portico.services.portico.steward.watched import Watched
from portico.services.portico.stewards import (
    EPISODES,
    EpisodePrivate,
    StewardPrivate,
    champion_of,
    classes_of,
    deployed_json,
)
from portico.store import resources
from portico.store.resources import Resource

_SLACK = 60.0  # seconds by which a wall clock may go back unnoticed
_DIAGNOSED = 5_000  # labelled predictions before a window that it is compared with
_SAMPLE = 3  # truths that can't be read and are shown
_INFLUENCED = 5_000  # newest labelled predictions that the measure of influence takes


class Look:
    def __init__(self, rooms: Rooms, models: Models) -> None:
        self._rooms, self._models = rooms, models
        self._performance = Performance(rooms, models)
        self._drift = Drift(rooms, models)
        self._estimating = Estimating(models)

    def check(self, watched: Watched, steward: Resource, endpoint: Resource, now: float) -> Moved:
        """Measures what is acceptable; where no episode is open, the first that is not opens one."""
        spec, private = spec_of(steward.body), StewardPrivate.of(steward)
        champion = champion_of(endpoint)
        if champion is not None:
            champion = {**champion, "classes": classes_of(steward)}
        found: list[Finding] = []
        status: dict[str, Any] = {"checkTime": rfc3339(now), "message": "No model is deployed."}
        seen: DriftSeen | None = None
        estimates = Estimates()
        if champion is not None:
            found, passed = self._performance.measure(watched, spec, private, champion, now)
            seen = self._drift.look(watched, steward, spec, champion)
            status["champion"] = deployed_json(champion)
            status["message"] = " ".join(one.decision.reason for one in found)
            if passed:
                status |= _unreadable(passed, status["message"])
            estimates = self._estimating.look(watched, spec, private, champion, found)
            found += self._triggers(spec, private, estimates, seen, now)
            if spec.slices:
                status["slices"] = self._performance.slices(watched, spec, champion)
            if spec.influence.holdout:
                status |= self._influence(watched, spec, champion)
        broken = [one for one in found if one.broken]
        shown = [one.shown() for one in found if one.question == "breach" and one.decision.numbers]
        status["acceptable"] = shown
        status |= {"estimates": estimates.shown, "estimateRecords": estimates.records}
        self._note_drift(steward, status, seen, any(not one["holds"] for one in shown), now)
        opening = self._opening(spec, private, status, broken, now)
        record = None
        if opening is not None:
            record = recorded(
                opening.question,
                opening.rule,
                opening.facts,
                opening.decision,
                now,
                opening.rows,
                self._rooms,
            )
        words = self._diagnosed(watched, steward, champion, broken)
        with self._rooms.database.write() as connection:
            current = resources.get(connection, steward.name)
            if current is None or current.revision != steward.revision:
                return "moved"  # it was changed meanwhile: look again
            kept = StewardPrivate.of(current)
            kept.references = private.references
            kept.next = _next(private.next, duration_seconds(spec.check_interval), now)
            kept.estimates = estimates.kept
            kept.began = now if kept.began is None else kept.began
            if seen is not None and champion is not None:
                steward_drift.store(connection, seen, kept, champion)
            if opening is not None and record is not None and champion is not None:
                kept.episode = status["episode"] = self._open(
                    connection, steward.name, opening.trigger, record, champion, now
                )
            elif kept.episode:
                status["episode"] = kept.episode
            current.body["status"] = status
            told = {one["metric"] for one in shown if not one["holds"]}  # what is measured needs no estimate
            shown += [{**one, "estimated": True} for one in estimates.shown if one["metric"] not in told]
            alerts.follow(self._rooms, connection, current, shown, now, words)
            resources.update(connection, current, self._rooms.clock.now())
        return "moved" if record is not None else "waits"

    def _triggers(
        self, spec: Spec, private: StewardPrivate, estimates: Estimates, seen: DriftSeen | None, now: float
    ) -> list[Finding]:
        """What the file lets open an episode beside labelled performance."""
        found = list(estimates.findings) if spec.triggers.estimate else []
        if seen is not None and spec.triggers.drift:
            found.append(Finding("DRIFT", "drift", seen.rule, seen.facts, seen.rows, seen.decision))
        if spec.triggers.schedule:
            began = now if private.began is None else private.began
            since = max([began, *[at for at, _ in private.retrainings]])
            rule = {"metric": "schedule", "every": duration_seconds(spec.triggers.schedule)}
            facts = {"since": since, "now": now}
            decision = decide("schedule", rule, facts, nothing())
            found.append(Finding("SCHEDULE", "schedule", rule, facts, nothing(), decision))
        return found

    def _opening(
        self, spec: Spec, private: StewardPrivate, status: dict[str, Any], broken: list[Finding], now: float
    ) -> Finding | None:
        """The finding that opens an episode now."""
        cool = private.cool_down
        # One that ends later than that began while the wall clock was ahead.
        if now < cool <= now + duration_seconds(spec.limits.cool_down) + _SLACK:
            status["coolDownUntil"] = rfc3339(cool)
            if broken:
                status["message"] += f" Nothing is done before {rfc3339(cool)}: the cool-down."
            return None
        return broken[0] if broken and not private.episode else None

    def _open(
        self, connection: Connection, steward: str, trigger: str, record: dict[str, Any], champion: dict[str, Any],
        now: float,
    ) -> str:  # fmt: skip
        name = f"{steward}/episodes/{self._rooms.ids.number()}"
        body = {
            "state": "BREACHED", "startTime": rfc3339(now), "metric": record["rule"]["metric"], "trigger": trigger,
            "champion": deployed_json(champion), "decisions": [record], "reason": record["reason"],
            "transitions": [{"state": "BREACHED", "time": rfc3339(now), "reason": record["reason"]}],
        }  # fmt: skip
        resources.insert(
            connection, name=name, kind=EPISODES.kind, parent=steward, body=body, now=self._rooms.clock.now(),
            private=EpisodePrivate(since=now),
        )  # fmt: skip
        return name

    def _note_drift(
        self, steward: Resource, status: dict[str, Any], seen: DriftSeen | None, harm: bool, now: float
    ) -> None:
        before = steward.body.get("status") or {}
        observations, since = steward_drift.observed(before.get("observations") or [], seen, harm, now)
        if observations:
            status["observations"] = observations
        shown = dict(before.get("drift") or {}) if seen is None else dict(seen.status)
        shown.pop("since", None)
        if shown:
            status["drift"] = {**shown, "since": since} if since else shown

    def _influence(self, watched: Watched, spec: Spec, champion: dict[str, Any]) -> dict[str, Any]:
        classes = self._models.classes(champion)
        rule = spec.measured_by(spec.gate_metric, classes)
        known = watched.labelled(champion["id"], classes, _INFLUENCED)
        threshold = self._models.threshold(champion)
        found = steward_influence.influence(rule, known, classes, threshold)
        return {} if found is None else {"influence": found}

    def _diagnosed(
        self, watched: Watched, steward: Resource, champion: dict[str, Any] | None, broken: list[Finding]
    ) -> dict[str, Any]:
        """What is said of a new alert beside the numbers: which kind of change it looks like."""
        first = next((one for one in broken if one.question == "breach"), None)
        if first is None or champion is None or _alerted(steward, first.rule, self._rooms):
            return {}
        window = first.rule["labels"]
        known = watched.of(champion["id"], self._models.classes(champion), _DIAGNOSED + window)
        kinds = self._models.kinds(champion)
        if not kinds:
            return {}
        return alerts.diagnosis(known[:-window], known[-window:], kinds)


def _unreadable(passed: list[Outcome], message: str) -> dict[str, Any]:
    """What is said of labels among the newest that can't be read: they judge nothing."""
    truths = list(dict.fromkeys(json.dumps(row.label.truth)[:40] for row in passed[::-1] if row.label))
    words = f"{message} {len(passed)} labels can't be read, such as {', '.join(truths[:_SAMPLE])}."
    return {"unreadableLabels": len(passed), "message": words}


def _alerted(steward: Resource, rule: dict[str, Any], rooms: Rooms) -> bool:
    """Whether an alert of the rule's metric is open already: then it is not diagnosed again."""
    with rooms.database.read() as connection:
        every = list(resources.listed(connection, alerts.ALERTS.kind, steward.name))
    return any(a.body["state"] == "OPEN" and a.body["metric"] == alerts.key_of(rule) for a in every)


def _next(before: float | None, interval: float, now: float) -> float:
    """The next moment of a fixed rhythm after `now`: what was missed is looked at once."""
    if before is None:
        return now + interval
    return before + (int((now - before) // interval) + 1) * interval
