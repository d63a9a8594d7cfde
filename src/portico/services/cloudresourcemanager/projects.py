"""Projects. Every project is there: a name that is used makes it."""

from __future__ import annotations

import fnmatch
import functools
import itertools
import re
from collections.abc import Callable
from typing import Any

from portico.errors import InvalidArgument, NotFound
from portico.ids import project_number
from portico.services.call import Call, implements
from portico.services.iam.seen_projects import ID, seen
from portico.services.standard import pages

_TERM = re.compile(r"([A-Za-z][\w.-]*)[:=](\S+)")


@implements("cloudresourcemanager", "projects.get")
def get(call: Call) -> dict[str, Any]:
    project = str(call.params.get("projectId") or call.params.get("name")).removeprefix("projects/")
    if not ID.fullmatch(project):
        raise InvalidArgument(
            f"{project!r} is no project id: lower-case letters, digits and hyphens, a letter first.",
            field="name",
        )
    return _shown(call.version, project)


@implements("cloudresourcemanager", "projects.list", "projects.search")
def listed(call: Call) -> dict[str, Any]:
    """Those that something is in and that the caller may get."""
    if call.method.endswith(".list") and call.version == "v3":
        parent = str(call.params.get("parent") or "")
        if not parent:
            raise InvalidArgument("parent is required; projects.search finds all projects.", field="parent")
        raise NotFound(f"There is no {parent}: projects here are below none. projects.search finds them all.")
    query = str(call.params.get("filter") or call.params.get("query") or "")
    size = pages.page_size(call.params.get("pageSize"), default=100, maximum=1000)
    place = pages.read_token(str(call.params.get("pageToken", "")), call.method, query)
    after = str(place[0]) if place else ""
    found = list(itertools.islice(seen(call, after=after, wanted=_wanted(query)), size + 1))
    answer: dict[str, Any] = (
        {"projects": [_shown(call.version, one) for one in found[:size]]} if found else {}
    )
    if len(found) > size:
        answer["nextPageToken"] = pages.write_token([found[size - 1]], call.method, query)
    return answer


def _wanted(query: str) -> Callable[[str], bool]:
    """What a filter such as "name:how* id:x" finds: projects of which any of its fields is as it says.

    Raises:
        InvalidArgument: it is none.
    """
    terms = [term for term in query.split() if term.upper() not in ("AND", "OR")]
    tests = []
    for term in terms:
        found = _TERM.fullmatch(term)
        if found is None:
            raise InvalidArgument(f"{term!r} is no term such as name:how* or id:my-project.", field="filter")
        field, value = found[1].lower(), found[2].strip("\"'").lower()
        if field in ("name", "id", "projectid", "displayname"):
            tests.append(functools.partial(_is_like, value))
        elif field in ("state", "lifecyclestate"):
            tests.append(functools.partial(_is_always, value == "active"))
        elif field == "labels" or field.startswith(("labels.", "parent")):
            tests.append(functools.partial(_is_always, False))  # projects here have none
        else:
            raise InvalidArgument(f"Projects can't be found by {found[1]}.", field="filter")
    return lambda name: not tests or any(test(name) for test in tests)


def _is_like(pattern: str, name: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern)


def _is_always(answer: bool, name: str) -> bool:
    return answer


def _shown(version: str, project: str) -> dict[str, Any]:
    if version == "v1":
        return {
            "projectNumber": project_number(project),
            "projectId": project,
            "name": project,
            "lifecycleState": "ACTIVE",
        }
    return {
        "name": f"projects/{project_number(project)}",
        "projectId": project,
        "displayName": project,
        "state": "ACTIVE",
    }
