"""Pipeline jobs that a schedule makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument
from portico.services.aiplatform.pipelines import starting
from portico.services.aiplatform.pipelines.starting import Asked
from portico.services.call import Rooms
from portico.services.registry.pipeline_runs import Origin
from portico.services.standard.names import check_same_location
from portico.store.jobs import Job
from portico.store.resources import Resource

_LABEL = "portico-schedule"


class PipelineRuns:
    """See `schedules.Runs`."""

    request = "createPipelineJobRequest"
    kind = "pipelineJobs"
    bounded = True

    def check(self, rooms: Rooms, connection: Connection, parent: str, request: Mapping[str, Any]) -> None:
        if request.get("pipelineJobId"):
            raise InvalidArgument(
                "A schedule makes many jobs, which can't have one id.", field=f"{self.request}.pipelineJobId"
            )
        check_same_location(parent, request.get("parent", ""), f"{self.request}.parent")
        self.prepared(rooms, connection, request)

    def prepared(self, rooms: Rooms, connection: Connection, request: Mapping[str, Any]) -> Asked:
        return starting.ask(rooms, connection, request["parent"], request.get("pipelineJob") or {})

    def start(
        self, rooms: Rooms, connection: Connection, prepared: Asked, schedule: Resource, due: float
    ) -> str:
        origin = Origin(schedule.name, due, {_LABEL: schedule.name.rpartition("/")[2]})
        return starting.start(rooms, connection, prepared, origin=origin).name

    def origin(self, job: Job) -> str:
        """Also a trigger: simulated time waits for what those started, too."""
        return str(job.payload.get("origin", ""))
