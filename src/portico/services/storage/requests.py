"""What the methods of Cloud Storage read from a request: numbers, preconditions, pages, object settings."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from portico.clock import parse_rfc3339
from portico.errors import InvalidArgument
from portico.services.storage.render import exact, milliseconds
from portico.services.storage.settings import STORAGE_CLASSES
from portico.store.objects.buckets import BucketRow
from portico.store.objects.generations import Preconditions

MAX_RESULTS = 1000
_MOST_METADATA = 8192  # bytes of keys and values


class ObjectSettings(msgspec.Struct, omit_defaults=True):
    """The fields of an Object resource that its writer sets; everything else in one is passed over."""

    acl: list[dict[str, Any]] | None = None
    cacheControl: str | None = None
    contentDisposition: str | None = None
    contentEncoding: str | None = None
    contentLanguage: str | None = None
    contentType: str | None = None
    contexts: dict[str, Any] | None = None
    customTime: str | None = None
    eventBasedHold: bool | None = None
    metadata: dict[str, str | None] | None = None
    storageClass: str | None = None
    temporaryHold: bool | None = None


SETTINGS = tuple(ObjectSettings.__struct_fields__)


def object_settings(
    resource: Mapping[str, Any], bucket: BucketRow, now: float, before: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What to store of an Object `resource` for a new generation in `bucket`; `before` is what is stored of the one
    that it comes from.

    Raises:
        InvalidArgument: a field has the wrong type, or a value that Cloud Storage refuses.
    """
    if resource.get("retention"):
        raise InvalidArgument(
            f"Object retention is not enabled for the bucket {bucket.name}: retention of objects is not built in "
            "Portico; the bucket's retentionPolicy and holds are.",
            reason="invalid",
            field="retention",
        )
    known = {key: resource[key] for key in SETTINGS if resource.get(key) is not None}
    try:
        settings: dict[str, Any] = msgspec.to_builtins(msgspec.convert(known, ObjectSettings))
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"Invalid value in the object's metadata: {error}", reason="invalid") from None
    if "metadata" in settings:
        settings["metadata"] = {k: v for k, v in settings["metadata"].items() if v is not None}
        size = sum(len(k.encode()) + len(v.encode()) for k, v in settings["metadata"].items())
        if size > _MOST_METADATA:
            raise InvalidArgument(
                f"The custom metadata has {size} bytes of keys and values, at most {_MOST_METADATA} are allowed.",
                reason="invalid",
                field="metadata",
            )
    if "contexts" in settings:
        held = ((before or {}).get("contexts") or {}).get("custom") or {}
        settings["contexts"] = {"custom": _contexts(settings["contexts"].get("custom") or {}, held, now)}
    if "customTime" in settings:
        settings["customTime"] = _time(settings["customTime"])
    settings.setdefault("storageClass", bucket.fields.get("storageClass", "STANDARD"))
    if settings["storageClass"] not in STORAGE_CLASSES:
        raise InvalidArgument(f"Invalid storage class {settings['storageClass']!r}.", reason="invalid")
    if bucket.fields.get("defaultEventBasedHold"):
        settings.setdefault("eventBasedHold", True)
    return settings


def _contexts(told: Mapping[str, Any], held: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Each with when it was made and last given another value, which the server determines."""
    made = {}
    for key, payload in told.items():
        value, old = (payload or {}).get("value"), held.get(key) or {}
        if not isinstance(value, str):
            raise InvalidArgument(
                f"contexts.custom.{key} needs a value, which is a string.",
                reason="invalid",
                field=f"contexts.custom.{key}.value",
            )
        same = old.get("value") == value and "updateTime" in old
        made[key] = {
            "value": value,
            "createTime": old.get("createTime") or milliseconds(now),
            "updateTime": old["updateTime"] if same else milliseconds(now),
        }
    return made


def merge(current: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """`current` with `patch` laid over it: null removes, objects are merged (RFC 7396)."""
    merged = dict(current)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = merge(merged[key] if isinstance(merged.get(key), dict) else {}, value)
        else:
            merged[key] = value
    return merged


def integer(params: Mapping[str, Any], name: str) -> int | None:
    """Raises InvalidArgument: it is there and not a 64-bit integer."""
    value = params.get(name)
    if value is None or value == "":
        return None
    if not re.fullmatch(r"-?\d{1,20}", str(value), re.ASCII) or not -(2**63) <= int(value) < 2**63:
        raise InvalidArgument(f"Invalid value for {name}: {value!r}", reason="invalid", field=name)
    return int(value)


def soft_deleted_generation(params: Mapping[str, Any]) -> int | None:
    """The generation that a read of what is soft-deleted names; None where it is of what is not.

    Raises:
        InvalidArgument: it names none.
    """
    return required_generation(params) if params.get("softDeleted") else None


def required_generation(params: Mapping[str, Any]) -> int:
    """Raises InvalidArgument: it is not there."""
    generation = integer(params, "generation")
    if generation is None:
        raise InvalidArgument("Required parameter: generation", reason="required", field="generation")
    return generation


def preconditions(params: Mapping[str, Any], kind: str = "") -> Preconditions:
    """The `if*` parameters; with `kind` "Source" those of a copy's source."""
    return Preconditions(
        generation_match=integer(params, f"if{kind}GenerationMatch"),
        generation_not_match=integer(params, f"if{kind}GenerationNotMatch"),
        metageneration_match=integer(params, f"if{kind}MetagenerationMatch"),
        metageneration_not_match=integer(params, f"if{kind}MetagenerationNotMatch"),
    )


def check_etag(headers: Mapping[str, str], etag: str) -> None:
    """The two headers that a request for a resource may have, beside its parameters.

    Raises:
        FailedPrecondition: as `Preconditions.check` for a reading call.
    """
    if "if-match" in headers and not names_etag(headers["if-match"], etag):
        Preconditions(generation_match=-1).check(None)
    if "if-none-match" in headers and names_etag(headers["if-none-match"], etag):
        Preconditions(generation_not_match=0).check(None, reading=True)


def names_etag(header: str, etag: str) -> bool:
    """Whether the value of an If-Match or If-None-Match means this one."""
    wanted = [item.strip().removeprefix("W/").strip('"') for item in header.split(",")]
    return "*" in wanted or etag.strip('"') in wanted


def page_size(params: Mapping[str, Any]) -> int:
    wanted = integer(params, "maxResults")
    if wanted is not None and wanted < 0:
        raise InvalidArgument(f"Invalid value for maxResults: {wanted}", reason="invalid", field="maxResults")
    return min(wanted or MAX_RESULTS, MAX_RESULTS)


def page_token(value: list[Any]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(value)).decode()


def parse_page_token(params: Mapping[str, Any], shape: Any) -> Any:
    """What `page_token` was given, or None without a token.

    Raises:
        InvalidArgument: it is not one of ours.
    """
    token = params.get("pageToken")
    if not token:
        return None
    try:
        return msgspec.json.decode(base64.b64decode(token, altchars=b"-_", validate=True), type=shape)
    except (ValueError, msgspec.MsgspecError):
        raise InvalidArgument("Invalid pageToken.", reason="invalid", field="pageToken") from None


def _time(text: str) -> str:
    try:
        return exact(parse_rfc3339(text))
    except (ValueError, OverflowError):
        raise InvalidArgument(f"customTime is not an RFC 3339 time: {text!r}", reason="invalid") from None
