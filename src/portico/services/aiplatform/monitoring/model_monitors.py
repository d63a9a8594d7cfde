"""Model monitors (v1beta1): what of a model version is watched, compared with what, and who is told."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import FailedPrecondition, InvalidArgument
from portico.services.aiplatform.monitoring import monitor_spec as spec
from portico.services.aiplatform.monitoring.inputs import check_input
from portico.services.call import Call
from portico.services.standard.collection import After, Collection, register
from portico.services.standard.names import LABEL_ID, check_same_location
from portico.store import monitoring_points, resources
from portico.store.resources import Resource


class Monitors(Collection):
    def check(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        _check(connection, resource.parent, resource.body)

    def deleting(self, call: Call, connection: Connection, resource: Resource) -> After | None:
        """Its jobs go with what they found; its schedules only with `force`."""
        schedules = schedules_of(connection, resource.name)
        if schedules and not call.params.get("force"):
            raise FailedPrecondition(
                f"{resource.name} has {len(schedules)} schedules; delete them first, or set force."
            )
        for schedule in schedules:
            resources.delete(connection, schedule.name)
        monitoring_points.delete(connection, resource.name)
        return None


MONITORS = Monitors(
    "projects.locations.modelMonitors",
    "ModelMonitor",
    output_only=frozenset({"satisfiesPzs", "satisfiesPzi"}),
    immutable=frozenset({"modelMonitoringTarget", "encryptionSpec"}),
    has_etag=False,
    ids=LABEL_ID,
    cascade=True,
)
register(MONITORS, "create", "get", "list", "patch", "delete")

_SCHEDULE_KIND = "aiplatform:schedules"


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
    spec.check_objectives(
        body.get("tabularObjective") or {},
        body["modelMonitoringSchema"],
        version,
        spec.explanation_of(body, version),
    )
    if body.get("trainingDataset"):
        check_input(connection, body["trainingDataset"], parent, "trainingDataset")
    spec.check_output(body.get("outputSpec") or {})
    spec.check_notification(body.get("notificationSpec") or {})
