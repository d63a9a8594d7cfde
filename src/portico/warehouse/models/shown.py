"""What the API asks of models: shown, listed, changed, deleted."""

from __future__ import annotations

from typing import Any

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


def drop_model(warehouse: Warehouse, project: str, dataset: str, name: str) -> None:
    with warehouse.transaction() as cursor:
        _, folder = create.drop(cursor, (project, dataset, name), exists_ok=False)
    warehouse.models.forget(folder)
