"""How a run goes on: what a task's end makes of its parent and of what waits for it.

All of it happens in the transaction of the move that caused it, so that a crash leaves all or nothing, and looks only
at the tasks beside and above the one that moved.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from portico.clock import rfc3339
from portico.errors import FailedPrecondition, Internal, PorticoError, rpc_status
from portico.ids import RandomIds
from portico.jobs.kinds import KINDS
from portico.services.aiplatform.pipelines import (
    caching,
    conditions,
    importing,
    ir,
    querying,
    recorded,
    resolving,
)
from portico.services.aiplatform.pipelines.components import resources
from portico.services.aiplatform.pipelines.turn import Turn
from portico.store import jobs, pipelines
from portico.store.backend import DatabaseAway
from portico.store.jobs import Resources
from portico.store.pipelines import Task

TASK_JOBS = "pipelineJobs.tasks"
FAIL_FAST = "PIPELINE_FAILURE_POLICY_FAIL_FAST"
_GIVES = {"importer": importing.outputs_of, "resolver": querying.outputs_of}  # what runs nothing
_MOST = 8000  # characters of an error
_BESIDE = (
    1000  # iterations of a loop that are under way: more would only be queued, and all in one transaction
)
_ids = RandomIds()
log = logging.getLogger(__name__)


def begin(turn: Turn, root: Task) -> None:
    """Starts a run: its root task, which has its inputs and its job."""
    turn.add(root)
    _state(turn, root, "RUNNING")
    recorded.started(turn, root)
    _begin_dag(turn, root)


def ran(turn: Turn, task: Task) -> None:
    """A container's job has begun."""
    if task.state != "RUNNING":
        _state(turn, task, "RUNNING")
        recorded.started(turn, task)


def end(
    turn: Turn,
    task: Task,
    state: str,
    outputs: dict[str, Any] | None = None,
    error: dict[str, Any] | None = None,
) -> None:
    """Ends a task. What follows from it is put into the turn's `todo`."""
    task.outputs = outputs or {}
    if error:
        task.error = {**error, "message": error["message"][:_MOST]}
    _state(turn, task, state)
    recorded.ended(turn, task)
    turn.todo.append(partial(_follow_end, turn, task))


def cancel(turn: Turn, root: Task) -> None:
    """Ends all of a run that has not ended; what its jobs still do ends with them."""
    error = {"code": 1, "message": "The pipeline job was cancelled."}
    for task in pipelines.of_run(turn.connection, root.run):
        if task.has_ended:
            continue
        found = turn.task(task.id)
        found.error = error
        _state(turn, found, "CANCELLED" if found.start_time else "NOT_TRIGGERED")
        recorded.ended(turn, found)


def mend(turn: Turn, root: Task) -> None:
    """Finds out from the rows what is to be done, where no end of a task told it."""
    for row in list(pipelines.of_run(turn.connection, root.run)):
        task = turn.task(row.id)
        if task.has_ended or task is root:
            continue
        if task.kind == "container" and task.job:
            job = jobs.get(turn.connection, task.job)
            if job is None or job.state in jobs.ENDED:
                lost = {"code": 13, "message": "The task's job is gone."}
                follow(turn, task, job.state if job else "FAILED", job.result if job else None,
                       (job.error if job else None) or lost)  # fmt: skip
        elif task.state == "PENDING" and not task.start_time and not turn.parent(task).has_ended:
            upstream = turn.beside(task, task.spec.get("upstream") or ())
            if task.iteration < 0 and all(one.has_ended for one in upstream.values()):
                turn.todo.append(partial(_ready, turn, task))


def follow(
    turn: Turn, task: Task, state: str, result: dict[str, Any] | None, error: dict[str, Any] | None
) -> None:
    """Lets a container's task follow its job to its end."""
    if state == "SUCCEEDED":
        told = result or {}
        end(turn, task, state, told.get("outputs"))
        caching.keep(turn, task, told.get("environment", ""))
    else:
        end(turn, task, state, error=error)


# --- the steps ---


def _state(turn: Turn, task: Task, state: str) -> None:
    task.state = state
    if state == "RUNNING":
        task.start_time = task.start_time or turn.now
    if task.has_ended:
        task.end_time = turn.now
        task.start_time = task.start_time or (turn.now if state != "NOT_TRIGGERED" else None)
    told: dict[str, Any] = {"state": state, "updateTime": rfc3339(turn.now)}
    if task.error and state in ("FAILED", "CANCELLED"):
        told["error"] = task.error
    task.statuses.append(told)
    turn.change(task)


def _begin_dag(turn: Turn, dag: Task) -> None:
    tasks = turn.component(dag)["tasks"]
    dag.children = len(tasks)
    turn.change(dag)
    ids = sorted(int(_ids.number()) for _ in tasks)  # as they are in the spec, so they are shown
    for number, spec in zip(ids, tasks, strict=True):
        told = {
            key: value
            for key, value in spec.items()
            if key not in ("name", "kind", "component", "dependents")
        }
        made = Task(
            number, dag.run, dag.root, dag.id, spec["name"], spec["kind"], spec["component"], told,
            turn.now, dependents=spec["dependents"], waits_for=len(spec["upstream"]),
        )  # fmt: skip
        _state(turn, turn.add(made), "PENDING")
        if not made.waits_for:
            turn.todo.append(partial(_ready, turn, made))
    if not tasks:
        turn.todo.append(partial(_finish, turn, dag))


def _ready(turn: Turn, task: Task) -> None:
    """All that a task waited for has ended."""
    if task.state != "PENDING" or turn.parent(task).has_ended:
        return
    upstream = turn.beside(task, task.spec.get("upstream") or ())
    trigger = task.spec.get("triggerPolicy") or {}
    if trigger.get("strategy") != ir.COMPLETED and (
        not all(one.is_done for one in upstream.values()) or turn.root(task).spec.get("failing")
    ):
        end(turn, task, "NOT_TRIGGERED")
        return
    try:
        task.inputs = resolving.inputs_of(turn, task, upstream)
        if trigger.get("condition") and not conditions.holds(
            trigger["condition"], task.inputs["parameters"], task.inputs["artifacts"]
        ):
            end(turn, task, "NOT_TRIGGERED")
            return
        if task.kind == "loop":
            _begin_loop(turn, task)
        else:
            _start(turn, task)
    except Exception as error:
        _fail(turn, task, error)


def _start(turn: Turn, task: Task) -> None:
    """Starts a task, or an iteration, that has its inputs."""
    if task.kind == "dag":
        _state(turn, task, "RUNNING")
        recorded.started(turn, task)
        _begin_dag(turn, task)
    elif task.kind in _GIVES:
        _state(turn, task, "RUNNING")
        recorded.started(turn, task)
        end(turn, task, "SUCCEEDED", _GIVES[task.kind](turn, task))
    elif found := caching.found(turn, task):
        end(turn, task, "SKIPPED", found)
    else:
        task.job = _ids.number()
        kind = KINDS[TASK_JOBS]
        asked = turn.component(task).get("asks")
        home = turn.root(task).spec.get("home")
        if asked is None and home:
            asks = resources.asks_of(resolving.container_of(turn, task), Path(home))
        else:
            asks = Resources(*asked) if asked else kind.asks
        jobs.insert(
            turn.connection, id=task.job, kind=kind.name, resource=f"{task.run}/tasks/{task.id}",
            payload={"task": str(task.id), "run": task.run}, now=turn.now, lane=kind.lane,
            asks=asks, parent=turn.root(task).job,
        )  # fmt: skip
        turn.change(task)


def _begin_loop(turn: Turn, loop: Task) -> None:
    items = resolving.items_of(loop)
    loop.inputs["items"] = items
    _state(turn, loop, "RUNNING")
    recorded.started(turn, loop)
    limit = int((loop.spec.get("iteratorPolicy") or {}).get("parallelismLimit") or 0) or _BESIDE
    for _ in range(min(limit, _BESIDE, len(items))):
        _begin_iteration(turn, loop)
    if not items:
        turn.todo.append(partial(_finish, turn, loop))


def _begin_iteration(turn: Turn, loop: Task) -> None:
    number = loop.begun
    made = Task(
        int(_ids.number()), loop.run, loop.root, loop.id, f"{loop.name}-{number}", loop.spec["inner"], loop.component,
        {}, turn.now, iteration=number, inputs=loop.inputs["items"][number],
    )  # fmt: skip
    loop.begun += 1
    loop.children += 1
    turn.change(loop)
    _state(turn, turn.add(made), "PENDING")
    turn.todo.append(partial(_begin_inside, turn, made))


def _begin_inside(turn: Turn, iteration: Task) -> None:
    try:
        _start(turn, iteration)
    except Exception as error:
        _fail(turn, iteration, error)


def _fail(turn: Turn, task: Task, error: Exception) -> None:
    """Ends a task that can't begin. What nobody has foreseen ends it too, and not the move that it follows."""
    if isinstance(error, SQLAlchemyError | DatabaseAway):
        raise error
    if not isinstance(error, PorticoError):
        log.exception("the task %s of %s can't begin", task.name, task.run)
        error = Internal(f"The task can't begin ({type(error).__name__}: {error}).")
    end(turn, task, "FAILED", error=rpc_status(error))


def _follow_end(turn: Turn, task: Task) -> None:
    for other in turn.beside(task, task.dependents).values():
        other.waits_for -= 1
        turn.change(other)
        if other.waits_for == 0:
            turn.todo.append(partial(_ready, turn, other))
    if task.parent is None:
        return
    parent, root = turn.parent(task), turn.root(task)
    if parent.has_ended:
        return
    parent.children -= 1
    if task.state in ("FAILED", "CANCELLED"):
        parent.failed += 1
        if root.spec.get("failurePolicy") == FAIL_FAST and not root.spec.get("failing"):
            root.spec["failing"] = True
            turn.change(root)
    turn.change(parent)
    if parent.kind == "loop" and parent.begun < len(parent.inputs["items"]) and not root.spec.get("failing"):
        _begin_iteration(turn, parent)
    if not parent.children:
        turn.todo.append(partial(_finish, turn, parent))


def _finish(turn: Turn, parent: Task) -> None:
    """Ends a dag or a loop, all below which has ended."""
    if parent.has_ended or parent.children:
        return
    outputs = resolving.outputs_of(turn, parent)
    if not parent.failed:
        end(turn, parent, "SUCCEEDED", outputs)
        return
    failed = [child for child in turn.children(parent) if child.state in ("FAILED", "CANCELLED")]
    failed.sort(key=lambda child: child.end_time or 0.0)
    first, names = failed[0], ", ".join(resolving.shown_name(child) for child in failed[:20])
    why = (first.error or {}).get("message", "")
    error = FailedPrecondition(
        f"The DAG failed because some tasks failed. The failed tasks are: [{names}]. "
        f"{resolving.shown_name(first)}: {why}"
    )
    end(turn, parent, "FAILED", outputs, rpc_status(error))


def follow_job(connection: Connection, job: jobs.Job, now: float) -> None:
    """Lets a task follow the job that runs its container; the follow of `TASK_JOBS`."""
    turn = Turn(connection, now)
    task = turn.find(int(job.payload["task"]))
    if task is None or task.has_ended:
        return
    if job.state == "RUNNING":
        ran(turn, task)
    elif job.state in jobs.ENDED:
        follow(turn, task, job.state, job.result, job.error)
    turn.settle()
    if job.parent and job.state in jobs.ENDED:
        if turn.root(task).has_ended:
            jobs.wake(connection, [job.parent])
        elif jobs.has_children_at_work(connection, job.parent):
            jobs.rest(connection, job.parent)
