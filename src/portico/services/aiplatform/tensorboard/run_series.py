"""Metrics of runs that go by steps, wherever they were logged, as time series of their experiment's TensorBoard: of the
location's default one, which is made with the first of them, where the experiment has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from sqlalchemy.engine import Connection

from portico.services.aiplatform.tensorboard import job_experiments, points
from portico.services.aiplatform.tensorboard.experiments import EXPERIMENTS, RUNS
from portico.services.aiplatform.tensorboard.tensorboards import TENSORBOARDS, blob_bucket
from portico.services.aiplatform.tensorboard.time_series import TIME_SERIES
from portico.services.registry import metadata
from portico.services.registry.metadata import Measured
from portico.services.standard.names import location_of
from portico.store import resources, tensorboard
from portico.store.resources import Resource
from portico.store.tensorboard import Point, Series

_TAG = 128  # characters
_FAR = 9 * 10**12  # milliseconds since the epoch


def _follow(
    connection: Connection, run: Resource, measured: Mapping[str, Sequence[Measured]], now: float
) -> None:
    experiment = resources.get(connection, next(iter(run.body.get("parentContexts") or []), ""))
    if experiment is None:
        return
    parent = _run(connection, experiment, run, now)
    names = {f"{parent}/timeSeries/{_id(key)}": key for key in measured if len(key) <= _TAG}
    there = tensorboard.find(connection, names)
    written = {
        name: (there.get(name) or _series(connection, name, key, now), _points(measured[key]), 0)
        for name, key in names.items()
    }
    tensorboard.put(connection, written)


def _points(measured: Sequence[Measured]) -> list[Point]:
    return [
        Point(one.step, one.time * 10**6, points.scalar(one.value))
        for one in measured
        if abs(one.time) < _FAR
    ]


def _id(text: str) -> str:
    return blake2b(text.encode(), digest_size=12).hexdigest()


def _number(text: str) -> int:
    """19 digits, the same for a text."""
    return 10**18 + int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) % (8 * 10**18)


def _run(connection: Connection, experiment: Resource, run: Resource, now: float) -> str:
    """The name of the TensorboardRun of a run, made with what is above it."""
    own = experiment.name.rpartition("/")[2]
    board = _board(connection, experiment, now)
    above = f"{board}/experiments/{own}"
    parent = f"{above}/runs/{run.name.rpartition('/')[2].removeprefix(f'{own}-')}"
    if resources.get(connection, parent) is None:
        _make(connection, EXPERIMENTS.kind, above, experiment.body, now)
        _make(connection, RUNS.kind, parent, run.body, now)
        job_experiments.add_run(connection, parent, now)
    return parent


def _board(connection: Connection, experiment: Resource, now: float) -> str:
    facts = experiment.body.get("metadata")
    if not isinstance(facts, dict):  # anybody may write it
        facts = experiment.body["metadata"] = {}
    board = str(facts.get("backing_tensorboard_resource") or "")
    found = resources.get(connection, board) if board else None
    if found is None or found.kind != TENSORBOARDS.kind:
        board = facts["backing_tensorboard_resource"] = _default(
            connection, location_of(experiment.name), now
        )
        resources.update(connection, experiment, now)
    return board


def _default(connection: Connection, location: str, now: float) -> str:
    for board in resources.listed(connection, TENSORBOARDS.kind, location):
        if board.body.get("isDefault"):
            return board.name
    name = f"{location}/tensorboards/{_number(location)}"
    body = {
        "displayName": "Default Tensorboard",
        "isDefault": True,
        "blobStoragePathPrefix": blob_bucket(connection, name, now),
    }
    resources.insert(connection, name=name, kind=TENSORBOARDS.kind, parent=location, body=body, now=now)
    return name


def _series(connection: Connection, name: str, key: str, now: float) -> Series:
    body = {"displayName": key, "valueType": "SCALAR", "pluginName": "scalars"}
    parent = name.rpartition("/timeSeries/")[0]
    resources.insert(connection, name=name, kind=TIME_SERIES.kind, parent=parent, body=body, now=now)
    return tensorboard.add_series(connection, name, _number(name), "SCALAR")


def _make(connection: Connection, kind: str, name: str, of: Mapping[str, Any], now: float) -> None:
    """Inserts a resource that is called as `of` is, unless it is there."""
    body = {"displayName": of.get("displayName", "")}
    resources.insert(connection, name=name, kind=kind, parent=name.rsplit("/", 2)[0], body=body, now=now)


metadata.watch_series(_follow)
