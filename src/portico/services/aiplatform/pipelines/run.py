"""The work of a pipeline job itself: it starts its run, and waits for the end of its tasks."""

from __future__ import annotations

from typing import Any

from portico.errors import DeadlineExceeded, FailedPrecondition
from portico.jobs.kinds import Wait
from portico.jobs.worker import Context
from portico.services.aiplatform.pipelines import progress, resolving
from portico.services.aiplatform.pipelines.pipeline_jobs import PIPELINE_JOBS, root_of
from portico.services.aiplatform.pipelines.turn import Turn
from portico.store import pipelines
from portico.store.pipelines import Task


def run(context: Context) -> dict[str, Any] | Wait:
    """Job: a turn. Mostly there is a first one, which starts what can run at once, and a last one; in between the ends
    of tasks start what waited for them (`progress`).

    Raises:
        FailedPrecondition: the run failed; the message names the tasks that did. DeadlineExceeded: it took too long.
    """
    with context.database.write() as connection:
        job = PIPELINE_JOBS.require(connection, context.job.resource)
        turn = Turn(connection, context.clock.now())
        new = root_of(job, context.job.id)
        root = turn.find(new.id)
        if root is None:
            root = new
            progress.begin(turn, root)
        elif not root.has_ended:
            progress.mend(turn, root)
        turn.settle()
        reused = _reused(turn, root) if root.has_ended else []
    if not root.has_ended:
        timeout = root.spec.get("timeout")
        if timeout and context.clock.now() >= job.create_time + timeout:
            raise DeadlineExceeded(f"The pipeline ran longer than its timeout of {timeout:g} seconds.")
        return Wait(limit=job.create_time + timeout if timeout else None)
    for line in reused:
        context.say(line)
    if root.state == "FAILED":
        raise FailedPrecondition((root.error or {}).get("message", "The run failed."))
    return {}


def _reused(turn: Turn, root: Task) -> list[str]:
    """Which of its tasks a run did not do, and who had done them."""
    return [
        f"{resolving.shown_name(task)} was not run: its outputs are those of the task "
        f"{task.spec['cachedFrom']['task']} of {task.spec['cachedFrom']['run']}"
        for task in pipelines.skipped(turn.connection, root.run)
    ]
