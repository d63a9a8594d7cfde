"""The states of an episode: what each waits for, what it decides, and where it goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import duration_seconds, rfc3339
from portico.ml.arrays import Floats
from portico.services.call import Rooms
from portico.services.portico.joining import Outcome
from portico.services.portico.steward import evidence as steward_evidence
from portico.services.portico.steward import rows as steward_rows
from portico.services.portico.steward.adjust import adjustment
from portico.services.portico.steward.case import Case, Moved
from portico.services.portico.steward.decide import decide
from portico.services.portico.steward.decision import Decision, recorded
from portico.services.portico.steward.evidence import Rows
from portico.services.portico.steward.measures import measured
from portico.services.portico.steward.pipeline_training import RETRAIN_BY_PIPELINE
from portico.services.portico.steward.promotion import pooled
from portico.services.portico.steward.rows import Models, Unasked
from portico.services.portico.steward.train import ADJUST, RETRAIN
from portico.services.portico.stewards import ROLLING_BACK, EpisodePrivate, StewardPrivate
from portico.services.registry import asking, evaluations
from portico.store import jobs, labels, resources, usage
from portico.store.resources import Resource


class States:
    def __init__(self, rooms: Rooms, models: Models) -> None:
        self._rooms, self._models = rooms, models
        self._taken: set[str] = set()  # the jobs whose answers the models have
        self._waited: dict[str, tuple[int, ...]] = {}  # what an episode saw when it last waited for labels

    def step(self, case: Case) -> Moved:
        """One move of the episode, or none."""
        if case.endpoint is None:
            return case.end("ABANDONED", "The endpoint was deleted.")
        if case.state == ROLLING_BACK:
            return self._rolling_back(case)
        stopped = next((a for a in case.episode.body.get("approvals", []) if not a["approved"]), None)
        if stopped is not None:
            words = f"{stopped['by']} rejected it" + (
                f": {stopped['comment']}" if stopped["comment"] else "."
            )
            return case.end("ROLLED_BACK" if case.deployed else "REJECTED", words)
        if not case.champion:
            return case.end("ABANDONED", "The champion was undeployed by someone else.")
        try:
            return _STATES[case.state](self, case)
        except Unasked as missing:
            return self._asks(case, missing)

    def _asks(self, case: Case, missing: Unasked) -> Moved:
        """Has a model asked that is not opened here: by a job, whose answers the next step finds."""
        asked = case.private.asked
        job = case.job(asked["job"]) if asked.get("version") == missing.version else None
        if job is None or job.id in self._taken:
            return case.ask(missing.version, missing.texts, probe=case.state == "GATING")
        if job.state in jobs.ACTIVE:
            return "busy"
        if job.state != "SUCCEEDED":
            words = f"{_short(missing.version)} gives no answers: {(job.error or {}).get('message', 'it was stopped.')}"
            if case.state == "GATING":
                return case.move("BREACHED", words)
            return case.end("ROLLED_BACK", words)
        self._taken.add(job.id)
        file = steward_evidence.folder(self._rooms.home) / asked["file"]
        try:
            texts = [line.decode() for line in file.read_bytes().splitlines()]
            self._models.take(missing.version, texts, asking.answers(self._rooms.home, job.id), job.result)
            file.unlink()
        except OSError:  # swept meanwhile: it is asked again
            return case.ask(missing.version, missing.texts, probe=case.state == "GATING")
        return "moved"

    def _rolling_back(self, case: Case) -> Moved:
        """A promotion that is undone: its champion is deployed again, with the challenger's traffic."""
        job = case.job()
        if job is not None and job.state in jobs.ACTIVE:
            return "busy"
        if job is not None and job.state == "SUCCEEDED":
            return case.undone()
        words = (job.error or {}).get("message", "It was cancelled.") if job else "Its job is gone."
        return case.end(
            "PROMOTED", f"The challenger stays: its champion could not be deployed again: {words}", leave=True
        )

    def _breached(self, case: Case) -> Moved:
        """Chooses what to try next."""
        tried = case.private.tried
        actions = case.spec.actions
        if case.episode.body.get("trigger") == "SCHEDULE":
            actions = [action for action in actions if action in ("RETRAIN", "ALERT")]
        left = [action for action in actions if action not in tried]
        if not left:
            return case.end("REJECTED" if tried else "ABANDONED", case.episode.body["reason"])
        action, count = left[0], case.spec.gates.labels
        if action == "ALERT":
            return case.end(
                "REJECTED" if tried else "ABANDONED", "The steward is asked to alert, and nothing more."
            )
        champion_id, classes = (
            case.episode.body["champion"]["deployedModelId"],
            self._models.classes(case.champion),
        )
        rows = case.watched.of(champion_id, classes, 3 * count)
        if len(rows) < count:
            return case.wait(f"{len(rows)} of the {count} labels that the gates need are there.")
        gate = rows[-count:]
        before = [row for row in rows[:-count] if row.time < gate[0].time]
        payload = {
            "champion": case.champion_version, "artifact": self._rooms.ids.token(),
            "endpoint": case.steward.body["endpoint"],
            "description": f"{action} by {case.steward.name.rpartition('/')[2]}: {case.episode.body['reason']}"[:1000],
        }  # fmt: skip
        if action != "RETRAIN":
            if not self._models.is_own(case.champion_version):
                return case.skip(action, "Only a retraining changes a model that Portico did not train.")
            found = adjustment(self._models, case, action, before)
            if isinstance(found, str):
                return case.skip(action, found)
            payload |= {"adjustment": found.changes, "fittedUntil": found.until}
            return case.start(action, ADJUST, "ADJUSTING", payload, gate, found.words)
        if refused := case.over_limit():
            return case.skip(action, refused)
        kept = StewardPrivate.of(case.steward)
        data = kept.data
        moments = [steward_rows.moment(row, data.get("timeColumn", "")) for row in gate]
        known = [moment for moment in moments if moment is not None]
        sliding = case.spec.training.window == "SLIDING"
        payload |= {
            "pipeline": kept.pipeline, "dataset": data["dataset"], "target": data["target"],
            "timeColumn": data.get("timeColumn", ""), "budget": case.spec.training.budget_milli_node_hours,
            "objective": case.spec.training.objective,
            "duration": duration_seconds(case.spec.training.duration) if sliding else 0.0,
            "cutoff": gate[0].time, "before": min(known, default=None),
            "withheld": sorted({row.label.name for row in gate if row.label}), "change": case.watched.change,
        }  # fmt: skip
        if case.spec.training.pipeline is not None:
            payload |= {
                "pipeline": case.steward.body["training"]["pipeline"], "classes": list(classes),
                "predictionType": "classification" if classes else "regression",
                "reason": case.episode.body["reason"],
            }  # fmt: skip
            return case.start(action, RETRAIN_BY_PIPELINE, "RETRAINING", payload, gate,
                              "A pipeline trains another on what is known now, without the newest labels.")  # fmt: skip
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
            EpisodePrivate.of(episode).facts = facts
            if case.state == "RETRAINING":
                kept = StewardPrivate.of(steward)
                kept.retrainings.append((case.now, facts["milliNodeHours"]))
                worked = job.result.get("pipelineJob") or job.resource
                kept.used.append((case.now, usage.of_resource(connection, worked)))

        by = f" by the pipeline run {_short(run)}" if (run := job.result.get("pipelineJob")) else ""
        took = f", {facts['rows']:,} rows learned" if "rows" in facts else ""
        return case.move("GATING", f"The challenger is made{by}{took}.", account)

    def _gating(self, case: Case) -> Moved:
        private, gates, metric = case.private, case.spec.gates, case.spec.gate_metric
        rows = self._unseen(case)
        if len(rows) < gates.labels or self._waited.get(case.episode.name) == (
            len(rows),
            case.watched.change,
        ):
            return self._gates_wait(case, len(rows))
        classes = self._models.classes(case.champion)
        misfit = self._models.misfit(case.champion_version, case.challenger_version, rows, classes)
        known = {**private.facts, **self._models.service(case.challenger_version)}
        facts: dict[str, Any] = {key: known.get(key) for key in ("trainedUntil", "bytes", "latencySeconds")}
        facts["signature"] = misfit
        if private.facts.get("cutShort"):
            facts["cutShort"] = private.facts["cutShort"]
        if misfit:  # then nothing of the two is compared
            found = steward_rows.rows_of(rows, classes, case.spec.grouped)
        else:
            found = steward_rows.beside(
                self._models, rows, case.champion_version, case.challenger_version, grouped=case.spec.grouped,
                classes=classes,
            )  # fmt: skip
        if len(found) < gates.labels:  # some can't be read by one of the models
            self._waited[case.episode.name] = (len(rows), case.watched.change)
            return self._gates_wait(case, len(found))
        if gates.baseline:
            found.outputs |= self._simple_answers(case, rows, steward_rows.those_of(rows, found))
        rule: dict[str, Any] = {
            **case.spec.measured_by(metric, classes),
            "labels": gates.labels, "margin": gates.margin, "certain": gates.certain,
            "baseline": gates.baseline,
            "maxLatencySeconds": duration_seconds(gates.max_latency) if gates.max_latency else 0,
            "maxBytes": gates.max_bytes,
            "fairness": [
                {"metric": g.metric, "attributes": g.grouped, "limit": g.limit, "tolerance": g.tolerance,
                 "minimumGroup": g.minimum_group} for g in gates.fairness
            ],
        }  # fmt: skip
        if private.tried[-1] != "RETRAIN":
            rule["mustReach"] = self._acceptable(case)
        if gap := self._gap(case):
            rule |= {"restores": gap, "tolerance": gates.tolerance}
        decision = decide("gates", rule, facts, found)
        record = recorded("gates", rule, facts, decision, case.now, found, self._rooms)
        if decision.answer == "failed":
            return case.move("BREACHED", decision.reason, record=record)
        if gates.approval:
            return case.move(
                "AWAITING_APPROVAL", f"{decision.reason} A person must approve it.", record=record,
                also=lambda connection, steward, episode: self._evaluated(connection, case, found, metric),
            )  # fmt: skip
        return case.deploy(decision.reason, record,
                           lambda connection: self._evaluated(connection, case, found, metric))  # fmt: skip

    def _simple_answers(self, case: Case, unseen: list[Outcome], rows: list[Outcome]) -> dict[str, Floats]:
        """Those for `rows`, from what was labelled before any of the `unseen`."""
        ours = {row.label.name for row in unseen if row.label}
        older = case.watched.before(unseen[0].time, self._models.classes(case.champion))
        before = [row for row in older if row.label and row.label.name not in ours]
        time_column = StewardPrivate.of(case.steward).data.get("timeColumn", "")
        classes, objective = (
            self._models.classes(case.champion),
            self._models.objective(case.champion_version),
        )
        return steward_rows.simple_answers(classes, objective, before, rows, time_column)

    def _unseen(self, case: Case) -> list[Outcome]:
        """The labels that what was made has not seen: those that were kept from it, and those that came since."""
        classes, private = self._models.classes(case.champion), case.private
        rows = case.watched.since(case.episode.body["champion"]["deployedModelId"], classes, private.cutoff)
        kept = set(private.withheld)
        names = {row.label.name for row in rows if row.label} - kept
        if names:
            with self._rooms.database.read() as connection:
                kept |= labels.new_since(connection, case.watched.endpoint, names, private.change)
        return [row for row in rows if row.label and row.label.name in kept]

    def _gates_wait(self, case: Case, count: int) -> Moved:
        until = rfc3339(case.private.since + duration_seconds(case.spec.rollout.patience))
        return case.wait(
            f"{count} of the {case.spec.gates.labels} distinct labels that the gates ask for are there to be "
            f"read; it waits for more until {until}, then it is given up."
        )

    def _acceptable(self, case: Case) -> float | None:
        """What the metric that opened the episode must reach again, where the gates measure with it."""
        opened = case.episode.body["decisions"][0]["numbers"]
        return float(opened["limit"]) if opened["metric"] == case.spec.gate_metric else None

    def _gap(self, case: Case) -> dict[str, Any] | None:
        """The difference between groups that opened the episode, and must be acceptable again."""
        opened = case.episode.body["decisions"][0]
        if not opened["rule"].get("attributes"):
            return None
        return {key: opened["rule"][key] for key in ("metric", "attributes", "minimumGroup")} | {
            "limit": opened["numbers"]["limit"]
        }

    def _evaluated(self, connection: Connection, case: Case, rows: Rows, metric: str) -> None:
        """The challenger's evaluation: what it reached on the gates' rows."""
        version = resources.get(connection, case.challenger_version)
        if version is not None:
            classes = self._models.classes(case.champion)
            own = measured(case.spec.measured_by(metric, classes), rows, "challenger")
            body = steward_rows.evaluation(rows, classes, own)
            evaluations.add(connection, version, self._rooms.ids.number(), body, self._rooms.clock.now())

    def _awaiting(self, case: Case) -> Moved:
        approved = next((a for a in case.episode.body.get("approvals", []) if a["approved"]), None)
        if approved is None:
            return case.wait("A person must approve it.")
        return case.deploy(f"{approved['by']} approved it. {approved['comment']}".strip())

    def _shadow(self, case: Case) -> Moved:
        job = case.job()
        if job is not None and job.state in jobs.ACTIVE:
            return "busy"
        if job is None or job.state != "SUCCEEDED":
            words = (job.error or {}).get("message", "It was cancelled.") if job else "Its job is gone."
            return case.end("ABANDONED", f"The challenger could not be deployed: {words}")
        if changed := case.changed():
            return case.end("ABANDONED", changed, leave=True)
        rows = self._answered(case, "champion")
        return self._left(case, "shadow", rows, case.spec.rollout.shadow_labels, -1)

    def _canary(self, case: Case) -> Moved:
        if changed := case.changed():
            return case.end("ABANDONED", changed, leave=True)
        position = int(case.episode.body["canaryStep"])
        steps = case.spec.rollout.canary
        needed = steps[min(position, len(steps) - 1)].labels if steps else 0
        rows = self._answered(case, "challenger")
        return self._left(case, "canary", rows, needed, position)

    def _answered(self, case: Case, who: str) -> list[Outcome]:
        """What was predicted since this state began by champion or challenger, one row for each label."""
        classes = self._models.classes(case.champion)
        return case.watched.since(case.episode.body[who]["deployedModelId"], classes, case.private.since)

    def _left(self, case: Case, question: str, rows: list[Outcome], needed: int, position: int) -> Moved:
        """Shadow or a canary step: is it left, and where to?"""
        seen = (position, len(rows), case.watched.change)
        if self._waited.get(case.episode.name) == seen:
            return case.wait(f"{len(rows)} of {needed} labelled answers are there.")
        classes = self._models.classes(case.champion)
        rule = {
            **case.spec.measured_by(case.spec.gate_metric, classes), "labels": needed,
            "rollbackRatio": case.spec.rollout.rollback_ratio,
        }  # fmt: skip
        served = "champion" if question == "shadow" else "challenger"
        found = steward_rows.beside(
            self._models, rows, case.champion_version, case.challenger_version, served, classes=classes
        )
        decision = decide(question, rule, {}, found)
        if decision.answer == "waits":
            self._waited[case.episode.name] = seen
            return case.wait(decision.reason)
        if decision.answer == "go on" and position + 1 >= len(case.spec.rollout.canary):
            return self._promotion(case, question, rule, decision, found, seen)
        record = recorded(question, rule, {}, decision, case.now, found, self._rooms)
        if decision.answer == "roll back":
            return case.end("ROLLED_BACK", decision.reason, record)
        return case.canary(position + 1, decision.reason, record)

    def _promotion(
        self, case: Case, question: str, step: dict[str, Any], decision: Decision, newest: Rows, seen: tuple[int, ...]
    ) -> Moved:  # fmt: skip
        """The last step is passed: is the champion replaced, by all that was seen of this challenger?

        Raises:
            OSError: the rows of an earlier decision are damaged.
        """
        needed = step["labels"]
        asked = newest.at(slice(0, len(newest) - len(newest) % needed if needed else 0))
        before = [
            (stage, steward_evidence.read(self._rooms.home, record["evidence"], record.get("evidenceDigest", "")))
            for stage, record in case.stages()
        ]  # fmt: skip
        last = case.stage_of(question)
        rows = pooled([*before, (last, asked)])
        rule: dict[str, Any] = {
            **{key: step[key] for key in ("metric", "cost", "labels") if key in step},
            "last": last, "certain": case.spec.gates.certain,
            "tolerance": case.spec.gates.tolerance if self._gap(case) else 0.0,
        }  # fmt: skip
        whole = decide("promotion", rule, {}, rows)
        if whole.answer == "waits":
            self._waited[case.episode.name] = seen
            return case.wait(whole.reason)
        records = (
            recorded(question, step, {}, decision, case.now, newest, self._rooms),
            recorded("promotion", rule, {}, whole, case.now, rows, self._rooms),
        )
        if whole.answer == "roll back":
            return case.end("ROLLED_BACK", whole.reason, *records)
        return case.promote(whole.reason, *records)


def _short(name: str) -> str:
    return name.rpartition("/")[2]


_STATES: dict[str, Callable[[States, Case], Moved]] = {
    "BREACHED": States._breached,
    "ADJUSTING": States._working,
    "RETRAINING": States._working,
    "GATING": States._gating,
    "AWAITING_APPROVAL": States._awaiting,
    "SHADOW": States._shadow,
    "CANARY": States._canary,
}
