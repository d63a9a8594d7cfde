"""storage.objects: get, list, patch, update, delete. Uploads are in `uploads`, copies in `copies`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from portico.clock import parse_rfc3339
from portico.errors import InvalidArgument, Unimplemented
from portico.services.call import Call, implements
from portico.services.iam import targets
from portico.services.standard.here import base_url
from portico.services.storage import customer_keys, lists
from portico.services.storage.render import etag, object_json
from portico.services.storage.requests import (
    SETTINGS,
    check_etag,
    integer,
    merge,
    object_settings,
    page_size,
    page_token,
    parse_page_token,
    preconditions,
    soft_deleted_generation,
)
from portico.store.objects import buckets as objects_buckets
from portico.store.objects import files as objects_files
from portico.store.objects import generations as objects
from portico.store.objects import soft_deleted
from portico.store.objects.generations import ObjectRow
from portico.store.objects.listing import Position, Query, list_page

_Token = tuple[str, Annotated[int, msgspec.Meta(ge=-1, le=2**63 - 1)], bool]


@implements("storage", "objects.get")
def get(call: Call) -> dict[str, Any]:
    params = call.params
    bucket, name = params["bucket"], params["object"]
    kept = soft_deleted_generation(params)
    with call.rooms.database.read() as connection:
        objects_buckets.get(connection, bucket)
        if kept is not None:
            row = soft_deleted.get(connection, bucket, name, kept, call.rooms.clock.now())
        else:
            row = objects.get(connection, bucket, name, integer(params, "generation"))
    preconditions(params).check(row, reading=True)
    check_etag(call.headers, etag(row))
    row = customer_keys.with_sums(call.rooms.home, row, customer_keys.read(call.headers))
    return answer(call, row)


@implements("storage", "objects.list")
def list_(call: Call) -> dict[str, Any]:
    params = call.params
    if params.get("filter"):
        raise Unimplemented("filter of objects.list is not built in Portico yet.")
    kept = params.get("softDeleted")
    if kept and params.get("versions"):
        raise InvalidArgument(
            "softDeleted and versions can't both be true.", reason="invalid", field="softDeleted"
        )
    query = Query(
        bucket=params["bucket"],
        prefix=params.get("prefix", ""),
        delimiter=params.get("delimiter", ""),
        start=params.get("startOffset", ""),
        end=params.get("endOffset", ""),
        glob=params.get("matchGlob", ""),
        versions=bool(params.get("versions")),
        soft_deleted_at=call.rooms.clock.now() if kept else None,
        trailing_delimiter=bool(params.get("includeTrailingDelimiter")),
    )
    token = parse_page_token(params, _Token)
    with call.rooms.database.read() as connection:
        bucket = objects_buckets.get(connection, query.bucket)
        page = list_page(connection, query, page_size(params), Position(*token) if token else None)
    base, full = base_url(call.headers), _shows_lists(call, params, query.bucket)
    listing: dict[str, Any] = {"kind": "storage#objects"}
    if page.items:
        listing["items"] = [object_json(row, base, bucket, full=full) for row in page.items]
    if page.prefixes:
        listing["prefixes"] = page.prefixes
    if page.next:
        listing["nextPageToken"] = page_token([page.next.name, page.next.generation, page.next.inside])
    return listing


@implements("storage", "objects.patch")
def patch(call: Call) -> dict[str, Any]:
    given = {key: value for key, value in call.body.items() if key in SETTINGS}
    return _change(call, lambda row: merge(_set_by_writer(row), given))


@implements("storage", "objects.update")
def update(call: Call) -> dict[str, Any]:
    return _change(call, lambda row: {"storageClass": row.fields.get("storageClass")} | call.body)


@implements("storage", "objects.delete")
def delete(call: Call) -> None:
    params, rooms = call.params, call.rooms
    exact = integer(params, "generation")
    with rooms.database.write() as connection:
        bucket = objects_buckets.get(connection, params["bucket"])
        row = objects.get(connection, params["bucket"], params["object"], exact)
        preconditions(params).check(row)
        garbage = objects.delete(connection, bucket, row, rooms.clock.now(), for_good=exact is not None)
    objects_files.remove(rooms.home, garbage)


def answer(call: Call, row: ObjectRow, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The Object resource, as the call's parameters, or these, want it."""
    with call.rooms.database.read() as connection:
        bucket = objects_buckets.get(connection, row.bucket)
    full = _shows_lists(call, call.params if params is None else params, row.bucket, row.name)
    return object_json(row, base_url(call.headers), bucket, full=full)


def _shows_lists(call: Call, params: Mapping[str, Any], bucket: str, name: str | None = None) -> bool:
    """Whether the projection with access control lists is asked for and the caller may see them."""
    asked = ["storage.objects.getIamPolicy"]
    return params.get("projection") == "full" and bool(
        call.rooms.permissions.held(call.caller, asked, targets.bucket(bucket, name))
    )


def _change(call: Call, make: Any) -> dict[str, Any]:
    params = call.params
    with call.rooms.database.write() as connection:
        bucket = objects_buckets.get(connection, params["bucket"])
        row = objects.get(connection, params["bucket"], params["object"], integer(params, "generation"))
        preconditions(params).check(row)
        wanted = make(row)
        if wanted.get("storageClass") not in (None, row.fields.get("storageClass")):
            raise InvalidArgument(
                "The storage class of an object can't be patched: rewrite the object.",
                reason="invalid",
                field="storageClass",
            )
        wanted = {
            **wanted,
            "acl": _list(call, bucket, row),
            "retention": call.body.get("retention"),
            "storageClass": row.fields.get("storageClass"),
        }
        now = call.rooms.clock.now()
        settings = object_settings(wanted, bucket, now, row.fields)
        _check_custom_time(row.fields.get("customTime"), settings, call.body)
        kept = {key: value for key, value in row.fields.items() if key not in SETTINGS}
        if row.fields.get("eventBasedHold") and not settings.get("eventBasedHold"):
            kept[objects.RELEASED] = now
        row = objects.update(connection, row, kept | settings, now)
    return answer(call, row)


def _list(call: Call, bucket: objects_buckets.BucketRow, row: ObjectRow) -> Any:
    """The object's access control list after the call; None for what it is by default."""
    named = call.params.get("predefinedAcl")
    if not named and "acl" not in call.body:
        return row.fields.get("acl")
    lists.refuse(bucket, lists.UPDATE_OBJECTS)
    if named:
        return lists.predefined(named, bucket, call.caller)
    return call.body["acl"] and lists.checked(call.body["acl"], bucket, lists.OF_OBJECTS)


def _check_custom_time(before: str | None, settings: dict[str, Any], body: Mapping[str, Any]) -> None:
    """A custom time stays, or becomes a later one, until the object is rewritten.

    Source: https://cloud.google.com/storage/docs/metadata#custom-time
    Raises:
        InvalidArgument
    """
    if before is None:
        return
    if "customTime" not in body:
        settings["customTime"] = before
    elif "customTime" not in settings or parse_rfc3339(settings["customTime"]) < parse_rfc3339(before):
        raise InvalidArgument(
            f"customTime is {before}; it can't be removed or set to an earlier time, but by rewriting the object.",
            reason="invalid",
            field="customTime",
        )


def _set_by_writer(row: ObjectRow) -> dict[str, Any]:
    return {key: value for key, value in row.fields.items() if key in SETTINGS}
