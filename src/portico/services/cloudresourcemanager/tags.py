"""Tags of projects, and what they are bound to, which conditions of bindings ask for.

https://cloud.google.com/resource-manager/docs/tags/tags-creating-and-managing
"""

from __future__ import annotations

import re
from typing import Any, Final

from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unimplemented,
)
from portico.ids import project_number
from portico.services.call import Call, implements
from portico.services.iam import accounts, facts, tags, targets
from portico.services.iam.tags import BINDINGS, KEYS, VALUES
from portico.services.standard import pages
from portico.services.standard.collection import check_etag, etag
from portico.store import policies, resources
from portico.store.objects import buckets
from portico.store.resources import Resource

_SHORT: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,254}[A-Za-z0-9])?")
_TYPE: Final = "type.googleapis.com/google.cloud.resourcemanager.v3."


@implements("cloudresourcemanager", "tagKeys.create")
def create_key(call: Call) -> dict[str, Any]:
    parent = str(call.body.get("parent") or "")
    if not re.fullmatch(r"projects/[^/]+", parent):
        raise InvalidArgument(
            f"parent is projects/PROJECT, not {parent!r}: there are no organizations here.", field="parent"
        )
    return _created(call, KEYS, "tagKeys", parent, "TagKey")


@implements("cloudresourcemanager", "tagValues.create")
def create_value(call: Call) -> dict[str, Any]:
    parent = str(call.body.get("parent") or "")
    with call.rooms.database.read() as connection:
        require(connection, KEYS, parent)
    return _created(call, VALUES, "tagValues", parent, "TagValue")


def _refuse(call: Call) -> None:
    """
    Raises:
        Unimplemented: it asks for what is not built.
    """
    asked = [one for one in ("allowedValuesRegex", "purpose", "purposeData") if call.body.get(one)]
    asked += ["validateOnly"] if call.params.get("validateOnly") else []
    if asked:
        raise Unimplemented(f"{asked[0]} of tags is not built in Portico.")


def _created(call: Call, kind: str, collection: str, parent: str, message: str) -> dict[str, Any]:
    _refuse(call)
    short = str(call.body.get("shortName") or "")
    if not _SHORT.fullmatch(short):
        raise InvalidArgument(
            f"shortName {short[:80]!r} is not allowed: letters, digits, '-', '_' and '.', a letter or digit first and "
            "last.",
            field="shortName",
        )
    body = {"shortName": short} | {k: call.body[k] for k in ("description",) if call.body.get(k)}
    now, name = call.rooms.clock.now(), f"{collection}/{call.rooms.ids.number()}"
    with call.rooms.database.write() as connection:
        if any(one.body["shortName"] == short for one in resources.listed(connection, kind, parent)):
            raise AlreadyExists(f"{parent} has a tag {short} already.")
        made = resources.insert(connection, name=name, kind=kind, parent=parent, body=body, now=now)
        assert made is not None  # its number is nobody else's
        accounts.changed(connection)
        return _done(call, message, _shown(connection, made))


@implements("cloudresourcemanager", "tagKeys.get", "tagValues.get")
def get(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        return _shown(connection, require(connection, _kind(call), call.name))


@implements("cloudresourcemanager", "tagKeys.getNamespaced", "tagValues.getNamespaced")
def get_namespaced(call: Call) -> dict[str, Any]:
    kind, name = _kind(call), str(call.params.get("name") or "")
    parts = 2 if kind == KEYS else 3
    if len(name.split("/")) != parts:
        raise InvalidArgument(
            f"name is {'/'.join(('PROJECT', 'KEY', 'VALUE')[:parts])}, not {name[:200]!r}.", field="name"
        )
    with call.rooms.database.read() as connection:
        found = tags.find(connection, name)
        if found is None:
            raise NotFound(f"There is no tag {name}.")
        return _shown(connection, found)


@implements("cloudresourcemanager", "tagKeys.patch", "tagValues.patch")
def patch(call: Call) -> dict[str, Any]:
    """The description alone can be changed, as Google's."""
    _refuse(call)
    mask = [one.strip() for one in str(call.params.get("updateMask") or "").split(",") if one.strip()]
    if wrong := [one for one in mask if one not in ("description", "etag")]:
        raise InvalidArgument(
            f"updateMask has {wrong[0]!r}; of a tag the description alone can be changed: make a new one.",
            field="updateMask",
        )
    kind = _kind(call)
    with call.rooms.database.write() as connection:
        found = require(connection, kind, call.name)
        check_etag(found, call.body.get("etag"))
        if not mask or "description" in mask:
            found.body.pop("description", None)
            if told := call.body.get("description"):
                found.body["description"] = told
        found = resources.update(connection, found, call.rooms.clock.now())
        return _done(call, "TagKey" if kind == KEYS else "TagValue", _shown(connection, found))


@implements("cloudresourcemanager", "tagKeys.list", "tagValues.list")
def listed(call: Call) -> dict[str, Any]:
    kind, parent = _kind(call), str(call.params.get("parent") or "")
    with call.rooms.database.read() as connection:
        found = sorted(resources.listed(connection, kind, parent), key=lambda one: one.body["shortName"])
        chosen, more = pages.part(found, call.params, kind, parent)
        shown = [_shown(connection, one) for one in chosen]
    return ({"tagKeys" if kind == KEYS else "tagValues": shown} if shown else {}) | more


@implements("cloudresourcemanager", "tagKeys.delete", "tagValues.delete")
def delete(call: Call) -> dict[str, Any]:
    _refuse(call)
    kind = _kind(call)
    with call.rooms.database.write() as connection:
        found = require(connection, kind, call.name)
        check_etag(found, call.params.get("etag"))
        if kind == KEYS and any(True for _ in resources.listed(connection, VALUES, found.name, limit=1)):
            raise FailedPrecondition(f"{found.name} has values: delete them first.")
        bound = (one.body["tagValue"] for one in resources.listed(connection, BINDINGS))
        if kind == VALUES and found.name in bound:
            raise FailedPrecondition(f"{found.name} is bound to something: delete its bindings first.")
        shown = _shown(connection, found)
        resources.delete(connection, found.name)
        policies.delete(connection, targets.full(call.api, found.name))
        accounts.changed(connection)
    return _done(call, "TagKey" if kind == KEYS else "TagValue", shown)


@implements("cloudresourcemanager", "tagBindings.create")
def bind(call: Call) -> dict[str, Any]:
    """In place of another value of the same key."""
    _refuse(call)
    resource, told = str(call.body.get("parent") or ""), str(call.body.get("tagValue") or "")
    target = targets.target(resource)
    if tags.permission(resource, "createTagBinding") not in facts.permissions():
        raise InvalidArgument(f"{resource!r} is nothing that can have a tag.", field="parent")
    if target.service not in ("cloudresourcemanager", "storage", "iam"):
        raise Unimplemented("Tags are built in Portico for projects, buckets and service accounts.")
    with call.rooms.database.write() as connection:
        if target.bucket:
            buckets.get(connection, target.bucket)
        elif target.service == "iam":
            accounts.require(connection, target.relative)
        by_name = tags.find(connection, str(call.body.get("tagValueNamespacedName") or ""))
        value = require(connection, VALUES, by_name.name if by_name is not None and not told else told)
        for one in list(resources.listed(connection, BINDINGS, target.name)):
            held = resources.get(connection, one.body["tagValue"])
            if held is not None and held.parent == value.parent:
                if held.name == value.name:
                    raise AlreadyExists(f"{resource} has that tag already.")
                raise FailedPrecondition(
                    f"{resource} has another value of that key: delete {one.name} first."
                )
        body = {"tagValue": value.name, "tagValueNamespacedName": tags.namespaced(connection, value)}
        made = resources.insert(
            connection, name=tags.binding_name(resource, value.name), kind=BINDINGS, parent=resource, body=body,
            now=call.rooms.clock.now(),
        )  # fmt: skip
        assert made is not None  # looked up above
        accounts.changed(connection)
    return _done(call, "TagBinding", _bound(made))


@implements("cloudresourcemanager", "tagBindings.list")
def bindings(call: Call) -> dict[str, Any]:
    parent = str(call.params.get("parent") or "")
    with call.rooms.database.read() as connection:
        found = sorted(resources.listed(connection, BINDINGS, parent), key=lambda one: one.name)
    chosen, more = pages.part(found, call.params, BINDINGS, parent)
    return ({"tagBindings": [_bound(one) for one in chosen]} if chosen else {}) | more


@implements("cloudresourcemanager", "tagBindings.delete")
def unbind(call: Call) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        if not resources.delete(connection, tags.binding_name(*tags.bound(call.name))):
            raise NotFound(f"There is no binding {call.name}.")
        accounts.changed(connection)
    return _done(call, "", {})


def _kind(call: Call) -> str:
    return KEYS if call.method.startswith("tagKeys.") else VALUES


def require(connection: Connection, kind: str, name: str) -> Resource:
    found = resources.get(connection, name)
    if found is None or found.kind != kind:
        raise NotFound(f"There is no {name or 'tag without a name'}.")
    return found


def _shown(connection: Connection, found: Resource) -> dict[str, Any]:
    return {
        "name": found.name,
        "parent": by_number(found.parent),
        **found.body,
        "namespacedName": tags.namespaced(connection, found),
        "createTime": rfc3339(found.create_time),
        "updateTime": rfc3339(found.update_time),
        "etag": etag(found),
    }


def by_number(parent: str) -> str:
    """A parent with its project by its number."""
    project = parent.removeprefix("projects/")
    return parent if project == parent else f"projects/{project_number(project)}"


def _bound(binding: Resource) -> dict[str, Any]:
    return {"name": binding.name, "parent": binding.parent, **binding.body}


def _done(call: Call, message: str, response: dict[str, Any]) -> dict[str, Any]:
    """The operation of what was done at once, which nobody need ask for again."""
    kind = f"{_TYPE}{message}" if message else "type.googleapis.com/google.protobuf.Empty"
    return {
        "name": f"operations/tags.{call.rooms.ids.number()}",
        "done": True,
        "response": {"@type": kind, **response},
    }
