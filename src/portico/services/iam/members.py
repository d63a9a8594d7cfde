"""Members of bindings, over all policies."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from portico.store import policies
from portico.store.objects import buckets


def rename(connection: Connection, member: str, now_called: str, now: float) -> None:
    """In every binding that has `member`, `now_called` stands in its place."""
    for name, policy in policies.listed(connection):
        if _renamed(policy, member, now_called):
            policies.put(connection, name, policy)
    for name in buckets.names(connection):
        held = buckets.get(connection, name).policy
        if held and _renamed(held, member, now_called):
            buckets.set_policy(connection, name, held, now)


def _renamed(policy: dict[str, Any], member: str, now_called: str) -> bool:
    found = [binding for binding in policy.get("bindings") or [] if member in binding.get("members", ())]
    for binding in found:
        binding["members"] = [now_called if one == member else one for one in binding["members"]]
    return bool(found)
