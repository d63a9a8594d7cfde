"""Groups of users, service accounts and groups, as which policies may name them all."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy.engine import Connection

from portico.store import resources

KIND: Final = "portico:groups"


def holds(connection: Connection, group: str, emails: Collection[str]) -> bool:
    """Whether one with these addresses is in the group with this one, or in a group that is. Addresses have no case."""
    wanted = {one.lower() for one in emails}
    seen: set[str] = set()
    asked = [group.lower()]
    while asked:
        email = asked.pop()
        if email in seen:
            continue
        seen.add(email)
        found = resources.get(connection, f"groups/{email}")
        if found is None or found.kind != KIND:
            continue
        members = found.body.get("members") or ()
        if not wanted.isdisjoint(members):
            return True
        asked += members
    return False
