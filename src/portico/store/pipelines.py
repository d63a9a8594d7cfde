"""The tasks of pipeline runs, a row each, and the components that their specs are made of.

Functions take the caller's open connection. A task knows its parent, what depends on it and how many it still waits
for, so that the end of one touches only those beside it, however many a run has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.store.resources import batched
from portico.store.tables.pipelines import cache, components, tasks

WHOLE: Final = ""  # the name under which a run's whole spec is kept
ENDED: Final = frozenset({"SUCCEEDED", "SKIPPED", "FAILED", "CANCELLED", "NOT_TRIGGERED"})
DONE: Final = frozenset({"SUCCEEDED", "SKIPPED"})
_PACKED: Final = ("spec", "dependents", "inputs", "outputs", "statuses", "error")
_c = tasks.c
_get = sa.select(tasks).where(_c.id == sa.bindparam("of"))
_named = sa.select(tasks).where(
    _c.parent == sa.bindparam("of"), _c.name.in_(sa.bindparam("among", expanding=True))
)
_children = (
    sa.select(tasks).where(_c.parent == sa.bindparam("of")).order_by(_c.iteration, _c.create_time, _c.id)
)
_of_run = sa.select(tasks).where(_c.run == sa.bindparam("of")).order_by(_c.create_time, _c.id)
_component = sa.select(components.c.body).where(
    components.c.run == sa.bindparam("of"), components.c.name == sa.bindparam("called")
)
_cached = sa.select(cache).where(cache.c.key == sa.bindparam("of"))
_wholes = sa.select(components.c.run, components.c.body).where(
    components.c.name == WHOLE, components.c.run.in_(sa.bindparam("among", expanding=True))
)


@dataclass(slots=True)
class Task:
    """A task of the run `run` (a pipeline job's name), below `parent`; the run's `root` is one itself.

    kind: "dag", "loop", "container", "importer" or "resolver".
    iteration: which of its parent's, a loop's, from 0; -1 for what is none.
    spec: what its pipeline says of it; the root's is what its job says of the run.
    dependents: names of the tasks beside it that wait for its end; `waits_for`: of how many ends it waits itself.
    state: Google's word (PipelineTaskDetail.State).
    children: how many of those below it have not ended; `failed`: how many of them failed; `begun`: how many
        iterations of a loop have been started.
    inputs, outputs: {"parameters": {name: value}, "artifacts": {name: [RuntimeArtifact]}}.
    statuses: what states it had, [{"state", "updateTime", "error"}].
    job: the durable job that runs it.
    Times are seconds since the epoch.
    """

    id: int
    run: str
    root: int
    parent: int | None
    name: str
    kind: str
    component: str
    spec: dict[str, Any]
    create_time: float
    iteration: int = -1
    dependents: list[str] = field(default_factory=list)
    waits_for: int = 0
    state: str = "PENDING"
    children: int = 0
    failed: int = 0
    begun: int = 0
    inputs: dict[str, Any] = field(default_factory=lambda: {"parameters": {}, "artifacts": {}})
    outputs: dict[str, Any] = field(default_factory=dict)
    statuses: list[dict[str, Any]] = field(default_factory=list)
    error: dict[str, Any] | None = None
    job: str | None = None
    start_time: float | None = None
    end_time: float | None = None

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED

    @property
    def is_done(self) -> bool:
        """Whether it has ended with its outputs."""
        return self.state in DONE


@dataclass(frozen=True, slots=True)
class Cached:
    """That the task `task` of the run `run` has done what `key` says, in an `environment`; `outputs` is a digest of
    what it left."""

    key: str
    run: str
    task: int
    environment: str
    outputs: str


_FIELDS: Final = tuple(Task.__dataclass_fields__)


def get(connection: Connection, task: int) -> Task | None:
    row = connection.execute(_get, {"of": task}).first()
    return None if row is None else _task(row)


def named(connection: Connection, parent: int, names: Iterable[str]) -> list[Task]:
    """Those of a task's children that have one of `names`."""
    return [
        _task(row)
        for some in batched(names)
        for row in connection.execute(_named, {"of": parent, "among": some})
    ]


def children(connection: Connection, parent: int) -> list[Task]:
    """Those below a task, iterations in their order."""
    return [_task(row) for row in connection.execute(_children, {"of": parent})]


def of_run(connection: Connection, run: str) -> Iterator[Task]:
    """All tasks of a run, the oldest first."""
    for row in connection.execute(_of_run, {"of": run}):
        yield _task(row)


def skipped(connection: Connection, run: str) -> list[Task]:
    """Those of a run that were not run, as others had done the same."""
    return [_task(row) for row in connection.execute(_of_run.where(_c.state == "SKIPPED"), {"of": run})]


def insert(connection: Connection, new: Sequence[Task]) -> None:
    if new:
        connection.execute(sa.insert(tasks), [_values(task) for task in new])


def update(connection: Connection, changed: Iterable[Task]) -> None:
    for task in changed:
        values = _values(task)
        connection.execute(_update, {f"new_{key}": values[key] for key in _CHANGES} | {"of": task.id})


def add_components(connection: Connection, run: str, bodies: Mapping[str, Any]) -> None:
    """Keeps the components of a run's spec by name, and the spec itself as `WHOLE`."""
    rows = [{"run": run, "name": name, "body": orjson.dumps(body)} for name, body in bodies.items()]
    connection.execute(sa.insert(components), rows)


def component(connection: Connection, run: str, name: str) -> dict[str, Any]:
    """
    Raises:
        LookupError: there is none, as its run has been deleted.
    """
    body = connection.execute(_component, {"of": run, "called": name}).scalar()
    if body is None:
        raise LookupError(f"{run} has no component {name}")
    read: dict[str, Any] = orjson.loads(body)
    return read


def specs(connection: Connection, runs: Iterable[str]) -> dict[str, Any]:
    """The whole specs of runs, by name."""
    return {
        run: orjson.loads(body)
        for some in batched(runs)
        for run, body in connection.execute(_wholes, {"among": some})
    }


def cached(connection: Connection, key: str) -> Cached | None:
    row = connection.execute(_cached, {"of": key}).first()
    return None if row is None else Cached(**row._mapping)


def keep(connection: Connection, made: Cached) -> None:
    """Notes what a task has done, in the place of who did the same before."""
    connection.execute(sa.delete(cache).where(cache.c.key == made.key))
    connection.execute(sa.insert(cache), asdict(made))


def forget(connection: Connection, run: str) -> None:
    """Removes all that there is of a run."""
    connection.execute(sa.delete(cache).where(cache.c.run == run))
    connection.execute(sa.delete(tasks).where(_c.run == run))
    connection.execute(sa.delete(components).where(components.c.run == run))


_CHANGES: Final = (
    "waits_for", "state", "children", "failed", "begun", "inputs", "outputs", "statuses", "error", "job",
    "spec", "start_time", "end_time",
)  # fmt: skip
_update = sa.update(tasks).where(_c.id == sa.bindparam("of"))
_update = _update.values({key: sa.bindparam(f"new_{key}") for key in _CHANGES})


def _values(task: Task) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key in _FIELDS:
        value = getattr(task, key)
        values[key] = orjson.dumps(value) if key in _PACKED else value
    return values


def _task(row: sa.Row[Any]) -> Task:
    values = dict(row._mapping)
    for key in _PACKED:
        values[key] = orjson.loads(values[key])
    return Task(**values)
