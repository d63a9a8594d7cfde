"""What the API asks of models: shown, listed, changed, copied, deleted."""

from __future__ import annotations

import copy
import shutil
from typing import Any

from portico.errors import NotFound
from portico.warehouse import catalog
from portico.warehouse.engine import Warehouse
from portico.warehouse.models import create, kept


def model(warehouse: Warehouse, project: str, dataset: str, name: str) -> dict[str, Any]:
    with warehouse.reading() as cursor:
        return kept.require(cursor, project, dataset, name).body


def models(warehouse: Warehouse, project: str, dataset: str) -> list[dict[str, Any]]:
    with warehouse.reading() as cursor:
        catalog.require(cursor, project, dataset)
        return [{"name": one.name, **one.body} for one in kept.listed(cursor, project, dataset)]


def update_model(
    warehouse: Warehouse, project: str, dataset: str, name: str, body: dict[str, Any]
) -> dict[str, Any]:
    with warehouse.transaction() as cursor:
        found = kept.require(cursor, project, dataset, name)
        found.body = body
        kept.write(cursor, found, replace=True)
    return found.body


def is_model(warehouse: Warehouse, project: str, dataset: str, name: str) -> bool:
    with warehouse.reading() as cursor:
        return kept.find(cursor, project, dataset, name) is not None


def copy_model(
    warehouse: Warehouse,
    job: str,
    source: dict[str, str],
    destination: dict[str, str],
    create: str,
    write: str,
) -> None:
    """
    Raises:
        AlreadyExists: the destination is there, and is not to be truncated. NotFound: it is not, and not to be created.
    """
    folder, path = warehouse.models.new()
    try:
        with warehouse.models.statement(), warehouse.transaction(job) as cursor:
            found = kept.require(cursor, source["project"], source["dataset"], source["table"])
            shutil.copytree(warehouse.models.path(found.folder), path, dirs_exist_ok=True)
            made = kept.Entry(destination["project"], destination["dataset"], destination["table"], folder)
            made.body = {
                key: value
                for key, value in copy.deepcopy(found.body).items()
                if key not in ("creationTime", "lastModifiedTime", "expirationTime")
            }
            for run in made.body.get("trainingRuns", ()):  # a copy is not registered
                run.pop("vertexAiModelId", None)
                run.pop("vertexAiModelVersion", None)
            if create == "CREATE_NEVER" and kept.find(cursor, *made.place) is None:
                raise NotFound(f"Not found: Model {made.shown}", reason="notFound")
            before = kept.write(cursor, made, replace=write.startswith("WRITE_TRUNCATE"))
    except BaseException:
        warehouse.models.forget(folder)
        raise
    if before is not None:
        warehouse.models.forget(before.folder)


def drop_model(warehouse: Warehouse, project: str, dataset: str, name: str) -> None:
    with warehouse.transaction() as cursor:
        _, folder = create.drop(cursor, (project, dataset, name), exists_ok=False)
    warehouse.models.forget(folder)
