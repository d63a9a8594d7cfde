"""IAM policies of resources, stored with an etag and given back; `services.iam` decides by them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.engine import Connection

from portico.errors import Aborted, InvalidArgument
from portico.services.call import Call
from portico.services.standard import cel
from portico.store import policies

if TYPE_CHECKING:
    from portico.services.standard.collection import Collection

_ROLE = re.compile(r"(projects/[^/]+/|organizations/[^/]+/)?roles/[A-Za-z0-9_.]+")
_MEMBER = re.compile(
    r"allUsers|allAuthenticatedUsers"
    r"|(deleted:)?(user|serviceAccount|group|domain|principal|principalSet|projectOwner|projectEditor|projectViewer):\S+"
)


# As Google's: https://cloud.google.com/iam/quotas. Each call that the policy has a say in looks at them all.
_PRINCIPALS: Final = 1500
_GROUPS: Final = 250
_CONDITIONS: Final = 100
_PERMISSION = re.compile(r"[a-zA-Z.-]+(\.[a-zA-Z./-]+){1,3}")


def get_policy(collection: Collection, call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        collection.require(connection, str(call.params["resource"]))
        return policies.get(connection, _name(call.api, str(call.params["resource"])))


def set_policy(collection: Collection, call: Call) -> dict[str, Any]:
    """Replaces the policy.

    Raises:
        Aborted: the given etag is not that of the policy there. InvalidArgument: naming what is wrong in a binding.
    """
    given = call.body.get("policy") or {}
    check(given)
    resource = str(call.params["resource"])
    with call.rooms.database.write() as connection:
        collection.require(connection, resource)
        held = policies.get(connection, _name(call.api, resource))
        if given.get("etag") and given["etag"] != held["etag"]:
            raise Aborted(
                f"The policy of {resource} was changed since it was read: get it again and repeat the change."
            )
        made = {"version": given.get("version") or 1, "bindings": given.get("bindings") or []}
        return policies.put(connection, _name(call.api, resource), made)


def test_permissions(collection: Collection, call: Call) -> dict[str, Any]:
    """Who has none of them is not told whether there is such a resource."""
    resource = str(call.params["resource"])
    found = held(call, _name(call.api, resource))
    if found or call.caller.owner:
        with call.rooms.database.read() as connection:
            collection.require(connection, resource)
    return {"permissions": found} if found else {}


def held(call: Call, resource: str) -> list[str]:
    """Which of the permissions that are asked for the caller has on what has this full name.

    Raises:
        InvalidArgument: one is none.
    """
    given = call.body.get("permissions") or call.params.get("permissions") or []
    asked = [given] if isinstance(given, str) else [str(one) for one in given]
    for one in asked:
        if not _PERMISSION.fullmatch(one):
            raise InvalidArgument(
                f"Permission {one} is not valid: one looks like aiplatform.models.get.", field="permissions"
            )
    return call.rooms.permissions.held(call.caller, asked, resource)


METHODS: Final[Mapping[str, Callable[[Collection, Call], dict[str, Any]]]] = {
    "getIamPolicy": get_policy,
    "setIamPolicy": set_policy,
    "testIamPermissions": test_permissions,
}


def drop(connection: Connection, api: str, resource: str) -> None:
    """Forgets the policy of a resource that is deleted."""
    policies.delete(connection, _name(api, resource))


def _name(api: str, resource: str) -> str:
    """Google's full resource name, which no two APIs share."""
    return f"//{api}.googleapis.com/{resource}"


def _check_size(policy: Mapping[str, Any]) -> None:
    bindings = policy.get("bindings") or []
    members = [str(one) for binding in bindings for one in binding.get("members") or []]
    for what, count, most in (
        ("bindings", len(bindings), _PRINCIPALS),
        ("principals", len(members), _PRINCIPALS),
        ("groups and domains", sum(one.startswith(("group:", "domain:")) for one in members), _GROUPS),
        ("bindings with a condition", sum(bool(one.get("condition")) for one in bindings), _CONDITIONS),
    ):
        if count > most:
            raise InvalidArgument(
                f"A policy has at most {most:,} {what}; this one has {count:,}.", field="policy.bindings"
            )


def check(policy: Mapping[str, Any]) -> None:
    """
    Raises:
        InvalidArgument: naming what is wrong in a binding, or what is too much.
    """
    _check_size(policy)
    for position, binding in enumerate(policy.get("bindings") or []):
        field = f"policy.bindings[{position}]"
        if not _ROLE.fullmatch(binding.get("role", "")):
            raise InvalidArgument(
                f"The role {binding.get('role', '')!r} is not one such as roles/aiplatform.user or "
                "projects/PROJECT/roles/ROLE.",
                field=f"{field}.role",
            )
        if condition := binding.get("condition"):
            cel.check(str(condition.get("expression") or ""), f"{field}.condition.expression")
        for member in binding.get("members") or []:
            if not _MEMBER.fullmatch(member):
                raise InvalidArgument(
                    f"The member {member!r} is not one such as user:NAME@EXAMPLE.COM, serviceAccount:…, group:…, "
                    "domain:… or allUsers.",
                    field=f"{field}.members",
                )
