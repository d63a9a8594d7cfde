"""Keys of service accounts as rows. Of those that callers made the private part is in their key file alone."""

from __future__ import annotations

from typing import Final

from sqlalchemy.engine import Connection

from portico.clock import parse_rfc3339
from portico.services.call import Rooms
from portico.services.iam import rsa_keys
from portico.store import resources
from portico.store.resources import Private, Resource

KIND: Final = "iam:projects.serviceAccounts.keys"
_FOREVER: Final = "9999-12-31T23:59:59Z"


class KeyPrivate(Private):
    """`certificate` has the public key; `private` is there for those with which this server signs."""

    certificate: str = ""
    private: str = ""


def insert(
    connection: Connection, rooms: Rooms, account: Resource, made: rsa_keys.Made, *, ours: bool, **told: str
) -> Resource:
    """A new key of `account`; `ours`: with which this server signs on its behalf. `told`: what its resource says
    otherwise."""
    now = rooms.clock.now()
    body = {
        "keyAlgorithm": "KEY_ALG_RSA_2048", "keyOrigin": "GOOGLE_PROVIDED", "validBeforeTime": _FOREVER,
        "keyType": "SYSTEM_MANAGED" if ours else "USER_MANAGED", **told,
    }  # fmt: skip
    key_id = (rooms.ids.token() + rooms.ids.token())[:40]
    found = resources.insert(
        connection, name=f"{account.name}/keys/{key_id}", kind=KIND, parent=account.name, body=body, now=now,
        private=KeyPrivate(made.certificate, made.private if ours else ""),
    )  # fmt: skip
    assert found is not None  # its id is nobody else's
    return found


def of(connection: Connection, account: str) -> list[Resource]:
    """The keys of the account with this name, the newest first."""
    return list(resources.listed(connection, KIND, account))


def certificate(connection: Connection, account: str, key_id: str, now: float) -> str | None:
    """Of the account's key with this id; None where there is none that is good at this time."""
    found = resources.get(connection, f"{account}/keys/{key_id}")
    return usable(found, now) if found is not None and found.kind == KIND else None


def usable(key: Resource, now: float) -> str | None:
    """Its certificate; None where it is disabled, or that has run out."""
    good = not key.body.get("disabled") and now < parse_rfc3339(key.body["validBeforeTime"])
    return KeyPrivate.of(key).certificate if good else None


def signing(rooms: Rooms, account: Resource) -> tuple[str, str]:
    """The id and the private key (PEM) with which this server signs on behalf of `account`; made at its first use."""
    with rooms.database.read() as connection:
        found = [one for one in of(connection, account.name) if KeyPrivate.of(one).private]
    if not found:
        made = rsa_keys.make(account.body["email"], rooms.clock.now())
        with rooms.database.write() as connection:
            found = [one for one in of(connection, account.name) if KeyPrivate.of(one).private]
            found = found or [insert(connection, rooms, account, made, ours=True)]
    return found[0].name.rpartition("/")[2], KeyPrivate.of(found[0]).private
