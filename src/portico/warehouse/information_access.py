"""The view of INFORMATION_SCHEMA about who was granted what: by access lists of datasets, by policies of the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from portico.warehouse import iam_policies, routines
from portico.warehouse.information_schema import Scope, View, columns

_BASIC = {
    "READER": "roles/bigquery.dataViewer",
    "WRITER": "roles/bigquery.dataEditor",
    "OWNER": "roles/bigquery.dataOwner",
}
_MEMBERS = {"userByEmail": "user", "groupByEmail": "group", "domain": "domain"}
_KINDS = {"VIEW": "VIEW", "MATERIALIZED_VIEW": "VIEW", "EXTERNAL": "EXTERNAL"}


def _privileges(scope: Scope) -> Iterator[dict[str, Any]]:
    for one in scope.datasets:
        named = {"object_catalog": one.project, "object_schema": None, "object_name": one.dataset}
        for granted in one.body.get("access") or ():
            if role := granted.get("role"):
                yield {
                    **named, "object_type": "SCHEMA", "privilege_type": _BASIC.get(role, role),
                    "grantee": _grantee(granted, one.project),
                }  # fmt: skip
        for routine in routines.listed(scope.cursor, scope.project, one.dataset):
            yield from _of_policy(one.project, one.dataset, routine.name, "ROUTINE", routine.body)
    for table in scope.tables:
        kind = _KINDS.get(str(table.body.get("type")), "TABLE")
        yield from _of_policy(table.project, table.dataset, table.table, kind, table.body)


def _of_policy(
    project: str, dataset: str, name: str, kind: str, body: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    for binding in iam_policies.get(body).get("bindings") or ():
        for member in binding.get("members") or ():
            yield {
                "object_catalog": project, "object_schema": dataset, "object_name": name, "object_type": kind,
                "privilege_type": binding["role"], "grantee": member,
            }  # fmt: skip


def _grantee(granted: dict[str, Any], project: str) -> str:
    for key, kind in _MEMBERS.items():
        if key in granted:
            service = kind == "user" and str(granted[key]).endswith(".gserviceaccount.com")
            return f"{'serviceAccount' if service else kind}:{granted[key]}"
    if "specialGroup" in granted:
        group = str(granted["specialGroup"])
        return f"{group.removesuffix('s')}:{project}" if group.startswith("project") else group
    return str(granted.get("iamMember") or "")


VIEWS = {
    "OBJECT_PRIVILEGES": View(
        columns("object_catalog object_schema object_name object_type privilege_type grantee"), _privileges
    )
}
