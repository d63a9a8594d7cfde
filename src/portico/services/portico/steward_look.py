"""A steward's look: is what is acceptable held? It opens an episode for the first that is not."""

from __future__ import annotations

from typing import Any

from portico.clock import duration_seconds, rfc3339
from portico.services.call import Rooms
from portico.services.portico import alerts, steward_rows
from portico.services.portico.steward_case import Moved
from portico.services.portico.steward_decide import Decision, decide, recorded
from portico.services.portico.steward_evidence import Rows
from portico.services.portico.steward_rows import Models
from portico.services.portico.steward_spec import LATENCY, Spec, spec_of
from portico.services.portico.steward_watched import Watched
from portico.services.portico.stewards import EPISODES, champion_of, deployed_json
from portico.store import resources
from portico.store.resources import Resource

_DIAGNOSED = 5_000  # labelled predictions before a window that it is compared with


class Look:
    def __init__(self, rooms: Rooms, models: Models) -> None:
        self._rooms, self._models = rooms, models

    def check(self, watched: Watched, steward: Resource, endpoint: Resource, now: float) -> Moved:
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
            record = recorded("breach", rule, facts, decision, now, rows, self._rooms)
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
