"""What jobs and statements need beside `bigquery.jobs.create`: permissions on the tables, models, routines and objects
that they name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from portico.services.bigquery import shapes
from portico.services.call import Call
from portico.services.iam import targets
from portico.services.iam.permit import denied

# What changes anything is not taken apart: each name that it touches must be its caller's to change.
_CHANGING: Final = tuple(
    f"bigquery.{one}" for one in (
        "tables.getData", "tables.create", "tables.update", "tables.updateData", "tables.delete", "models.create",
        "routines.create",
    )
)  # fmt: skip
_CHANGING_MODELS: Final = tuple(f"bigquery.models.{one}" for one in ("create", "updateData", "delete"))
_ADDRESS: Final = re.compile(r"gs://[^\s'\"`\\]+")


def require(call: Call, checks: Iterable[tuple[str, str]]) -> None:
    """
    Raises:
        PermissionDenied: the caller lacks one of these permissions, each on what has a full name.
    """
    for permission, resource in checks:
        if not call.rooms.permissions.held(call.caller, [permission], resource):
            raise denied(call.caller, "bigquery", permission, resource)


def of_objects(call: Call, uris: Iterable[str], verb: str) -> None:
    """`verb`: get or create."""
    found = [re.fullmatch(r"gs://([^/]+)/?(.*)", uri, re.DOTALL) for uri in uris]
    require(call, ((f"storage.objects.{verb}", targets.bucket(one[1], one[2])) for one in found if one))


def of_job(call: Call, kind: str, configuration: Mapping[str, Any]) -> None:
    """Before a job is written down. What a query reads is asked for when its names are known: `permitted`."""
    if call.caller.owner:
        return
    asked = configuration[kind]
    project = shapes.project(call)
    destination, model = asked.get("destinationTable"), asked.get("sourceModel")
    sources = asked.get("sourceTables") or [asked.get("sourceTable") or {}]
    if destination:
        table = _table(destination, project)
        verbs = ("create", "updateData") if kind != "query" else ("create", "updateData", "getData")
        require(call, ((f"bigquery.tables.{verb}", table) for verb in verbs))
    if kind in ("copy", "extract") and not model:
        require(call, (("bigquery.tables.getData", _table(one, project)) for one in sources))
    if model:
        require(call, [("bigquery.models.export", _of(model, project, "modelId", "models"))])
    of_objects(call, asked.get("sourceUris") or (), "get")
    written = asked.get("destinationUris") or (
        [asked["destinationUri"]] if asked.get("destinationUri") else []
    )
    of_objects(call, written, "create")
    if kind == "query":
        named = _ADDRESS.findall(str(asked.get("query")))
        of_objects(call, named, "get")
        for one in (asked.get("tableDefinitions") or {}).values():
            of_objects(call, one.get("sourceUris") or (), "get")


def permitted(call: Call) -> Callable[..., None]:
    """Asked by the warehouse of every name that the statements touch."""

    def look(project: str, dataset: str, table: str, model: str, reads: bool) -> None:
        if model:
            asked = ("bigquery.models.getData",) if reads else _CHANGING_MODELS
            named = _of({"datasetId": dataset, "modelId": model}, project, "modelId", "models")
            require(call, ((one, named) for one in asked))
            return
        resource = _place(project, dataset, table)
        if reads:
            require(call, [("bigquery.tables.getData" if table else "bigquery.datasets.get", resource)])
            return
        require(call, ((one, resource) for one in _CHANGING))

    return look


def needed(call: Call) -> Callable[..., None]:
    """Asked by the warehouse before a statement changes a dataset, or who may do what with something."""

    def look(project: str, dataset: str, table: str, permissions: list[str]) -> None:
        require(call, ((one, _place(project, dataset, table)) for one in permissions))

    return look


def _place(project: str, dataset: str, table: str) -> str:
    parts = [f"projects/{project}", *([f"datasets/{dataset}"] if dataset else [])]
    return targets.full("bigquery", "/".join([*parts, *([f"tables/{table}"] if table else [])]))


def of_model_copy(call: Call, source: Mapping[str, str], destination: Mapping[str, str]) -> None:
    def named(one: Mapping[str, str]) -> str:
        place = {"datasetId": one["dataset"], "modelId": one["table"]}
        return _of(place, one["project"], "modelId", "models")

    require(
        call,
        [
            ("bigquery.models.getData", named(source)),
            *((f"bigquery.models.{verb}", named(destination)) for verb in ("create", "updateData")),
        ],
    )


def _table(reference: Mapping[str, Any], project: str) -> str:
    return _of(reference, project, "tableId", "tables")


def _of(reference: Mapping[str, Any], project: str, key: str, collection: str) -> str:
    place = f"projects/{reference.get('projectId') or project}/datasets/{reference.get('datasetId', '')}"
    name = re.split(r"[$@]", str(reference.get(key, "")))[0]  # of a partition, or as of a moment
    return targets.full("bigquery", f"{place}/{collection}/{name}")
