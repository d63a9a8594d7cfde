"""Groups: who is in one has what policies say of `group:EMAIL`."""

from __future__ import annotations

import re
from typing import Any, Final

from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.errors import AlreadyExists, InvalidArgument, NotFound
from portico.services.call import Call, implements
from portico.services.iam import accounts
from portico.services.iam.groups import KIND
from portico.store import resources
from portico.store.resources import Resource

_EMAIL: Final = re.compile(r"[^@/\s:,]{1,64}@[a-z0-9-]+(\.[a-z0-9-]+)+")
_PARENT: Final = "groups"
_MOST: Final = 10_000  # members


@implements("portico", "groups.create")
def create(call: Call) -> dict[str, Any]:
    email = _address(call.body.get("email"), "email")
    if accounts.is_service_account(email):
        raise InvalidArgument(f"{email!r} is a service account's address, no group's.", field="email")
    body: dict[str, Any] = {"email": email, "members": []}
    if call.body.get("displayName"):
        body["displayName"] = call.body["displayName"]
    with call.rooms.database.write() as connection:
        if resources.get(connection, f"users/{email}") is not None:
            raise AlreadyExists(f"{email} is a user: a group needs an address of its own.")
        for member in call.body.get("members") or ():
            _add(body, _address(member, "members"))
        made = resources.insert(
            connection, name=f"groups/{email}", kind=KIND, parent=_PARENT, body=body,
            now=call.rooms.clock.now(),
        )  # fmt: skip
        if made is None:
            raise AlreadyExists(f"There is a group {email} already.")
        accounts.changed(connection)
    return _shown(made)


@implements("portico", "groups.list")
def listed(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        found = sorted(resources.listed(connection, KIND), key=lambda one: one.name)
    return {"groups": [_shown(one) for one in found]}


@implements("portico", "groups.get")
def get(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        return _shown(_require(connection, call.name))


@implements("portico", "groups.delete")
def delete(call: Call) -> dict[str, Any]:
    """Bindings keep what the address may do, for whatever group has it again."""
    with call.rooms.database.write() as connection:
        resources.delete(connection, _require(connection, call.name).name)
        accounts.changed(connection)
    return {}


@implements("portico", "groups.addMember", "groups.removeMember")
def change(call: Call) -> dict[str, Any]:
    member = _address(call.body.get("member"), "member")
    with call.rooms.database.write() as connection:
        found = _require(connection, call.name)
        if call.method.endswith(".addMember"):
            _add(found.body, member)
        elif member in found.body["members"]:
            found.body["members"].remove(member)
        else:
            raise NotFound(f"{member} is no member of {found.body['email']}.")
        resources.update(connection, found, call.rooms.clock.now())
        accounts.changed(connection)
    return _shown(found)


def _add(body: dict[str, Any], member: str) -> None:
    if member == body["email"]:
        raise InvalidArgument(f"{member} can't be in itself.", field="member")
    if len(body["members"]) >= _MOST:
        raise InvalidArgument(f"A group has at most {_MOST} members: put groups into it.", field="member")
    if member not in body["members"]:
        body["members"].append(member)


def _address(told: Any, field: str) -> str:
    email = (
        str(told or "").lower().removeprefix("user:").removeprefix("serviceaccount:").removeprefix("group:")
    )
    if not _EMAIL.fullmatch(email):
        raise InvalidArgument(f"{email!r} is no e-mail address, such as team@example.com.", field=field)
    return email


def _require(connection: Connection, name: str) -> Resource:
    found = resources.get(connection, name.lower())
    if found is None or found.kind != KIND:
        email = name.removeprefix("groups/")
        raise NotFound(f"There is no group {email}: portico users group add {email} makes one.")
    return found


def _shown(group: Resource) -> dict[str, Any]:
    return {"name": group.name, **group.body, "createTime": rfc3339(group.create_time)}
