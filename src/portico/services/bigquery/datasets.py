"""bigquery.datasets: insert, get, list, patch, update, delete, undelete."""

from __future__ import annotations

from typing import Any

from portico.errors import InvalidArgument
from portico.services.bigquery import settings, shapes
from portico.services.bigquery.pages import page
from portico.services.call import Call, implements
from portico.warehouse.locations import canonical

_SETTINGS = frozenset(
    [
        "access",
        "defaultCollation",
        "defaultEncryptionConfiguration",
        "defaultPartitionExpirationMs",
        "defaultRoundingMode",
        "defaultTableExpirationMs",
        "description",
        "friendlyName",
        "isCaseInsensitive",
        "labels",
        "location",
        "maxTimeTravelHours",
        "resourceTags",
        "storageBillingModel",
    ]
)


@implements("bigquery", "datasets.insert")
def insert(call: Call) -> dict[str, Any]:
    reference = call.body.get("datasetReference") or {}
    name = shapes.check_dataset_id(str(reference.get("datasetId", "")))
    body = shapes.ask(
        call, "create_dataset", project=_project(call, reference), dataset=name, body=_settings(call)
    )
    return shapes.dataset_json(shapes.project(call), name, body)


def _project(call: Call, reference: dict[str, Any]) -> str:
    given = reference.get("projectId") or shapes.project(call)
    if given != shapes.project(call):
        raise InvalidArgument(
            f"Value for projectId in content: {given} does not match projectId in URL", reason="invalid"
        )
    return str(given)


@implements("bigquery", "datasets.get")
def get(call: Call) -> dict[str, Any]:
    name = str(call.params["datasetId"])
    return shapes.dataset_json(
        shapes.project(call), name, shapes.ask(call, "get", project=shapes.project(call), dataset=name)
    )


@implements("bigquery", "datasets.list")
def list_(call: Call) -> dict[str, Any]:
    found = shapes.ask(call, "listed", project=shapes.project(call))
    shown = [
        {
            "kind": "bigquery#dataset",
            "id": f"{shapes.project(call)}:{one['dataset']}",
            "datasetReference": shapes.dataset_reference(shapes.project(call), one["dataset"]),
            "location": one.get("location", "US"),
            **{key: one[key] for key in ("labels", "friendlyName") if key in one},
        }
        for one in found
        if _wanted(str(call.params.get("filter", "")), one.get("labels") or {})
    ]
    return page(call, "bigquery#datasetList", "datasets", shown)


def _wanted(written: str, labels: dict[str, str]) -> bool:
    """`labels.KEY[:VALUE]`, several by spaces."""
    for term in written.split():
        key, _, value = term.removeprefix("labels.").partition(":")
        if key not in labels or (value and labels[key] != value):
            return False
    return True


@implements("bigquery", "datasets.patch", "datasets.update")
def change(call: Call) -> dict[str, Any]:
    replace = call.method.endswith(".update")
    where = {"project": shapes.project(call), "dataset": str(call.params["datasetId"])}
    before = shapes.ask(call, "get", **where)
    shapes.check_etag(call, before)
    kept = {"location": before.get("location", "US")} if replace else {"location": "US", **before}
    asked = _settings(call)
    if (location := asked.get("location", kept["location"])).lower() != kept["location"].lower():
        raise InvalidArgument(
            f"Cannot change the location of a dataset from {kept['location']} to {location}; make another there",
            reason="invalid",
            field="location",
        )
    body = shapes.patched(kept, asked)
    body = shapes.ask(call, "update", **where, table="", body=body)
    return shapes.dataset_json(where["project"], where["dataset"], body)


@implements("bigquery", "datasets.delete")
def delete(call: Call) -> None:
    shapes.ask(
        call,
        "delete",
        project=shapes.project(call),
        dataset=str(call.params["datasetId"]),
        contents=bool(call.params.get("deleteContents", False)),
    )


@implements("bigquery", "datasets.undelete")
def undelete(call: Call) -> dict[str, Any]:
    """Its time of deletion can't be chosen: the document says that Google does not support it either."""
    if call.body.get("deletionTime"):
        raise InvalidArgument(
            "Undeleting a dataset using deletion time is not supported",
            reason="invalid",
            field="deletionTime",
        )
    name = str(call.params["datasetId"])
    body = shapes.ask(call, "undelete_dataset", project=shapes.project(call), dataset=name)
    return shapes.dataset_json(shapes.project(call), name, body)


_ENTITIES = (
    "userByEmail", "groupByEmail", "domain", "specialGroup", "iamMember", "view", "dataset", "routine",
)  # fmt: skip
_AUTHORISED = ("view", "dataset", "routine")  # which see what is in it, without a role


def _check_access(call: Call, entries: list[dict[str, Any]]) -> None:
    """
    Raises:
        InvalidArgument: an entry names nobody, or several, or no role. NotFound: what it authorises is not there.
    """
    for one in entries:
        named = [key for key in _ENTITIES if one.get(key)]
        if len(named) != 1:
            raise InvalidArgument(
                f"Every access entry must have exactly one of {', '.join(_ENTITIES)}; found "
                f"{', '.join(named) or 'none'}",
                reason="invalid",
                field="access",
            )
        [kind] = named
        if (kind in _AUTHORISED) == bool(one.get("role")):
            said = "takes no role" if kind in _AUTHORISED else "needs a role"
            raise InvalidArgument(
                f"The access entry of a {kind} {said}", reason="invalid", field="access.role"
            )
        if kind in _AUTHORISED:
            reference = one[kind].get("dataset") if kind == "dataset" else one[kind]
            where = {"project": reference.get("projectId", ""), "dataset": reference.get("datasetId", "")}
            if kind == "routine":
                shapes.ask(call, "routine", **where, name=reference.get("routineId", ""))
            else:
                shapes.ask(call, "get", **where, table=reference.get("tableId", ""))


def _settings(call: Call) -> dict[str, Any]:
    body = call.body
    _check_access(call, body.get("access") or [])
    settings.check_times(body)
    found = {key: value for key, value in body.items() if key in _SETTINGS}
    if location := found.pop("location", None):
        found["location"] = canonical(str(location))
    return found
