"""Sessions of people who signed in: a row each, without which their tokens are worth nothing."""

from __future__ import annotations

from typing import Final

from sqlalchemy.engine import Connection

from portico.clock import parse_rfc3339, rfc3339
from portico.services.call import Rooms
from portico.services.iam import accounts, tokens
from portico.store import resources

KIND: Final = "portico:sessions"
SECONDS: Final = 8 * 3600
_MOST: Final = 20  # of a user; the oldest ends


def begin(connection: Connection, rooms: Rooms, email: str) -> str:
    """A token that is good while its session stands. What has run out goes."""
    now = rooms.clock.now()
    there = list(resources.listed(connection, KIND, f"users/{email}"))
    for position, one in enumerate(there):
        if position >= _MOST - 1 or parse_rfc3339(one.body["expireTime"]) < now:
            resources.delete(connection, one.name)
    id = rooms.ids.token()
    resources.insert(
        connection, name=_name(email, id), kind=KIND, parent=f"users/{email}",
        body={"expireTime": rfc3339(now + SECONDS)}, now=now,
    )  # fmt: skip
    return tokens.access_token(rooms.home, email, now, SECONDS, session=id)


def stands(connection: Connection, email: str, id: str) -> bool:
    found = resources.get(connection, _name(email, id))
    return found is not None and found.kind == KIND


def end(connection: Connection, email: str, id: str) -> None:
    """Nothing happens where it has ended."""
    if stands(connection, email, id):
        resources.delete(connection, _name(email, id))
        accounts.changed(connection)


def end_all(connection: Connection, email: str) -> None:
    """Those of a user."""
    for one in list(resources.listed(connection, KIND, f"users/{email}")):
        resources.delete(connection, one.name)
    accounts.changed(connection)


def _name(email: str, id: str) -> str:
    return f"users/{email}/sessions/{id}"
