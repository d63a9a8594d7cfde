"""iam.roles, Google's predefined ones, and iam.projects.roles, a project's own.

https://cloud.google.com/iam/docs/reference/rest/v1/projects.roles
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy.engine import Connection

from portico.errors import Aborted, FailedPrecondition, InvalidArgument, NotFound
from portico.services.call import Call, implements
from portico.services.iam import accounts, roles
from portico.services.iam.table import known
from portico.services.standard import pages
from portico.services.standard.fields import camel
from portico.store import resources
from portico.store.resources import Resource

_ID: Final = re.compile(r"[a-zA-Z0-9_.]{3,64}")
_FIELDS: Final = ("title", "description", "includedPermissions", "stage")
_LONGEST: Final = {"title": 100, "description": 300}
_MOST: Final = 3000  # permissions


@implements("iam", "roles.get")
def get(call: Call) -> dict[str, Any]:
    held = roles.predefined(call.name)
    if held is None:
        raise NotFound(f"The role named {call.name} was not found.")
    return _predefined(call.name) | {"includedPermissions": sorted(held)}


@implements("iam", "roles.list")
def listed(call: Call) -> dict[str, Any]:
    parent = str(call.params.get("parent") or "")
    if parent.startswith("projects/"):
        return _own(call, parent)
    if parent:
        raise InvalidArgument(
            f"{parent!r} is no project: projects/PROJECT, or nothing for Google's own.", field="parent"
        )
    full = call.params.get("view") == "FULL"
    names, more = pages.part(roles.names(), call.params, "roles", default=300)
    shown = [
        _predefined(name) | ({"includedPermissions": sorted(roles.predefined(name) or ())} if full else {})
        for name in names
    ]
    return {"roles": shown, **more}


def _predefined(name: str) -> dict[str, Any]:
    return {"name": name, "title": roles.title(name), "stage": "GA", "etag": "AA=="}


@implements("iam", "projects.roles.create")
def create(call: Call) -> dict[str, Any]:
    parent, chosen = str(call.params["parent"]), str(call.body.get("roleId") or "")
    if not _ID.fullmatch(chosen):
        raise InvalidArgument(
            f"roleId {chosen!r} is not allowed: 3 to 64 letters, digits, '_' and '.'.", field="roleId"
        )
    told = call.body.get("role") or {}
    _check(told)
    body = {key: told[key] for key in _FIELDS if told.get(key)}
    taken = f"A role named {chosen} in {parent} already exists."
    return _shown(accounts.insert(call, f"{parent}/roles/{chosen}", roles.CUSTOM, parent, body, taken))


@implements("iam", "projects.roles.get")
def get_own(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        return _shown(_require(connection, call.name))


@implements("iam", "projects.roles.list")
def list_own(call: Call) -> dict[str, Any]:
    return _own(call, str(call.params["parent"]))


def _own(call: Call, parent: str) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        found = list(resources.listed(connection, roles.CUSTOM, parent))
    shown = [_shown(one) for one in found if call.params.get("showDeleted") or not one.body.get("deleted")]
    if call.params.get("view") != "FULL":
        shown = [{key: value for key, value in one.items() if key != "includedPermissions"} for one in shown]
    return {"roles": shown} if shown else {}


@implements("iam", "projects.roles.patch")
def patch(call: Call) -> dict[str, Any]:
    given = str(call.params.get("updateMask") or "")
    mask = [camel(one.strip()) for one in given.split(",")] if given else _FIELDS
    if wrong := [one for one in mask if one not in _FIELDS]:
        raise InvalidArgument(
            f"updateMask can name {', '.join(_FIELDS)}, not {wrong[0]}.", field="updateMask"
        )
    _check(call.body)
    with call.rooms.database.write() as connection:
        found = _require(connection, call.name)
        _check_etag(found, call.body.get("etag"))
        for field in mask:
            if given or field in call.body:
                found.body.pop(field, None)
                if call.body.get(field):
                    found.body[field] = call.body[field]
        return _written(call, connection, found)


@implements("iam", "projects.roles.delete")
def delete(call: Call) -> dict[str, Any]:
    """It grants nothing any more, and can be undeleted."""
    with call.rooms.database.write() as connection:
        found = _require(connection, call.name)
        _check_etag(found, call.params.get("etag"))
        found.body["deleted"] = True
        return _written(call, connection, found)


@implements("iam", "projects.roles.undelete")
def undelete(call: Call) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        found = _require(connection, call.name)
        _check_etag(found, call.body.get("etag"))
        if not found.body.pop("deleted", False):
            raise FailedPrecondition(f"The role {call.name} is not deleted.")
        return _written(call, connection, found)


def _written(call: Call, connection: Connection, role: Resource) -> dict[str, Any]:
    accounts.update(call, connection, role)
    return _shown(role)


def _require(connection: Connection, name: str) -> Resource:
    found = resources.get(connection, name)
    if found is None or found.kind != roles.CUSTOM:
        raise NotFound(f"The role named {name} was not found.")
    return found


def _shown(role: Resource) -> dict[str, Any]:
    return {"name": role.name, **role.body, "etag": _etag(role)}


def _etag(role: Resource) -> str:
    return base64.b64encode(f"{int(role.create_time * 1e6):x}-{role.revision}".encode()).decode()


def _check_etag(role: Resource, given: Any) -> None:
    if given and given != _etag(role):
        raise Aborted(f"{role.name} was changed since it was read: get it again and repeat the change.")


def _check(told: Mapping[str, Any]) -> None:
    for field, most in _LONGEST.items():
        if len(str(told.get(field, ""))) > most:
            raise InvalidArgument(f"{field} is longer than {most} characters.", field=f"role.{field}")
    asked = told.get("includedPermissions") or []
    if len(asked) > _MOST:
        raise InvalidArgument(f"A role has at most {_MOST} permissions.", field="role.includedPermissions")
    if wrong := [one for one in asked if one not in known()]:
        raise InvalidArgument(f"Permission {wrong[0]} is not valid.", field="role.includedPermissions")
