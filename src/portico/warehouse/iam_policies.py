"""IAM policies of tables and routines, as they are kept with them: `_iam` of the resource, with a count of changes.
And the access lists of datasets."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

from portico.errors import Aborted

_KEY = "_iam"
_BY_DEFAULT: Final = [
    {"role": "WRITER", "specialGroup": "projectWriters"},
    {"role": "OWNER", "specialGroup": "projectOwners"},
    {"role": "READER", "specialGroup": "projectReaders"},
]


def access(dataset: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Who may do what in a dataset; what Google gives to one that was made without a list."""
    return [dict(one) for one in dataset.get("access") or _BY_DEFAULT]


def get(body: dict[str, Any]) -> dict[str, Any]:
    """A resource's policy with its etag; one without bindings where none was set."""
    kept = body.get(_KEY) or {"revision": 0, "policy": {"version": 1}}
    return {**kept["policy"], "etag": base64.b64encode(int(kept["revision"]).to_bytes(8, "big")).decode()}


def put(body: dict[str, Any], policy: dict[str, Any], etag: str) -> dict[str, Any]:
    """Puts a policy into a resource, which is then to be written; the policy with its etag.

    Raises:
        Aborted: `etag` is given and not that of the policy there.
    """
    if etag and etag != get(body)["etag"]:
        raise Aborted(
            "The policy was changed since it was read: get it again and repeat the change.",
            reason="conditionNotMet",
        )
    before = body.get(_KEY) or {"revision": 0}
    body[_KEY] = {"revision": int(before["revision"]) + 1, "policy": policy}
    return get(body)
