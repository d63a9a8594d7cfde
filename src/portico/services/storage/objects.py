"""storage.objects: get, list, patch, update, delete. Uploads are in `uploads`, copies in `copies`."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from portico.errors import InvalidArgument, Unimplemented
from portico.services.call import Call, implements
from portico.services.storage.access_controls import predefined
from portico.services.storage.render import base_url, object_json
from portico.services.storage.requests import (
    SETTINGS,
    generation,
    merge,
    object_settings,
    page_size,
    page_token,
    parse_page_token,
    preconditions,
)
from portico.store.objects import buckets as objects_buckets
from portico.store.objects import files as objects_files
from portico.store.objects import generations as objects
from portico.store.objects.generations import ObjectRow
from portico.store.objects.listing import Position, Query, list_page

_Token = tuple[str, Annotated[int, msgspec.Meta(ge=-1, le=2**63 - 1)], bool]


@implements("storage", "objects.get")
def get(call: Call) -> dict[str, Any]:
    params = call.params
    if params.get("softDeleted"):
        raise Unimplemented("Soft delete is not built in Portico yet.")
    with call.rooms.database.read() as connection:
        objects_buckets.get(connection, params["bucket"])
        row = objects.get(connection, params["bucket"], params["object"], generation(params))
    preconditions(params).check(row, reading=True)
    return answer(call, row)


@implements("storage", "objects.list")
def list_(call: Call) -> dict[str, Any]:
    params = call.params
    for unbuilt in ("softDeleted", "filter"):
        if params.get(unbuilt):
            raise Unimplemented(f"{unbuilt} of objects.list is not built in Portico yet.")
    query = Query(
        bucket=params["bucket"],
        prefix=params.get("prefix", ""),
        delimiter=params.get("delimiter", ""),
        start=params.get("startOffset", ""),
        end=params.get("endOffset", ""),
        glob=params.get("matchGlob", ""),
        versions=bool(params.get("versions")),
        trailing_delimiter=bool(params.get("includeTrailingDelimiter")),
    )
    token = parse_page_token(params, _Token)
    with call.rooms.database.read() as connection:
        objects_buckets.get(connection, query.bucket)
        page = list_page(connection, query, page_size(params), Position(*token) if token else None)
    base, full = base_url(call.headers), params.get("projection") == "full"
    listing: dict[str, Any] = {"kind": "storage#objects"}
    if page.items:
        listing["items"] = [object_json(row, base, full=full) for row in page.items]
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
    exact = generation(params)
    with rooms.database.write() as connection:
        bucket = objects_buckets.get(connection, params["bucket"])
        row = objects.get(connection, params["bucket"], params["object"], exact)
        preconditions(params).check(row)
        garbage = objects.delete(connection, bucket, row, rooms.clock.now(), for_good=exact is not None)
    objects_files.remove(rooms.home, garbage)


def answer(call: Call, row: ObjectRow) -> dict[str, Any]:
    return object_json(row, base_url(call.headers), full=call.params.get("projection") == "full")


def _change(call: Call, make: Any) -> dict[str, Any]:
    params = call.params
    with call.rooms.database.write() as connection:
        bucket = objects_buckets.get(connection, params["bucket"])
        row = objects.get(connection, params["bucket"], params["object"], generation(params))
        preconditions(params).check(row)
        wanted = make(row)
        if wanted.get("storageClass") not in (None, row.fields.get("storageClass")):
            raise InvalidArgument(
                "The storage class of an object can't be patched: rewrite the object.",
                reason="invalid",
                field="storageClass",
            )
        if params.get("predefinedAcl"):
            wanted = {**wanted, "acl": predefined(params["predefinedAcl"], call.caller.email)}
        settings = object_settings(wanted | {"storageClass": row.fields.get("storageClass")}, bucket)
        kept = {key: value for key, value in row.fields.items() if key not in SETTINGS}
        row = objects.update(connection, row, kept | settings, call.rooms.clock.now())
    return answer(call, row)


def _set_by_writer(row: ObjectRow) -> dict[str, Any]:
    return {key: value for key, value in row.fields.items() if key in SETTINGS}
