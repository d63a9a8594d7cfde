"""SIGKILL at random moments of a pipeline's run: it goes on, and what was done is not done again."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.services.aiplatform.kfp_compiled import compiled
from tests.services.aiplatform.kfp_sources import CONSTRUCTS
from tests.waiting import until
from wire import Wire

PARENT = "projects/kills/locations/us-central1"
KILLS = 4


def ask(server: Any, *request: Any) -> dict[str, Any]:
    wire = Wire(server.url)
    answer = wire(*request)
    wire.close()
    assert answer.status == 200, answer
    return answer.json


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seed"), [("loops", 1), ("leaving", 2), ("again", 3)])
def test_a_killed_run_goes_on(new_portico, name, seed):
    rand = random.Random(seed)
    server = new_portico().start()
    try:
        ask(server, "POST", "/storage/v1/b?project=kills", {"name": "kills"})
        spec = yaml.safe_load(Path(compiled(CONSTRUCTS)[name]).read_text())
        values = {"bucket": "kills"} if name == "again" else {}
        config = {"gcsOutputDirectory": "gs://kills/root", "parameterValues": values}
        body = {"pipelineSpec": spec, "runtimeConfig": config}
        made = ask(server, "POST", f"/v1/{PARENT}/pipelineJobs?pipelineJobId=killed", body)
        done: dict[str, Any] = {}
        for _ in range(KILLS):
            wanted = len(done) + rand.randint(0, 3)
            until(
                lambda wanted=wanted: (
                    len(finished(job := ask(server, "GET", f"/v1/{made['name']}"))) >= wanted
                    or job.get("endTime")
                ),
                "the run goes on",
            )
            done |= finished(ask(server, "GET", f"/v1/{made['name']}"))
            server.kill()
            server.start()
        job = until(lambda: (j := ask(server, "GET", f"/v1/{made['name']}")).get("endTime") and j, "it ends")
        assert job["state"] == (
            "PIPELINE_STATE_FAILED" if name == "leaving" else "PIPELINE_STATE_SUCCEEDED"
        ), job
        last = finished(job)
        assert {task: last[task] for task in done} == done  # ended once, and for good
        states = {task["state"] for task in job["jobDetail"]["taskDetails"]}
        assert states <= {"SUCCEEDED", "SKIPPED", "FAILED", "NOT_TRIGGERED"}
        ran = [task for task in job["jobDetail"]["taskDetails"] if task.get("executorDetail")]
        assert len({task["executorDetail"]["containerDetail"]["mainJob"] for task in ran}) == len(ran)
        # What it did is found by the next, however often it was killed meanwhile.
        again = ask(server, "POST", f"/v1/{PARENT}/pipelineJobs?pipelineJobId=again", body)
        server.kill()
        server.start()
        told = until(
            lambda: (j := ask(server, "GET", f"/v1/{again['name']}")).get("endTime") and j, "it ends"
        )
        anew = {task["taskName"] for task in told["jobDetail"]["taskDetails"] if task.get("executorDetail")}
        assert anew - {"again"} == ({"fail", "told"} if name == "leaving" else set())
    finally:
        server.stop()


def finished(job: dict[str, Any]) -> dict[str, Any]:
    """What has ended, with when and with what."""
    return {
        task["taskId"]: (task["state"], task["endTime"], task.get("outputs"))
        for task in job["jobDetail"].get("taskDetails", [])
        if task.get("endTime")
    }
