"""storage.buckets: insert, get, list, patch, update, delete, getStorageLayout."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import AlreadyExists, InvalidArgument, NotFound, Unimplemented
from portico.services.call import Call, implements
from portico.services.iam import acl, tags, targets
from portico.services.iam.bindings import of_bucket
from portico.services.standard.here import base_url
from portico.services.storage import lists, notifications, own
from portico.services.storage.render import bucket_json
from portico.services.storage.requests import (
    check_etag,
    integer,
    merge,
    page_size,
    page_token,
    parse_page_token,
    preconditions,
    required_generation,
    soft_deleted_generation,
)
from portico.services.storage.settings import LOCKED, checked
from portico.store.objects import buckets as objects_buckets
from portico.store.objects import files as objects_files
from portico.store.objects import generations as objects
from portico.store.objects import soft_deleted
from portico.store.objects import uploads as objects_uploads
from portico.store.objects.buckets import BucketRow
from portico.store.objects.names import check_bucket_name

_SETTINGS = (
    "autoclass",
    "billing",
    "cors",
    "customPlacementConfig",
    "defaultEventBasedHold",
    "defaultObjectAcl",
    "encryption",
    "hierarchicalNamespace",
    "iamConfiguration",
    "ipFilter",
    "labels",
    "lifecycle",
    "location",
    "logging",
    "retentionPolicy",
    "rpo",
    "softDeletePolicy",
    "storageClass",
    "versioning",
    "website",
)
_IMMUTABLE = ("location", "customPlacementConfig", "hierarchicalNamespace")
_KEPT = (*_IMMUTABLE, "softDeletePolicy", "storageClass")  # by an update that does not say them
_LOCATION = re.compile(r"[A-Z][A-Z0-9-]{1,40}")


@implements("storage", "buckets.insert")
def insert(call: Call) -> dict[str, Any]:
    project, name = _project(call), call.body.get("name")
    if not name:
        raise InvalidArgument("Required parameter: name", reason="required", field="name")
    check_bucket_name(name)
    project = own.project_of(name, project)
    settings = merge({}, _settings(call.body))
    settings["location"] = settings.get("location", "US").upper()
    if not _LOCATION.fullmatch(settings["location"]):
        raise InvalidArgument(
            f"The specified location constraint is not valid: {settings['location']!r}.",
            reason="invalid",
            field="location",
        )
    settings.setdefault("storageClass", "STANDARD")
    _refuse_unbuilt(call)
    now = call.rooms.clock.now()
    settings = checked(settings, {}, now)
    with call.rooms.database.write() as connection:
        row = objects_buckets.insert(connection, name, project, settings, now)
        row = _with_lists(connection, call, row)
    return _answer(call, row)


@implements("storage", "buckets.get")
def get(call: Call) -> dict[str, Any]:
    params = call.params
    kept = soft_deleted_generation(params)
    with call.rooms.database.read() as connection:
        if kept is not None:
            now = call.rooms.clock.now()
            row = soft_deleted.get_bucket(connection, params["bucket"], kept, now)
        else:
            row = objects_buckets.get(connection, params["bucket"])
            if (generation := integer(params, "generation")) not in (None, row.generation):
                raise NotFound(
                    f"The specified bucket does not exist: {row.name}#{generation}.", reason="notFound"
                )
    check_metageneration(call, row, reading=True)
    answer = _answer(call, row)
    check_etag(call.headers, answer["etag"])
    return answer


@implements("storage", "buckets.list")
def list_(call: Call) -> dict[str, Any]:
    if call.params.get("softDeleted"):
        return _list_soft_deleted(call)
    limit = page_size(call.params)
    after = parse_page_token(call.params, list[str])
    with call.rooms.database.read() as connection:
        rows = objects_buckets.list_page(
            connection,
            _project(call),
            call.params.get("prefix", ""),
            after[0] if after else "",
            limit + 1,
        )
    page = {"kind": "storage#buckets", "items": [_answer(call, row) for row in rows[:limit]]}
    if len(rows) > limit:
        page["nextPageToken"] = page_token([rows[limit - 1].name])
    return page


def _list_soft_deleted(call: Call) -> dict[str, Any]:
    limit, params = page_size(call.params), call.params
    name, generation = parse_page_token(params, tuple[str, int]) or ("", 0)
    with call.rooms.database.read() as connection:
        rows = soft_deleted.list_buckets(
            connection,
            _project(call),
            params.get("prefix", ""),
            (name, generation),
            limit + 1,
            call.rooms.clock.now(),
        )
    page = {"kind": "storage#buckets", "items": [_answer(call, row) for row in rows[:limit]]}
    if len(rows) > limit:
        page["nextPageToken"] = page_token([rows[limit - 1].name, rows[limit - 1].generation])
    return page


@implements("storage", "buckets.restore")
def restore(call: Call) -> dict[str, Any]:
    """Its settings and policy come back; not its notifications and tags, which went with it, nor its objects: these are
    restored one by one."""
    name, generation = call.params["bucket"], required_generation(call.params)
    with call.rooms.database.write() as connection:
        row = soft_deleted.restore_bucket(connection, name, generation, call.rooms.clock.now())
    return _answer(call, row)


@implements("storage", "buckets.patch")
def patch(call: Call) -> dict[str, Any]:
    return _change(call, lambda row: merge(row.fields, _settings(call.body)))


@implements("storage", "buckets.update")
def update(call: Call) -> dict[str, Any]:
    def replace(row: BucketRow) -> dict[str, Any]:
        kept = {key: row.fields[key] for key in _KEPT if key in row.fields}
        return kept | merge({}, _settings(call.body))

    return _change(call, replace)


@implements("storage", "buckets.lockRetentionPolicy")
def lock_retention_policy(call: Call) -> dict[str, Any]:
    """From now on nobody removes the policy or shortens it."""
    if call.params.get("ifMetagenerationMatch") in (None, ""):
        raise InvalidArgument(
            "Required parameter: ifMetagenerationMatch", reason="required", field="ifMetagenerationMatch"
        )

    def lock(row: BucketRow) -> dict[str, Any]:
        if not row.retention_seconds:
            raise InvalidArgument(
                f"The bucket {row.name} has no retention policy to lock: set its retentionPolicy first.",
                reason="invalid",
                field="retentionPolicy",
            )
        return {**row.fields, "retentionPolicy": {**row.fields["retentionPolicy"], LOCKED: True}}

    return _change(call, lock)


@implements("storage", "buckets.delete")
def delete(call: Call) -> None:
    rooms, name = call.rooms, call.params["bucket"]
    garbage: list[str] = []
    with rooms.database.write() as connection:
        row = objects_buckets.get(connection, name)
        check_metageneration(call, row)
        if not objects.is_empty(connection, name):
            raise AlreadyExists("The bucket you tried to delete is not empty.", reason="conflict")
        for upload in objects_uploads.of_bucket(connection, name):
            garbage += objects_uploads.cancel(connection, upload)
        notifications.drop(connection, name)
        if row.soft_delete_seconds:
            soft_deleted.delete_bucket(connection, row, rooms.clock.now())
        else:
            objects_buckets.delete(connection, name)
        tags.drop(connection, targets.bucket(name))
    objects_files.remove(rooms.home, garbage)


@implements("storage", "buckets.getStorageLayout")
def get_storage_layout(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        row = objects_buckets.get(connection, call.params["bucket"])
    shown = bucket_json(row, base_url(call.headers))
    return {
        "kind": "storage#storageLayout",
        "bucket": row.name,
        "location": shown["location"],
        "locationType": shown["locationType"],
        "hierarchicalNamespace": {"enabled": False},
    }


def check_metageneration(call: Call, row: BucketRow, *, reading: bool = False) -> None:
    """The two preconditions that buckets have; raises as Preconditions.check does."""
    wanted = preconditions(call.params)
    as_object = objects.ObjectRow(
        row.name, "", 0, objects.LIVE, row.metageneration, "", 0, "", None, row.updated, None, {}
    )
    objects.Preconditions(
        metageneration_match=wanted.metageneration_match,
        metageneration_not_match=wanted.metageneration_not_match,
    ).check(as_object, reading=reading)


def _project(call: Call) -> str:
    project = call.params.get("project")
    if not project:
        raise InvalidArgument("Required parameter: project", reason="required", field="project")
    return str(project)


def _change(call: Call, make: Any) -> dict[str, Any]:
    _refuse_unbuilt(call)
    garbage: list[str] = []
    with call.rooms.database.write() as connection:
        row = objects_buckets.get(connection, call.params["bucket"])
        check_metageneration(call, row)
        settings = make(row)
        for key in _IMMUTABLE:
            if settings.get(key) != row.fields.get(key):
                raise InvalidArgument(f"{key} of a bucket cannot be changed.", reason="invalid", field=key)
        now = call.rooms.clock.now()
        settings = checked(settings, row.fields, now)
        kept = row.soft_delete_seconds
        row = objects_buckets.update(connection, row, settings, now)
        row = _with_lists(connection, call, row)
        if kept and not row.soft_delete_seconds:
            garbage = soft_deleted.free(connection, row.name)
    objects_files.remove(call.rooms.home, garbage)
    return _answer(call, row)


def _with_lists(connection: Connection, call: Call, row: BucketRow) -> BucketRow:
    """The bucket with the access control lists that the call has for it and its new objects, whole or by their names.

    Raises:
        InvalidArgument: one is malformed, or they are out of force.
    """
    now, own = call.rooms.clock.now(), call.params.get("predefinedAcl")
    default = call.params.get("predefinedDefaultObjectAcl")
    if own or call.body.get("acl"):
        lists.refuse(row, lists.USE_BUCKETS)
        entries = lists.of_bucket(own, row) if own else lists.checked(call.body["acl"], row, lists.OF_BUCKETS)
        policy = acl.in_policy(of_bucket(row), entries, row.project)
        objects_buckets.set_policy(connection, row.name, policy, now)
    if default or call.body.get("defaultObjectAcl"):
        lists.refuse(row, lists.USE_BUCKETS)
        told = call.body.get("defaultObjectAcl")
        made = lists.predefined(default, row, None) if default else lists.checked(told, row, lists.OF_OBJECTS)
        objects_buckets.update(connection, row, {**row.fields, "defaultObjectAcl": made}, now)
    return objects_buckets.get(connection, row.name)


def _settings(body: Mapping[str, Any]) -> dict[str, Any]:
    """Those in a body, which locks nothing."""
    told = {key: body[key] for key in _SETTINGS if key in body}
    if isinstance(policy := told.get("retentionPolicy"), dict):
        told["retentionPolicy"] = {key: value for key, value in policy.items() if key != LOCKED}
    return told


def _refuse_unbuilt(call: Call) -> None:
    body = call.body
    unbuilt = {
        "hierarchicalNamespace": (body.get("hierarchicalNamespace") or {}).get("enabled"),
        "encryption": (body.get("encryption") or {}).get("defaultKmsKeyName"),
        "softDeletePolicy.hardDeletePause": (
            (body.get("softDeletePolicy") or {}).get("hardDeletePause") or {}
        ).get("enabled"),
        "objectRetention": (body.get("objectRetention") or {}).get("mode") == "Enabled"
        or str(call.params.get("enableObjectRetention", "")).lower() == "true",
    }
    for field, asked in unbuilt.items():
        if asked:
            raise Unimplemented(f"{field} of buckets is not built in Portico yet.")


def _answer(call: Call, row: BucketRow) -> dict[str, Any]:
    asked = ["storage.buckets.getIamPolicy"]
    full = call.params.get("projection") == "full" and call.rooms.permissions.held(
        call.caller, asked, targets.bucket(row.name)
    )
    return bucket_json(row, base_url(call.headers), full=bool(full))
