"""The XML API's parts of a bucket's metadata: GET and PUT of one by its parameter.

https://cloud.google.com/storage/docs/xml-api/get-bucket-metadata, .../put-bucket-metadata
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final
from xml.etree.ElementTree import Element

from portico.doors.storage.requests import Meaning, Request, in_thread
from portico.doors.storage.xml_documents import answer, children, malformed, name_of, parse, tagged
from portico.errors import NotFound
from portico.services.storage import buckets
from portico.store.objects import buckets as objects_buckets

_BODY: Final = 256 << 10  # bytes
Fields = Mapping[str, Any]
Read = Callable[[Element, Fields], dict[str, Any]]
Shown = Callable[[Fields], str]


def meaning(request: Request, bucket: str, told: set[str]) -> Meaning | None:
    """What a GET or PUT of a bucket asks for whose one parameter is that of some setting; None where it is not."""
    if len(told) != 1 or (name := next(iter(told))) not in _PARTS:
        return None
    if request.method == "GET":
        return Meaning("buckets.get", {"bucket": bucket}, partial(_get, request, bucket, name))
    if request.method != "PUT" or _PARTS[name][2] is None:
        return None
    params = {"bucket": bucket}
    if told_match := request.headers.get("x-goog-if-metageneration-match"):
        params["ifMetagenerationMatch"] = told_match
    return Meaning("buckets.patch", params, partial(_put, request), partial(_wanted, request, bucket, name))


async def _get(request: Request, bucket: str, name: str) -> None:
    root, shown, _ = _PARTS[name]
    fields = await in_thread(_fields, request, bucket)
    await answer(request, root, shown(fields))


async def _put(request: Request) -> None:
    await in_thread(buckets.patch, request.allowed)
    await request.answer(200)


async def _wanted(request: Request, bucket: str, name: str) -> dict[str, Any]:
    """What the JSON API's patch of the bucket says for the document."""
    root, _, read = _PARTS[name]
    assert read is not None
    document = parse(await request.body(_BODY), f"a document for ?{name}", root)
    return read(document, await in_thread(_fields, request, bucket))


def _fields(request: Request, bucket: str) -> Fields:
    with request.rooms.database.read() as connection:
        return objects_buckets.get(connection, bucket).fields


def _only(what: str, document: Element, *names: str) -> dict[str, str]:
    """The texts of a document's elements, which have these names.

    Raises:
        InvalidArgument: one has another.
    """
    told = {}
    for name, value, _ in children(document):
        if name not in names:
            raise malformed(what, f"{name_of(document)} has no element {name}: {', '.join(names)}")
        told[name] = value
    return told


def _switch(what: str, document: Element, name: str, off: str) -> bool:
    """
    Raises:
        InvalidArgument: it says neither that it is on nor off.
    """
    told = _only(what, document, name).get(name, "")
    if told not in ("Enabled", off):
        raise malformed(what, f"{name} is Enabled or {off}, not {told[:80]!r}")
    return told == "Enabled"


def _two(field: str, names: Mapping[str, str]) -> tuple[Shown, Read]:
    """A setting `field` that has texts alone; `names`: what XML calls each."""

    def shown(fields: Fields) -> str:
        held = fields.get(field) or {}
        return "".join(tagged(name, held.get(key)) for name, key in names.items())

    def read(document: Element, fields: Fields) -> dict[str, Any]:
        told = _only(f"a {field} configuration", document, *names)
        made = {key: told.get(name) or None for name, key in names.items()}
        return {field: made if any(made.values()) else None}

    return shown, read


def _versioning(fields: Fields) -> str:
    held = fields.get("versioning")
    return tagged("Status", None if held is None else "Enabled" if held.get("enabled") else "Suspended")


def _read_versioning(document: Element, fields: Fields) -> dict[str, Any]:
    return {"versioning": {"enabled": _switch("a versioning configuration", document, "Status", "Suspended")}}


def _billing(fields: Fields) -> str:
    on = (fields.get("billing") or {}).get("requesterPays")
    return tagged("RequesterPays", "Enabled" if on else "Disabled")


def _read_billing(document: Element, fields: Fields) -> dict[str, Any]:
    on = _switch("a billing configuration", document, "RequesterPays", "Disabled")
    return {"billing": {"requesterPays": on}}


def _read_storage_class(document: Element, fields: Fields) -> dict[str, Any]:
    return {"storageClass": (document.text or "").strip()}


def _tags(fields: Fields) -> str:
    """A bucket's labels, which Amazon calls tags."""
    labels = fields.get("labels") or {}
    inner = "".join(
        f"<Tag>{tagged('Key', key)}{tagged('Value', labels[key])}</Tag>" for key in sorted(labels)
    )
    return f"<TagSet>{inner}</TagSet>"


def _read_tags(document: Element, fields: Fields) -> dict[str, Any]:
    """Those told take the place of all that are there."""
    made: dict[str, Any] = dict.fromkeys(fields.get("labels") or {})
    for name, _, tags in children(document):
        if name != "TagSet":
            raise malformed("a set of tags", f"Tagging has a TagSet, not {name}")
        for _, _, tag in children(tags):
            told = _only("a set of tags", tag, "Key", "Value")
            made[told.get("Key", "")] = told.get("Value", "")
    return {"labels": made or None}


_CORS: Final = {"Origins": "origin", "Methods": "method", "ResponseHeaders": "responseHeader"}


def _cors(fields: Fields) -> str:
    rules = ""
    for rule in fields.get("cors") or []:
        inner = "".join(
            f"<{name}>{''.join(tagged(name[:-1], one) for one in rule[key])}</{name}>"
            for name, key in _CORS.items()
            if rule.get(key)
        )
        rules += f"<Cors>{inner}{tagged('MaxAgeSec', rule.get('maxAgeSeconds'))}</Cors>"
    return rules


def _read_cors(document: Element, fields: Fields) -> dict[str, Any]:
    what, rules = "a CORS configuration", []
    for kind, _, rule in children(document):
        if kind != "Cors":
            raise malformed(what, f"CorsConfig has elements Cors, not {kind}")
        made: dict[str, Any] = {}
        for name, value, one in children(rule):
            if name in _CORS:
                made[_CORS[name]] = [told for _, told, _ in children(one)]
            elif name == "MaxAgeSec" and value.isdecimal():
                made["maxAgeSeconds"] = int(value)
            else:
                raise malformed(what, f"Cors has no {name} {value[:80]!r}")
        rules.append(made)
    return {"cors": rules or None}


# By the name in JSON of each condition: XML's. One of _LISTS is told once for each value.
_CONDITIONS: Final = {
    "age": "Age", "createdBefore": "CreatedBefore", "customTimeBefore": "CustomTimeBefore",
    "daysSinceCustomTime": "DaysSinceCustomTime", "daysSinceNoncurrentTime": "DaysSinceNoncurrentTime",
    "isLive": "IsLive", "noncurrentTimeBefore": "NoncurrentTimeBefore", "numNewerVersions": "NumberOfNewerVersions",
}  # fmt: skip
_LISTS: Final = {
    "matchesStorageClass": "MatchesStorageClass", "matchesPrefix": "MatchesPrefix",
    "matchesSuffix": "MatchesSuffix",
}  # fmt: skip
_FROM_XML: Final = {told: name for name, told in (_CONDITIONS | _LISTS).items()}


def _lifecycle(fields: Fields) -> str:
    rules = ""
    for rule in (fields.get("lifecycle") or {}).get("rule") or []:
        action, condition = rule["action"], rule["condition"]
        kind = action["type"]
        told = tagged(kind, action["storageClass"]) if kind == "SetStorageClass" else f"<{kind}/>"
        asked = ""
        for name, value in condition.items():
            if name in _LISTS:
                asked += "".join(tagged(_LISTS[name], one) for one in value or [])
            elif name in _CONDITIONS:
                asked += tagged(_CONDITIONS[name], str(value).lower() if isinstance(value, bool) else value)
        rules += f"<Rule><Action>{told}</Action><Condition>{asked}</Condition></Rule>"
    return rules


def _read_lifecycle(document: Element, fields: Fields) -> dict[str, Any]:
    what, rules = "a lifecycle configuration", []
    for kind, _, rule in children(document):
        if kind != "Rule":
            raise malformed(what, f"LifecycleConfiguration has elements Rule, not {kind}")
        made: dict[str, Any] = {"action": {}, "condition": {}}
        for name, _, one in children(rule):
            if name not in ("Action", "Condition"):
                raise malformed(what, f"a Rule has an Action and a Condition, not {name}")
            for inner, value, _ in children(one):
                if name == "Action":
                    made["action"] = {"type": inner} | ({"storageClass": value} if value else {})
                else:
                    made["condition"] |= _condition(inner, value, made["condition"])
        rules.append(made)
    return {"lifecycle": {"rule": rules} if rules else None}


def _condition(told: str, value: str, before: Fields) -> dict[str, Any]:
    what, name = "a lifecycle configuration", _FROM_XML.get(told)
    if name is None:
        raise malformed(what, f"a Condition has no {told}: {', '.join(_FROM_XML)}")
    if name in _LISTS:
        return {name: [*before.get(name, []), value]}
    if name == "isLive":
        if value.lower() not in ("true", "false"):
            raise malformed(what, f"IsLive is true or false, not {value[:80]!r}")
        return {name: value.lower() == "true"}
    if name.endswith("Before"):
        return {name: value}
    if not value.isdecimal():
        raise malformed(what, f"{told} is a number, not {value[:80]!r}")
    return {name: int(value)}


def _not_locked(fields: Fields) -> str:
    raise NotFound(
        "Object retention is not enabled for this bucket.", reason="ObjectLockConfigurationNotFoundError"
    )


_WEBSITE: Final = _two("website", {"MainPageSuffix": "mainPageSuffix", "NotFoundPage": "notFoundPage"})
_LOGGING: Final = _two("logging", {"LogBucket": "logBucket", "LogObjectPrefix": "logObjectPrefix"})
# By parameter: the document's root element, what shows the setting, and what reads it where it can be put.
_PARTS: Final[Mapping[str, tuple[str, Shown, Read | None]]] = {
    "billing": ("BillingConfiguration", _billing, _read_billing),
    "cors": ("CorsConfig", _cors, _read_cors),
    "encryptionConfig": ("EncryptionConfiguration", lambda fields: "", None),
    "lifecycle": ("LifecycleConfiguration", _lifecycle, _read_lifecycle),
    "logging": ("Logging", *_LOGGING),
    "object-lock": ("ObjectLockConfiguration", _not_locked, None),
    "storageClass": ("StorageClass", lambda fields: str(fields.get("storageClass")), _read_storage_class),
    "tagging": ("Tagging", _tags, _read_tags),
    "versioning": ("VersioningConfiguration", _versioning, _read_versioning),
    "websiteConfig": ("WebsiteConfiguration", *_WEBSITE),
}
