"""Model monitoring jobs that a schedule makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument, NotFound
from portico.services.aiplatform.monitoring import model_monitoring_jobs
from portico.services.aiplatform.monitoring import monitor_spec as spec
from portico.services.aiplatform.monitoring.model_monitors import MONITORS
from portico.services.call import Rooms
from portico.services.standard.collection import check_common
from portico.services.standard.names import check_same_location
from portico.store.jobs import Job
from portico.store.resources import Resource


class MonitoringRuns:
    """See `schedules.Runs`."""

    request = "createModelMonitoringJobRequest"
    kind = model_monitoring_jobs.JOB_KIND
    bounded = False

    def check(self, rooms: Rooms, connection: Connection, parent: str, request: Mapping[str, Any]) -> None:
        if request.get("modelMonitoringJobId"):
            raise InvalidArgument(
                "A schedule makes many jobs, which can't have one id.",
                field=f"{self.request}.modelMonitoringJobId",
            )
        check_same_location(parent, request.get("parent", ""), f"{self.request}.parent")
        try:
            monitor = MONITORS.require(connection, request["parent"])
        except NotFound as error:
            raise InvalidArgument(error.message, field=f"{self.request}.parent") from None
        told = request.get("modelMonitoringJob") or {}
        check_common(told)
        spec.spec_of(connection, monitor, told.get("modelMonitoringSpec") or {},
                     f"{self.request}.modelMonitoringJob.modelMonitoringSpec")  # fmt: skip

    def prepared(self, rooms: Rooms, connection: Connection, request: Mapping[str, Any]) -> None:
        """Nothing."""

    def start(
        self, rooms: Rooms, connection: Connection, prepared: None, schedule: Resource, due: float
    ) -> str:
        request = schedule.body[self.request]
        monitor = MONITORS.require(connection, request["parent"])
        name = f"{monitor.name}/modelMonitoringJobs/{rooms.ids.number()}"
        told = request.get("modelMonitoringJob") or {}
        return model_monitoring_jobs.start(rooms, connection, monitor, name, told, due, schedule.name).name

    def origin(self, job: Job) -> str:
        return str(job.payload["schedule"])
