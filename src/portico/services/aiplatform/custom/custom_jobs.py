"""Custom jobs: a user's own training code as a durable job."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from portico.jobs.kinds import JobKind
from portico.jobs.kinds import register as register_kind
from portico.services.aiplatform.custom import persistent_resources, spec
from portico.services.aiplatform.tensorboard import event_logs
from portico.services.call import Call
from portico.services.standard import sources
from portico.services.standard.collection import register
from portico.services.standard.jobs import JobCollection, JobPrivate, Queued


class CustomJobs(JobCollection):
    def asked(self, call: Call, name: str) -> Queued:
        parent, asked = str(call.params["parent"]), call.body["jobSpec"]
        spec.check(asked, "jobSpec", sources.gcs_of(call.rooms))
        event_logs.check(call.rooms, parent, asked, "jobSpec")
        persistent = persistent_resources.name_of(parent, asked)

        def queued(connection: Connection, body: dict[str, Any]) -> JobPrivate:
            persistent_resources.require(connection, persistent)
            body["jobSpec"] = spec.shown(asked)
            payload = {"spec": asked, "job": name, "persistent": persistent}
            asks = spec.asks_of(call.rooms.home, asked, stays=bool(persistent))
            return JobPrivate(job=call.rooms.queue.add(connection, "customJobs", name, payload, asks=asks))

        return queued


CUSTOM_JOBS = CustomJobs("projects.locations.customJobs", "CustomJob", has_etag=False)
register(CUSTOM_JOBS, "create", "get", "list", "cancel", "delete")
register_kind(
    JobKind(
        "customJobs", "portico.services.aiplatform.custom.run:run", CUSTOM_JOBS.follow, prepares=True,
        stays=lambda job: bool(job.payload.get("persistent")),
    )
)  # fmt: skip
