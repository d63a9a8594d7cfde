"""The projects that a caller sees. Every project is there: a name that is used makes it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from portico.services.call import Call
from portico.services.iam import targets
from portico.store import resources
from portico.store.objects import buckets

# https://cloud.google.com/resource-manager/docs/creating-managing-projects; older ones have a domain before a colon.
ID: Final = re.compile(r"([a-z][a-z0-9.-]*:)?[a-z][a-z0-9-]*|\d+")


def seen(
    call: Call, *, after: str = "", wanted: Callable[[str], bool] = bool, more: Iterable[str] = ()
) -> Iterator[str]:
    """Projects that something is in, and those of `more`, by name, which come after `after` and are wanted: as far as
    the caller may get them."""
    with call.rooms.database.read() as connection:
        names = resources.projects(connection) | buckets.projects(connection)
    held = call.rooms.permissions.held
    for one in sorted(names.union(more)):
        if one <= after or not ID.fullmatch(one) or not wanted(one):
            continue
        if held(call.caller, ["resourcemanager.projects.get"], targets.project(one)):
            yield one
