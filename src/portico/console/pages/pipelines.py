"""Pipelines: their runs, a run's graph as it runs, a task's log, inputs and outputs; and running one again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup
from starlette.responses import Response

from portico.client.pipeline_graph import waits_for
from portico.console import words
from portico.console.graphs import Box, drawing
from portico.console.looking import Looking, address, page
from portico.console.pages.lineage import place_of
from portico.console.pages.models import containing
from portico.console.pages.training import log_of
from portico.errors import NotFound

_AT = "/projects/{project}/locations/{location}/pipelineJobs"
_MASK = "name,displayName,state,createTime,startTime,endTime,error,scheduleName,labels"
_MARKS = {
    "SUCCEEDED": "good",
    "SKIPPED": "good",
    "FAILED": "bad",
    "CANCELLED": "bad",
    "RUNNING": "busy",
    "PENDING": "waits",
    "NOT_TRIGGERED": "waits",
}
_MOST = 200  # boxes of a graph


@page(_AT)
def pipelines(looking: Looking) -> Response:
    found, more = looking.page_of(
        f"/v1/{looking.parent}/pipelineJobs", "pipelineJobs", filter=containing(looking), readMask=_MASK
    )
    busy = any(words.plain_state(one["state"]) not in words.ENDED for one in found)
    triggers = looking.api.listed(f"{looking.parent}/triggers", "triggers")
    schedules = looking.api.listed(f"/v1/{looking.parent}/schedules", "schedules")
    return looking.show(
        "pipelines.html",
        "Pipelines",
        runs=found,
        more=more,
        busy=busy,
        triggers=triggers,
        schedules=schedules,
    )


@page(f"{_AT}/{{id}}")
def run(looking: Looking) -> Response:
    name, shown = looking.read("pipelineJobs")
    state = words.plain_state(shown["state"])
    tasks = [one for one in _tasks(shown) if one.get("parentTaskId")]
    values = (shown.get("runtimeConfig") or {}).get("parameterValues") or {}
    return looking.show(
        "pipeline.html",
        words.title(shown),
        run=shown,
        name=name,
        state=state,
        tasks=tasks,
        live=state not in words.ENDED,
        graph=_graph(shown, name),
        parameters=sorted(values.items()),
    )


@page(f"{_AT}/{{id}}/tasks/{{task}}")
def task(looking: Looking) -> Response:
    name, shown = looking.read("pipelineJobs")
    found = next((one for one in _tasks(shown) if one["taskId"] == looking.part("task")), None)
    if found is None:
        raise NotFound(f"The run {words.short(name)} has no task {looking.part('task')}.")
    jobs = looking.api.listed("jobs", "jobs", resource=f"{name}/tasks/{found['taskId']}")
    job, text = log_of(looking, jobs[0]) if jobs else ({}, "")
    given = (found.get("execution") or {}).get("metadata") or {}
    sides = {
        side: [(key.partition(":")[2], value) for key, value in given.items() if key.startswith(f"{side}:")]
        for side in ("input", "output")
    }
    artifacts = {
        side: [
            {"key": key, "one": one, "to": place_of(one, looking.parent)}
            for key, some in (found.get(f"{side}s") or {}).items()
            for one in some.get("artifacts") or []
        ]
        for side in ("input", "output")
    }
    return looking.show(
        "task.html",
        found["taskName"],
        run=shown,
        name=name,
        task=found,
        job=job,
        log=text,
        sides=sides,
        artifacts=artifacts,
        live=words.plain_state(found["state"]) not in (*words.ENDED, "SKIPPED", "NOT_TRIGGERED"),
    )


@page(f"{_AT}/{{id}}/run-again", "POST")
def run_again(looking: Looking) -> Response:
    """A new run of the same pipeline with the same parameters; what has not changed comes from the cache."""
    first = looking.api.call("GET", f"/v1/{looking.name('pipelineJobs')}")
    kept = ("displayName", "pipelineSpec", "templateUri", "runtimeConfig", "labels", "serviceAccount")
    made = looking.api.call(
        "POST", f"/v1/{looking.parent}/pipelineJobs", {k: first[k] for k in kept if first.get(k)}
    )
    return looking.go(address(made["name"]))


def _tasks(shown: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (shown.get("jobDetail") or {}).get("taskDetails") or []
    return found


def _graph(shown: Mapping[str, Any], name: str) -> Markup:
    """The tasks that there are so far, each behind those that it waits for and behind the dag that it is in."""
    tasks = _tasks(shown)[:_MOST]
    by_id = {one["taskId"]: one for one in tasks}
    spec = shown.get("pipelineSpec") or {}
    root = next((one for one in tasks if not one.get("parentTaskId")), None)
    if root is None:
        return Markup('<p class="soft">Nothing has begun yet.</p>')
    dags: dict[str, Mapping[str, Any]] = {}

    def dag(one: Mapping[str, Any]) -> Mapping[str, Any]:
        """The dag that a task is, or that its iteration stands in; {} for one that runs a component."""
        key = one["taskId"]
        if key not in dags:
            above = by_id.get(one.get("parentTaskId", ""))
            if above is None:
                dags[key] = (spec.get("root") or {}).get("dag") or {}
            else:
                said = (dag(above).get("tasks") or {}).get(_key(one))
                component = (spec.get("components") or {}).get(
                    ((said or {}).get("componentRef") or {}).get("name"), {}
                )
                dags[key] = component.get("dag") or {} if said else dag(above)
        return dags[key]

    boxes, edges = {}, []
    for one in tasks:
        if one is root:
            continue
        above = by_id.get(one["parentTaskId"], root)
        beside = {_key(o): o["taskId"] for o in tasks if o.get("parentTaskId") == one["parentTaskId"]}
        said = (dag(above).get("tasks") or {}).get(_key(one)) or {}
        waits = [beside[key] for key in waits_for(said, beside)]
        edges += [(other, one["taskId"]) for other in waits]
        if not waits and above is not root:
            edges.append((above["taskId"], one["taskId"]))
        state = words.plain_state(one["state"])
        lasted = words.took(one)
        boxes[one["taskId"]] = Box(
            one["taskName"],
            f"{state.lower().replace('_', ' ')} {lasted}".strip(),
            address(f"{name}/tasks/{one['taskId']}"),
            f"run {_MARKS.get(state, '')}".strip(),
        )
    return drawing(boxes, edges, "The tasks of the run, each behind what it waits for")


def _key(one: Mapping[str, Any]) -> str:
    return str(one.get("taskUniqueName", "")).rpartition(".")[2]
