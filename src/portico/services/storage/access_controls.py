"""Access control lists of buckets and objects, in force where uniform bucket-level access is off (`services.iam.acl`).

The three collections (bucketAccessControls, objectAccessControls, defaultObjectAccessControls) have the same
methods; they differ in where their list is kept: a bucket's own in its policy, the others beside what they are of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from sqlalchemy.engine import Connection

from portico.errors import NotFound
from portico.services.call import Call, implements
from portico.services.iam import acl
from portico.services.iam.acl import Entries
from portico.services.iam.bindings import of_bucket
from portico.services.standard.here import base_url
from portico.services.storage import lists
from portico.services.storage.requests import integer
from portico.store.objects import buckets as objects_buckets
from portico.store.objects import generations as objects

_COLLECTIONS = ("bucketAccessControls", "objectAccessControls", "defaultObjectAccessControls")


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
    return _put(call, str(call.body.get("entity") or ""))


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


def _put(call: Call, entity: str) -> dict[str, Any]:
    roles = lists.OF_BUCKETS if call.method.startswith("bucket") else lists.OF_OBJECTS
    with call.rooms.database.write() as connection:
        bucket = objects_buckets.get(connection, call.params["bucket"])
        [entry] = lists.checked([{"entity": entity, "role": call.body.get("role")}], bucket, roles)
        entries, save = _open(connection, call)
        save([*(other for other in entries if other.get("entity") != entry["entity"]), entry])
    return _answer(call, entry)


def _open(connection: Connection, call: Call) -> tuple[Entries, Callable[[Entries], object]]:
    """The list that the call is about, and what stores another in its place.

    Raises:
        NotFound
        InvalidArgument: uniform bucket-level access has taken the lists out of force.
    """
    params, now = call.params, call.rooms.clock.now()
    bucket = objects_buckets.get(connection, params["bucket"])
    lists.refuse(bucket, _what(call))
    if call.method.startswith("object"):
        row = objects.get(connection, bucket.name, params["object"], integer(params, "generation"))

        def save_object(entries: Entries) -> None:
            objects.update(connection, row, {**row.fields, "acl": entries}, now)

        return lists.of_object(bucket, row.fields), save_object
    if call.method.startswith("bucket"):
        policy = of_bucket(bucket)

        def save_policy(entries: Entries) -> None:
            made = acl.in_policy(policy, entries, bucket.project)
            objects_buckets.set_policy(connection, bucket.name, made, now)

        return acl.of_bucket(policy, bucket.project), save_policy

    def save_default(entries: Entries) -> None:
        objects_buckets.update(connection, bucket, {**bucket.fields, "defaultObjectAcl": entries}, now)

    return lists.of_new_objects(bucket), save_default


def _what(call: Call) -> str:
    """What is refused where lists are out of force, in Google's words."""
    if call.method.startswith("object"):
        reads = call.method.endswith((".get", ".list"))
        return lists.GET_OBJECTS if reads else lists.UPDATE_OBJECTS
    return lists.USE_BUCKETS


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
