"""bigquery.routines: insert, get, list, update, delete. What calls do with them is in `warehouse.inlining`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from portico.errors import InvalidArgument
from portico.services.bigquery import shapes
from portico.services.bigquery.outside import outside
from portico.services.bigquery.pages import page
from portico.services.call import Call, implements

_SETTINGS = frozenset(
    (
        *("arguments", "dataGovernanceType", "definitionBody", "description", "determinismLevel"),
        *("importedLibraries", "language", "returnTableType", "returnType", "routineType", "strictMode"),
    )
)


@implements("bigquery", "routines.insert")
def insert(call: Call) -> dict[str, Any]:
    name = shapes.check_dataset_id(str((call.body.get("routineReference") or {}).get("routineId", "")))
    return _json(call, name, _written(call, name, replace=False))


@implements("bigquery", "routines.get")
def get(call: Call) -> dict[str, Any]:
    name = str(call.params["routineId"])
    return _json(call, name, shapes.ask(call, "routine", **_dataset(call), name=name))


@implements("bigquery", "routines.list")
def list_(call: Call) -> dict[str, Any]:
    found = shapes.ask(call, "routines", **_dataset(call))
    shown = [_json(call, one.pop("name"), one) for one in found]
    return {
        key: value
        for key, value in page(call, "", "routines", shown).items()
        if key not in ("kind", "totalItems")
    }


@implements("bigquery", "routines.update")
def update(call: Call) -> dict[str, Any]:
    name = str(call.params["routineId"])
    shapes.ask(call, "routine", **_dataset(call), name=name)
    return _json(call, name, _written(call, name, replace=True))


def _written(call: Call, name: str, *, replace: bool) -> dict[str, Any]:
    """The code of libraries is kept with the function that imports them, as it is at this moment."""
    body = _settings(call.body)
    with outside(call, f"projects/{shapes.project(call)}/bigquery/routines/{name}") as reach:
        body["_libraries"] = [
            Path(file["path"]).read_text()
            for uri in body.get("importedLibraries") or ()
            for file in reach("files", {"uris": [uri]})
        ]
    made: dict[str, Any] = shapes.ask(
        call, "write_routine", **_dataset(call), name=name, body=body, replace=replace
    )
    return made


@implements("bigquery", "routines.delete")
def delete(call: Call) -> None:
    shapes.ask(call, "drop_routine", **_dataset(call), name=str(call.params["routineId"]))


def _dataset(call: Call) -> dict[str, str]:
    return {"project": shapes.project(call), "dataset": str(call.params["datasetId"])}


def _json(call: Call, name: str, body: dict[str, Any]) -> dict[str, Any]:
    reference = {
        **shapes.dataset_reference(shapes.project(call), str(call.params["datasetId"])),
        "routineId": name,
    }
    return {"etag": shapes.etag(body), "routineReference": reference, **body}


def _settings(body: dict[str, Any]) -> dict[str, Any]:
    if not body.get("definitionBody") or not body.get("routineType"):
        raise InvalidArgument("A routine needs a routineType and a definitionBody", reason="required")
    if body.get("importedLibraries") and body.get("language") != "JAVASCRIPT":
        raise InvalidArgument(
            "importedLibraries are for routines whose language is JAVASCRIPT",
            reason="invalid",
            field="importedLibraries",
        )
    return {"language": "SQL", **{key: value for key, value in body.items() if key in _SETTINGS}}
