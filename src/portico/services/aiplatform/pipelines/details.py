"""PipelineJob.jobDetail: the tasks of a run, and its contexts, as clients see them."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.services.aiplatform.metadata.contexts import CONTEXTS
from portico.services.aiplatform.metadata.nodes import ARTIFACTS, EXECUTIONS
from portico.services.aiplatform.pipelines import recorded, resolving
from portico.services.standard.names import location_of
from portico.store import pipelines, resources
from portico.store.pipelines import Task
from portico.store.resources import Resource


def detail_of(connection: Connection, run: str, pipeline: str) -> dict[str, Any]:
    """All of a run's jobDetail."""
    with _uncollected():
        return _detail_of(connection, run, pipeline)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Meanwhile nothing is collected: of tens of thousands of tasks, none of which is garbage, the collector would take
    longer than it takes to read them."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _detail_of(connection: Connection, run: str, pipeline: str) -> dict[str, Any]:
    tasks = list(pipelines.of_run(connection, run))
    names = [recorded.execution_of(task) for task in tasks if task.start_time]
    names += [
        artifact["name"]
        for task in tasks
        for side in (task.inputs, task.outputs)
        for some in (side.get("artifacts") or {}).values()
        for artifact in some
    ]
    held = {found.name: found for found in resources.named(connection, dict.fromkeys(names))}
    paths = _paths(tasks)
    shown = {"taskDetails": [_task(task, paths[task.id], held) for task in tasks]} if tasks else {}
    return {**contexts_of(connection, run, pipeline), **shown}


def contexts_of(connection: Connection, run: str, pipeline: str) -> dict[str, Any]:
    found = [resources.get(connection, name) for name in recorded.contexts_of(run, pipeline)]
    return {
        key: CONTEXTS.render(context)
        for key, context in zip(("pipelineContext", "pipelineRunContext"), found, strict=True)
        if context is not None
    }


def _paths(tasks: list[Task]) -> dict[int, str]:
    """Each task's unique name: those of the tasks that it is in, and its own."""
    by_id = {task.id: task for task in tasks}
    paths: dict[int, str] = {}
    for task in tasks:
        names, at = [], task
        while at.parent is not None:
            names.append(at.name)
            at = by_id[at.parent]
        paths[task.id] = ".".join(reversed(names))
    return paths


def _task(task: Task, path: str, held: Mapping[str, Resource]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "taskId": str(task.id),
        "taskName": task.spec["job"] if task.parent is None else resolving.shown_name(task),
        "taskUniqueName": path,
        "state": task.state,
        "createTime": rfc3339(task.create_time),
        "pipelineTaskStatus": task.statuses,
    }
    if task.parent is not None:
        shown["parentTaskId"] = str(task.parent)
    if task.start_time:
        shown["startTime"] = rfc3339(task.start_time)
    if task.end_time:
        shown["endTime"] = rfc3339(task.end_time)
    if task.error:
        shown["error"] = task.error
    if execution := held.get(recorded.execution_of(task)):
        shown["execution"] = EXECUTIONS.render(execution)
    if task.job:
        main = f"{location_of(task.run)}/customJobs/{task.job}"
        shown["executorDetail"] = {"containerDetail": {"mainJob": main}}
    for key, side in (("inputs", task.inputs), ("outputs", task.outputs)):
        artifacts = {
            name: {"artifacts": [ARTIFACTS.render(held[one["name"]]) for one in some if one["name"] in held]}
            for name, some in (side.get("artifacts") or {}).items()
        }
        if artifacts:
            shown[key] = artifacts
    return shown
