"""People and permissions: who may do what in a project, and the accounts that work for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from portico.console.looking import PAGE, Looking, page
from portico.errors import PermissionDenied

_PLACE = "/projects/{project}/locations/{location}"


@page(f"{_PLACE}/people")
def people(looking: Looking) -> Response:
    api, project = looking.api, looking.project
    path = f"/apis/cloudresourcemanager/v3/projects/{project}:getIamPolicy"
    try:
        policy = api.call("POST", path, {"options": {"requestedPolicyVersion": 3}})
    except PermissionDenied as error:
        policy = {}
        api.denied.append(error.message)
    accounts = api.listed(f"/apis/iam/v1/projects/{project}/serviceAccounts", "accounts", pageSize=PAGE)
    wanted = looking.query.get("q", "").strip().lower()
    return looking.show(
        "people.html", "People and permissions", rows=_rows(policy, wanted), accounts=accounts
    )


def _rows(policy: Mapping[str, Any], wanted: str) -> list[dict[str, str]]:
    """A row a member and role, those whose name or role holds what is looked for."""
    rows = [
        {
            "kind": member.partition(":")[0] if ":" in member else "",
            "who": member.partition(":")[2] or member,
            "role": binding["role"],
            "condition": (binding.get("condition") or {}).get("expression", ""),
        }
        for binding in policy.get("bindings") or []
        for member in binding.get("members") or []
    ]
    return sorted(
        (row for row in rows if wanted in f"{row['who']} {row['role']}".lower()),
        key=lambda row: (row["who"], row["role"]),
    )
