"""Custom jobs: a user's own training code as a durable job."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.errors import FailedPrecondition
from portico.jobs.kinds import JobKind
from portico.jobs.kinds import register as register_kind
from portico.services.aiplatform.custom import spec
from portico.services.call import Call, implements
from portico.services.standard import operations
from portico.services.standard.collection import Collection, register
from portico.services.standard.jobs import JobPrivate
from portico.store import jobs, resources
from portico.store.jobs import Job

CUSTOM_JOBS = Collection("projects.locations.customJobs", "CustomJob", has_etag=False)
register(CUSTOM_JOBS, "get", "list")

ENDED = frozenset({"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"})


@implements("aiplatform", CUSTOM_JOBS.method("create"))
def create(call: Call) -> dict[str, Any]:
    parent, body = str(call.params["parent"]), call.body
    spec.check(body["jobSpec"], "jobSpec")
    name = f"{parent}/customJobs/{call.rooms.ids.number()}"
    with call.rooms.database.write() as connection:
        payload = {"spec": body["jobSpec"], "job": name}
        job = call.rooms.queue.add(
            connection, "customJobs", name, payload, asks=spec.asks_of(body["jobSpec"])
        )
        shown = {**body, "state": "JOB_STATE_PENDING"}
        made = CUSTOM_JOBS.create(call, connection, name, parent, shown, JobPrivate(job=job))
        answer = CUSTOM_JOBS.render(made)
    call.rooms.queue.wake()
    return answer


@implements("aiplatform", CUSTOM_JOBS.method("cancel"))
def cancel(call: Call) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        job = CUSTOM_JOBS.require(connection, call.name)
        if job.body["state"] not in ENDED:
            call.rooms.queue.cancel(connection, JobPrivate.of(job).job)
            job.body["state"] = "JOB_STATE_CANCELLING"
            resources.update(connection, job, call.rooms.clock.now())
    call.rooms.queue.wake()
    return {}


@implements("aiplatform", CUSTOM_JOBS.method("delete"))
def delete(call: Call) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        job = CUSTOM_JOBS.require(connection, call.name)
        if job.body["state"] not in ENDED:
            raise FailedPrecondition(f"{job.name} is still running; cancel it first.")
        resources.delete(connection, job.name)
        return operations.done(call, connection, job.name, "DeleteOperationMetadata", None)


_STATES: dict[jobs.State, str] = {
    "QUEUED": "JOB_STATE_PENDING",
    "RUNNING": "JOB_STATE_RUNNING",
    "SUCCEEDED": "JOB_STATE_SUCCEEDED",
    "FAILED": "JOB_STATE_FAILED",
    "CANCELLED": "JOB_STATE_CANCELLED",
}


def _follow(connection: Connection, job: Job, now: float) -> None:
    resource = resources.get(connection, job.resource)
    if resource is None:
        return
    body = resource.body
    body["state"] = _STATES[job.state]
    if job.state == "RUNNING":
        body.setdefault("startTime", rfc3339(now))
    else:
        body["endTime"] = rfc3339(now)
    if job.state in ("FAILED", "CANCELLED") and job.error:
        body["error"] = job.error
    resources.update(connection, resource, now)


register_kind(JobKind("customJobs", "portico.services.aiplatform.custom.run:run", _follow))
