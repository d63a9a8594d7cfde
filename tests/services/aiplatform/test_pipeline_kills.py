"""Every construct of a pipeline, its server killed again and again at random: what has ended stays so, nothing of it
runs a second time, and the runs end as they do in peace."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import requests
import yaml
from tests.services.aiplatform.kfp_compiled import compiled
from tests.services.aiplatform.kfp_sources import CONSTRUCTS, LARGE
from tests.waiting import until

from portico.client.api import Client

KILLS = 8
BUCKET = "pipelines-killed"
PARENT = "projects/killed/locations/us-central1"
RUNS: dict[str, dict[str, Any]] = {
    "chain": {"x": 5}, "branches": {"x": 2}, "loops": {}, "over_artifacts": {}, "nested": {"x": 1},
    "leaving": {"word": "bad"}, "regardless": {}, "two_ways": {}, "limited": {},
    "again": {"bucket": BUCKET}, "imported": {"uri": f"gs://{BUCKET}/given.txt"},
}  # fmt: skip
ENDED = {"SUCCEEDED", "SKIPPED", "FAILED", "CANCELLED", "NOT_TRIGGERED"}


class Runs:
    """The runs of all constructs below one pipeline root, which share no cache with those of another."""

    def __init__(self, server: Any, root: str) -> None:
        self.server, self.names = server, {}
        files = compiled(CONSTRUCTS) | {"limited": compiled(LARGE)["limited"]}
        for name, parameters in RUNS.items():
            spec = next(yaml.safe_load_all(Path(files[name]).read_text()))
            config = {"gcsOutputDirectory": f"gs://{BUCKET}/{root}", "parameterValues": parameters}
            job = self.client.call(
                "POST", f"/v1/{PARENT}/pipelineJobs", {"pipelineSpec": spec, "runtimeConfig": config}
            )
            self.names[name] = str(job["name"])

    @property
    def client(self) -> Client:
        return Client(self.server.url, project="killed")

    def jobs(self) -> dict[str, dict[str, Any]]:
        return {name: self.client.call("GET", f"/v1/{job}") for name, job in self.names.items()}

    def tasks(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, job in self.jobs().items():
            for task in job["jobDetail"].get("taskDetails", []):
                yield name, task

    def ended(self) -> dict[str, tuple[str, str]]:
        """By id, the state and the end of every task that has ended."""
        return {
            task["taskId"]: (task["state"], task["endTime"])
            for _, task in self.tasks()
            if task["state"] in ENDED
        }

    def are_over(self) -> bool:
        return all(job["state"].removeprefix("PIPELINE_STATE_") in ENDED for job in self.jobs().values())

    def outcome(self) -> dict[str, Any]:
        """What came of each run: its state, and of its tasks how often each name ended how, with which outputs."""
        states = {name: job["state"] for name, job in self.jobs().items()}
        found: dict[str, Counter[Any]] = {name: Counter() for name in RUNS}
        for name, task in self.tasks():
            told = (task.get("execution") or {}).get("metadata") or {}
            outputs = {key: value for key, value in told.items() if key.startswith("output:")}
            shown = "" if name in ("again", "leaving") else str(sorted(outputs.items()))
            called = "root" if "parentTaskId" not in task else task["taskName"]
            state = task["state"].replace("SKIPPED", "SUCCEEDED")  # a cached one
            found[name][called, state, shown] += 1
        return {name: (states[name], found[name]) for name in RUNS}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_runs_end_as_in_peace(new_portico: Any, seed: int) -> None:
    server, random = new_portico().start(), Random(seed)
    try:
        storage = f"{server.url}/storage/v1/b?project=killed"
        assert requests.post(storage, json={"name": BUCKET}, timeout=240).status_code == 200
        upload = f"{server.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=given.txt"
        assert requests.post(upload, data=b"given", timeout=240).status_code == 200
        killed, known = Runs(server, "killed"), {}
        for _ in range(KILLS):
            goal = len(killed.ended()) + random.randint(1, 9)
            until(lambda most=goal: len(killed.ended()) >= most or killed.are_over(), "some tasks' ends", 300)
            known |= killed.ended()
            server.kill()
            server.start()
            now = killed.ended()
            assert {task: now.get(task) for task in known} == known, "what has ended stays as it is"
        until(killed.are_over, "the runs' ends", 600)
        now = killed.ended()
        assert {task: now.get(task) for task in known} == known
        for _, task in killed.tasks():
            job = (
                (task.get("executorDetail") or {})
                .get("containerDetail", {})
                .get("mainJob", "")
                .rpartition("/")[2]
            )
            log = server.home / "jobs" / job / "log.txt"
            if job and log.exists():
                assert len(re.findall(r"^[-0-9: ]+ succeeded$", log.read_text(), re.M)) <= 1, task["taskName"]
        for mark in ("tried0", "tried1", "tried2", "tried3", "tried4", "tried5"):
            requests.delete(f"{server.url}/storage/v1/b/{BUCKET}/o/{mark}", timeout=240)
        calm = Runs(server, "calm")
        until(calm.are_over, "their ends", 600)
        expected = calm.outcome()
        assert {state for state, _ in expected.values()} == {
            "PIPELINE_STATE_SUCCEEDED",
            "PIPELINE_STATE_FAILED",
        }
        for name, found in killed.outcome().items():
            assert found == expected[name], name
    finally:
        server.stop()
