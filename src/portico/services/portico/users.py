"""Users: people who call with tokens of their own, and may do what policies say of `user:EMAIL`."""

from __future__ import annotations

import re
from typing import Any, Final

from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.errors import FailedPrecondition, InvalidArgument, NotFound
from portico.services.call import OWNER, Call, implements
from portico.services.iam import accounts, passwords, sessions, tokens
from portico.services.iam.accounts import UserPrivate
from portico.store import resources
from portico.store.resources import Resource

_EMAIL: Final = re.compile(r"[^@/\s:,]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_PARENT: Final = "users"
_LONGEST: Final = 12 * 3600  # seconds


@implements("portico", "users.create")
def create(call: Call) -> dict[str, Any]:
    email = str(call.body.get("email", "")).lower()
    if not _EMAIL.fullmatch(email) or accounts.is_service_account(email):
        raise InvalidArgument(
            f"{email!r} is no person's e-mail address, such as alice@example.com.", field="email"
        )
    body = {"email": email} | (
        {"displayName": call.body["displayName"]} if call.body.get("displayName") else {}
    )
    taken = f"There is a user {email} already."
    return _shown(accounts.insert(call, f"users/{email}", accounts.USERS, _PARENT, body, taken))


@implements("portico", "users.list")
def listed(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        found = sorted(resources.listed(connection, accounts.USERS), key=lambda one: one.name)
    return {"users": [_shown(one) for one in found]}


@implements("portico", "users.get")
def get(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        return _shown(_require(connection, call.name))


@implements("portico", "users.disable", "users.enable")
def switch(call: Call) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        found = _require(connection, call.name)
        accounts.switch(call, connection, found)
        sessions.end_all(connection, found.body["email"])
    return _shown(found)


@implements("portico", "users.setPassword")
def set_password(call: Call) -> dict[str, Any]:
    """With which they sign in to the console; whatever they are signed in with ends."""
    password = str(call.body.get("password") or "")
    if password and not passwords.SHORTEST <= len(password) <= passwords.LONGEST:
        raise InvalidArgument(
            f"A password has {passwords.SHORTEST} to {passwords.LONGEST} characters.", field="password"
        )
    kept = passwords.hashed(password) if password else ""
    with call.rooms.database.write() as connection:
        found = _require(connection, call.name)
        UserPrivate.of(found).password = kept
        accounts.update(call, connection, found)
        sessions.end_all(connection, found.body["email"])
    return _shown(found)


@implements("portico", "users.delete")
def delete(call: Call) -> dict[str, Any]:
    """Bindings keep what the address may do, for whoever has it again."""
    with call.rooms.database.write() as connection:
        found = _require(connection, call.name)
        sessions.end_all(connection, found.body["email"])
        resources.delete(connection, found.name)
        accounts.changed(connection)
    return {}


@implements("portico", "users.createToken")
def create_token(call: Call) -> dict[str, Any]:
    """For a user, or by the name `owner` for who runs this server, who signs in with it where their socket says
    nothing: no password opens all that is here."""
    seconds = float(str(call.body.get("lifetime") or f"{tokens.LONGEST}s").removesuffix("s"))
    if not 1 <= seconds <= _LONGEST:
        raise InvalidArgument(f"lifetime is between 1s and {_LONGEST}s.", field="lifetime")
    email = OWNER
    if call.name != "users/owner":
        with call.rooms.database.read() as connection:
            found = _require(connection, call.name)
        email = found.body["email"]
        if found.body.get("disabled"):
            raise FailedPrecondition(f"{email} is disabled.")
    now = call.rooms.clock.now()
    token = tokens.access_token(call.rooms.home, email, now, int(seconds))
    return {"token": token, "expireTime": rfc3339(now + int(seconds))}


def _require(connection: Connection, name: str) -> Resource:
    found = resources.get(connection, name.lower())
    if found is None or found.kind != accounts.USERS:
        raise NotFound(f"There is no user {name.removeprefix('users/')}: portico users add makes one.")
    return found


def _shown(user: Resource) -> dict[str, Any]:
    told = {"hasPassword": True} if UserPrivate.of(user).password else {}
    return {"name": user.name, **user.body, **told, "createTime": rfc3339(user.create_time)}
