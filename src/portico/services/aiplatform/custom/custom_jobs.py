"""Custom jobs: a user's own training code as a durable job."""

from __future__ import annotations

from typing import Any

from portico.jobs.kinds import JobKind
from portico.jobs.kinds import register as register_kind
from portico.services.aiplatform.custom import persistent_resources, spec
from portico.services.aiplatform.tensorboard import event_logs
from portico.services.call import Call, implements
from portico.services.standard.collection import register
from portico.services.standard.jobs import JobCollection, JobPrivate

CUSTOM_JOBS = JobCollection("projects.locations.customJobs", "CustomJob", has_etag=False)
register(CUSTOM_JOBS, "get", "list", "cancel", "delete")
register_kind(
    JobKind(
        "customJobs", "portico.services.aiplatform.custom.run:run", CUSTOM_JOBS.follow, prepares=True,
        stays=lambda job: bool(job.payload.get("persistent")),
    )
)  # fmt: skip


@implements("aiplatform", CUSTOM_JOBS.method("create"))
def create(call: Call) -> dict[str, Any]:
    parent, body = str(call.params["parent"]), call.body
    spec.check(body["jobSpec"], "jobSpec")
    event_logs.check(call.rooms, parent, body["jobSpec"], "jobSpec")
    name = f"{parent}/customJobs/{call.rooms.ids.number()}"
    persistent = persistent_resources.name_of(parent, body["jobSpec"])
    with call.rooms.database.write() as connection:
        persistent_resources.require(connection, persistent)
        payload = {"spec": body["jobSpec"], "job": name, "persistent": persistent}
        job = call.rooms.queue.add(
            connection,
            "customJobs",
            name,
            payload,
            asks=spec.asks_of(call.rooms.home, body["jobSpec"], stays=bool(persistent)),
        )
        made = CUSTOM_JOBS.insert(
            call,
            connection,
            name,
            parent,
            {**body, "jobSpec": spec.shown(body["jobSpec"]), "state": CUSTOM_JOBS.state("PENDING")},
            JobPrivate(job=job),
        )
        answer = CUSTOM_JOBS.render(made)
    call.rooms.queue.wake()
    return answer
