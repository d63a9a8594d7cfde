"""Jobs of model monitors (v1beta1): create, get, list, delete. Their work is in `monitor_run`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.errors import AlreadyExists
from portico.jobs.kinds import JobKind
from portico.jobs.kinds import register as register_kind
from portico.services.aiplatform.batch.opening import replica_set_id
from portico.services.aiplatform.monitoring import monitor_spec as spec
from portico.services.aiplatform.monitoring import words
from portico.services.aiplatform.monitoring.model_monitors import MONITORS
from portico.services.call import Call, Rooms
from portico.services.registry import model_store
from portico.services.standard.collection import After, Made, check_common, register
from portico.services.standard.jobs import JobCollection, JobPrivate
from portico.services.standard.names import LABEL_ID
from portico.store import domain_clock, jobs, monitoring_points, replicas, resources
from portico.store.jobs import Job
from portico.store.objects import generations as objects
from portico.store.resources import Resource


class ModelMonitoringJobPrivate(JobPrivate):
    """`cutoff` is the moment from which a job's windows are told, in domain time, which is also the time of what it
    finds; `schema` and model `version` are its monitor's as they were then."""

    cutoff: float = 0.0
    schema: dict[str, Any] = {}
    version: str = ""


class ModelMonitoringJobs(JobCollection):
    def making(self, call: Call, name: str) -> Made:
        def made(connection: Connection) -> tuple[Resource, After]:
            monitor = MONITORS.require(connection, str(call.params["parent"]))
            now = domain_clock.now(connection, call.rooms.clock)
            return start(call.rooms, connection, monitor, name, call.body, now), call.rooms.queue.wake

        return made

    def succeeded(self, connection: Connection, resource: Resource, job: Job, now: float) -> None:
        resource.body["state"] = job.result["state"]
        _mail(connection, resource, job.result["anomalies"], now, job.id)

    def release(self, connection: Connection, job: Job) -> None:
        objects.unpin(connection, holder_of(job))
        replicas.remove(connection, replica_set_id(job.id))

    def stamp(self, body: dict[str, Any], job: Job, now: float) -> None:
        if job.error:
            body.setdefault("jobExecutionDetail", {})["error"] = job.error

    def deleting(self, call: Call, connection: Connection, resource: Resource) -> After:
        """Its work ends where it still runs, and what it found goes with it."""
        jobs.request_cancel(connection, self.private.of(resource).job)
        monitoring_points.delete(connection, resource.parent, resource.name)
        return call.rooms.queue.wake


JOBS = ModelMonitoringJobs(
    "projects.locations.modelMonitors.modelMonitoringJobs",
    "ModelMonitoringJob",
    has_etag=False,
    ids=LABEL_ID,
    private=ModelMonitoringJobPrivate,
)
register(JOBS, "create", "get", "list", "delete")
JOB_KIND = "modelMonitoringJobs"
register_kind(
    JobKind(
        JOB_KIND,
        "portico.services.aiplatform.monitoring.monitor_run:run",
        JOBS.follow,
        stays=lambda job: job.payload.get("format") == "replica",
    )
)


def start(
    rooms: Rooms,
    connection: Connection,
    monitor: Resource,
    name: str,
    told: Mapping[str, Any],
    cutoff: float,
    schedule: str = "",
) -> Resource:
    """A new job of `monitor` by that name, as `told` (a ModelMonitoringJob) or by default. Wake the queue when
    that is committed.

    Raises:
        InvalidArgument: naming the field. AlreadyExists, NotFound, Unimplemented
    """
    check_common(told)
    cutoff = round(cutoff, 6)
    made = {
        **told,
        "modelMonitoringSpec": spec.spec_of(
            connection, monitor, told.get("modelMonitoringSpec") or {}, "modelMonitoringSpec"
        ),
        "state": JOBS.state("PENDING"),
    }
    version = spec.target_version(connection, monitor.body)
    private = ModelMonitoringJobPrivate(
        cutoff=cutoff, schema=monitor.body["modelMonitoringSchema"], version=version.name
    )
    if schedule:
        made |= {"schedule": schedule, "scheduleTime": rfc3339(cutoff)}
    if resources.get(connection, name) is not None:
        raise AlreadyExists(f"The ModelMonitoringJob {name!r} already exists; choose another id.")
    format = model_store.VersionPrivate.of(version).format
    private.job = rooms.queue.add(connection, JOB_KIND, name, {"schedule": schedule, "format": format})
    job = resources.insert(
        connection, name=name, kind=JOBS.kind, parent=monitor.name, body=made, now=rooms.clock.now(),
        private=private,
    )  # fmt: skip
    assert job is not None
    return job


def holder_of(job: Job) -> str:
    """Who holds the data of a job while it reads them."""
    return f"job:{job.id}"


def _mail(connection: Connection, job: Resource, anomalies: list[str], now: float, number: str) -> None:
    told = job.body["modelMonitoringSpec"].get("notificationSpec") or {}
    shown = job.body.get("displayName") or job.name.rpartition("/")[2]
    words.mail(
        connection, job, number, (told.get("emailConfig") or {}).get("userEmails") or [],
        f"{shown}: {len(anomalies)} anomalies",
        f"The model monitoring job {shown} compared its target with its baseline, as of "
        f"{rfc3339(ModelMonitoringJobPrivate.of(job).cutoff)}, and found:",
        anomalies, now,
    )  # fmt: skip
