"""bigquery.routines: insert, get, list, update, delete. What calls do with them is in `warehouse.inlining`."""

from __future__ import annotations

from typing import Any

from portico.errors import InvalidArgument
from portico.services.bigquery import shapes
from portico.services.bigquery.pages import page
from portico.services.call import Call, implements

_SETTINGS = frozenset(
    (
        *("arguments", "definitionBody", "description", "determinismLevel", "importedLibraries", "language"),
        *("returnTableType", "returnType", "routineType", "strictMode"),
    )
)


@implements("bigquery", "routines.insert")
def insert(call: Call) -> dict[str, Any]:
    name = shapes.check_dataset_id(str((call.body.get("routineReference") or {}).get("routineId", "")))
    body = shapes.ask(
        call, "write_routine", **_dataset(call), name=name, body=_settings(call.body), replace=False
    )
    return _json(call, name, body)


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
    body = shapes.ask(
        call, "write_routine", **_dataset(call), name=name, body=_settings(call.body), replace=True
    )
    return _json(call, name, body)


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
    return {"language": "SQL", **{key: value for key, value in body.items() if key in _SETTINGS}}
