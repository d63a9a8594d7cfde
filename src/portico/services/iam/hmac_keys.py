"""HMAC keys of service accounts as rows: with which Cloud Storage's XML API is asked where one can't sign by RSA."""

from __future__ import annotations

from typing import Final

from sqlalchemy.engine import Connection

from portico.errors import NotFound
from portico.services.iam import accounts
from portico.services.iam.accounts import State
from portico.store import resources
from portico.store.resources import Private, Resource

KIND: Final = "storage:projects.hmacKeys"


class HmacPrivate(Private):
    """`secret` is empty once the key is deleted. `account`: the number of its account, of which there may be another by
    the same address one day."""

    secret: str = ""
    account: str = ""


def name(access_id: str) -> str:
    return f"hmacKeys/{access_id}"


def find(connection: Connection, access_id: str) -> Resource | None:
    found = resources.get(connection, name(access_id))
    return found if found is not None and found.kind == KIND else None


def signer(connection: Connection, access_id: str) -> tuple[str, list[str]] | None:
    """As whom a key signs, and its secret: none of one that is not active, or whose account is not any more. None where
    there never was such a key."""
    key = find(connection, access_id)
    if key is None:
        return None
    email, private = str(key.body["serviceAccountEmail"]), HmacPrivate.of(key)
    if key.body["state"] != "ACTIVE" or accounts.state(connection, email) is not State.ENABLED:
        return email, []
    try:
        account = accounts.require(connection, accounts.named(email))
    except NotFound:
        return email, []
    return email, [private.secret] if account.body["uniqueId"] == private.account else []
