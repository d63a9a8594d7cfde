"""Whether a caller has a permission on something, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy.engine import Connection

from portico.clock import Clock
from portico.services.call import Caller
from portico.services.iam import bindings, conditions, roles
from portico.services.iam.changes import Changes
from portico.services.iam.targets import Target, target
from portico.store.database import Database

_MOST: Final = 100_000  # decisions that are remembered


@dataclass(frozen=True, slots=True)
class Considered:
    """A binding that was looked at. `condition`: whether its condition holds, None where it has none."""

    resource: str
    binding: dict[str, Any]
    holds: bool
    members: dict[str, bool]
    condition: bool | None

    @property
    def grants(self) -> bool:
        return self.holds and any(self.members.values()) and self.condition is not False


class Permissions:
    """Decides by the policies in the database. What does not depend on the moment is remembered until an account, a
    role or a policy changes. Thread-safe; not shared across a fork."""

    def __init__(self, home: Path, database: Database, clock: Clock) -> None:
        self._home = home
        self._database = database
        self._clock = clock
        self._changes = Changes(database)
        self._known_at = -1
        self._known: dict[tuple[Caller, str, str], bool] = {}

    def held(self, caller: Caller, permissions: Iterable[str], resource: str) -> list[str]:
        """Which of `permissions` the caller has on what has this full name."""
        return [one for one in permissions if caller.owner or self._has(caller, one, resource)]

    def missing(self, caller: Caller, checks: Iterable[tuple[str, str]]) -> tuple[str, str] | None:
        """The first of these permissions, each on what has a full name, that the caller lacks."""
        return next((one for one in checks if not (caller.owner or self._has(caller, *one))), None)

    def why(self, caller: Caller, permission: str, resource: str) -> list[Considered]:
        """Every binding that counts for the resource, and what of it fits."""
        with self._database.read() as connection:
            return list(self._considered(connection, caller, permission, target(resource)))

    def _has(self, caller: Caller, permission: str, resource: str) -> bool:
        changes = self._changes.number()
        if changes != self._known_at or len(self._known) > _MOST:
            self._known, self._known_at = {}, changes
        known = self._known
        found = known.get((caller, permission, resource))
        if found is not None:
            return found
        with self._database.read() as connection:
            found, lasting = self._decided(connection, caller, permission, resource)
        if lasting:
            known[caller, permission, resource] = found
        return found

    def _decided(
        self, connection: Connection, caller: Caller, permission: str, resource: str
    ) -> tuple[bool, bool]:
        """Whether the caller has it, and whether that is so until something that is counted changes: no condition has
        a say, and nothing that the warehouse keeps, or an object of Cloud Storage."""
        asked = target(resource)
        timely, granted = asked.service == "bigquery" or asked.object is not None, False
        for one in self._considered(connection, caller, permission, asked):
            if one.grants and one.condition is None:
                own = asked.object is not None and one.resource == asked.name
                return True, not (own or one.resource.startswith("//bigquery."))
            granted = granted or one.grants
            timely = timely or (one.condition is not None and one.holds)
        return granted, not timely

    def _considered(
        self, connection: Connection, caller: Caller, permission: str, asked: Target
    ) -> Iterator[Considered]:
        for name, policy in bindings.counting(connection, self._home, caller, asked):
            for binding in policy.get("bindings") or ():
                members = {
                    one: bindings.means(connection, one, caller) for one in binding.get("members") or ()
                }
                condition = binding.get("condition")
                yield Considered(
                    name, binding, permission in _role(connection, binding["role"]), members,
                    None if not condition else conditions.holds(
                        connection, condition.get("expression", ""), asked, self._clock.now()
                    ),
                )  # fmt: skip


def _role(connection: Connection, name: str) -> frozenset[str]:
    found = roles.predefined(name)
    return roles.custom(connection, name) if found is None else found
