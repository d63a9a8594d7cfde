"""Access control lists as requests bring them: whole, predefined, or none; and where they are refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from portico.errors import FailedPrecondition, InvalidArgument
from portico.ids import project_number
from portico.services.call import OWNER, Caller
from portico.services.iam import acl
from portico.services.iam.acl import Entries
from portico.store.objects.buckets import BucketRow
from portico.store.objects.generations import WRITER

OF_BUCKETS: Final = ("READER", "WRITER", "OWNER")
OF_OBJECTS: Final = ("READER", "OWNER")
# What is refused with uniform bucket-level access.
GET_OBJECTS: Final = "Cannot get legacy ACL for an object"
INSERT_OBJECTS: Final = "Cannot insert legacy ACL for an object"
UPDATE_OBJECTS: Final = "Cannot update access control for an object"
USE_BUCKETS: Final = "Cannot use ACL API to update bucket policy"

_ENTITY: Final = re.compile(
    r"(user|group|domain)-\S+|project-(owners|editors|viewers)(-\S+)?|all(Authenticated)?Users"
)
_PUBLIC: Final = {
    "authenticatedRead": ("allAuthenticatedUsers", "READER"),
    "publicRead": ("allUsers", "READER"),
    "publicReadWrite": ("allUsers", "WRITER"),
}


def refuse(bucket: BucketRow, what: str) -> None:
    """
    Raises:
        InvalidArgument: uniform bucket-level access has taken the lists out of force.
    """
    if acl.is_uniform(bucket):
        raise InvalidArgument(
            f"{what} when uniform bucket-level access is enabled. Read more at "
            "https://cloud.google.com/storage/docs/uniform-bucket-level-access",
            reason="invalid",
        )


def refuse_everybody(bucket: BucketRow, members: Iterable[str]) -> None:
    """
    Raises:
        FailedPrecondition: they are everybody, where public access is prevented (412).
    """
    if acl.prevents_public(bucket) and acl.is_for_everybody(members):
        raise FailedPrecondition(
            "The member bindings allUsers and allAuthenticatedUsers are not allowed since public access prevention is "
            "enforced.",
            reason="conditionNotMet",
            http_status=412,
        )


def checked(entries: Any, bucket: BucketRow, roles: Sequence[str]) -> Entries:
    """The entries of a list that a request brings, as they are kept.

    Raises:
        InvalidArgument: one has no such entity or role. FailedPrecondition: see `refuse_everybody`.
    """
    made: dict[str, dict[str, Any]] = {}
    for entry in entries if isinstance(entries, list) else []:
        told = entry if isinstance(entry, Mapping) else {}
        entity, role = str(told.get("entity") or ""), str(told.get("role") or "")
        if not _ENTITY.fullmatch(entity):
            raise InvalidArgument(f"Invalid entity: {entity!r}", reason="invalid", field="entity")
        if role not in roles:
            raise InvalidArgument(
                f"Invalid role {role!r}: it is one of {', '.join(roles)}.", reason="invalid", field="role"
            )
        if entity in ("project-owners", "project-editors", "project-viewers"):
            entity = f"{entity}-{project_number(bucket.project)}"
        made[entity] = {"entity": entity, "role": role}
        if entity.startswith(("user-", "group-")) and "@" in entity:
            made[entity]["email"] = entity.partition("-")[2]
    refuse_everybody(bucket, made)
    return list(made.values())


def of_bucket(name: str, bucket: BucketRow) -> Entries:
    """The list that a bucket's predefined ACL stands for.

    Source: https://cloud.google.com/storage/docs/access-control/lists#predefined-acl
    Raises:
        InvalidArgument: there is no such one.
    """
    owners = [{"entity": "project-owners", "role": "OWNER"}]
    if name == "projectPrivate":
        return acl.of_project(bucket.project)
    if name != "private" and name not in _PUBLIC:
        raise _unknown(name)
    return checked(owners + _public(name), bucket, OF_BUCKETS)


def predefined(name: str, bucket: BucketRow, owner: Caller | None) -> Entries:
    """The same of an object that `owner` writes; of objects to come it is None.

    Raises:
        InvalidArgument: there is no such one.
    """
    own = [acl.of_user(owner.email or OWNER)] if owner is not None and not owner.anonymous else []
    if name == "projectPrivate":
        return [*acl.of_project(bucket.project), *own]
    if name in ("bucketOwnerRead", "bucketOwnerFullControl"):
        role = "READER" if name == "bucketOwnerRead" else "OWNER"
        return [*checked([{"entity": "project-owners", "role": role}], bucket, OF_OBJECTS), *own]
    if name == "publicReadWrite" or (name != "private" and name not in _PUBLIC):
        raise _unknown(name)
    return [*own, *checked(_public(name), bucket, OF_OBJECTS)]


def of_object(bucket: BucketRow, fields: Mapping[str, Any]) -> Entries:
    """The list of an object with these settings."""
    held = fields.get("acl")
    return acl.of_project(bucket.project) if held is None else list(held)


def of_new_objects(bucket: BucketRow) -> Entries:
    """What objects to come have beside their writer."""
    held = bucket.fields.get("defaultObjectAcl")
    return acl.of_project(bucket.project) if held is None else list(held)


def written(bucket: BucketRow, caller: Caller, told: Any, named: str) -> Entries | None:
    """The list of an object that `caller` writes: as the request has it, or by its predefined name, or as the bucket
    has it for new ones, and the writer's. None for what is its project's, and the owner's.

    Raises:
        InvalidArgument: it is not one, or lists are out of force.
    """
    if told or named:
        refuse(bucket, INSERT_OBJECTS)
        if named:
            return predefined(named, bucket, caller)
        own = [] if caller.owner or caller.anonymous else [acl.of_user(caller.email)]
        return own + [
            one for one in checked(told, bucket, OF_OBJECTS) if one["entity"] != f"user-{caller.email}"
        ]
    if acl.is_uniform(bucket) or (caller.owner and bucket.fields.get("defaultObjectAcl") is None):
        return None
    own = [] if caller.owner or caller.anonymous else [acl.of_user(caller.email)]
    return of_new_objects(bucket) + own


def writer(bucket: BucketRow, caller: Caller) -> dict[str, Any]:
    """What is kept of who writes an object."""
    known = not (caller.owner or caller.anonymous or acl.is_uniform(bucket))
    return {WRITER: f"user-{caller.email}"} if known else {}


def _public(name: str) -> Entries:
    return [dict(zip(("entity", "role"), _PUBLIC[name], strict=True))] if name in _PUBLIC else []


def _unknown(name: str) -> InvalidArgument:
    return InvalidArgument(f"Invalid predefined ACL: {name!r}", reason="invalid", field="predefinedAcl")
