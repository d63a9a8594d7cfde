"""Studies: what is searched, and by which metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import AlreadyExists, NotFound
from portico.services.aiplatform.vizier import study_spec
from portico.services.call import Call, implements
from portico.services.standard.collection import After, Collection, register
from portico.store import jobs, resources
from portico.store.resources import Private, Resource


class StudyPrivate(Private):
    """`trials` is how many there have been: the id of the newest."""

    trials: int = 0


@dataclass(frozen=True)
class Studies(Collection):
    def check(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        study_spec.check(resource.body["studySpec"], "studySpec")
        name = resource.body["displayName"]
        if there := self.named(connection, resource.parent, name):
            raise AlreadyExists(f"The study {name!r} exists already: {there.name}.")
        resource.body["state"] = "ACTIVE"
        resource.private = StudyPrivate()

    def deleting(self, call: Call, connection: Connection, resource: Resource) -> After | None:
        for job in jobs.of_resource(connection, resource.name):
            if job.state in jobs.ACTIVE:
                call.rooms.queue.cancel(connection, job.id)
        return call.rooms.queue.wake

    def named(self, connection: Connection, parent: str, name: str) -> Resource | None:
        found = resources.listed(connection, self.kind, parent, wanted={"displayName": name})
        return next((one for one in found if one.body["displayName"] == name), None)

    def render(self, resource: Resource) -> dict[str, Any]:
        shown = super().render(resource)
        del shown["updateTime"]
        return shown


STUDIES = Studies("projects.locations.studies", "Study", has_etag=False, cascade=True)
register(STUDIES, "create", "get", "list", "delete")


@implements("aiplatform", STUDIES.method("lookup"))
def lookup(call: Call) -> dict[str, Any]:
    parent, name = str(call.params["parent"]), call.body["displayName"]
    with call.rooms.database.read() as connection:
        found = STUDIES.named(connection, parent, name)
        if found is None:
            raise NotFound(f"There is no study {name!r} in {parent}.")
        return STUDIES.render(found)
