"""What an upload means, whichever way its bytes come: check early, store, commit."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from portico.errors import InvalidArgument
from portico.services.call import Call, Rooms, implements
from portico.services.iam.checks import written
from portico.services.iam.permit import denied, require_bucket
from portico.services.iam.reading import Reading
from portico.services.storage import customer_keys, lists
from portico.services.storage.customer_keys import CustomerKey
from portico.services.storage.objects import answer
from portico.services.storage.requests import object_settings, preconditions
from portico.store.objects import buckets as objects_buckets
from portico.store.objects import files as objects_files
from portico.store.objects import generations as objects
from portico.store.objects.files import FileWriter
from portico.store.objects.generations import ObjectRow, Preconditions, StoredFile
from portico.store.objects.names import check_object_name


@dataclass(frozen=True, slots=True)
class Insertion:
    """An object to come: checked, its data not there yet. `md5` and `crc32c` are what the data must have; `key`: under
    which it is encrypted."""

    bucket: str
    name: str
    settings: dict[str, Any]
    preconditions: Preconditions
    md5: str | None = None
    crc32c: str | None = None
    key: CustomerKey | None = None


def begin(
    rooms: Rooms,
    bucket: str,
    resource: Mapping[str, Any],
    params: Mapping[str, Any],
    headers: Mapping[str, str],
    call: Call,
) -> Insertion:
    """Checks everything about an upload that can be known before its data, also whether its caller may write this
    object.

    Raises:
        InvalidArgument, NotFound, FailedPrecondition, Unimplemented
    """
    customer_keys.refuse_managed(params)
    key = customer_keys.read(headers)
    name = params.get("name") or resource.get("name") or ""
    if not isinstance(name, str):
        raise InvalidArgument("The object's name must be a string.", reason="invalid", field="name")
    _require_permission(call, bucket, name)
    wanted = preconditions(params)
    with rooms.database.read() as connection:
        row = objects_buckets.get(connection, bucket)
        check_object_name(name)
        wanted.check(objects.find(connection, bucket, name))
    if params.get("contentEncoding"):
        resource = {"contentEncoding": params["contentEncoding"], **resource}
    entries = lists.written(row, call.caller, resource.get("acl"), params.get("predefinedAcl", ""))
    hashes = expected_hashes(headers)
    return Insertion(
        bucket,
        name,
        object_settings({**resource, "acl": entries}, row, rooms.clock.now())
        | lists.writer(row, call.caller)
        | (key.fields if key else {}),
        wanted,
        hashes.get("md5") or resource.get("md5Hash") or None,
        hashes.get("crc32c") or resource.get("crc32c") or None,
        key,
    )


def _require_permission(call: Call, bucket: str, name: str) -> None:
    # MLflow's methods have asked already: for the bucket that only they write.
    if call.caller.owner or call.api == "mlflow":
        return
    with Reading(call.rooms.database) as reading:
        checks = list(written(reading, bucket, name))
        for permission, resource in checks:
            if not call.rooms.permissions.held(call.caller, [permission], resource):
                require_bucket(reading, resource)
                raise denied(call.caller, "storage", permission, resource)


def commit(rooms: Rooms, insertion: Insertion, stored: StoredFile, in_transaction: Any = None) -> ObjectRow:
    """Makes the finished file the object. `in_transaction(connection, row)` shares the transaction. The row has the
    checksums that `stored` has, also where they are not kept.

    Raises:
        InvalidArgument: the data does not have the checksums that the sender said.
        FailedPrecondition, PermissionDenied, NotFound: as `objects.put`.
    """
    check_hashes({"md5": insertion.md5, "crc32c": insertion.crc32c}, stored)
    with rooms.database.write() as connection:
        row, garbage = objects.put(
            connection,
            objects_buckets.get(connection, insertion.bucket),
            insertion.name,
            stored,
            insertion.settings,
            rooms.clock.now(),
            insertion.preconditions,
        )
        if in_transaction:
            in_transaction(connection, row)
    objects_files.remove(rooms.home, garbage)
    return replace(row, crc32c=stored.crc32c, md5=stored.md5)


def expected_hashes(headers: Mapping[str, str]) -> dict[str, str]:
    """The checksums that the headers x-goog-hash and content-md5 announce, by name."""
    found: dict[str, str] = {}
    for item in headers.get("x-goog-hash", "").split(","):
        kind, _, value = item.strip().partition("=")
        if kind in ("md5", "crc32c"):
            found[kind] = value
    if "content-md5" in headers:
        found.setdefault("md5", headers["content-md5"].strip())
    return found


def check_hashes(expected: Mapping[str, str | None], stored: StoredFile) -> None:
    for kind, actual in (("md5", stored.md5), ("crc32c", stored.crc32c)):
        wanted = expected.get(kind)
        if wanted is None or actual is None or _bytes(wanted, kind) == base64.b64decode(actual):
            continue
        raise InvalidArgument(
            f'Provided {kind.upper()} hash "{wanted}" doesn\'t match calculated {kind.upper()} hash "{actual}".',
            reason="invalid",
        )


def _bytes(text: str, kind: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise InvalidArgument(f"The {kind} given is not base64.", reason="invalid") from None


@implements("storage", "objects.insert")
def insert(call: Call) -> dict[str, Any]:
    """An insert without media, as `POST /storage/v1/b/B/o` sends it: an empty object."""
    rooms = call.rooms
    insertion = begin(rooms, call.params["bucket"], call.body, call.params, call.headers, call)
    with FileWriter(rooms.home, rooms.ids, insertion.key.key if insertion.key else None) as writer:
        row = commit(rooms, insertion, writer.finish())
        writer.keep()
    return answer(call, row)
