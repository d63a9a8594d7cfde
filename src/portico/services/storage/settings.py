"""What the settings of a bucket must be, and what Cloud Storage adds to them.

Sources: https://cloud.google.com/storage/docs/json_api/v1/buckets, .../docs/lifecycle, .../docs/bucket-lock
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from portico.errors import InvalidArgument, PermissionDenied
from portico.services.standard.collection import check_common
from portico.services.storage.render import milliseconds

STORAGE_CLASSES: Final = frozenset(
    [
        "STANDARD",
        "NEARLINE",
        "COLDLINE",
        "ARCHIVE",
        "MULTI_REGIONAL",
        "REGIONAL",
        "DURABLE_REDUCED_AVAILABILITY",
    ]
)
LOCKED: Final = "isLocked"
_ENCRYPTIONS: Final = ("googleManaged", "customerManaged", "customerSupplied")
_DAY: Final = 86400
_LONGEST_RETENTION: Final = 3_155_760_000  # seconds: a hundred years
_SHORTEST_KEPT: Final = 7 * _DAY
_LONGEST_KEPT: Final = 90 * _DAY
_MOST_RULES: Final = 100
_ACTIONS: Final = ("Delete", "SetStorageClass", "AbortIncompleteMultipartUpload")
_OF_ABORTING: Final = {"age", "matchesPrefix", "matchesSuffix"}
_NUMBERS: Final = (
    "age", "daysSinceCustomTime", "daysSinceNoncurrentTime", "numNewerVersions", "sizeAboveBytes", "sizeBelowBytes",
)  # fmt: skip
_DATES: Final = ("createdBefore", "customTimeBefore", "noncurrentTimeBefore")


def checked(settings: Mapping[str, Any], before: Mapping[str, Any], now: float) -> dict[str, Any]:
    """The settings as they are kept, with the times that the server determines. `before`: those that the bucket has.

    Raises:
        InvalidArgument: one of them is not allowed.
    """
    made = dict(settings)
    if made.get("storageClass") not in STORAGE_CLASSES:
        raise _wrong("storageClass", f"Invalid storage class {made.get('storageClass')!r}.")
    if made.get("rpo") not in (None, "DEFAULT", "ASYNC_TURBO"):
        raise _wrong("rpo", f"rpo is DEFAULT or ASYNC_TURBO, not {made['rpo']!r}.")
    check_common({"labels": made.get("labels")})
    _check_lifecycle(made.get("lifecycle") or {})
    if "iamConfiguration" in made:
        made["iamConfiguration"] = _access(made["iamConfiguration"] or {}, before, now)
    if "autoclass" in made:
        made["autoclass"] = _autoclass(made["autoclass"] or {}, before.get("autoclass") or {}, now)
    if "encryption" in made:
        made["encryption"] = _encryption(made["encryption"] or {}, before.get("encryption") or {}, now)
    if "softDeletePolicy" in made:
        made["softDeletePolicy"] = _soft_delete(
            made["softDeletePolicy"] or {}, before.get("softDeletePolicy") or {}, now
        )
    policy = _retention(made.pop("retentionPolicy", None) or {}, before.get("retentionPolicy") or {}, now)
    return made | ({"retentionPolicy": policy} if policy else {})


def _access(told: Mapping[str, Any], before: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Uniform access can be switched off for 90 days: until its `lockedTime`."""
    prevention = told.get("publicAccessPrevention")
    if prevention not in (None, "inherited", "unspecified", "enforced"):
        raise _wrong(
            "iamConfiguration.publicAccessPrevention",
            f"publicAccessPrevention is inherited or enforced, not {prevention!r}.",
        )
    made = {key: value for key, value in told.items() if key != "bucketPolicyOnly"}
    uniform = made.get("uniformBucketLevelAccess") or told.get("bucketPolicyOnly")
    if uniform is None:
        return made
    made["uniformBucketLevelAccess"] = {"enabled": bool(uniform.get("enabled"))}
    if uniform.get("enabled"):
        held = (before.get("iamConfiguration") or {}).get("uniformBucketLevelAccess") or {}
        locked = held.get("lockedTime") or milliseconds(now + 90 * _DAY)
        made["uniformBucketLevelAccess"]["lockedTime"] = locked
    return made


def _autoclass(told: Mapping[str, Any], before: Mapping[str, Any], now: float) -> dict[str, Any]:
    """What a bucket says of Autoclass, with the times of its changes. Objects stay in the class that they have: what is
    read how often is not counted.

    Source: https://cloud.google.com/storage/docs/json_api/v1/buckets: autoclass
    """
    enabled = bool(told.get("enabled"))
    made: dict[str, Any] = {"enabled": enabled}
    if enabled != bool(before.get("enabled")):
        made["toggleTime"] = milliseconds(now)
    elif "toggleTime" in before:
        made["toggleTime"] = before["toggleTime"]
    if not enabled:
        return made
    terminal = told.get("terminalStorageClass") or "NEARLINE"
    if terminal not in ("NEARLINE", "ARCHIVE"):
        raise _wrong(
            "autoclass.terminalStorageClass",
            f"terminalStorageClass is NEARLINE or ARCHIVE, not {terminal!r}.",
        )
    same = before.get("terminalStorageClass") == terminal
    since = before["terminalStorageClassUpdateTime"] if same else milliseconds(now)
    return made | {"terminalStorageClass": terminal, "terminalStorageClassUpdateTime": since}


def _encryption(told: Mapping[str, Any], before: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Which kinds of encryption new objects may have; since when, where one is restricted. See `generations.put`.

    Source: https://cloud.google.com/storage/docs/encryption/enforce-encryption-types
    """
    made = {}
    for name in (f"{kind}EncryptionEnforcementConfig" for kind in _ENCRYPTIONS):
        mode = (told.get(name) or {}).get("restrictionMode")
        if mode is None:
            continue
        if mode not in ("NotRestricted", "FullyRestricted"):
            raise _wrong(
                f"encryption.{name}", f"restrictionMode is NotRestricted or FullyRestricted, not {mode!r}."
            )
        made[name] = {"restrictionMode": mode}
        if mode == "FullyRestricted":
            since = (before.get(name) or {}).get("effectiveTime")
            made[name]["effectiveTime"] = since or milliseconds(now)
    return made


def _retention(told: Mapping[str, Any], before: Mapping[str, Any], now: float) -> dict[str, Any]:
    """A locked one stays, or becomes longer.

    Source: https://cloud.google.com/storage/docs/bucket-lock
    """
    held = int(before.get("retentionPeriod") or 0) if before.get(LOCKED) else 0
    if held and int(told.get("retentionPeriod") or 0) < held:
        raise PermissionDenied(
            f"The bucket's retention policy is locked: its period of {held} seconds can't be removed or shortened.",
            reason="forbidden",
        )
    if told.get("retentionPeriod") is None:
        return {}
    period = int(told["retentionPeriod"])
    if not 0 < period <= _LONGEST_RETENTION:
        raise _wrong(
            "retentionPolicy.retentionPeriod",
            f"A retention period is above 0 and at most {_LONGEST_RETENTION} seconds, not {period}.",
        )
    same = str(before.get("retentionPeriod")) == str(period) and "effectiveTime" in before
    return {
        "retentionPeriod": str(period),
        "effectiveTime": before["effectiveTime"] if same else milliseconds(now),
        **({LOCKED: True} if told.get(LOCKED) or held else {}),
    }


def _soft_delete(told: Mapping[str, Any], before: Mapping[str, Any], now: float) -> dict[str, Any]:
    """How long what is deleted is kept, and since when it is so long, or longer.

    Source: https://cloud.google.com/storage/docs/soft-delete: 0, or from 7 to 90 days.
    """
    seconds, held = (
        int(told.get("retentionDurationSeconds") or 0),
        int(before.get("retentionDurationSeconds") or 0),
    )
    if seconds and not _SHORTEST_KEPT <= seconds <= _LONGEST_KEPT:
        raise _wrong(
            "softDeletePolicy.retentionDurationSeconds",
            f"A soft delete retention duration is 0, or from {_SHORTEST_KEPT} to {_LONGEST_KEPT} seconds (7 to 90 "
            f"days), not {seconds}.",
        )
    if not seconds:
        return {"retentionDurationSeconds": "0"}
    since = before.get("effectiveTime") if 0 < seconds <= held else None
    return {"retentionDurationSeconds": str(seconds), "effectiveTime": since or milliseconds(now)}


def _check_lifecycle(lifecycle: Mapping[str, Any]) -> None:
    rules = lifecycle.get("rule") or []
    if len(rules) > _MOST_RULES:
        raise _wrong("lifecycle.rule", f"A bucket has at most {_MOST_RULES} lifecycle rules.")
    for position, rule in enumerate(rules):
        where = f"lifecycle.rule[{position}]"
        action, condition = rule.get("action") or {}, rule.get("condition") or {}
        kind = action.get("type")
        if kind not in _ACTIONS:
            raise _wrong(
                f"{where}.action.type", f"{kind!r} is no action: it is one of {', '.join(_ACTIONS)}."
            )
        if kind == "SetStorageClass" and action.get("storageClass") not in STORAGE_CLASSES:
            raise _wrong(
                f"{where}.action.storageClass",
                f"SetStorageClass needs a storage class, not {action.get('storageClass')!r}.",
            )
        if not condition:
            raise _wrong(f"{where}.condition", "At least one condition is needed.")
        if kind == "AbortIncompleteMultipartUpload" and not _OF_ABORTING.issuperset(condition):
            raise _wrong(f"{where}.condition", f"{kind} takes only {', '.join(sorted(_OF_ABORTING))}.")
        _check_condition(f"{where}.condition", condition)


def _check_condition(where: str, condition: Mapping[str, Any]) -> None:
    for name in _NUMBERS:
        if condition.get(name) is not None and int(condition[name]) < 0:
            raise _wrong(f"{where}.{name}", f"It is not below 0: {condition[name]}.")
    for name in _DATES:
        if condition.get(name) is not None and not _is_date(str(condition[name])):
            raise _wrong(f"{where}.{name}", f"It is a date such as 2013-01-15, not {condition[name]!r}.")
    for one in condition.get("matchesStorageClass") or []:
        if one not in STORAGE_CLASSES:
            raise _wrong(f"{where}.matchesStorageClass", f"Invalid storage class {one!r}.")


def _is_date(text: str) -> bool:
    try:
        return bool(re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) and date.fromisoformat(text))
    except ValueError:
        return False


def _wrong(field: str, why: str) -> InvalidArgument:
    return InvalidArgument(why if field in why else f"{field}: {why}", reason="invalid", field=field)
