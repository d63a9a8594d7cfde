"""Access control lists of buckets and objects: stored and given back. Nothing is refused by them yet.

The three collections (bucketAccessControls, objectAccessControls, defaultObjectAccessControls) have the same
methods; they differ in where their list is kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument, NotFound
from portico.services.call import Call, implements
from portico.services.storage.render import base_url
from portico.services.storage.requests import generation
from portico.store.objects import buckets as objects_buckets
from portico.store.objects import generations as objects

Entries = list[dict[str, Any]]

_COLLECTIONS = ("bucketAccessControls", "objectAccessControls", "defaultObjectAccessControls")
_ENTITY = re.compile(
    r"(user|group|domain)-\S+|project-(owners|editors|viewers)-\S+|project-owners|all(Authenticated)?Users"
)


def _each(method: str) -> list[str]:
    return [f"{collection}.{method}" for collection in _COLLECTIONS]


@implements("storage", *_each("list"))
def list_(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        entries, _ = _open(connection, call)
    return {"kind": f"{_kind(call)}s", "items": [_answer(call, entry) for entry in entries]}


@implements("storage", *_each("get"))
def get(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        entries, _ = _open(connection, call)
    return _answer(call, _find(call, entries))


@implements("storage", *_each("insert"))
def insert(call: Call) -> dict[str, Any]:
    entity = call.body.get("entity") or ""
    if not _ENTITY.fullmatch(entity):
        raise InvalidArgument(f"Invalid entity: {entity!r}", reason="invalid", field="entity")
    return _put(call, entity)


@implements("storage", *_each("update"), *_each("patch"))
def update(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        _find(call, _open(connection, call)[0])
    return _put(call, call.params["entity"])


@implements("storage", *_each("delete"))
def delete(call: Call) -> None:
    with call.rooms.database.write() as connection:
        entries, save = _open(connection, call)
        gone = _find(call, entries)
        save([entry for entry in entries if entry is not gone])


def predefined(name: str, email: str) -> Entries:
    """The list that a predefined ACL stands for. `email` is the owner's.

    Source: cloud.google.com/storage/docs/access-control/lists#predefined-acl.
    Raises:
        InvalidArgument: there is no such one.
    """
    owner = [{"entity": f"user-{email}", "role": "OWNER"}] if email else []
    lists: dict[str, Entries] = {
        "private": [],
        "projectPrivate": [
            {"entity": "project-owners", "role": "OWNER"},
        ],
        "bucketOwnerRead": [{"entity": "project-owners", "role": "READER"}],
        "bucketOwnerFullControl": [{"entity": "project-owners", "role": "OWNER"}],
        "authenticatedRead": [{"entity": "allAuthenticatedUsers", "role": "READER"}],
        "publicRead": [{"entity": "allUsers", "role": "READER"}],
        "publicReadWrite": [{"entity": "allUsers", "role": "WRITER"}],
    }
    if name not in lists:
        raise InvalidArgument(f"Invalid predefined ACL: {name!r}", reason="invalid", field="predefinedAcl")
    return owner + lists[name]


def _put(call: Call, entity: str) -> dict[str, Any]:
    role = call.body.get("role")
    roles = ("READER", "WRITER", "OWNER") if call.method.startswith("bucket") else ("READER", "OWNER")
    if role not in roles:
        raise InvalidArgument(
            f"Invalid role {role!r}: it is one of {', '.join(roles)}.", reason="invalid", field="role"
        )
    entry = {"entity": entity, "role": role}
    if entity.startswith(("user-", "group-")) and "@" in entity:
        entry["email"] = entity.partition("-")[2]
    with call.rooms.database.write() as connection:
        entries, save = _open(connection, call)
        save([*(other for other in entries if other.get("entity") != entity), entry])
    return _answer(call, entry)


def _open(connection: Connection, call: Call) -> tuple[Entries, Callable[[Entries], object]]:
    """The list that the call is about, and what stores another in its place.

    Raises:
        NotFound
        InvalidArgument: uniform bucket-level access has taken the lists out of force.
    """
    params, now = call.params, call.rooms.clock.now()
    bucket = objects_buckets.get(connection, params["bucket"])
    access = bucket.fields.get("iamConfiguration") or {}
    if (access.get("uniformBucketLevelAccess") or {}).get("enabled"):
        raise InvalidArgument(
            "Cannot use legacy ACLs when uniform bucket-level access is enabled. "
            "Read more at https://cloud.google.com/storage/docs/uniform-bucket-level-access",
            reason="invalid",
        )
    if call.method.startswith("object"):
        row = objects.get(connection, bucket.name, params["object"], generation(params))

        def save_object(entries: Entries) -> None:
            objects.update(connection, row, {**row.fields, "acl": entries}, now)

        return list(row.fields.get("acl") or ()), save_object
    key = "acl" if call.method.startswith("bucket") else "defaultObjectAcl"

    def save_bucket(entries: Entries) -> None:
        objects_buckets.update(connection, bucket, {**bucket.fields, key: entries}, now)

    return list(bucket.fields.get(key) or ()), save_bucket


def _find(call: Call, entries: Entries) -> dict[str, Any]:
    entity = call.params["entity"]
    for entry in entries:
        if entry.get("entity") == entity:
            return entry
    raise NotFound(f"The specified ACL entry does not exist: {entity}.", reason="notFound")


def _kind(call: Call) -> str:
    return (
        "storage#bucketAccessControl" if call.method.startswith("bucket") else "storage#objectAccessControl"
    )


def _answer(call: Call, entry: dict[str, Any]) -> dict[str, Any]:
    params = call.params
    where = f"b/{params['bucket']}"
    shown = {"kind": _kind(call), **entry}
    if call.method.startswith("default"):
        path = f"{where}/defaultObjectAcl"
    elif "object" in params:
        path = f"{where}/o/{quote(params['object'], safe='')}/acl"
        shown |= {"bucket": params["bucket"], "object": params["object"]}
    else:
        path = f"{where}/acl"
        shown["bucket"] = params["bucket"]
    entity = entry.get("entity", "")
    return shown | {
        "id": f"{params['bucket']}/{params['object']}/{entity}"
        if "object" in params
        else f"{where[2:]}/{entity}",
        "selfLink": f"{base_url(call.headers)}/storage/v1/{path}/{quote(entity, safe='')}",
    }
