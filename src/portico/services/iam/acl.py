"""Access control lists of Cloud Storage, as grants. A bucket's own list is that part of its policy which has the legacy
bucket roles; an object has a list of its own. With uniform bucket-level access neither counts.

https://cloud.google.com/storage/docs/access-control/lists, .../iam-roles#legacy-roles
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from portico.ids import project_number
from portico.services.iam import accounts
from portico.store.objects.buckets import BucketRow
from portico.store.objects.generations import ObjectRow

Entries = list[dict[str, Any]]
EVERYBODY: Final = frozenset({"allUsers", "allAuthenticatedUsers"})

_OF_BUCKETS: Final = {
    "READER": "roles/storage.legacyBucketReader",
    "WRITER": "roles/storage.legacyBucketWriter",
    "OWNER": "roles/storage.legacyBucketOwner",
}
_OF_OBJECTS: Final = {
    "READER": "roles/storage.legacyObjectReader",
    "OWNER": "roles/storage.legacyObjectOwner",
}
_TEAMS: Final = {
    "project-owners": "projectOwner",
    "project-editors": "projectEditor",
    "project-viewers": "projectViewer",
}


def is_uniform(bucket: BucketRow) -> bool:
    """Whether uniform bucket-level access has taken the lists out of force."""
    access = bucket.fields.get("iamConfiguration") or {}
    return any(
        (access.get(key) or {}).get("enabled") for key in ("uniformBucketLevelAccess", "bucketPolicyOnly")
    )


def prevents_public(bucket: BucketRow) -> bool:
    """Whether nothing in the bucket can be everybody's, whatever a policy or a list says."""
    access = bucket.fields.get("iamConfiguration") or {}
    return str(access.get("publicAccessPrevention", "")).lower() == "enforced"


def of_project(project: str) -> Entries:
    """The list `projectPrivate`, which counts where none is set: a project's editors write, its viewers read."""
    number = project_number(project)
    roles = (("owners", "OWNER"), ("editors", "OWNER"), ("viewers", "READER"))
    return [{"entity": f"project-{team}-{number}", "role": role} for team, role in roles]


def of_user(email: str) -> dict[str, Any]:
    """The entry of who owns an object."""
    return {"entity": f"user-{email}", "role": "OWNER", "email": email}


def of_bucket(policy: Mapping[str, Any], project: str) -> Entries:
    """The bucket's list, which is in its policy."""
    found: dict[str, str] = {}
    for role, name in _OF_BUCKETS.items():  # the strongest last
        for binding in policy.get("bindings") or ():
            if binding["role"] == name and not binding.get("condition"):
                found |= dict.fromkeys((_entity(one, project) for one in binding.get("members") or ()), role)
    return [_entry(entity, role) for entity, role in found.items() if entity]


def in_policy(policy: Mapping[str, Any], entries: Entries, project: str) -> dict[str, Any]:
    """The policy with this list as its bucket's."""
    names = set(_OF_BUCKETS.values())
    kept = [one for one in policy.get("bindings") or () if one["role"] not in names or one.get("condition")]
    return {**policy, "bindings": [*kept, *_bindings(entries, _OF_BUCKETS, project)]}


def of_object(bucket: BucketRow, row: ObjectRow | None) -> dict[str, Any]:
    """What an object's list grants, as a policy; of one that is not there what it does by default."""
    entries = row.fields.get("acl") if row is not None else None
    if entries is None:
        entries = of_project(bucket.project)
    return {"bindings": _bindings(entries, _OF_OBJECTS, bucket.project)}


def _bindings(entries: Entries, roles: Mapping[str, str], project: str) -> list[dict[str, Any]]:
    by_role: dict[str, list[str]] = {}
    for entry in entries:
        if role := roles.get(str(entry.get("role"))):
            by_role.setdefault(role, []).append(_member(str(entry.get("entity")), project))
    return [{"role": role, "members": members} for role, members in by_role.items()]


def _member(entity: str, project: str) -> str:
    """An entity of a list, as policies write it."""
    if entity in EVERYBODY:
        return entity
    kind, _, who = entity.partition("-")
    if kind == "project":
        team, _, number = who.partition("-")
        own = number in ("", project, project_number(project))
        return f"{_TEAMS[f'project-{team}']}:{project if own else number}"
    return accounts.member(who) if kind == "user" else f"{kind}:{who}"


def _entity(member: str, project: str) -> str:
    """A member of a policy, as lists write it; "" for one that they can't have."""
    if member in EVERYBODY:
        return member
    kind, _, who = member.partition(":")
    for team, name in _TEAMS.items():
        if kind == name:
            return f"{team}-{project_number(who)}"
    if kind in ("user", "serviceAccount"):
        return f"user-{who}"
    return f"{kind}-{who}" if kind in ("group", "domain") else ""


def _entry(entity: str, role: str) -> dict[str, Any]:
    kind, _, who = entity.partition("-")
    return {"entity": entity, "role": role} | (
        {"email": who} if kind in ("user", "group") and "@" in who else {}
    )


def without_everybody(policy: Mapping[str, Any]) -> dict[str, Any]:
    """What is left of it where public access is prevented."""
    return {
        **policy,
        "bindings": [
            {**one, "members": [who for who in one.get("members") or () if who not in EVERYBODY]}
            for one in policy.get("bindings") or ()
        ],
    }


def is_for_everybody(members: Iterable[str]) -> bool:
    return not EVERYBODY.isdisjoint(members)
