"""Datasets as every service reads them."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument
from portico.jobs.worker import Context
from portico.services.call import Call, Rooms
from portico.services.standard import operations, sources
from portico.services.standard.collection import After, Collection
from portico.store.objects import generations as objects
from portico.store.objects.files import remove
from portico.store.resources import Private, Resource

PROFILE = "datasets.create"
"""The kind of the job that reads and describes a new dataset's data."""


class Datasets(Collection):
    def answer(self, call: Call, connection: Connection, resource: Resource, did: str) -> dict[str, Any]:
        """A new dataset with data is done when these are described."""
        if did != "Create" or not DatasetPrivate.of(resource).uris:
            return super().answer(call, connection, resource, did)
        job = call.rooms.queue.add(connection, PROFILE, resource.name, {})
        metadata = "CreateDatasetOperationMetadata"
        return operations.render(operations.start(call, connection, resource.name, metadata, job=job))

    def deleting(self, call: Call, connection: Connection, resource: Resource) -> After:
        dropped = objects.unpin(connection, resource.name)
        dropped += objects.unpin(connection, restored_pins(resource))
        return lambda: remove(call.rooms.home, dropped)


DATASETS = Datasets(
    "projects.locations.datasets",
    "Dataset",
    output_only=frozenset({"dataItemCount", "metadataArtifact", "savedQueries", "modelReference"}),
    immutable=frozenset({"metadataSchemaUri", "metadata"}),
    cascade=True,
)


class DatasetPrivate(Private):
    """`uris` are the gs:// names of its data, or its table's bq:// name; `pins` what a restored
    version pinned, read in their place."""

    uris: list[str] = []
    pins: list[sources.Source] | None = None


def restored_pins(dataset: Resource) -> str:
    """Who holds the data of the version that was restored last."""
    return f"{dataset.name}#restored"


def data_of(
    context: Rooms | Context, dataset: Resource, holder: str, field: str = "inputDataConfig.datasetId"
) -> list[sources.Source]:
    """The data of `dataset` for a run, pinned for `holder`: a restored version's, else what lies there now."""
    private = DatasetPrivate.of(dataset)
    if private.pins:
        with context.database.write() as connection:
            sources.repin(connection, private.pins, holder)
        return private.pins
    if not private.uris:
        raise InvalidArgument(f"{dataset.name} is a dataset of items; here a table is read.", field=field)
    return sources.pin(sources.gcs_of(context), private.uris, holder, field)
