"""storage.projects.hmacKeys. https://cloud.google.com/storage/docs/json_api/v1/projects/hmacKeys"""

from __future__ import annotations

import base64
import os
from typing import Any, Final

from sqlalchemy.engine import Connection

from portico.errors import FailedPrecondition, InvalidArgument, NotFound
from portico.services.call import Call, implements
from portico.services.iam import accounts, hmac_keys
from portico.services.iam.hmac_keys import KIND, HmacPrivate
from portico.services.standard.collection import etag
from portico.services.standard.here import base_url
from portico.services.storage.render import milliseconds
from portico.services.storage.requests import integer, page_token, parse_page_token
from portico.store import resources
from portico.store.resources import Resource

_MOST: Final = 10  # keys of an account, without deleted ones
_PAGE: Final = 250


@implements("storage", "projects.hmacKeys.create")
def create(call: Call) -> dict[str, Any]:
    """Its secret is in this answer, and in none that comes later."""
    project, email = _project(call), str(call.params.get("serviceAccountEmail") or "")
    now = call.rooms.clock.now()
    access_id = "GOOG1E" + base64.b32encode(os.urandom(35)).decode().rstrip("=")[:55]
    secret = base64.b64encode(os.urandom(30)).decode()
    with call.rooms.database.write() as connection:
        account = accounts.require(connection, accounts.named(email))
        if account.body["projectId"] != project:
            raise InvalidArgument(
                f"{email} is of the project {account.body['projectId']}: its keys are made there.",
                reason="invalid", field="serviceAccountEmail",
            )  # fmt: skip
        there = [one for one in _of(connection, project, email) if one.body["state"] != "DELETED"]
        if len(there) >= _MOST:
            raise FailedPrecondition(
                f"{email} has {_MOST} HMAC keys, as many as an account can have: delete one first."
            )
        body = {"serviceAccountEmail": email, "state": "ACTIVE"}
        private = HmacPrivate(secret, account.body["uniqueId"])
        key = resources.insert(
            connection, name=hmac_keys.name(access_id), kind=KIND, parent=f"projects/{project}", body=body, now=now,
            private=private,
        )  # fmt: skip
    assert key is not None  # its id is nobody else's
    return {"kind": "storage#hmacKey", "metadata": _shown(call, key), "secret": secret}


@implements("storage", "projects.hmacKeys.get")
def get(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        return _shown(call, _require(call, connection))


@implements("storage", "projects.hmacKeys.list")
def listed(call: Call) -> dict[str, Any]:
    asked = integer(call.params, "maxResults")
    most = min(asked or _PAGE, _PAGE)
    if most < 0:
        raise InvalidArgument(f"Invalid value for maxResults: {asked}", reason="invalid", field="maxResults")
    after = parse_page_token(call.params, list[str])
    with call.rooms.database.read() as connection:
        found = _of(connection, _project(call), str(call.params.get("serviceAccountEmail") or ""))
    deleted = str(call.params.get("showDeletedKeys", "")).lower() == "true"
    rows = [
        one for one in found
        if (deleted or one.body["state"] != "DELETED") and (not after or one.name > after[0])
    ]  # fmt: skip
    page: dict[str, Any] = {"kind": "storage#hmacKeysMetadata"}
    if rows:
        page["items"] = [_shown(call, one) for one in rows[:most]]
    if len(rows) > most:
        page["nextPageToken"] = page_token([rows[most - 1].name])
    return page


@implements("storage", "projects.hmacKeys.update")
def update(call: Call) -> dict[str, Any]:
    state = str(call.body.get("state") or "")
    if state not in ("ACTIVE", "INACTIVE"):
        raise InvalidArgument(
            f"state is ACTIVE or INACTIVE, not {state!r}; hmacKeys.delete deletes a key.",
            reason="invalid", field="state",
        )  # fmt: skip
    with call.rooms.database.write() as connection:
        key = _require(call, connection)
        if key.body["state"] == "DELETED":
            raise InvalidArgument("The key is deleted, and stays so.", reason="invalid", field="state")
        if call.body.get("etag") and call.body["etag"] != etag(key):
            raise FailedPrecondition(
                "The key was changed since it was read: read it again.",
                reason="conditionNotMet",
                http_status=412,
            )
        key.body["state"] = state
        resources.update(connection, key, call.rooms.clock.now())
        return _shown(call, _require(call, connection))


@implements("storage", "projects.hmacKeys.delete")
def delete(call: Call) -> None:
    """It stays to be seen as deleted; its secret is gone."""
    with call.rooms.database.write() as connection:
        key = _require(call, connection)
        if key.body["state"] == "DELETED":
            raise _unknown(call)
        if key.body["state"] != "INACTIVE":
            raise InvalidArgument(
                "Cannot delete keys in 'ACTIVE' state: set it to INACTIVE first.", reason="invalid"
            )
        key.body["state"] = "DELETED"
        HmacPrivate.of(key).secret = ""
        resources.update(connection, key, call.rooms.clock.now())


def _project(call: Call) -> str:
    return str(call.params["projectId"])


def _of(connection: Connection, project: str, email: str) -> list[Resource]:
    """The keys of a project, or of one of its accounts, by their ids."""
    found = resources.listed(connection, KIND, f"projects/{project}")
    chosen = [one for one in found if not email or one.body["serviceAccountEmail"] == email]
    return sorted(chosen, key=lambda one: one.name)


def _require(call: Call, connection: Connection) -> Resource:
    found = hmac_keys.find(connection, str(call.params["accessId"]))
    if found is None or found.parent != f"projects/{_project(call)}":
        raise _unknown(call)
    return found


def _unknown(call: Call) -> NotFound:
    return NotFound(
        f"Access ID {call.params['accessId']} not found in project {_project(call)}.", reason="notFound"
    )


def _shown(call: Call, key: Resource) -> dict[str, Any]:
    access_id, project = key.name.rpartition("/")[2], key.parent.removeprefix("projects/")
    return {
        "kind": "storage#hmacKeyMetadata",
        "id": f"{project}/{access_id}",
        "selfLink": f"{base_url(call.headers)}/storage/v1/projects/{project}/hmacKeys/{access_id}",
        "accessId": access_id,
        "projectId": project,
        **key.body,
        "timeCreated": milliseconds(key.create_time),
        "updated": milliseconds(key.update_time),
        "etag": etag(key),
    }
