"""Model evaluations and their slices, as whoever measures a model adds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import Connection

from portico.services.standard.collection import Collection
from portico.store import resources
from portico.store.resources import Resource

EVALUATIONS = Collection("projects.locations.models.evaluations", "ModelEvaluation", has_etag=False)
SLICES = Collection("projects.locations.models.evaluations.slices", "ModelEvaluationSlice", has_etag=False)


Follow = Callable[[Connection, Resource, Resource, float], None]
_watching: list[Follow] = []


def watch(follow: Follow) -> None:
    """Lets `follow` be called with the version, the evaluation and the time of each that is added, in its
    transaction."""
    _watching.append(follow)


def add(connection: Connection, version: Resource, number: str, body: dict[str, Any], now: float) -> Resource:
    """A new evaluation of a model's version."""
    name = f"{version.parent}/evaluations/{number}"
    made = resources.insert(
        connection, name=name, kind=EVALUATIONS.kind, parent=version.name, body=body, now=now
    )
    assert made is not None
    for follow in _watching:
        follow(connection, version, made, now)
    return made


def add_slices(
    connection: Connection,
    version: Resource,
    number: str,
    first: str,
    slices: list[dict[str, Any]],
    now: float,
) -> list[str]:
    """Adds the slices of an evaluation, numbered from `first`; returns their names."""
    parent = f"{version.parent}/evaluations/{number}"
    names = []
    for position, body in enumerate(slices):
        name = f"{parent}/slices/{int(first) + position}"
        resources.insert(connection, name=name, kind=SLICES.kind, parent=parent, body=body, now=now)
        names.append(name)
    return names
