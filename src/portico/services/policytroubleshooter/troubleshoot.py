"""policytroubleshooter.iam.troubleshoot: whether a principal has a permission, and what each binding has to do with it.

https://cloud.google.com/policy-intelligence/docs/reference/policytroubleshooter/rest/v1/iam/troubleshoot
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

from portico.errors import InvalidArgument
from portico.services.call import Call, Caller, implements
from portico.services.iam import accounts, targets
from portico.services.iam.decide import Considered
from portico.services.iam.table import known


@implements("policytroubleshooter", "iam.troubleshoot")
def troubleshoot(call: Call) -> dict[str, Any]:
    told = call.body["accessTuple"]
    email = str(told["principal"]).rpartition(":")[2]
    permission, resource = str(told["permission"]), str(told["fullResourceName"])
    if permission not in known():
        raise InvalidArgument(f"There is no permission {permission}.", field="accessTuple.permission")
    if not targets.target(resource).service:
        raise InvalidArgument(
            f"{resource!r} is no full resource name such as //aiplatform.googleapis.com/projects/P/…/models/1.",
            field="accessTuple.fullResourceName",
        )
    caller = Caller(email)
    found = call.rooms.permissions.why(caller, permission, resource)
    granted = accounts.is_owner(email) or any(one.grants for one in found)
    return {
        "access": _access(granted),
        "explainedPolicies": [
            _policy(name, list(each)) for name, each in groupby(found, key=lambda one: str(one.resource))
        ],
    }


def _policy(name: str, found: list[Considered]) -> dict[str, Any]:
    return {
        "access": _access(any(one.grants for one in found)),
        "fullResourceName": name,
        "policy": {"bindings": [one.binding for one in found]},
        "bindingExplanations": [_binding(one) for one in found],
        "relevance": "HIGH" if any(one.grants for one in found) else "NORMAL",
    }


def _binding(one: Considered) -> dict[str, Any]:
    holds, member = one.holds, any(one.members.values())
    return {
        "access": _access(one.grants),
        "role": one.binding["role"],
        "rolePermission": "ROLE_PERMISSION_INCLUDED" if holds else "ROLE_PERMISSION_NOT_INCLUDED",
        "rolePermissionRelevance": "HIGH" if member else "NORMAL",
        "memberships": {
            name: {
                "membership": "MEMBERSHIP_INCLUDED" if included else "MEMBERSHIP_NOT_INCLUDED",
                "relevance": "HIGH" if holds else "NORMAL",
            }
            for name, included in one.members.items()
        },
        "relevance": "HIGH" if holds and member else "NORMAL",
        **({"condition": one.binding["condition"]} if one.condition is not None else {}),
    }


def _access(granted: bool) -> str:
    return "GRANTED" if granted else "NOT_GRANTED"
