"""Tags as rows: keys of a project, their values, and what a value is bound to; and what conditions ask of them.

https://cloud.google.com/iam/docs/conditions-attribute-reference#resource-tags
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote

from sqlalchemy.engine import Connection

from portico.ids import project_number
from portico.services.iam import targets
from portico.services.iam.targets import Target
from portico.store import resources
from portico.store.objects import buckets
from portico.store.resources import Resource

KEYS: Final = "cloudresourcemanager:tagKeys"
VALUES: Final = "cloudresourcemanager:tagValues"
BINDINGS: Final = "cloudresourcemanager:tagBindings"
_COLLECTIONS: Final = {"cloudresourcemanager": "resourcemanager.hierarchyNodes"}


class Tag(NamedTuple):
    """A value that something has."""

    key: Resource
    value: Resource


def permission(resource: str, verb: str) -> str:
    """What a caller needs on what has this full name to do something with its tags ("createTagBinding")."""
    found = targets.target(resource)
    collection = found.relative.split("/")[-2] if "/" in found.relative else ""
    return f"{_COLLECTIONS.get(found.service) or f'{found.service}.{collection}'}.{verb}"


def project_of(connection: Connection, name: str) -> str:
    """The project of a key or a value ("tagKeys/1", "tagValues/2"), whose permissions count; "" where there is none."""
    found = resources.get(connection, name)
    if found is not None and found.kind == VALUES:
        found = resources.get(connection, found.parent)
    return found.parent.removeprefix("projects/") if found is not None and found.kind == KEYS else ""


def policies_of(connection: Connection, name: str) -> list[str]:
    """The full names of what has a policy that counts for what has this name within Resource Manager, nearest first,
    beside its project's: a tag's own, and that of a value's key."""
    found = resources.get(connection, name) if name.startswith(("tagKeys/", "tagValues/")) else None
    if found is None or found.kind not in (KEYS, VALUES):
        return []
    above = [found.parent] if found.kind == VALUES else []
    return [targets.full("cloudresourcemanager", one) for one in (found.name, *above)]


def find(connection: Connection, namespaced: str) -> Resource | None:
    """The key "PROJECT/KEY" or the value "PROJECT/KEY/VALUE"; the project by its id or its number."""
    project, _, rest = namespaced.partition("/")
    key_name, _, value_name = rest.partition("/")
    for key in resources.listed(connection, KEYS):
        same = project_number(key.parent.removeprefix("projects/")) == project_number(project)
        if same and key.body["shortName"] == key_name:
            if not value_name:
                return key
            held = resources.listed(connection, VALUES, key.name)
            return next((one for one in held if one.body["shortName"] == value_name), None)
    return None


def binding_name(resource: str, value: str) -> str:
    return f"tagBindings/{quote(resource, safe='')}/{value}"


def bound(binding: str) -> tuple[str, str]:
    """What a binding's name says: the full name of what has a tag, and the value's name."""
    resource, _, number = unquote(binding).removeprefix("tagBindings/").rpartition("/tagValues/")
    return resource, f"tagValues/{number}"


def of(connection: Connection, target: Target) -> list[Tag]:
    """What a target has: of two values of one key the one that is bound nearer to it."""
    above = [target.name, *target.policies]
    project = target.project
    if target.bucket and (row := buckets.find(connection, target.bucket)) is not None:
        project = row.project
    if project:
        above.append(targets.project(project))
    found: dict[str, Tag] = {}
    for place in dict.fromkeys(above):
        for binding in resources.listed(connection, BINDINGS, place):
            value = resources.get(connection, binding.body["tagValue"])
            key = resources.get(connection, value.parent) if value is not None else None
            if key is not None and value is not None:
                found.setdefault(key.name, Tag(key, value))
    return list(found.values())


def drop(connection: Connection, resource: str) -> None:
    """Takes the tags from what is deleted: another thing by its name has them not."""
    for one in list(resources.listed(connection, BINDINGS, resource)):
        resources.delete(connection, one.name)


def functions(connection: Connection, target: Target) -> dict[str, Callable[..., bool]]:
    """What conditions call on `resource`."""
    held: list[Tag] = []

    def tags() -> list[Tag]:
        if not held:
            held.extend(of(connection, target))
        return held

    def is_key(tag: Tag, name: str) -> bool:
        project, _, short = name.partition("/")
        own = tag.key.parent.removeprefix("projects/")
        return tag.key.body["shortName"] == short and project_number(own) == project_number(project)

    return {
        "hasTagKey": lambda _, key: any(is_key(one, key) for one in tags()),
        "hasTagKeyId": lambda _, key: any(one.key.name == key for one in tags()),
        "matchTag": lambda _, key, value: any(
            is_key(one, key) and one.value.body["shortName"] == value for one in tags()
        ),
        "matchTagId": lambda _, key, value: any(
            (one.key.name, one.value.name) == (key, value) for one in tags()
        ),
    }


def namespaced(connection: Connection, found: Resource) -> str:
    """What a key or a value is called by names."""
    if found.kind == VALUES:
        key: Any = resources.get(connection, found.parent)
        return f"{namespaced(connection, key)}/{found.body['shortName']}"
    return f"{found.parent.removeprefix('projects/')}/{found.body['shortName']}"
