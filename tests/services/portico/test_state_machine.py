"""Whatever happens in whatever order: no challenger passes a failed gate, gate rows are never trained on, and the
endpoint always has a serving model."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import portico.services.aiplatform.deployments
import portico.services.aiplatform.metadata.recorded  # noqa: F401
from portico.clock import SystemClock
from portico.ids import RandomIds
from portico.jobs.kinds import moved
from portico.jobs.queue import Queue
from portico.services.aiplatform.metadata.nodes import EXECUTIONS
from portico.services.call import Rooms
from portico.services.portico.steward import case as steward_case
from portico.services.portico.steward.look import Look
from portico.services.portico.steward.rows import Models
from portico.services.portico.steward.run import Stewards
from portico.services.portico.steward.states import States
from portico.services.portico.stewards import ENDED, EPISODES, STEWARDS, StewardPrivate
from portico.services.registry.model_store import MODELS, VERSION_KIND, ModelPrivate, VersionPrivate
from portico.services.standard.serving import ENDPOINTS, EndpointPrivate
from portico.store import domain_clock, jobs, labels, resources, served
from portico.store.database import Database
from portico.store.labels import Label
from portico.store.resources import Private
from portico.store.segments import Segments

pytestmark = pytest.mark.usefixtures("either_store_in_time")

PLACE = "projects/p/locations/l"
ENDPOINT, STEWARD, MODEL = f"{PLACE}/endpoints/1", f"{PLACE}/stewards/s", f"{PLACE}/models/m"
BATCH = 25  # labelled predictions of an event

EVENT = st.sampled_from(
    ["good", "bad", "bad", "bad", "work", "work", "work", "fail", "approve", "reject", "crash", "traffic", "undeploy",
     "later", "pause", "resume"]
)  # fmt: skip


class FakeModels(Models):
    """Version 1 was the champion; every later one answers with an error of its own. No file is read."""

    errors: dict[str, float]

    def load(self, version: str) -> Any:
        raise AssertionError("nothing is loaded here")

    def manifest(self, version: str) -> Any:
        raise KeyError(version)

    def classes(self, deployed: dict[str, Any]) -> list[str]:
        return []

    def misfit(self, *_: Any) -> str:
        return ""


class House:
    """A store with an endpoint and its steward, which `fresh` makes; jobs end when an event says so."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, fresh: bool = True) -> None:
        importlib.import_module("portico.services.portico")
        importlib.import_module("portico.services.aiplatform")
        clock, ids = SystemClock(), RandomIds()
        database = Database(home)
        database.create_tables()
        self.rooms = Rooms(home, database, clock, ids, Queue(home, clock, ids), lambda *_: None)  # type: ignore[arg-type,return-value]
        self.segments = Segments(home, database, clock, ids)
        self.errors = {f"{MODEL}@1": 0.1}
        self.number = 0
        self.now = 1_000_000.0
        self.undeployed = False
        spec = {
            "endpoint": ENDPOINT, "acceptable": [{"metric": "meanAbsoluteError", "limit": 20, "labels": 25}],
            "gates": {"labels": 20, "baseline": False, "approval": True}, "limits": {"coolDown": "0s"},
            "rollout": {"shadowLabels": 10, "canary": [{"percent": 50, "labels": 10}], "patience": "864000s"},
        }  # fmt: skip
        private = StewardPrivate(
            pipeline={}, data={"dataset": f"{PLACE}/datasets/d", "target": "y", "timeColumn": ""}
        )
        deployed = {"id": "1", "model": MODEL, "modelVersionId": "1", "displayName": "m"}
        if fresh:
            self.furnish(spec, private, deployed)
        monkeypatch.setattr(steward_case, "await_fronts", lambda *_: None)
        monkeypatch.setattr("portico.services.portico.steward.rows.beside", self.beside)
        monkeypatch.setattr("portico.services.portico.steward.rows.simple_answers", lambda *_: {})
        monkeypatch.setattr(States, "_evaluated", lambda *_: None)
        monkeypatch.setattr("portico.services.portico.alerts.diagnosis", lambda *_: {})
        monkeypatch.setattr("portico.services.portico.steward.run.Models", FakeModels)
        monkeypatch.setattr(FakeModels, "manifest", lambda *_: type("Manifest", (), {"kinds": {}})())
        self.stewards = Stewards(self.rooms, self.segments)

    def furnish(self, spec: dict[str, Any], private: StewardPrivate, deployed: dict[str, Any]) -> None:
        with self.rooms.database.write() as connection:
            domain_clock.advance(connection, self.now)
            self.insert(connection, MODEL, MODELS.kind, PLACE, {"displayName": "m"}, ModelPrivate(last=1))
            self.insert(connection, f"{MODEL}@1", VERSION_KIND, MODEL, {
                "versionId": "1", "versionAliases": ["default"], "displayName": "m"},
                VersionPrivate(artifact="a"))  # fmt: skip
            self.insert(connection, ENDPOINT, ENDPOINTS.kind, PLACE, {
                "deployedModels": [deployed], "trafficSplit": {"1": 100}},
                EndpointPrivate(served={"1": served.ServedModel("1", MODEL, "1", "m", "portico")}))  # fmt: skip
            self.insert(
                connection, STEWARD, STEWARDS.kind, PLACE, {**spec, "state": "ACTIVE", "status": {}}, private
            )

    def insert(
        self, connection: Any, name: str, kind: str, parent: str, body: dict[str, Any], private: Private
    ) -> None:
        resources.insert(connection, name=name, kind=kind, parent=parent, body=body, now=1.0, private=private)

    def beside(self, models: Any, rows: Any, champion: str, challenger: str, *_: Any, **__: Any) -> Any:
        from portico.services.portico.steward.evidence import Rows

        truth = np.array([row.label.truth for row in rows], float)
        noise = np.random.default_rng(0).normal(size=len(rows))
        outputs = {
            "champion": truth * (1 + self.errors[champion] * noise),
            "challenger": truth * (1 + self.errors[challenger] * noise),
        }
        return Rows(np.array([row.time for row in rows]), truth, outputs)

    # --- events ---

    def happen(self, event: str, level: float) -> None:
        getattr(self, f"on_{event}")(level)
        self.stewards.turn(STEWARD)

    def predict(self, error: float) -> None:
        """Predictions by the traffic split, with their labels, and a day goes by."""
        endpoint = self.endpoint()
        split = {key: share for key, share in (endpoint.body.get("trafficSplit") or {}).items() if share}
        known = {d["id"]: d for d in endpoint.body["deployedModels"]}
        rng = np.random.default_rng(self.number)
        made, truths = [], []
        for _ in range(BATCH if split else 0):
            self.number += 1
            who = known[str(rng.choice(list(split), p=np.array(list(split.values())) / sum(split.values())))]
            truth = float(rng.uniform(50, 150))
            version = f"{who['model']}@{who['modelVersionId']}"
            share = error if version == f"{MODEL}@1" else self.errors[version]
            answer = truth * (1 + share * rng.normal())
            made.append({
                "deployed_model_id": who["id"], "model": who["model"], "model_version": who["modelVersionId"],
                "logging_time": datetime.fromtimestamp(self.now + self.number * 1e-3, UTC), "request_id": self.number,
                "caller_request_id": "", "request_payload": [orjson.dumps({"x": 1}).decode()],
                "response_payload": [orjson.dumps({"value": answer}).decode()], "latency_seconds": 0.001,
            })  # fmt: skip
            truths.append(Label(f"id:0:{self.number}", truth, self.now, self.now))
        if made:
            file = self.segments.write(pa.Table.from_pylist(made))
            with self.rooms.database.write() as connection:
                self.segments.add(connection, f"log/{ENDPOINT}", file, len(made), self.now, self.now + 1)
                labels.add(connection, ENDPOINT, truths)
        self.go(86400.0)

    def go(self, seconds: float) -> None:
        self.now += seconds
        with self.rooms.database.write() as connection:
            domain_clock.advance(connection, self.now)

    def on_good(self, level: float) -> None:
        self.predict(0.05)

    def on_bad(self, level: float) -> None:
        self.predict(0.9)
        self.errors[f"{MODEL}@1"] = 0.9

    def on_later(self, level: float) -> None:
        self.go(level * 20 * 86400)

    def on_crash(self, level: float) -> None:
        self.stewards = Stewards(self.rooms, self.segments)

    def on_work(self, level: float) -> None:
        """The open job succeeds."""
        job = self.open_job()
        if job is None:
            return
        with self.rooms.database.write() as connection:
            if job.kind == "endpoints.deployModel":
                endpoint = resources.get(connection, ENDPOINT)
                assert endpoint is not None
                deployed, version = job.payload["deployed"], job.payload["version"].rpartition("@")[2]
                held = {d["id"] for d in endpoint.body["deployedModels"]}
                if set(job.payload["split"]) <= held:
                    endpoint.body["deployedModels"].append(
                        {**deployed, "model": MODEL, "modelVersionId": version}
                    )
                    EndpointPrivate.of(endpoint).served[deployed["id"]] = served.ServedModel(
                        deployed["id"], MODEL, version, "m", "portico"
                    )
                    resources.update(connection, endpoint, 2.0)
                    jobs.end(connection, job, "SUCCEEDED", 2.0, result=deployed)
                else:
                    jobs.end(connection, job, "FAILED", 2.0, error={"code": 3, "message": "no such share"})
            else:
                facts = {"trainedUntil": job.payload["cutoff"] - 1, "bytes": 1, "latencySeconds": 0.001,
                         "milliNodeHours": 1, "rows": 10}  # fmt: skip
                jobs.end(connection, job, "SUCCEEDED", 2.0, result={"model": {}, "facts": facts})
            moved(connection, job, 2.0)
            if job.kind != "endpoints.deployModel":
                found = [v.name for v in resources.listed(connection, VERSION_KIND, MODEL)]
                for name in set(found) - set(self.errors):
                    self.errors[name] = level

    def on_fail(self, level: float) -> None:
        job = self.open_job()
        if job is not None:
            with self.rooms.database.write() as connection:
                jobs.end(connection, job, "FAILED", 2.0, error={"code": 13, "message": "it broke"})
                moved(connection, job, 2.0)

    def check_lineage(self) -> None:
        """Who approved is kept with the deployment of what was approved."""
        with self.rooms.database.read() as connection:
            runs = [run.body for run in resources.listed(connection, EXECUTIONS.kind)]
            (*_, episode) = resources.listed(connection, EPISODES.kind)
        (deployed,) = (run for run in runs if "deployedModelId" in run["metadata"])
        assert deployed["metadata"]["episode"] == episode.name
        assert [a["by"] for a in deployed["metadata"]["approvals"]] == ["someone"]
        assert any(run["displayName"] == "retrain for s" and run["state"] == "COMPLETE" for run in runs)

    def on_approve(self, level: float) -> None:
        self.decide(True)

    def on_reject(self, level: float) -> None:
        self.decide(False)

    def decide(self, approved: bool) -> None:
        with self.rooms.database.write() as connection:
            for episode in list(resources.listed(connection, EPISODES.kind)):
                wanted = episode.body["state"] == "AWAITING_APPROVAL" or not approved
                if episode.body["state"] not in ENDED and wanted:
                    one = {"approved": approved, "by": "someone", "comment": ""}
                    episode.body["approvals"] = [*episode.body.get("approvals", []), one]
                    resources.update(connection, episode, 2.0)

    def on_traffic(self, level: float) -> None:
        """Someone splits the traffic otherwise."""
        with self.rooms.database.write() as connection:
            endpoint = resources.get(connection, ENDPOINT)
            assert endpoint is not None
            ids = [d["id"] for d in endpoint.body["deployedModels"]]
            endpoint.body["trafficSplit"] = {ids[0]: 100} if len(ids) == 1 else {ids[0]: 70, ids[-1]: 30}
            resources.update(connection, endpoint, 2.0)

    def on_undeploy(self, level: float) -> None:
        """Someone undeploys the newest of several and gives the rest of the traffic to the first."""
        from portico.services.registry.deployed import remove_deployed

        with self.rooms.database.write() as connection:
            endpoint = resources.get(connection, ENDPOINT)
            assert endpoint is not None
            ids = [d["id"] for d in endpoint.body["deployedModels"]]
            if len(ids) > 1:
                endpoint.body["trafficSplit"] = {ids[0]: 100}
                remove_deployed(connection, endpoint, ids[-1], 2.0)

    def on_pause(self, level: float) -> None:
        self.set_state("PAUSED")

    def on_resume(self, level: float) -> None:
        self.set_state("ACTIVE")

    def set_state(self, state: str) -> None:
        with self.rooms.database.write() as connection:
            steward = resources.get(connection, STEWARD)
            assert steward is not None
            steward.body["state"] = state
            resources.update(connection, steward, 2.0)

    # --- what must hold ---

    def endpoint(self) -> Any:
        with self.rooms.database.read() as connection:
            return resources.get(connection, ENDPOINT)

    def open_job(self) -> Any:
        with self.rooms.database.read() as connection:
            return next(iter(jobs.in_state(connection, "QUEUED", "RUNNING")), None)

    def states(self) -> list[str]:
        """Of the newest episode."""
        with self.rooms.database.read() as connection:
            found = list(resources.listed(connection, EPISODES.kind))
        return [t["state"] for t in found[-1].body["transitions"]] if found else []

    def check(self) -> set[str]:
        endpoint = self.endpoint()
        held = {d["id"]: d["modelVersionId"] for d in endpoint.body["deployedModels"]}
        split = {key: share for key, share in endpoint.body["trafficSplit"].items() if share}
        assert held and set(split) <= set(held) and sum(split.values()) == 100, endpoint.body
        with self.rooms.database.read() as connection:
            episodes = list(resources.listed(connection, EPISODES.kind))
        assert sum(e.body["state"] not in ENDED for e in episodes) <= 1
        passed = {"1"}
        for episode in episodes:
            body = episode.body
            for decision in (d for d in body["decisions"] if d["question"] == "gates"):
                gates = decision["numbers"]["gates"]
                assert (decision["answer"] == "passed") == all(g["passed"] for g in gates)
                unseen = gates[0]
                assert unseen["trainedUntil"] < unseen["measuredFrom"]
            states = [t["state"] for t in body["transitions"]]
            last = [d for d in body["decisions"] if d["question"] == "gates"]
            if "SHADOW" in states:
                assert last[-1]["answer"] == "passed" and any(a["approved"] for a in body["approvals"])
                passed.add(body["challenger"]["modelVersionId"])
        assert set(held.values()) <= passed, "only what passed its gates is deployed"
        return {e.body["state"] for e in episodes}


EVENTS = st.lists(st.tuples(EVENT, st.sampled_from([0.02, 0.1, 0.8, 2.0])), min_size=10, max_size=50)


@settings(max_examples=12, deadline=None)
@given(EVENTS)
def test_no_sequence_of_events_breaks_a_promise(events: list[tuple[str, float]]) -> None:
    none_breaks_a_promise(events)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(EVENTS)
def test_none_of_many_sequences_does(events: list[tuple[str, float]]) -> None:
    none_breaks_a_promise(events)


def none_breaks_a_promise(events: list[tuple[str, float]]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        house = House(Path(folder), patch)
        for event, level in events:
            house.happen(event, level)
            house.check()
        house.rooms.database.close()


def test_the_way_to_a_promotion_and_back() -> None:
    way = [("good", 0.1), ("bad", 0.1), ("bad", 0.1), ("work", 0.02), ("approve", 0), ("work", 0)]
    for rest, end in (
        ([("bad", 0), ("bad", 0), ("bad", 0)], "PROMOTED"),
        ([("bad", 0), ("reject", 0)], "ROLLED_BACK"),
        ([("bad", 0), ("undeploy", 0)], "ABANDONED"),
        ([("later", 2.0), ("later", 2.0)], "ABANDONED"),
    ):
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            house = House(Path(folder), patch)
            for event, level in (*way, *rest):
                house.happen(event, level)
                found = house.check()
            assert end in found, (end, found)
            house.check_lineage()
            house.rooms.database.close()


WAY = [
    ("good", 0.1), ("bad", 0.1), ("bad", 0.1), ("work", 0.02), ("approve", 0), ("work", 0), ("bad", 0), ("bad", 0),
    ("bad", 0),
]  # fmt: skip
STATES = ["BREACHED", "RETRAINING", "GATING", "AWAITING_APPROVAL", "SHADOW", "CANARY", "PROMOTED"]


def look_and_die(home: Path, errors: dict[str, float], state: str, before: bool) -> None:
    """A look of the stewards by a process that is killed on its way into a state, before or after the commit."""
    with pytest.MonkeyPatch.context() as patch:
        house = House(home, patch, fresh=False)
        house.errors = errors
        step, enter, opens = Stewards._step, steward_case._enter, Look._open

        def die() -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        def entering(episode: Any, to: str, *rest: Any) -> None:
            enter(episode, to, *rest)
            if before and to == state:
                die()

        def opening(*given: Any) -> Any:
            made = opens(*given)
            if before and state == "BREACHED":
                die()
            return made

        def stepping(self: Any, name: str, now: float, job: str) -> Any:
            was = house.states()
            moved = step(self, name, now, job)
            if not before and house.states() != was and house.states()[-1:] == [state]:
                die()
            return moved

        patch.setattr(steward_case, "_enter", entering)
        patch.setattr(Look, "_open", opening)
        patch.setattr(Stewards, "_step", stepping)
        house.stewards.turn(STEWARD)
    os._exit(0)


@pytest.mark.parametrize("before", [True, False], ids=["before the commit", "after the commit"])
@pytest.mark.parametrize("state", STATES)
def test_killed_on_the_way_into_every_state(state: str, before: bool) -> None:
    """Its process dies by SIGKILL at the move; the next one goes on, and every promise holds."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        house, deaths = House(Path(folder), patch), 0
        for event, level in WAY:
            getattr(house, f"on_{event}")(level)
            while True:
                child = multiprocessing.get_context("fork").Process(
                    target=look_and_die, args=(house.rooms.home, house.errors, state, before and not deaths)
                )
                child.start()
                child.join()
                house.check()
                if child.exitcode == 0 or (not before and deaths > 20):
                    break
                assert child.exitcode == -signal.SIGKILL
                deaths += 1
        assert deaths >= 1, "it was never met"
        assert house.states() == STATES
        house.rooms.database.close()
