"""A run that repeats another one: what it need not do again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument, Unimplemented
from portico.services.aiplatform.pipelines.turn import Turn
from portico.store import pipelines
from portico.store.pipelines import Task


def skipped(connection: Connection, parent: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """What a request to rerun a job says of the tasks: {"skip": {unique name: task of the original}}.

    Raises:
        InvalidArgument: the original, or a task of it, is not there. Unimplemented: a task shall have other inputs.
    """
    original, configs = body.get("originalPipelineJobId"), body.get("pipelineTaskRerunConfigs") or []
    if not original:
        return {}
    field = "pipelineJob.originalPipelineJobId"
    root = pipelines.get(connection, int(original))
    if root is None or not root.run.startswith(f"{parent}/"):
        raise InvalidArgument(f"There is no pipeline job whose id is {original} in {parent}.", field=field)
    skip = {}
    for number, config in enumerate(configs):
        at = f"pipelineJob.pipelineTaskRerunConfigs[{number}]"
        task = pipelines.get(connection, int(config.get("taskId") or 0))
        if task is None or task.root != root.id:
            raise InvalidArgument(f"{at}.taskId is no task of {root.run}.", field=f"{at}.taskId")
        given = config.get("inputs") or {}
        if given.get("artifacts") or given.get("parameterValues") or config.get("skipDownstreamTasks"):
            raise Unimplemented(
                f"{at}: only skipTask is built; the rest is not built in Portico yet.", field=at
            )
        if config.get("skipTask") and task.kind == "container" and config.get("taskName"):
            if not task.is_done:
                raise InvalidArgument(
                    f"{at}: the task {task.name} has not succeeded ({task.state}), and can't be skipped.",
                    field=at,
                )
            skip[config["taskName"]] = str(task.id)
    return {"skip": skip}


def unique_name(turn: Turn, task: Task) -> str:
    """A task's place in its run, the same in each run of the pipeline: the names from the root down."""
    names = []
    while task.parent is not None:
        names.append(task.name)
        task = turn.parent(task)
    return ".".join(reversed(names))


def original_of(turn: Turn, task: Task) -> Task | None:
    """The original run's task, where this run's request says to skip its own."""
    skipped = turn.root(task).spec.get("skip")
    if not skipped:
        return None
    original = skipped.get(unique_name(turn, task))
    before = pipelines.get(turn.connection, int(original)) if original else None
    return before if before and before.is_done else None
