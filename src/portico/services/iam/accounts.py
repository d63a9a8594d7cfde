"""Service accounts as rows, and what is known of a principal by its e-mail address."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from sqlalchemy.engine import Connection

from portico.errors import AlreadyExists, NotFound
from portico.services.call import OWNER, Call
from portico.store import policies, resources
from portico.store.database import bump
from portico.store.resources import Private, Resource

KIND: Final = "iam:projects.serviceAccounts"
DELETED: Final = "iam:projects.deletedServiceAccounts"
USERS: Final = "portico:users"

_EMAIL = re.compile(r"[^@/\s]+@([^@/\s]+)\.iam\.gserviceaccount\.com")


class UserPrivate(Private):
    """`password`: what is kept of it (`passwords`); empty without one. `subject`: who it is for the company's provider,
    from the first time on that they signed in with it."""

    password: str = ""
    subject: str = ""


class State(Enum):
    """UNKNOWN: nobody made such an account."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    DELETED = "deleted"
    UNKNOWN = "unknown"


def is_service_account(email: str) -> bool:
    return email.endswith("gserviceaccount.com")


def is_owner(email: str) -> bool:
    """Whether it is the account of the home's own key file, who owns all that is here."""
    return email == OWNER


def member(email: str) -> str:
    """The principal as policies write it."""
    return f"{'serviceAccount' if is_service_account(email) else 'user'}:{email}"


def canonical(connection: Connection, name: str) -> str:
    """`projects/PROJECT/serviceAccounts/EMAIL` of an account that is named with any project, "-" for it, or by its
    number. An e-mail address says of which project it is, whatever the name does."""
    project, who = name.split("/")[1], name.split("/")[3]
    if found := _EMAIL.fullmatch(who):
        return f"projects/{found[1]}/serviceAccounts/{who}"
    for one in resources.listed(connection, KIND):
        if one.body["uniqueId"] == who and project in ("-", one.body["projectId"]):
            return one.name
    return name


def named(email: str) -> str:
    """The name of the account with this e-mail address, whether there is one or not."""
    found = _EMAIL.fullmatch(email)
    return f"projects/{found[1] if found else '-'}/serviceAccounts/{email}"


def require(connection: Connection, name: str) -> Resource:
    """The account, by any of its names.

    Raises:
        NotFound: there is none.
    """
    found = resources.get(connection, canonical(connection, name))
    if found is None or found.kind != KIND:
        raise NotFound(f"Service account {name} does not exist.")
    return found


def state(connection: Connection, email: str) -> State:
    """Of a service account, or of a user."""
    name = named(email) if is_service_account(email) else f"users/{email}"
    found = resources.get(connection, name)
    if found is not None and found.kind in (KIND, USERS):
        return State.DISABLED if found.body.get("disabled") else State.ENABLED
    if not is_service_account(email):
        return State.UNKNOWN
    gone = any(one.body["email"] == email for one in resources.listed(connection, DELETED))
    return State.DELETED if gone else State.UNKNOWN


def changed(connection: Connection) -> None:
    """Notes a change that tokens or permissions may depend on."""
    bump(connection, policies.TOPIC)


def insert(call: Call, name: str, kind: str, parent: str, body: dict[str, Any], taken: str) -> Resource:
    """A new account, user or role.

    Raises:
        AlreadyExists: the name is taken, in the words of `taken`.
    """
    now = call.rooms.clock.now()
    with call.rooms.database.write() as connection:
        made = resources.insert(connection, name=name, kind=kind, parent=parent, body=body, now=now)
        if made is None:
            raise AlreadyExists(taken)
        changed(connection)
    return made


def update(call: Call, connection: Connection, resource: Resource) -> None:
    """Writes what was changed of an account, a user or a role."""
    resources.update(connection, resource, call.rooms.clock.now())
    changed(connection)


def switch(call: Call, connection: Connection, account: Resource) -> None:
    """What `enable` and `disable` do to an account or a user."""
    account.body.pop("disabled", None)
    if call.method.endswith(".disable"):
        account.body["disabled"] = True
    update(call, connection, account)


def body(email: str, number: str, project: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a new account."""
    made = {"projectId": project, "uniqueId": number, "email": email, "oauth2ClientId": number}
    return made | {key: told[key] for key in ("displayName", "description") if told.get(key)}
