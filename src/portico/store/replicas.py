"""Which models are to run in replica processes, and which processes run: desired and actual state.

A service puts and removes replica sets; the manager reads them, writes their state back, and records its
processes, so that the next manager can end what a crash left. Every function takes an open connection of
`Database` (`wait_ready` takes the database, since it waits).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from portico.errors import Cancelled, DeadlineExceeded, FailedPrecondition, NotFound
from portico.store.database import Database
from portico.store.tables.resources import replica_processes as _processes
from portico.store.tables.resources import replica_sets as _sets

State = Literal["PENDING", "BUILDING", "STARTING", "READY", "FAILED"]


@dataclass(frozen=True, slots=True)
class ReplicaSet:
    """A deployed model that is served by `count` processes of its own.

    `id` is the deployed model's. `framework` is "sklearn" or "xgboost", of `version` ("1.5"), served from the
    first of the files `artifacts` that is in the folder `model_dir`, in an environment of `requirements` and
    the first of `pythons` that this machine has. `image` is the name to use in messages. Each process may use
    `memory` bytes. The framework "container" is an image's own web server, of which `container` says: its files'
    folder `root`, `command`, `environment`, `workdir` and `paths` for Python, the routes `predict` and `health`, and
    which of the requirements are installed `over` the others.
    """

    id: str
    image: str
    framework: str
    version: str
    requirements: list[str]
    pythons: list[str]
    artifacts: list[str]
    model_dir: str
    count: int = 1
    memory: int = 4 << 30
    container: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stored:
    """A replica set as the store has it. `generation` changes with each `put`; `served` says that it has been
    READY once, so that what ends it now is no fault of its model."""

    spec: ReplicaSet
    generation: str
    state: State
    error: str
    served: bool


@dataclass(frozen=True, slots=True)
class Process:
    """A process that the manager started: its pid, and when it started (seconds since the epoch), since a
    pid may be given to another process later."""

    set_id: str
    number: int
    pid: int
    started: float


def put(connection: Connection, replicas: ReplicaSet, generation: str) -> None:
    """Wants `replicas` to run, in place of what ran under its id. `generation` is a fresh token."""
    row = connection.execute(sa.select(_sets).where(_sets.c.id == replicas.id)).first()
    before = _stored(row) if row is not None else None
    values = {
        "spec": json.dumps({name: getattr(replicas, name) for name in ReplicaSet.__slots__}),
        "generation": generation,
        "state": "PENDING",
        "error": "",
        # Another count of the same has served before.
        "served": before is not None
        and before.served
        and replace(before.spec, count=replicas.count) == replicas,
    }
    if before is not None:
        connection.execute(sa.update(_sets).where(_sets.c.id == replicas.id).values(values))
    else:
        connection.execute(sa.insert(_sets).values(id=replicas.id, **values))


def remove(connection: Connection, id: str) -> None:
    """Wants the replica set `id` to run no more; removing what is not there is no error."""
    connection.execute(sa.delete(_sets).where(_sets.c.id == id))


def get(connection: Connection, id: str) -> Stored:
    """Raises: NotFound."""
    row = connection.execute(sa.select(_sets).where(_sets.c.id == id)).first()
    if row is None:
        raise NotFound(f"There is no replica set {id}.")
    return _stored(row)


def load_all(connection: Connection) -> list[Stored]:
    return [_stored(row) for row in connection.execute(sa.select(_sets).order_by(_sets.c.id))]


def set_state(connection: Connection, id: str, generation: str, state: State, error: str = "") -> None:
    """Writes what became of a replica set, unless it has been put anew or removed meanwhile."""
    mine = (_sets.c.id == id) & (_sets.c.generation == generation)
    values = {"state": state, "error": error, **({"served": True} if state == "READY" else {})}
    connection.execute(sa.update(_sets).where(mine).values(values))


def record(connection: Connection, process: Process) -> None:
    """Notes that `process` runs, in place of the one with its number before."""
    forget(connection, process.set_id, process.number)
    connection.execute(
        sa.insert(_processes).values({name: getattr(process, name) for name in Process.__slots__})
    )


def forget(connection: Connection, set_id: str, number: int) -> None:
    mine = (_processes.c.set_id == set_id) & (_processes.c.number == number)
    connection.execute(sa.delete(_processes).where(mine))


def recorded(connection: Connection) -> list[Process]:
    rows = connection.execute(sa.select(_processes).order_by(_processes.c.set_id, _processes.c.number))
    return [Process(row.set_id, row.number, row.pid, row.started) for row in rows]


def wait_ready(
    database: Database, id: str, timeout: float, should_stop: Callable[[], bool] = lambda: False
) -> None:
    """Returns when a replica of the set `id` serves. `timeout` in seconds.

    Raises:
        FailedPrecondition: it cannot be served, with the reason.
        NotFound: it has been removed.
        DeadlineExceeded: it is not ready in time.
        Cancelled: `should_stop` said so.
    """
    deadline = time.monotonic() + timeout
    while True:
        with database.read() as connection:
            stored = get(connection, id)
        if stored.state == "READY":
            return
        if stored.state == "FAILED":
            raise FailedPrecondition(stored.error)
        if should_stop():
            raise Cancelled("The deployment was cancelled while its replicas were starting.")
        if time.monotonic() > deadline:
            doing = {"BUILDING": "its Python environment is being installed"}.get(
                stored.state, "it is starting"
            )
            raise DeadlineExceeded(f"The model is not ready after {timeout:.0f} seconds: {doing}.")
        time.sleep(0.1)


def _stored(row: Row[Any]) -> Stored:
    return Stored(ReplicaSet(**json.loads(row.spec)), row.generation, row.state, row.error, row.served)
