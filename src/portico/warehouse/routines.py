"""Routines: functions, table functions and procedures, kept as BigQuery's Routine resources."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from portico.errors import AlreadyExists, NotFound
from portico.warehouse import catalog, guard
from portico.warehouse.catalog import Cursor, do, first
from portico.warehouse.public.declared import check_writable

_KEPT = f"{catalog.FILE}.portico.routines"


@dataclass(slots=True)
class Routine:
    """A routine and its resource; `dataset` is "" for one that only its script knows."""

    project: str
    dataset: str
    name: str
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return str(self.body.get("routineType"))

    @property
    def shown(self) -> str:
        return f"{self.project}:{self.dataset}.{self.name}" if self.dataset else self.name

    @property
    def arguments(self) -> list[dict[str, Any]]:
        return list(self.body.get("arguments") or ())


def prepare(cursor: Cursor) -> None:
    do(
        cursor,
        f"CREATE TABLE IF NOT EXISTS {_KEPT} (project VARCHAR, dataset VARCHAR, name VARCHAR, body VARCHAR, "
        "PRIMARY KEY (project, dataset, name))",
    )


def find(cursor: Cursor, project: str, dataset: str, name: str) -> Routine | None:
    guard.look(project, dataset)
    row = first(
        cursor,
        f"SELECT name, body FROM {_KEPT} WHERE project = ? AND dataset = ? AND lower(name) = lower(?) "
        "ORDER BY name = ? DESC LIMIT 1",
        [project, dataset, name, name],
    )
    return None if row is None else Routine(project, dataset, row[0], json.loads(row[1]))


def require(cursor: Cursor, project: str, dataset: str, name: str) -> Routine:
    """
    Raises:
        NotFound: there is no such routine or dataset.
    """
    found = find(cursor, project, dataset, name)
    if found is None:
        catalog.require(cursor, project, dataset)
        raise NotFound(f"Not found: Routine {project}:{dataset}.{name}", reason="notFound")
    return found


def listed(cursor: Cursor, project: str, dataset: str) -> list[Routine]:
    guard.look(project, dataset)
    rows = do(
        cursor,
        f"SELECT name, body FROM {_KEPT} WHERE project = ? AND dataset = ? ORDER BY name",
        [project, dataset],
    )
    return [Routine(project, dataset, name, json.loads(body)) for name, body in rows]


def write(cursor: Cursor, routine: Routine, *, replace: bool = True) -> None:
    """
    Raises:
        AlreadyExists: there is one of this name, and it is not to be replaced. NotFound: there is no such dataset.
    """
    check_writable(routine.project, f"Routine {routine.shown}")
    catalog.require(cursor, routine.project, routine.dataset)
    before = find(cursor, routine.project, routine.dataset, routine.name)
    if before is not None and not replace:
        raise AlreadyExists(f"Already Exists: Routine {routine.shown}", reason="duplicate")
    body = routine.body
    body["routineReference"] = {
        "projectId": routine.project, "datasetId": routine.dataset, "routineId": routine.name,
    }  # fmt: skip
    body["creationTime"] = before.body["creationTime"] if before else catalog.now()
    body["lastModifiedTime"] = catalog.now()
    if before is not None and "_iam" in before.body:
        body.setdefault("_iam", before.body["_iam"])
    if before is not None:
        drop(cursor, before)
    do(
        cursor,
        f"INSERT INTO {_KEPT} VALUES (?, ?, ?, ?)",
        [routine.project, routine.dataset, routine.name, json.dumps(body)],
    )


def drop(cursor: Cursor, routine: Routine) -> None:
    check_writable(routine.project, f"Routine {routine.shown}")
    do(
        cursor,
        f"DELETE FROM {_KEPT} WHERE project = ? AND dataset = ? AND name = ?",
        [routine.project, routine.dataset, routine.name],
    )
