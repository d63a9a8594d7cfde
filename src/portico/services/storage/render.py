"""Rows as the JSON resources of storage v1. `base` is the URL at which the caller reached us."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from portico.ids import project_number
from portico.services.iam import acl
from portico.services.iam.bindings import of_bucket
from portico.services.storage import lists
from portico.store.objects.buckets import BucketRow
from portico.store.objects.generations import (
    NONCURRENT,
    RELEASED,
    SOFT_DELETED,
    WRITER,
    ObjectRow,
    retained_until,
)

_MULTI_REGIONS = {"US", "EU", "ASIA"}
_DUAL_REGIONS = {"NAM4", "EUR4", "EUR5", "EUR7", "EUR8", "ASIA1"}


def milliseconds(seconds: float) -> str:
    """`seconds` since the epoch as Cloud Storage writes times."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def exact(seconds: float) -> str:
    """The same to the microsecond, where that is told: what a caller sets comes back as it was."""
    shown = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return shown.removesuffix("000") + "Z"


def object_json(row: ObjectRow, base: str, bucket: BucketRow, *, full: bool = False) -> dict[str, Any]:
    """The Object resource; `full` is the projection with `acl` and `owner`."""
    path = f"b/{row.bucket}/o/{quote(row.name, safe='')}"
    created = milliseconds(row.created)
    resource: dict[str, Any] = {
        "kind": "storage#object",
        "id": f"{row.bucket}/{row.name}/{row.generation}",
        "selfLink": f"{base}/storage/v1/{path}",
        "mediaLink": f"{base}/download/storage/v1/{path}?generation={row.generation}&alt=media",
        "name": row.name,
        "bucket": row.bucket,
        "generation": str(row.generation),
        "metageneration": str(row.metageneration),
        "size": str(row.size),
        "etag": etag(row),
        "timeCreated": created,
        "updated": milliseconds(row.updated),
        "timeStorageClassUpdated": created,
        "timeFinalized": created,
    }
    if row.crc32c:
        resource["crc32c"] = row.crc32c
    if row.md5:
        resource["md5Hash"] = row.md5
    if row.state in (NONCURRENT, SOFT_DELETED) and row.deleted is not None:
        resource["timeDeleted"] = milliseconds(row.deleted)
    resource |= _kept(row)
    resource |= {key: value for key, value in row.fields.items() if key not in ("acl", RELEASED, WRITER)}
    # While an event-based hold is on, it is not known.
    if bucket.retention_seconds and not row.fields.get("eventBasedHold"):
        resource["retentionExpirationTime"] = milliseconds(retained_until(bucket, row))
    if full and not acl.is_uniform(bucket):
        resource["acl"] = [
            {"kind": "storage#objectAccessControl", "bucket": row.bucket, "object": row.name} | entry
            for entry in lists.of_object(bucket, row.fields)
        ]
        owner = row.fields.get(WRITER) or f"project-owners-{project_number(bucket.project)}"
        resource["owner"] = {"entity": owner}
    return resource


def bucket_json(row: BucketRow, base: str, *, full: bool = False) -> dict[str, Any]:
    """The Bucket resource; `full` is the projection with `acl`, `defaultObjectAcl` and `owner`."""
    location = row.fields["location"]
    kind = "region"
    if location in _DUAL_REGIONS or (row.fields.get("customPlacementConfig") or {}).get("dataLocations"):
        kind = "dual-region"
    elif location in _MULTI_REGIONS:
        kind = "multi-region"
    access = dict(row.fields.get("iamConfiguration") or {})
    uniform = access.get("uniformBucketLevelAccess") or access.get("bucketPolicyOnly") or {"enabled": False}
    resource: dict[str, Any] = {
        "kind": "storage#bucket",
        "id": row.name,
        "name": row.name,
        "selfLink": f"{base}/storage/v1/b/{row.name}",
        "projectNumber": project_number(row.project),
        "generation": str(row.generation),
        "metageneration": str(row.metageneration),
        "locationType": kind,
        "etag": _etag((1, row.metageneration)),
        "timeCreated": milliseconds(row.created),
        "updated": milliseconds(row.updated),
        # What is deleted is gone (or noncurrent, where versioning is on) unless the bucket says otherwise.
        "softDeletePolicy": {"retentionDurationSeconds": "0"},
        **_kept(row),
    }
    resource |= {k: v for k, v in row.fields.items() if k not in ("acl", "defaultObjectAcl")}
    resource["iamConfiguration"] = {
        "publicAccessPrevention": access.get("publicAccessPrevention", "inherited"),
        "uniformBucketLevelAccess": uniform,
        "bucketPolicyOnly": uniform,
    }
    if kind != "region":
        resource.setdefault("rpo", "DEFAULT")
    if full:
        if not acl.is_uniform(row):
            own = acl.of_bucket(of_bucket(row), row.project)
            resource["acl"] = [
                {"kind": "storage#bucketAccessControl", "bucket": row.name} | entry for entry in own
            ]
            default = lists.of_new_objects(row)
            resource["defaultObjectAcl"] = [{"kind": "storage#objectAccessControl"} | one for one in default]
        resource["owner"] = {"entity": f"project-owners-{project_number(row.project)}"}
    return resource


def _kept(row: ObjectRow | BucketRow) -> dict[str, Any]:
    """Of what is soft-deleted: since when, and until when it is kept."""
    if row.hard_deleted is None or row.deleted is None:
        return {}
    return {"softDeleteTime": milliseconds(row.deleted), "hardDeleteTime": milliseconds(row.hard_deleted)}


def etag(row: ObjectRow) -> str:
    return _etag((1, row.generation), (2, row.metageneration))


def _etag(*fields: tuple[int, int]) -> str:
    """Numbered integers as a protocol buffer in base64, as Cloud Storage makes its etags."""
    out = bytearray()
    for number, value in fields:
        out.append(number << 3)
        while value > 0x7F:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        out.append(value)
    return base64.b64encode(out).decode()
