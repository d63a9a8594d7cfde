"""IAM policies of tables, views, routines and row access policies: getIamPolicy, setIamPolicy, testIamPermissions.

They are kept with what they are of, so they go with it and come back with it; nobody enforces them. Who sees which rows
row access policies say: `warehouse.access`.
"""

from __future__ import annotations

import re
from typing import Any

from portico.errors import InvalidArgument
from portico.services.bigquery import shapes
from portico.services.bigquery.row_access_policies import find
from portico.services.call import Call, implements
from portico.services.iam import targets
from portico.services.standard.policies import check, held

_RESOURCE = re.compile(
    r"projects/([^/]+)/datasets/([^/]+)/(?:tables/([^/]+?)(?:/rowAccessPolicies/([^/]+))?|routines/([^/]+))"
)
_FILTERED = "roles/bigquery.filteredDataViewer"


@implements("bigquery", "tables.getIamPolicy")
def get_of_table(call: Call) -> dict[str, Any]:
    return dict(shapes.ask(call, "iam_policy", **_named(call)))


@implements("bigquery", "routines.getIamPolicy")
def get_of_routine(call: Call) -> dict[str, Any]:
    return dict(shapes.ask(call, "iam_policy", **_named(call)))


@implements("bigquery", "tables.setIamPolicy")
def set_of_table(call: Call) -> dict[str, Any]:
    return _set(call)


@implements("bigquery", "routines.setIamPolicy")
def set_of_routine(call: Call) -> dict[str, Any]:
    return _set(call)


def _set(call: Call) -> dict[str, Any]:
    given = call.body.get("policy") or {}
    check(given)
    made = {"version": given.get("version") or 1, "bindings": given.get("bindings") or []}
    return dict(
        shapes.ask(call, "set_iam_policy", **_named(call), policy=made, etag=str(given.get("etag") or ""))
    )


@implements("bigquery", "tables.testIamPermissions")
def test_of_table(call: Call) -> dict[str, Any]:
    return _tested(call)


@implements("bigquery", "routines.testIamPermissions")
def test_of_routine(call: Call) -> dict[str, Any]:
    return _tested(call)


def _tested(call: Call) -> dict[str, Any]:
    found = held(call, targets.full("bigquery", str(call.params["resource"])))
    if found or call.caller.owner:
        shapes.ask(call, "iam_policy", **_named(call))
    return {"permissions": found}


@implements("bigquery", "rowAccessPolicies.getIamPolicy")
def get_of_row_access_policy(call: Call) -> dict[str, Any]:
    """https://cloud.google.com/bigquery/docs/managing-row-level-security: grantees have this role, and no other."""
    found = _row_access_policy(call)
    members = list(found["grantees"])
    return {
        "version": 1, "etag": shapes.etag(found),
        "bindings": [{"role": _FILTERED, "members": members}] if members else [],
    }  # fmt: skip


@implements("bigquery", "rowAccessPolicies.testIamPermissions")
def test_of_row_access_policy(call: Call) -> dict[str, Any]:
    found = held(call, targets.full("bigquery", str(call.params["resource"])))
    if found or call.caller.owner:
        _row_access_policy(call)
    return {"permissions": found}


def _row_access_policy(call: Call) -> dict[str, Any]:
    project, dataset, table, name, _ = _parts(call)
    return find(call, {"project": project, "dataset": dataset, "table": table}, name)


def _named(call: Call) -> dict[str, str]:
    project, dataset, table, _, routine = _parts(call)
    return {"project": project, "dataset": dataset, "table": table, "routine": routine}


def _parts(call: Call) -> tuple[str, ...]:
    found = _RESOURCE.fullmatch(str(call.params["resource"]))
    if found is None:
        raise InvalidArgument(
            f"Invalid resource {call.params['resource']!r}: it is projects/P/datasets/D/tables/T or …/routines/R",
            reason="invalid",
        )
    return tuple(one or "" for one in found.groups())
