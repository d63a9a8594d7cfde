"""IAM policies of tags: what those of a key allow counts for its values, too.

https://cloud.google.com/resource-manager/docs/tags/tags-creating-and-managing
"""

from __future__ import annotations

from typing import Any

from portico.errors import Aborted
from portico.services.call import Call, implements
from portico.services.cloudresourcemanager.tags import require
from portico.services.iam import targets
from portico.services.iam.tags import KEYS, VALUES
from portico.services.standard.policies import check, held
from portico.store import policies


@implements("cloudresourcemanager", "tagKeys.getIamPolicy", "tagValues.getIamPolicy")
def get(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        return policies.get(connection, targets.full(call.api, require(connection, *_asked(call)).name))


@implements("cloudresourcemanager", "tagKeys.setIamPolicy", "tagValues.setIamPolicy")
def set_(call: Call) -> dict[str, Any]:
    """Replaces the policy.

    Raises:
        Aborted: the given etag is not that of the policy there. InvalidArgument: naming what is wrong in a binding.
    """
    given = call.body.get("policy") or {}
    check(given)
    with call.rooms.database.write() as connection:
        found = require(connection, *_asked(call)).name
        name = targets.full(call.api, found)
        if given.get("etag") and given["etag"] != policies.get(connection, name)["etag"]:
            raise Aborted(
                f"The policy of {found} was changed since it was read: get it again and repeat the change."
            )
        made = {"version": given.get("version") or 1, "bindings": given.get("bindings") or []}
        return policies.put(connection, name, made)


@implements("cloudresourcemanager", "tagKeys.testIamPermissions", "tagValues.testIamPermissions")
def test(call: Call) -> dict[str, Any]:
    """Who has none of them is not told whether there is such a tag."""
    kind, name = _asked(call)
    found = held(call, targets.full(call.api, name))
    if found or call.caller.owner:
        with call.rooms.database.read() as connection:
            require(connection, kind, name)
    return {"permissions": found} if found else {}


def _asked(call: Call) -> tuple[str, str]:
    """Of which kind and name."""
    return KEYS if call.method.startswith("tagKeys.") else VALUES, str(call.params["resource"])
