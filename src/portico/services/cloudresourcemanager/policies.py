"""IAM policies of projects: what all that is in a project inherits."""

from __future__ import annotations

from typing import Any

from portico.errors import Aborted, InvalidArgument
from portico.services.audit import configured
from portico.services.call import Call, implements
from portico.services.iam import targets
from portico.services.iam.bindings import of_project
from portico.services.standard.policies import check, held
from portico.store import policies


@implements("cloudresourcemanager", "projects.getIamPolicy")
def get(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        return of_project(connection, _project(call))


@implements("cloudresourcemanager", "projects.setIamPolicy")
def set_(call: Call) -> dict[str, Any]:
    """Replaces the policy. The owner of this server stays the owner of all that is in it, whatever it says."""
    given = call.body.get("policy") or {}
    check(given)
    configured.check(given)
    for number, binding in enumerate(given.get("bindings") or ()):
        if {"allUsers", "allAuthenticatedUsers"} & set(binding.get("members") or ()):
            raise InvalidArgument(
                "A project's roles are for those who are named: not for allUsers or allAuthenticatedUsers. A bucket's "
                "policy may name them.",
                field=f"policy.bindings[{number}].members",
            )
    project = _project(call)
    with call.rooms.database.write() as connection:
        current = of_project(connection, project)
        if given.get("etag") and given["etag"] != current["etag"]:
            raise Aborted(
                "There were concurrent policy changes. Please retry the whole read-modify-write with exponential "
                "backoff."
            )
        made = {"version": given.get("version") or 1, "bindings": given.get("bindings") or []}
        if given.get("auditConfigs"):
            made["auditConfigs"] = given["auditConfigs"]
        return policies.put(connection, targets.policy_of_project(project), made)


@implements("cloudresourcemanager", "projects.testIamPermissions")
def test(call: Call) -> dict[str, Any]:
    found = held(call, targets.project(_project(call)))
    return {"permissions": found} if found else {}


def _project(call: Call) -> str:
    return str(call.params["resource"]).removeprefix("projects/")
