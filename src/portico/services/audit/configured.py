"""Which reading, and which access to data, is recorded: what `auditConfigs` of a project's policy say.

https://cloud.google.com/logging/docs/audit/configure-data-access
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final

from portico.clock import Clock
from portico.errors import InvalidArgument
from portico.ids import project_number
from portico.services.audit.kinds import Kind
from portico.store import policies
from portico.store.database import Database, current

_PROJECTS: Final = "//cloudresourcemanager.googleapis.com/projects/"
_TYPES: Final = ("ADMIN_READ", "DATA_READ", "DATA_WRITE")
_OFTEN: Final = (
    1.0  # seconds between two looks whether policies have changed: so long may a new one not hold yet
)


class Configured:
    """What is asked for, as the policies say. Thread-safe; not shared across a fork."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._lock = threading.Lock()
        self._looked, self._changes = -_OFTEN, -1
        self._asked: dict[str, dict[tuple[str, str], frozenset[str]]] = {}

    def is_asked(self) -> bool:
        """Whether any policy asks for anything."""
        return bool(self._current())

    def wants(self, project: str, api: str, kind: Kind, email: str) -> bool:
        """Whether access of this kind by this account is recorded in the project."""
        asked = self._current().get(project_number(project))
        if not asked:
            return False
        for service in (f"{api}.googleapis.com", "allServices"):
            exempted = asked.get((service, kind))
            if exempted is not None:
                return not {f"user:{email}", f"serviceAccount:{email}"} & exempted
        return False

    def _current(self) -> dict[str, dict[tuple[str, str], frozenset[str]]]:
        now = self._clock.monotonic()
        if now - self._looked >= _OFTEN and self._lock.acquire(blocking=False):
            try:
                self._looked = now
                with self._database.read() as connection:
                    if (changes := current(connection, policies.TOPIC)) != self._changes:
                        self._asked = {
                            name.removeprefix(_PROJECTS): _read(policy)
                            for name, policy in policies.listed(connection)
                            if name.startswith(_PROJECTS) and policy.get("auditConfigs")
                        }
                        self._changes = changes
            finally:
                self._lock.release()
        return self._asked


def _read(policy: Mapping[str, Any]) -> dict[tuple[str, str], frozenset[str]]:
    return {
        (one["service"], each["logType"]): frozenset(each.get("exemptedMembers") or ())
        for one in policy["auditConfigs"]
        for each in one.get("auditLogConfigs") or ()
    }


def check(policy: Mapping[str, Any]) -> None:
    """
    Raises:
        InvalidArgument: naming what is wrong in `auditConfigs`.
    """
    for number, one in enumerate(policy.get("auditConfigs") or ()):
        field = f"policy.auditConfigs[{number}]"
        service = one.get("service", "")
        if service != "allServices" and not service.endswith(".googleapis.com"):
            raise InvalidArgument(
                f"The service {service!r} is not allServices or one such as storage.googleapis.com.",
                field=f"{field}.service",
            )
        for each in one.get("auditLogConfigs") or ():
            if each.get("logType") not in _TYPES:
                raise InvalidArgument(
                    f"The logType {each.get('logType')!r} is not one of {', '.join(_TYPES)}; changes are always "
                    "recorded.",
                    field=f"{field}.auditLogConfigs",
                )
