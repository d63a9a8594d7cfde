"""Model monitors (v1beta1): what of a model version is watched, compared with what, and who is told."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import FailedPrecondition, InvalidArgument
from portico.services.aiplatform.monitoring import monitor_spec as spec
from portico.services.aiplatform.monitoring.inputs import check_input
from portico.services.call import Call, implements
from portico.services.standard import operations
from portico.services.standard.collection import Collection, register
from portico.services.standard.names import LABEL_ID, check_same_location, own_id
from portico.store import jobs, monitoring_points, resources
from portico.store.resources import Private, Resource

MONITORS = Collection(
    "projects.locations.modelMonitors",
    "ModelMonitor",
    output_only=frozenset({"satisfiesPzs", "satisfiesPzi"}),
    immutable=frozenset({"modelMonitoringTarget", "encryptionSpec"}),
    has_etag=False,
)
register(MONITORS, "get", "list")

JOBS = Collection(
    "projects.locations.modelMonitors.modelMonitoringJobs",
    "ModelMonitoringJob",
    has_etag=False,
)
register(JOBS, "get", "list")

_SCHEDULE_KIND = "aiplatform:schedules"


class JobPrivate(Private):
    """`cutoff` is the moment from which a job's windows are told, in domain time, which is also the time of what it
    finds; `schema` and model `version` are its monitor's as they were then; `job` is the durable job."""

    cutoff: float = 0.0
    schema: dict[str, Any] = {}
    version: str = ""
    job: str = ""


@implements("aiplatform", MONITORS.method("create"))
def create(call: Call) -> dict[str, Any]:
    parent, body = str(call.params["parent"]), dict(call.body)
    name = f"{parent}/modelMonitors/" + own_id(
        call.params.get("modelMonitorId"), call.rooms.ids.number(), "modelMonitorId", LABEL_ID
    )
    with call.rooms.database.write() as connection:
        _check(connection, parent, body)
        made = MONITORS.create(call, connection, name, parent, body)
        return operations.done(
            call,
            connection,
            name,
            "CreateModelMonitorOperationMetadata",
            "ModelMonitor",
            MONITORS.render(made),
        )


@implements("aiplatform", MONITORS.method("patch"))
def patch(call: Call) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        monitor = MONITORS.require(connection, call.name)
        monitor.body = MONITORS.patched(call, monitor.body)
        _check(connection, monitor.parent, monitor.body)
        resources.update(connection, monitor, call.rooms.clock.now())
        return operations.done(
            call, connection, monitor.name, "UpdateModelMonitorOperationMetadata", "ModelMonitor",
            MONITORS.render(monitor),
        )  # fmt: skip


@implements("aiplatform", MONITORS.method("delete"))
def delete(call: Call) -> dict[str, Any]:
    """Deletes a monitor with its jobs and what they found; its schedules only with `force`."""
    with call.rooms.database.write() as connection:
        monitor = MONITORS.require(connection, call.name)
        schedules = schedules_of(connection, monitor.name)
        if schedules and not call.params.get("force"):
            raise FailedPrecondition(
                f"{monitor.name} has {len(schedules)} schedules; delete them first, or set force."
            )
        for schedule in schedules:
            resources.delete(connection, schedule.name)
        for job in list(resources.listed(connection, JOBS.kind, monitor.name)):
            delete_job(connection, job)
        monitoring_points.delete(connection, monitor.name)
        resources.delete(connection, monitor.name)
        answer = operations.done(call, connection, monitor.name, "DeleteOperationMetadata", None)
    call.rooms.queue.wake()
    return answer


def delete_job(connection: Connection, job: Resource) -> None:
    """Deletes a job with what it found; its work ends where it still runs."""
    jobs.request_cancel(connection, JobPrivate.of(job).job)
    monitoring_points.delete(connection, job.parent, job.name)
    resources.delete(connection, job.name)


def schedules_of(connection: Connection, monitor: str) -> list[Resource]:
    return [
        schedule
        for schedule in resources.listed(connection, _SCHEDULE_KIND)
        if (schedule.body.get("createModelMonitoringJobRequest") or {}).get("parent") == monitor
    ]


def _check(connection: Connection, parent: str, body: dict[str, Any]) -> None:
    """Fills in the model's version, and the schema where Portico knows it.

    Raises:
        InvalidArgument: naming the field. NotFound, Unimplemented
    """
    target = (body.get("modelMonitoringTarget") or {}).get("vertexModel") or {}
    if not target.get("model"):
        raise InvalidArgument(
            "modelMonitoringTarget.vertexModel.model is missing: the name of the model to watch.",
            field="modelMonitoringTarget.vertexModel.model",
        )
    check_same_location(parent, target["model"], "modelMonitoringTarget.vertexModel.model")
    if "@" in target["model"]:
        raise InvalidArgument(
            "model is a model's name; its version goes into modelVersionId.",
            field="modelMonitoringTarget.vertexModel.model",
        )
    version = spec.target_version(connection, {"modelMonitoringTarget": {"vertexModel": target}})
    body["modelMonitoringTarget"] = {
        "vertexModel": {"model": version.parent, "modelVersionId": version.body["versionId"]}
    }
    body["modelMonitoringSchema"] = body.get("modelMonitoringSchema") or spec.schema_of(version)
    spec.check_schema(body["modelMonitoringSchema"])
    spec.check_objectives(body.get("tabularObjective") or {}, body["modelMonitoringSchema"], version)
    if body.get("trainingDataset"):
        check_input(connection, body["trainingDataset"], parent, "trainingDataset")
    spec.check_output(body.get("outputSpec") or {})
    spec.check_notification(body.get("notificationSpec") or {})
