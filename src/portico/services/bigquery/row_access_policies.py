"""bigquery.rowAccessPolicies: insert, get, list, update, delete, batchDelete. `warehouse.access` says what they do."""

from __future__ import annotations

import datetime as dt
from typing import Any

from portico.errors import InvalidArgument, NotFound
from portico.services.bigquery import shapes
from portico.services.bigquery.pages import token
from portico.services.call import Call, implements

_PAGE = 100


@implements("bigquery", "rowAccessPolicies.insert")
def insert(call: Call) -> dict[str, Any]:
    name = str((call.body.get("rowAccessPolicyReference") or {}).get("policyId") or "")
    return _write(call, name, replace=False)


@implements("bigquery", "rowAccessPolicies.update")
def update(call: Call) -> dict[str, Any]:
    name = str(call.params["policyId"])
    find(call, _table(call), name)
    return _write(call, name, replace=True)


def _write(call: Call, name: str, *, replace: bool) -> dict[str, Any]:
    predicate = str(call.body.get("filterPredicate") or "")
    if not predicate:
        raise InvalidArgument("Required parameter is missing: filterPredicate", reason="required")
    policy = {
        "policyId": name, "filterPredicate": predicate, "grantees": list(call.body.get("grantees") or ()),
    }  # fmt: skip
    return _json(call, shapes.ask(call, "write_policy", **_table(call), policy=policy, replace=replace))


@implements("bigquery", "rowAccessPolicies.get")
def get(call: Call) -> dict[str, Any]:
    return _json(call, find(call, _table(call), str(call.params["policyId"])))


def find(call: Call, table: dict[str, str], name: str) -> dict[str, Any]:
    """
    Raises:
        NotFound: the table, or the policy, is not there.
    """
    for one in shapes.ask(call, "policies", **table):
        if one["policyId"] == name:
            return dict(one)
    raise NotFound(f"Not found: Row access policy {'.'.join(table.values())}.{name}", reason="notFound")


@implements("bigquery", "rowAccessPolicies.list")
def list_(call: Call) -> dict[str, Any]:
    start, size = token(call), int(call.params.get("pageSize") or _PAGE)
    found = shapes.ask(call, "policies", **_table(call))
    answer: dict[str, Any] = {"rowAccessPolicies": [_json(call, one) for one in found[start : start + size]]}
    if start + size < len(found):
        answer["nextPageToken"] = str(start + size)
    return answer


@implements("bigquery", "rowAccessPolicies.delete")
def delete(call: Call) -> None:
    shapes.ask(call, "drop_policies", **_table(call), names=[str(call.params["policyId"])])


@implements("bigquery", "rowAccessPolicies.batchDelete")
def batch_delete(call: Call) -> None:
    names = [str(one) for one in call.body.get("policyIds") or ()]
    if not names:
        raise InvalidArgument("Required parameter is missing: policyIds", reason="required")
    shapes.ask(call, "drop_policies", **_table(call), names=names)


def _table(call: Call) -> dict[str, str]:
    return {
        "project": shapes.project(call),
        "dataset": str(call.params["datasetId"]),
        "table": str(call.params["tableId"]),
    }


def _json(call: Call, one: dict[str, Any]) -> dict[str, Any]:
    where = _table(call)
    reference = {
        **shapes.table_reference(where["project"], where["dataset"], where["table"]),
        "policyId": one["policyId"],
    }
    return {
        "rowAccessPolicyReference": reference, "filterPredicate": one["filterPredicate"], "grantees": one["grantees"],
        "creationTime": _time(one["created"]), "lastModifiedTime": _time(one["changed"]), "etag": shapes.etag(one),
    }  # fmt: skip


def _time(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat().replace("+00:00", "Z")
