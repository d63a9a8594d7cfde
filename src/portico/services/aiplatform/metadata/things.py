"""What the recorded lineage is made of: resources of Vertex AI, generations of objects and places of files, each as the
artifact that stands for it. Its id follows from what it is, so that the same thing is one artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from sqlalchemy.engine import Connection

from portico.services.aiplatform.metadata.nodes import ARTIFACTS, EXECUTIONS
from portico.services.registry import metadata
from portico.store import resources
from portico.store.resources import Resource

_CUT = 128  # characters of a display name
_KINDS = {
    "models": "google.VertexModel",
    "datasets": "google.VertexDataset",
    "endpoints": "google.VertexEndpoint",
    "batchPredictionJobs": "google.VertexBatchPredictionJob",
}


@dataclass(frozen=True, slots=True)
class Thing:
    id: str
    title: str
    name: str
    uri: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


def resource(connection: Connection, name: str) -> Thing:
    """A dataset, an endpoint, a batch prediction job, or a model's version ("…/models/M@1")."""
    found = resources.get(connection, name)
    _, kind, short = name.rsplit("/", 2)
    display = str(found.body.get("displayName") or short) if found else short
    uri = f"https://{name.split('/')[3]}-aiplatform.googleapis.com/v1/{name}"
    made = f"{kind.removesuffix('s').lower()}-{short.replace('@', '-')}"
    return Thing(made, _KINDS[kind], display, uri, {"resourceName": name})


def generation(uri: str, number: int | str) -> Thing:
    """One generation of an object."""
    digest = blake2b(f"{uri}#{number}".encode(), digest_size=12).hexdigest()
    short = uri.rpartition("/")[2]
    return Thing(f"object-{digest}", "system.Dataset", short, uri, {"generation": str(number)})


def files(uri: str, title: str = "system.Artifact") -> Thing:
    """A place below which files are."""
    place = uri.rstrip("/")
    digest = blake2b(place.encode(), digest_size=12).hexdigest()
    return Thing(f"files-{digest}", title, place.rpartition("/")[2], place)


def put(connection: Connection, store: str, thing: Thing, now: float) -> str:
    """The name of the artifact that stands for `thing`, which is made where it isn't there yet."""
    metadata.ensure(connection, store, now)
    name = f"{store}/artifacts/{thing.id}"
    body = {
        "displayName": thing.name[:_CUT],
        "uri": thing.uri,
        "schemaTitle": thing.title,
        "schemaVersion": "0.0.1",
        "state": "LIVE",
        "metadata": dict(thing.metadata),
    }
    resources.insert(connection, name=name, kind=ARTIFACTS.kind, parent=store, body=body, now=now)
    return name


def execute(
    connection: Connection,
    store: str,
    id: str,
    title: str,
    display: str,
    state: str,
    facts: Mapping[str, Any],
    now: float,
) -> Resource:
    """The execution `id`, made or brought up to date."""
    metadata.ensure(connection, store, now)
    name = f"{store}/executions/{id}"
    found = resources.get(connection, name)
    if found is None:
        body = {"displayName": display[:_CUT], "schemaTitle": title, "schemaVersion": "0.0.1", "state": state,
                "metadata": dict(facts)}  # fmt: skip
        made = resources.insert(connection, name=name, kind=EXECUTIONS.kind, parent=store, body=body, now=now)
        assert made is not None
        return made
    found.body |= {"state": state, "metadata": {**found.body.get("metadata", {}), **facts}}
    return resources.update(connection, found, now)
