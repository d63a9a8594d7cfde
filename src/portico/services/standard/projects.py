"""Projects have a number beside their id; some APIs answer with the one, some with the other, and whoever calls may
name a project by either."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final

from portico.clock import Clock
from portico.ids import project_number
from portico.store import audit, resources
from portico.store.database import Database
from portico.store.objects import buckets

_NUMBERED: Final = re.compile(r"((?://[a-z]+\.googleapis\.com/)?projects/|bq://)(\d{12})(?=[/.:]|$)")
_OF_PROJECTS: Final = frozenset({"project", "projectId"})  # fields and parameters that hold nothing else
_OFTEN: Final = 1.0  # seconds between two looks for a number that no project had


class ProjectIds:
    """The ids of the projects that there are, by number: those in which something was ever made. Thread-safe."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._lock = threading.Lock()
        self._looked = -_OFTEN
        self._ids: dict[str, str] = {}

    def unknown(self, value: Any) -> bool:
        """Whether projects are named in it by numbers that are not known yet: then `look` before `named`."""
        return any(number not in self._ids for number in _numbers(value))

    def look(self) -> None:
        """Reads which projects there are."""
        with self._lock:
            if self._clock.monotonic() - self._looked < _OFTEN:
                return
            self._looked = self._clock.monotonic()
            with self._database.read() as connection:
                recorded = {owner.partition("/")[2] for owner in audit.owners(connection)}
                found = recorded | resources.projects(connection) | buckets.projects(connection)
            self._ids |= {project_number(one): one for one in found if not one.isdigit()}

    def named(self, value: Any) -> Any:
        """JSON in which projects that were named by number are named by id, where that is known; else it itself."""
        return _changed(value, self._ids) if any(True for _ in _numbers(value)) else value


def _numbers(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, str):
        if key in _OF_PROJECTS and len(value) == 12 and value.isdigit():
            yield value
        elif found := _NUMBERED.match(value):
            yield found[2]
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _numbers(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _numbers(inner, key)


def _changed(value: Any, ids: Mapping[str, str], key: str = "") -> Any:
    if isinstance(value, str):
        if key in _OF_PROJECTS:
            return ids.get(value, value)
        return _NUMBERED.sub(lambda found: found[1] + ids.get(found[2], found[2]), value, count=1)
    if isinstance(value, Mapping):
        return {name: _changed(inner, ids, name) for name, inner in value.items()}
    return [_changed(inner, ids, key) for inner in value] if isinstance(value, list) else value
