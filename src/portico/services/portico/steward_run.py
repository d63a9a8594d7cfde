"""What stewards do when they look: from what is acceptable to an episode's end, step by step.

Every step is one transaction that moves the episode and whatever moves with it (jobs, traffic); killed at any moment,
the next look goes on from the last one. Belongs to the watcher's process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import Any

import numpy as np
from sqlalchemy.engine import Connection

from portico.clock import duration_seconds, rfc3339
from portico.prediction.prediction_log import stream_of
from portico.services.aiplatform import evaluations
from portico.services.call import Rooms
from portico.services.portico import alerts, steward_evidence, steward_rows
from portico.services.portico.joining import COLUMNS, Joined, Outcome
from portico.services.portico.steward_case import Case, Moved
from portico.services.portico.steward_decide import Decision, decide
from portico.services.portico.steward_evidence import Rows
from portico.services.portico.steward_rows import Models
from portico.services.portico.steward_spec import LATENCY, Spec, spec_of
from portico.services.portico.steward_train import RESCALE, RETRAIN
from portico.services.portico.stewards import (
    EPISODES,
    STEWARDS,
    champion_of,
    deployed_json,
    evidence_of,
)
from portico.store import domain_clock, labels, resources, segments
from portico.store.resources import Resource
from portico.store.segments import Segment, Segments

log = logging.getLogger(__name__)

_DIAGNOSED = 5_000  # labelled predictions before a window that it is compared with
_REST = 30  # seconds after a failure of our own
_KEEP = 20_000  # predictions of an endpoint that stay in memory


class Stewards:
    def __init__(self, rooms: Rooms, log_segments: Segments) -> None:
        self._rooms = rooms
        self._segments = log_segments
        self._watched: dict[str, Watched] = {}
        self._models = Models(rooms)
        self._waited: dict[str, tuple[int, ...]] = {}  # what an episode saw when it last waited for labels
        self._rests: dict[str, float] = {}  # stewards that failed, until when
        with rooms.database.read() as connection:
            every = resources.listed(connection, EPISODES.kind)
            needed = {file for episode in every for file in evidence_of(episode)}
        steward_evidence.sweep(rooms.home, needed)

    def take(self, made: list[Segment]) -> None:
        """Reads new segments of the prediction log; call it before they are merged."""
        for segment in made:
            for watched in self._watched.values():
                if watched.stream == segment.stream and segment.id > watched.last:
                    watched.joined.add_predictions(self._segments.read(segment, COLUMNS))
                    watched.last = segment.id

    def run_due(self) -> bool:
        """Does what is due; returns whether none of our own work (training, deploying) is under way."""
        with self._rooms.database.read() as connection:
            now = domain_clock.now(connection, self._rooms.clock)
            found = list(resources.listed(connection, STEWARDS.kind))
        wanted = {steward.body["endpoint"] for steward in found}
        self._watched = {name: watched for name, watched in self._watched.items() if name in wanted}
        idle = True
        for steward in found:
            if self._rooms.clock.monotonic() < self._rests.get(steward.name, 0.0):
                continue
            try:
                while (moved := self._step(steward.name, now)) == "moved":
                    pass
                idle = idle and moved == "waits"
            except Exception:
                log.exception("%s can't go on; it tries again in %d s", steward.name, _REST)
                self._rests[steward.name] = self._rooms.clock.monotonic() + _REST
        return idle

    def _step(self, name: str, now: float) -> Moved:
        with self._rooms.database.read() as connection:
            steward = resources.get(connection, name)
            if steward is None or steward.kind != STEWARDS.kind:
                return "waits"
            private = steward.body["_"]
            endpoint = resources.get(connection, steward.body["endpoint"])
            episode = resources.get(connection, private["episode"]) if private.get("episode") else None
        watched = self._refreshed(steward.body["endpoint"])
        if episode is not None:
            case = Case(self._rooms, watched, steward, episode, endpoint, now)
            return self._go_on(case)
        due = now >= private.get("next", 0.0)
        if steward.body["state"] == "PAUSED" or endpoint is None or not due:
            return "waits"
        return self._check(watched, steward, endpoint, now)

    def _refreshed(self, endpoint: str) -> Watched:
        watched = self._watched.get(endpoint)
        if watched is None:
            stream = stream_of(endpoint)
            watched = self._watched[endpoint] = Watched(stream, Joined(_KEEP))
            with self._rooms.database.read() as connection:
                listed = segments.listed(connection, stream)
            rows = list(accumulate(segment.rows for segment in reversed(listed)))
            needed = next((n + 1 for n, held in enumerate(rows) if held >= 2 * _KEEP), len(listed))
            for segment in listed[len(listed) - needed :]:
                watched.joined.add_predictions(self._segments.read(segment, COLUMNS))
                watched.last = segment.id
        with self._rooms.database.read() as connection:
            fresh, watched.change = labels.since(connection, endpoint, watched.change)
        watched.joined.add_labels(fresh)
        return watched

    # --- what is acceptable ---

    def _check(self, watched: Watched, steward: Resource, endpoint: Resource, now: float) -> Moved:
        """Measures what is acceptable; opens an episode for the first that is not."""
        spec, private = spec_of(steward.body), steward.body["_"]
        champion = champion_of(endpoint)
        shown: list[dict[str, Any]] = []
        breach: tuple[dict[str, Any], dict[str, Any], Rows, Decision] | None = None
        message = "No model is deployed."
        if champion is not None:
            shown, breach, message = self._measure(watched, spec, private, champion)
        status: dict[str, Any] = {"checkTime": rfc3339(now), "acceptable": shown, "message": message}
        if champion is not None:
            status["champion"] = deployed_json(champion)
        cool = private.get("coolDown", 0.0)
        if cool > now:
            status["coolDownUntil"] = rfc3339(cool)
            if breach is not None:
                status["message"] += f" Nothing is done before {rfc3339(cool)}: the cool-down."
        record = None
        if breach is not None and cool <= now:
            rule, facts, rows, decision = breach
            record = _record("breach", rule, facts, decision, now, rows, self._rooms)
        words: dict[str, Any] = {}
        if breach is not None and champion is not None and not _alerted(steward, breach[0], self._rooms):
            window = breach[0]["labels"]
            known = watched.of(champion["id"], _DIAGNOSED + window)
            kinds = self._models.manifest(f"{champion['model']}@{champion['modelVersionId']}").kinds
            words = alerts.diagnosis(known[:-window], known[-window:], kinds)
        with self._rooms.database.write() as connection:
            current = resources.get(connection, steward.name)
            if current is None or current.revision != steward.revision:
                return "moved"  # it was changed meanwhile: look again
            current.body["_"]["references"] = private.get("references", {})
            current.body["_"]["next"] = _next(private.get("next"), duration_seconds(spec.check_interval), now)
            if record is not None:
                assert champion is not None
                name = f"{steward.name}/episodes/{self._rooms.ids.number()}"
                body = {
                    "state": "BREACHED", "startTime": rfc3339(now), "metric": record["rule"]["metric"],
                    "champion": deployed_json(champion), "decisions": [record], "reason": record["reason"],
                    "transitions": [{"state": "BREACHED", "time": rfc3339(now), "reason": record["reason"]}],
                    "_": {"tried": [], "since": now},
                }  # fmt: skip
                resources.insert(connection, name=name, kind=EPISODES.kind, parent=steward.name, body=body,
                                 now=self._rooms.clock.now())  # fmt: skip
                current.body["_"]["episode"] = status["episode"] = name
            current.body["status"] = status
            alerts.follow(self._rooms, connection, current, shown, now, words)
            resources.update(connection, current, self._rooms.clock.now())
        return "moved" if record is not None else "waits"

    def _measure(
        self, watched: Watched, spec: Spec, private: dict[str, Any], champion: dict[str, Any]
    ) -> tuple[list[dict[str, Any]], Any, str]:
        shown, breach, words = [], None, []
        classes = self._models.classes(champion)
        most = max(item.labels for item in spec.acceptable)
        rows = steward_rows.rows_of(watched.of(champion["id"], most), classes, spec.grouped)
        for item in spec.acceptable:
            rule: dict[str, Any] = {"metric": item.metric, "labels": item.labels, "certain": item.certain}
            facts: dict[str, Any] = {}
            measured = rows.newest(item.labels)
            if item.metric == LATENCY:
                measured = watched.seconds(champion["id"], item.labels)
            if item.attributes:
                rule |= {"attributes": item.grouped, "minimumGroup": item.minimum_group}
            if item.limit is not None:
                rule["limit"] = item.limit
            else:
                rule["timesReference"] = item.times_reference
                facts["reference"] = self._reference(private, champion, item.metric, watched, item.labels)
                if facts["reference"] is None:
                    words.append(f"{item.metric} has no reference yet.")
                    continue
            decision = decide("breach", rule, facts, measured)
            words.append(decision.reason)
            if decision.numbers:
                shown.append({
                    **{key: value for key, value in decision.numbers.items() if value is not None},
                    "holds": decision.answer != "breached",
                })  # fmt: skip
            if decision.answer == "breached" and breach is None:
                breach = (rule, facts, measured, decision)
        return shown, breach, " ".join(words)

    def _reference(
        self, private: dict[str, Any], champion: dict[str, Any], metric: str, watched: Watched, count: int
    ) -> float | None:
        """The metric when the model was deployed: of its gates or its evaluation, else over its first labels."""
        held: dict[str, float] = private.setdefault("references", {}).setdefault(champion["id"], {})
        if metric not in held:
            with self._rooms.database.read() as connection:
                name = f"{champion['model']}@{champion['modelVersionId']}"
                measured = [
                    e.body.get("metrics") or {} for e in resources.listed(connection, "evaluations", name)
                ]
            if measured and measured[0].get(metric) is not None:
                held[metric] = float(measured[0][metric])
            elif len(first := watched.of(champion["id"])[:count]) == count:
                rows = steward_rows.rows_of(first, self._models.classes(champion))
                rule = {"metric": metric, "labels": len(rows), "limit": 0.0}
                held[metric] = float(decide("breach", rule, {}, rows).numbers["value"])
        return held.get(metric)

    # --- an episode ---

    def _go_on(self, case: Case) -> Moved:
        if case.endpoint is None:
            return case.end("ABANDONED", "The endpoint was deleted.")
        stopped = next((a for a in case.episode.body.get("approvals", []) if not a["approved"]), None)
        if stopped is not None:
            words = f"{stopped['by']} rejected it" + (
                f": {stopped['comment']}" if stopped["comment"] else "."
            )
            return case.end("ROLLED_BACK" if case.deployed else "REJECTED", words)
        if not case.champion:
            return case.end("ABANDONED", "The champion was undeployed by someone else.")
        return _STATES[case.state](self, case)

    def _breached(self, case: Case) -> Moved:
        """Chooses what to try next."""
        tried = case.private["tried"]
        left = [action for action in case.spec.actions if action not in tried]
        if not left:
            return case.end("REJECTED" if tried else "ABANDONED", case.episode.body["reason"])
        action, count = left[0], case.spec.gates.labels
        if action == "ALERT":
            return case.end(
                "REJECTED" if tried else "ABANDONED", "The steward is asked to alert, and nothing more."
            )
        rows = case.watched.of(case.episode.body["champion"]["deployedModelId"])
        if len(rows) < count:
            return case.wait(f"{len(rows)} of the {count} labels that the gates need are there.")
        gate, before = rows[-count:], rows[:-count]
        payload = {
            "champion": case.champion_version, "artifact": self._rooms.ids.token(),
            "endpoint": case.steward.body["endpoint"],
            "description": f"{action} by {case.steward.name.rpartition('/')[2]}: {case.episode.body['reason']}"[:1000],
        }  # fmt: skip
        if action == "RESCALE":
            fit = steward_rows.rows_of(before[-2 * count :], self._models.classes(case.champion))
            total = float(fit.outputs["champion"].sum()) if len(fit) else 0.0
            if len(fit) < 20 or total <= 0 or fit.truth.sum() <= 0:
                return case.skip(action, f"{len(fit)} rows before the gates' are too few to rescale by.")
            factor = float(fit.truth.sum()) / total
            payload |= {"factor": factor, "fittedUntil": float(fit.times[-1])}
            return case.start(action, RESCALE, "ADJUSTING", payload, gate,
                              f"Its answers times {factor:.3f}, the cheap answer, is tried first.")  # fmt: skip
        if refused := case.over_limit():
            return case.skip(action, refused)
        data = case.steward.body["_"]["data"]
        moments = [steward_rows.moment(row, data.get("timeColumn", "")) for row in gate]
        known = [moment for moment in moments if moment is not None]
        sliding = case.spec.training.window == "SLIDING"
        payload |= {
            "pipeline": case.steward.body["_"]["pipeline"], "dataset": data["dataset"], "target": data["target"],
            "timeColumn": data.get("timeColumn", ""), "budget": case.spec.training.budget_milli_node_hours,
            "duration": duration_seconds(case.spec.training.duration) if sliding else 0.0,
            "cutoff": gate[0].time, "before": min(known, default=None),
            "withheld": sorted({row.label.name for row in gate if row.label}),
        }  # fmt: skip
        return case.start(action, RETRAIN, "RETRAINING", payload, gate,
                          "Another model is trained on what is known now, without the newest labels.")  # fmt: skip

    def _working(self, case: Case) -> Moved:
        job = case.job()
        if job is None or job.state in ("FAILED", "CANCELLED"):
            words = (job.error or {}).get("message", "It was cancelled.") if job else "Its job is gone."
            return case.move("BREACHED", f"The challenger could not be made: {words}")
        if job.state != "SUCCEEDED":
            return "busy"
        if "challenger" not in case.episode.body:
            return case.end("ABANDONED", "The champion's model was deleted meanwhile.")
        facts = dict(job.result["facts"])

        def account(connection: Connection, steward: Resource, episode: Resource) -> None:
            episode.body["_"]["facts"] = facts
            if case.state == "RETRAINING":
                made = steward.body["_"].setdefault("retrainings", [])
                made.append([case.now, facts["milliNodeHours"]])

        took = f", {facts['rows']:,} rows learned" if "rows" in facts else ""
        return case.move("GATING", f"The challenger is made{took}.", account)

    def _gating(self, case: Case) -> Moved:
        private, gates, metric = case.private, case.spec.gates, case.spec.gate_metric
        champion_id = case.episode.body["champion"]["deployedModelId"]
        rows = [row for row in case.watched.of(champion_id) if row.time >= private["cutoff"]]
        before = [row for row in case.watched.joined.labelled() if row.time < private["cutoff"]]
        facts: dict[str, Any] = {
            key: private["facts"].get(key) for key in ("trainedUntil", "bytes", "latencySeconds")
        }
        facts["signature"] = self._models.misfit(case.champion_version, case.challenger_version)
        found = steward_rows.beside(
            self._models, rows, case.champion_version, case.challenger_version, grouped=case.spec.grouped
        )
        found.outputs |= steward_rows.simple_answers(
            self._models,
            case.champion_version,
            before,
            rows,
            case.steward.body["_"]["data"].get("timeColumn", ""),
        )
        rule: dict[str, Any] = {
            "metric": metric, "labels": min(gates.labels, len(rows)), "margin": gates.margin, "certain": gates.certain,
            "baseline": gates.baseline,
            "maxLatencySeconds": duration_seconds(gates.max_latency) if gates.max_latency else 0,
            "maxBytes": gates.max_bytes,
            "fairness": [
                {"metric": g.metric, "attributes": g.grouped, "limit": g.limit, "tolerance": g.tolerance,
                 "minimumGroup": g.minimum_group} for g in gates.fairness
            ],
        }  # fmt: skip
        if private["tried"][-1] == "RESCALE":
            rule["mustReach"] = self._acceptable(case)
        decision = decide("gates", rule, facts, found)
        record = _record("gates", rule, facts, decision, case.now, found, self._rooms)
        if decision.answer == "failed":
            return case.move("BREACHED", decision.reason, record=record)
        if gates.approval:
            return case.move(
                "AWAITING_APPROVAL", f"{decision.reason} A person must approve it.", record=record,
                also=lambda connection, steward, episode: self._evaluated(connection, case, found, metric),
            )  # fmt: skip
        return case.deploy(decision.reason, record,
                           lambda connection: self._evaluated(connection, case, found, metric))  # fmt: skip

    def _acceptable(self, case: Case) -> float | None:
        """What the metric that opened the episode must reach again, where the gates measure with it."""
        opened = case.episode.body["decisions"][0]["numbers"]
        return float(opened["limit"]) if opened["metric"] == case.spec.gate_metric else None

    def _evaluated(self, connection: Connection, case: Case, rows: Rows, metric: str) -> None:
        """The challenger's evaluation: what it reached on the gates' rows."""
        version = resources.get(connection, case.challenger_version)
        if version is not None:
            body = steward_rows.evaluation(rows, self._models.manifest(case.challenger_version), metric)
            evaluations.add(connection, version, self._rooms.ids.number(), body, self._rooms.clock.now())

    def _awaiting(self, case: Case) -> Moved:
        approved = next((a for a in case.episode.body.get("approvals", []) if a["approved"]), None)
        if approved is None:
            return case.wait("A person must approve it.")
        return case.deploy(f"{approved['by']} approved it. {approved['comment']}".strip())

    def _shadow(self, case: Case) -> Moved:
        job = case.job()
        if job is not None and job.state in ("QUEUED", "RUNNING"):
            return "busy"
        if job is None or job.state != "SUCCEEDED":
            words = (job.error or {}).get("message", "It was cancelled.") if job else "Its job is gone."
            return case.end("ABANDONED", f"The challenger could not be deployed: {words}")
        if changed := case.changed():
            return case.end("ABANDONED", changed, leave=True)
        rows = case.since(case.watched.of(case.episode.body["champion"]["deployedModelId"]))
        return self._left(case, "shadow", rows, case.spec.rollout.shadow_labels, -1)

    def _canary(self, case: Case) -> Moved:
        if changed := case.changed():
            return case.end("ABANDONED", changed, leave=True)
        position = int(case.episode.body["canaryStep"])
        steps = case.spec.rollout.canary
        needed = steps[min(position, len(steps) - 1)].labels if steps else 0
        rows = case.since(case.watched.of(case.episode.body["challenger"]["deployedModelId"]))
        return self._left(case, "canary", rows, needed, position)

    def _left(self, case: Case, question: str, rows: list[Outcome], needed: int, position: int) -> Moved:
        """Shadow or a canary step: is it left, and where to?"""
        seen = (position, len(rows), case.watched.change)
        if self._waited.get(case.episode.name) == seen:
            return case.wait("")
        rule = {
            "metric": case.spec.gate_metric, "labels": needed, "rollbackRatio": case.spec.rollout.rollback_ratio,
        }  # fmt: skip
        served = "champion" if question == "shadow" else "challenger"
        found = steward_rows.beside(
            self._models, rows, case.champion_version, case.challenger_version, served
        )
        decision = decide(question, rule, {}, found)
        if decision.answer == "waits":
            self._waited[case.episode.name] = seen
            return case.wait(decision.reason)
        record = _record(question, rule, {}, decision, case.now, found, self._rooms)
        if decision.answer == "roll back":
            return case.end("ROLLED_BACK", decision.reason, record=record)
        if position + 1 < len(case.spec.rollout.canary):
            return case.canary(position + 1, decision.reason, record)
        return case.promote(decision.reason, record)


_STATES: dict[str, Callable[[Stewards, Case], Moved]] = {
    "BREACHED": Stewards._breached,
    "ADJUSTING": Stewards._working,
    "RETRAINING": Stewards._working,
    "GATING": Stewards._gating,
    "AWAITING_APPROVAL": Stewards._awaiting,
    "SHADOW": Stewards._shadow,
    "CANARY": Stewards._canary,
}


@dataclass(slots=True)
class Watched:
    """An endpoint's log in memory. `last` is the newest segment in it, `change` the newest label."""

    stream: str
    joined: Joined
    last: int = 0
    change: int = -1

    def of(self, deployed_id: str, most: int | None = None) -> list[Outcome]:
        """The labelled predictions of a deployed model, in order of time: all, or the newest so many."""
        found = (r for r in reversed(self.joined.rows()) if r.label and r.deployed_model_id == deployed_id)
        return list(islice(found, most))[::-1]

    def seconds(self, deployed_id: str, count: int) -> Rows:
        """The newest requests of a deployed model, with their latency in the place of the truth."""
        every = (
            r for r in reversed(self.joined.rows()) if r.deployed_model_id == deployed_id and r.index == 0
        )
        found = list(islice(every, count))[::-1]
        return Rows(np.array([r.time for r in found]), np.array([r.seconds for r in found]))


def _alerted(steward: Resource, rule: dict[str, Any], rooms: Rooms) -> bool:
    """Whether an alert of the rule's metric is open already: then it is not diagnosed again."""
    with rooms.database.read() as connection:
        every = list(resources.listed(connection, alerts.ALERTS.kind, steward.name))
    return any(a.body["state"] == "OPEN" and a.body["metric"] == alerts.key_of(rule) for a in every)


def _record(
    question: str, rule: dict[str, Any], facts: dict[str, Any], decision: Decision, now: float, rows: Rows,
    rooms: Rooms,
) -> dict[str, Any]:  # fmt: skip
    """A decision as an episode keeps it; its rows are on disk when this returns."""
    return {
        "question": question, "time": rfc3339(now), "rule": rule, "facts": facts, "answer": decision.answer,
        "reason": decision.reason, "numbers": decision.numbers, "rows": len(rows),
        "evidence": steward_evidence.write(rooms.home, rooms.ids, rows),
    }  # fmt: skip


def _next(before: float | None, interval: float, now: float) -> float:
    """The next moment of a fixed rhythm after `now`: what was missed is looked at once."""
    if before is None:
        return now + interval
    return before + (int((now - before) // interval) + 1) * interval
