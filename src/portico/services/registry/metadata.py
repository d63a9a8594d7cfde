"""ML Metadata, as far as other services put something into it: its default store, and contexts there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.engine import Connection

from portico.services.registry.metadata_schemas import SCHEMAS_OF_ALL, schema_id
from portico.services.standard.names import location_of
from portico.store import lineage, resources
from portico.store.resources import Private, Resource

DEFAULT: Final = "metadataStores/default"
STORE_KIND: Final = "aiplatform:metadataStores"
SCHEMA_KIND: Final = "aiplatform:metadataStores.metadataSchemas"
CONTEXT_KIND: Final = "aiplatform:metadataStores.contexts"
EXPERIMENT: Final = "system.Experiment"
RUN: Final = "system.ExperimentRun"


def store_of(name: str) -> str:
    """The metadata store of the location in which a resource is."""
    return f"{location_of(name)}/{DEFAULT}"


def ensure(connection: Connection, name: str, now: float) -> None:
    """Makes the default store of a location where it isn't there yet."""
    if not name.endswith(f"/{DEFAULT}") or resources.get(connection, name) is not None:
        return
    parent = name.removesuffix(f"/{DEFAULT}")
    resources.insert(connection, name=name, kind=STORE_KIND, parent=parent, body={}, now=now)
    add_schemas(connection, name, now)


def add_schemas(connection: Connection, store: str, now: float) -> None:
    """Gives a new store the schemas that each has."""
    for title, (kind, properties) in SCHEMAS_OF_ALL.items():
        lines = [f"title: {title}", "type: object"]
        if properties:
            lines += ["properties:", *(f"  {name}:\n    type: {of}" for name, of in properties.items())]
        body = {"schema": "\n".join(lines) + "\n", "schemaType": kind, "schemaVersion": "0.0.1"}
        name = f"{store}/metadataSchemas/{schema_id(title)}"
        resources.insert(connection, name=name, kind=SCHEMA_KIND, parent=store, body=body, now=now)


def add_context(
    connection: Connection,
    name: str,
    display: str,
    title: str,
    facts: Mapping[str, Any],
    now: float,
    *,
    parents: Sequence[str] = (),
    private: Private | None = None,
) -> Resource | None:
    """A new context below its parents, in a store that is made where it isn't there; None where the name is taken."""
    store = name.partition("/contexts/")[0]
    ensure(connection, store, now)
    body: dict[str, Any] = {
        "displayName": display,
        "schemaTitle": title,
        "schemaVersion": "0.0.1",
        "metadata": dict(facts),
    }
    if parents:
        body["parentContexts"] = list(parents)
    made = resources.insert(
        connection, name=name, kind=CONTEXT_KIND, parent=store, body=body, now=now, private=private
    )
    if made is not None:
        for parent in parents:
            lineage.add(connection, parent, "child", [name], now)
    return made


@dataclass(frozen=True, slots=True)
class Measured:
    """A value of a run's metric at a step; `time` in milliseconds since the epoch."""

    step: int
    time: int
    value: float


Follow = Callable[[Connection, Resource, Mapping[str, Sequence[Measured]], float], None]
_watching: list[Follow] = []
Forget = Callable[[Connection, Resource], None]
_forgetting: list[Forget] = []


def watch_deleted(forget: Forget) -> None:
    """Lets `forget` be called with each context that is deleted, in its transaction."""
    _forgetting.append(forget)


def note_deleted(connection: Connection, context: Resource) -> None:
    for forget in _forgetting:
        forget(connection, context)


def watch_series(follow: Follow) -> None:
    """Lets `follow` be called with a run's context, the points of metrics that go by steps, and the time, in the
    transaction that writes them."""
    _watching.append(follow)


def note_series(
    connection: Connection, run: Resource, points: Mapping[str, Sequence[Measured]], now: float
) -> None:
    for follow in _watching:
        follow(connection, run, points, now)
