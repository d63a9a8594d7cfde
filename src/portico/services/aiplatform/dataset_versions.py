"""Dataset versions: each pins the generations of the dataset's objects, or the rows that its table has, so that they
can be restored."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from portico.services.call import Call, implements
from portico.services.registry.datasets import DATASETS, DatasetPrivate, data_of, restored_pins
from portico.services.standard import operations, sources
from portico.services.standard.collection import After, Collection, Made, register
from portico.store import events, resources
from portico.store.objects import generations as objects
from portico.store.objects.files import remove
from portico.store.resources import Private, Resource


class VersionPrivate(Private):
    """The generations that it pins."""

    pins: list[sources.Source] = []


class Versions(Collection):
    def making(self, call: Call, name: str) -> Made:
        parent = str(call.params["parent"])
        with call.rooms.database.read() as connection:
            dataset = DATASETS.require(connection, parent)
        pinned = data_of(call.rooms, dataset, name, "parent")
        generations = [{"uri": s.uri, "generation": str(s.generation)} for s in pinned]

        def made(connection: Connection) -> tuple[Resource, None]:
            dataset = DATASETS.require(connection, parent)
            metadata = {**dataset.body["metadata"], "generations": generations}
            body = {"displayName": dataset.body["displayName"], **call.body, "metadata": metadata}
            version = self.insert(call, connection, name, parent, body, VersionPrivate(pins=pinned))
            facts = {"datasetVersion": name, "dataset": parent, "displayName": body["displayName"]}
            events.note(connection, events.DATASET_VERSION, parent, facts, call.rooms.clock.now())
            return version, None

        return made

    def abandoned(self, call: Call, name: str) -> None:
        sources.gcs_of(call.rooms).unpin(name)

    def deleting(self, call: Call, connection: Connection, resource: Resource) -> After:
        dropped = objects.unpin(connection, resource.name)
        return lambda: remove(call.rooms.home, dropped)


VERSIONS = Versions(
    "projects.locations.datasets.datasetVersions",
    "DatasetVersion",
    output_only=frozenset({"metadata", "modelReference", "bigQueryDatasetName"}),
)
register(VERSIONS, "create", "get", "list", "patch", "delete")


@implements("aiplatform", VERSIONS.method("restore"))
def restore(call: Call) -> dict[str, Any]:
    """The dataset reads the version's generations from now on, whatever lies under their names later."""
    with call.rooms.database.write() as connection:
        version = VERSIONS.require(connection, call.name)
        dataset = DATASETS.require(connection, version.parent)
        pinned = VersionPrivate.of(version).pins
        # First the new pins, then the old away: the two may share files.
        restored = restored_pins(dataset)
        dropped = objects.unpin(connection, restored)
        sources.repin(connection, pinned, restored)
        dropped = [file for file in dropped if file not in {s.file for s in pinned}]
        DatasetPrivate.of(dataset).pins = pinned
        kept = {k: v for k, v in version.body["metadata"].items() if k != "generations"}
        dataset.body["metadata"] = kept
        resources.update(connection, dataset, call.rooms.clock.now())
        answer = operations.done(
            call, connection, dataset.name, "RestoreDatasetVersionOperationMetadata", "DatasetVersion",
            VERSIONS.render(version),
        )  # fmt: skip
    remove(call.rooms.home, dropped)
    return answer
