"""Pipelines that run again and again, in domain time, by the official client's PipelineJobSchedule."""

from __future__ import annotations

import contextlib
import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from tests.services.aiplatform.kfp_compiled import compiled
from tests.waiting import until

from portico.clock import parse_rfc3339

from .monitored import advance, early  # noqa: F401

HOUR = 3600
DAY = 24 * HOUR
SOURCE = """
@dsl.component
def tell(due: str, word: str) -> str:
    return f"{due} {word}"

@dsl.pipeline(name="told-in-time")
def told_in_time(word: str = "x"):
    tell(due=dsl.PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER, word=word)
"""


@pytest.fixture
def job(aiplatform: Any, bucket: Any) -> Any:
    """A pipeline job that is not submitted itself."""
    return aiplatform.PipelineJob(
        display_name="told", template_path=compiled(SOURCE)["told_in_time"], pipeline_root=f"gs://{bucket.name}/root",
        parameter_values={"word": f"w{time.time_ns()}"}, labels={"team": "a"}, enable_caching=False,
    )  # fmt: skip


def due_of(jobs: list[Any]) -> list[float]:
    """When the runs say that they were due, in order."""
    said = []
    for one in jobs:
        until(lambda one=one: type(one).get(one.resource_name).done(), "the run ends")
        tasks = type(one).get(one.resource_name).task_details
        (task,) = (task for task in tasks if task.task_name == "tell")
        said.append(parse_rfc3339(str(task.execution.metadata["output:Output"]).partition(" ")[0]))
    return sorted(said)


def spoken(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_schedule_runs_a_pipeline_when_it_is_due(aiplatform, job, advance, portico):  # noqa: F811
    """Caught up with, paused, changed, ended."""
    now = early(advance)
    # 09:30 in Kolkata is 04:00 in UTC.
    first = (now // DAY + (1 if now % DAY >= 4 * HOUR else 0)) * DAY + 4 * HOUR
    schedule = job.create_schedule(display_name="daily", cron="TZ=Asia/Kolkata 30 9 * * *")
    assert schedule.state.name == "ACTIVE"
    assert schedule.list_jobs() == []
    advance(2 * DAY)
    # One run after the other.
    jobs = until(lambda: len(found := schedule.list_jobs()) == 2 and found, "both runs")
    assert due_of(jobs) == [first, first + DAY]
    made = aiplatform.PipelineJob.get(jobs[0].resource_name).gca_resource
    assert made.schedule_name == schedule.resource_name
    assert made.labels["portico-schedule"] == schedule.name and made.labels["team"] == "a"
    context = made.job_detail.pipeline_run_context
    assert context.metadata["startedBy"] == schedule.resource_name
    shown = requests.get(f"{portico.url}/v1/{schedule.resource_name}").json()
    assert shown["startedRunCount"] == "2" and parse_rfc3339(shown["nextRunTime"]) == first + 2 * DAY
    assert shown["lastScheduledRunResponse"]["runResponse"] in [one.resource_name for one in jobs]

    schedule.pause()
    advance(2 * DAY)
    assert len(schedule.list_jobs()) == 2
    # The client's resume() keeps catch_up to itself.
    schedule.api_client.resume_schedule(request={"name": schedule.resource_name, "catch_up": True})
    advance(1)
    until(lambda: len(schedule.list_jobs()) == 4, "what was missed has been caught up with")
    schedule.update(cron="0 * * * *", max_run_count=5, display_name="hourly")
    advance(3 * HOUR)
    until(lambda: len(schedule.list_jobs(filter="state=PIPELINE_STATE_SUCCEEDED")) == 5, "all have run")
    ended = aiplatform.PipelineJobSchedule.list(filter='display_name="hourly"')[0]
    assert ended.state.name == "COMPLETED"
    schedule.delete()
    with pytest.raises(exceptions.NotFound):
        aiplatform.PipelineJobSchedule.get(schedule.resource_name)


def test_simulated_time_leaves_no_run_out_between_start_and_end(aiplatform, job, advance):  # noqa: F811
    now = early(advance)
    first = (now // HOUR + 1) * HOUR
    schedule = aiplatform.PipelineJobSchedule(pipeline_job=job, display_name="bounded")
    schedule.create(
        cron="0 * * * *", start_time=spoken(first + HOUR - 60), end_time=spoken(first + 3 * HOUR + 60),
        max_concurrent_run_count=1, max_concurrent_active_run_count=2,
    )  # fmt: skip
    advance(6 * HOUR)
    assert due_of(schedule.list_jobs()) == [first + hours * HOUR for hours in (1, 2, 3)]


def test_each_run_starts_once_across_kills(new_portico):
    """While simulated hours go by, the server is killed again and again."""
    place = "projects/killed/locations/us-central1"
    spec = {
        "pipelineInfo": {"name": "do-nothing"}, "schemaVersion": "2.1.0", "root": {"dag": {"tasks": {}}},
        "defaultPipelineRoot": "gs://nowhere/runs",
    }  # fmt: skip
    body = {
        "displayName": "hourly",
        "cron": "0 * * * *",
        "maxConcurrentRunCount": "3",
        "createPipelineJobRequest": {"parent": place, "pipelineJob": {"pipelineSpec": spec}},
    }
    server = new_portico().start()

    def ask(method: str, path: str, **more: Any) -> Any:
        return requests.request(method, server.url + path, timeout=240, **more).json()

    def go(to: str) -> None:
        with contextlib.suppress(requests.RequestException):  # killed meanwhile
            ask("POST", "/apis/portico/v1/clock:advance", json={"time": to})

    try:
        go("2026-01-01T00:30:00Z")
        schedule = ask("POST", f"/v1/{place}/schedules", json=body)["name"]
        for day in (2, 3):
            moving = threading.Thread(target=go, args=(f"2026-01-0{day}T00:30:00Z",))
            moving.start()
            until(lambda now=int(day): started(server, schedule) >= 24 * (now - 2) + 5, "some runs")
            server.kill()
            moving.join()
            server.start()
        go("2026-01-03T00:45:00Z")
        assert started(server, schedule) == 48
        shown = ask("GET", f"/v1/{place}/pipelineJobs?pageSize=1000")["pipelineJobs"]
        assert {one["state"] for one in shown} == {"PIPELINE_STATE_SUCCEEDED"}
        assert {one["scheduleName"] for one in shown} == {schedule} and len(shown) == 48
        due = [one["jobDetail"]["pipelineRunContext"]["metadata"]["dueTime"] for one in (
            ask("GET", f"/v1/{one['name']}") for one in shown)]  # fmt: skip
        assert len(set(due)) == 48
    finally:
        server.stop()


def started(server: Any, schedule: str) -> int:
    return int(requests.get(f"{server.url}/v1/{schedule}", timeout=240).json()["startedRunCount"])


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"createPipelineJobRequest": {"parent": "projects/other/locations/us-central1"}}, 400, "is not in"),
        ({"pipelineJobId": "x"}, 400, "one id"),
        ({"pipelineJob": {}}, 400, "pipelineSpec is missing"),
        ({"pipelineJob": {"templateUri": "gs://no-such-bucket/x"}}, 404, "no-such-bucket"),
        ({"pipelineJob": {"pipelineSpec": {"root": 1}}}, 400, "pipelineSpec"),
    ],
)
def test_bad_requests_name_the_field(portico, change, status, message):
    place = "projects/test-project/locations/us-central1"
    request = change.get("createPipelineJobRequest") or {"parent": place, **change}
    body = {
        "displayName": "x",
        "cron": "0 * * * *",
        "maxConcurrentRunCount": "1",
        "createPipelineJobRequest": request,
    }
    answer = requests.post(f"{portico.url}/v1/{place}/schedules", json=body, timeout=240)
    assert answer.status_code == status, answer.text
    assert message in answer.json()["error"]["message"]
