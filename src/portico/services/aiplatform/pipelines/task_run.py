"""The work of a container's task: its component run, tried again where its pipeline says so."""

from __future__ import annotations

import json
import shlex
from typing import Any

from portico.clock import duration_seconds, rfc3339
from portico.errors import Cancelled, FailedPrecondition, PorticoError, rpc_status
from portico.jobs.kinds import Crowded, Wait
from portico.jobs.worker import Context
from portico.services.aiplatform.pipelines import executor, resolving
from portico.services.aiplatform.pipelines.components import launch, resources
from portico.services.aiplatform.pipelines.placeholders import Scope
from portico.services.aiplatform.pipelines.turn import Turn
from portico.services.standard.names import location_of
from portico.store import pipelines
from portico.store.pipelines import Task

_EMPTY: dict[str, Any] = {"STRUCT": {}, "LIST": []}  # what an optional input is that nothing gives
_INPUTS = 1000  # characters of a failed task's inputs that are told


def run(context: Context) -> dict[str, Any] | Wait:
    """Job: one attempt; the outputs, and the environment in which they were made.

    Raises:
        FailedPrecondition, …: it failed for good; the message has its last lines.
    """
    with context.database.read() as connection:
        turn = Turn(connection, context.clock.now())
        task = turn.task(int(context.job.payload["task"]))
        told, component, facts = (
            executor.input_of(turn, task),
            turn.component(task),
            resolving.facts_of(turn, task),
        )
        given, container = turn.root(task).spec, resolving.container_of(turn, task)
    definitions = (component.get("inputDefinitions") or {}).get("parameters") or {}
    empty = {name: _EMPTY.get(one.get("parameterType", ""), "") for name, one in definitions.items()}
    scope = Scope(told, facts, resolving.written_in(task, definitions), empty)
    try:
        found = launch.run(context, _launch(context, container, scope, given, component.get("timeout")))
        made = component.get("outputDefinitions") or {}
        outputs = executor.outputs_of(task, made, told, found)
        for line in executor.unwritten(made, told, outputs):
            context.say(line)
        return {"outputs": outputs, "environment": found.get("environment", "")}
    except (Cancelled, Crowded):
        raise
    except PorticoError as error:
        if (again := _again(context, task, error)) is not None:
            return again
        error.message = f"{error.message}{_inputs(told)}"
        raise


def _launch(
    context: Context,
    container: dict[str, Any],
    scope: Scope,
    given: dict[str, Any],
    timeout: float | None,
) -> launch.Launch:
    _, project, _, location = location_of(context.job.resource).split("/")
    command = scope.arguments(container.get("command") or [])
    before = (container.get("lifecycle") or {}).get("preCacheCheck") or {}
    if driver := scope.arguments([*(before.get("command") or []), *(before.get("args") or [])]):
        if not command:
            raise FailedPrecondition(
                "What runs before a container (lifecycle.preCacheCheck) needs one with a command of its own.",
                field="container.command",
            )
        command = ["sh", "-ec", f'{shlex.join(driver)}\nexec "$0" "$@"', *command]
    return launch.Launch(
        image=scope.fill(container["image"]),
        command=command,
        args=scope.arguments(container.get("args") or []),
        env={one["name"]: scope.fill(one.get("value") or "") for one in container.get("env") or ()},
        executor_input=dict(scope.executor),
        project=project,
        location=location,
        timeout=timeout,
        labels=given.get("labels") or {},
        memory=resources.memory_of(container),
        service_account=given.get("serviceAccount") or "",
    )


def _again(context: Context, task: Task, error: PorticoError) -> Wait | None:
    """When a task that failed is tried again; None where it is not. What it failed with is in its statuses."""
    policy = task.spec.get("retryPolicy") or {}
    with context.database.write() as connection:
        now = context.clock.now()
        row = pipelines.get(connection, task.id)
        if row is None or row.has_ended:
            return None
        failed = sum("error" in status for status in row.statuses) + 1
        if failed > int(policy.get("maxRetryCount") or 0):
            return None
        first = duration_seconds(policy.get("backoffDuration") or "0s")
        most = duration_seconds(policy.get("backoffMaxDuration") or "3600s")
        pause = min(first * float(policy.get("backoffFactor") or 2.0) ** (failed - 1), most)
        status = {"state": "PENDING", "updateTime": rfc3339(now), "error": rpc_status(error)}
        row.state, row.statuses = "PENDING", [*row.statuses, status]
        pipelines.update(connection, [row])
    context.say(f"attempt {failed} failed: {error.message}")
    return Wait(now + pause, why=f"waits {pause:g} seconds before it is tried again")


def _inputs(told: dict[str, Any]) -> str:
    """What a task was given, for its error."""
    inputs = {**(told["inputs"].get("parameterValues") or {})}
    for name, held in (told["inputs"].get("artifacts") or {}).items():
        inputs[name] = ", ".join(one["uri"] for one in held["artifacts"])
    return f"\nIts inputs: {json.dumps(inputs)[:_INPUTS]}" if inputs else ""
