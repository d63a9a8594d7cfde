"""storage.buckets: IAM policies; and the project's service account."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import orjson

from portico.errors import FailedPrecondition, InvalidArgument
from portico.ids import project_number
from portico.services.call import Call, implements
from portico.services.iam import acl, targets
from portico.services.iam.bindings import of_bucket
from portico.services.standard.policies import check, held
from portico.services.storage import lists
from portico.store.objects import buckets as objects_buckets


@implements("storage", "buckets.getIamPolicy")
def get_iam_policy(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        row = objects_buckets.get(connection, call.params["bucket"])
    return _policy(row)


@implements("storage", "buckets.setIamPolicy")
def set_iam_policy(call: Call) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        row = objects_buckets.get(connection, call.params["bucket"])
        given = call.body.get("etag")
        if given and given != _policy(row)["etag"]:
            raise FailedPrecondition(
                "The policy was changed since it was read: read it again and apply the change to that.",
                reason="conditionNotMet",
                http_status=412,
            )
        policy: dict[str, Any] = {
            "version": call.body.get("version") or 1,
            "bindings": call.body.get("bindings") or [],
        }
        check(policy)
        _check_conditions(row, policy)
        lists.refuse_everybody(row, (who for one in policy["bindings"] for who in one.get("members") or ()))
        objects_buckets.set_policy(connection, row.name, policy, call.rooms.clock.now())
        row = objects_buckets.get(connection, row.name)
    return _policy(row)


@implements("storage", "buckets.testIamPermissions")
def test_iam_permissions(call: Call) -> dict[str, Any]:
    """Who has none of them is not told whether there is such a bucket."""
    found = held(call, targets.bucket(call.params["bucket"]))
    if found or call.caller.owner:
        with call.rooms.database.read() as connection:
            objects_buckets.get(connection, call.params["bucket"])
    return {"kind": "storage#testIamPermissionsResponse", "permissions": found}


@implements("storage", "projects.serviceAccount.get")
def get_service_account(call: Call) -> dict[str, Any]:
    project = call.params["projectId"]
    return {
        "kind": "storage#serviceAccount",
        "email_address": f"service-{project_number(project)}@gs-project-accounts.iam.gserviceaccount.com",
    }


def _check_conditions(row: objects_buckets.BucketRow, policy: dict[str, Any]) -> None:
    """
    Raises:
        FailedPrecondition: the bucket's objects have lists of their own (412). InvalidArgument: the version does not
            say that the caller knows conditions.
    """
    if not any(one.get("condition") for one in policy["bindings"]):
        return
    if not acl.is_uniform(row):
        raise FailedPrecondition(
            f"To set a conditional role binding (IAM Conditions) on the bucket {row.name}, enable uniform bucket-level "
            "access first.",
            reason="conditionNotMet",
            http_status=412,
        )
    if policy["version"] < 3:
        raise InvalidArgument(
            "Policies with conditional role bindings need a version of at least 3: get the policy with "
            "optionsRequestedPolicyVersion=3, and set its version to 3.",
            reason="invalid",
            field="version",
        )


def _policy(row: objects_buckets.BucketRow) -> dict[str, Any]:
    policy = of_bucket(row)
    digest = hashlib.sha256(orjson.dumps(policy, option=orjson.OPT_SORT_KEYS)).digest()
    return {
        "kind": "storage#policy",
        "resourceId": f"projects/_/buckets/{row.name}",
        **policy,
        "etag": base64.b64encode(digest[:8]).decode(),
    }
