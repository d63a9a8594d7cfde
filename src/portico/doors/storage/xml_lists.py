"""The XML API's access control lists, of buckets, objects, and a bucket's new objects: in Google's words, or where the
request is signed in Amazon's, in those.

https://cloud.google.com/storage/docs/xml-api/put-bucket-acls, .../put-object-acls, .../docs/aws-simple-migration
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final
from xml.etree.ElementTree import Element

from portico.doors.storage.requests import Meaning, Request, in_thread
from portico.doors.storage.xml_documents import answer, children, malformed, name_of, parse, tagged
from portico.services.storage import access_controls, buckets, objects

_BODY: Final = 256 << 10  # bytes
_WHAT: Final = "an access control list"
_ROLES: Final = {"OWNER": "FULL_CONTROL", "WRITER": "WRITE", "READER": "READ"}
_PERMISSIONS: Final = {told: role for role, told in _ROLES.items()}
_EVERYBODY: Final = {"allUsers": "AllUsers", "allAuthenticatedUsers": "AllAuthenticatedUsers"}
_GROUPS: Final = {
    "allUsers": "http://acs.amazonaws.com/groups/global/AllUsers",
    "allAuthenticatedUsers": "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
}
_SCHEMAS: Final = "http://www.w3.org/2001/XMLSchema-instance"
_TEAM: Final = re.compile(r"project-(owners|editors|viewers)(-\S+)?")


def of_bucket(request: Request, bucket: str, told: set[str]) -> Meaning | None:
    """What a request for a bucket's list, or for that of its new objects, asks for; None where it is for neither."""
    if len(told) != 1 or not told <= {"acl", "defaultObjectAcl"} or request.method not in ("GET", "PUT"):
        return None
    named, params = next(iter(told)), {"bucket": bucket}
    collection = "bucketAccessControls" if named == "acl" else "defaultObjectAccessControls"
    if request.method == "GET":
        return Meaning(f"{collection}.list", params, partial(_get, request))
    if acl := as_acl(request.headers.get("x-goog-acl", "")):
        params["predefinedAcl" if named == "acl" else "predefinedDefaultObjectAcl"] = acl
    body = partial(_wanted, request, named, bool(acl))
    return Meaning("buckets.patch", params, partial(_put, request, buckets.patch), body)


def of_object(request: Request, bucket: str, name: str, more: dict[str, str]) -> Meaning | None:
    """What a request for an object's list asks for; None where it is none. `more`: preconditions, a generation."""
    params = {"bucket": bucket, "object": name, **more}
    if request.method == "GET":
        return Meaning("objectAccessControls.list", params, partial(_get, request))
    if request.method != "PUT":
        return None
    if acl := as_acl(request.headers.get("x-goog-acl", "")):
        params["predefinedAcl"] = acl
    body = partial(_wanted, request, "acl", bool(acl))
    return Meaning("objects.patch", params, partial(_put, request, objects.patch), body)


def as_acl(told: str) -> str:
    """What the JSON API calls a predefined access control list: publicRead for public-read."""
    first, *more = told.split("-")
    return first + "".join(word.capitalize() for word in more)


async def _get(request: Request) -> None:
    entries = (await in_thread(access_controls.list_, request.allowed))["items"]
    owner = next((one["entity"] for one in entries if one["role"] == "OWNER"), None)
    head = f"<Owner>{tagged('ID', owner and _id(owner))}</Owner>"
    if request.amazons:
        grants = "".join(
            f"<Grant>{_grantee(one['entity'])}{tagged('Permission', _ROLES[one['role']])}</Grant>"
            for one in entries
        )
        await answer(request, "AccessControlPolicy", f"{head}<AccessControlList>{grants}</AccessControlList>")
        return
    shown = "".join(
        f"<Entry>{_scope(one['entity'])}{tagged('Permission', _ROLES[one['role']])}</Entry>"
        for one in entries
    )
    await answer(request, "AccessControlList", f"{head}<Entries>{shown}</Entries>")


async def _put(request: Request, change: Any) -> None:
    await in_thread(change, request.allowed)
    await request.answer(200)


async def _wanted(request: Request, field: str, is_named: bool) -> dict[str, Any]:
    """What the JSON API's patch says for the document; nothing beside a predefined list.

    Raises:
        InvalidArgument: it is none, or there is one too many.
    """
    body = await request.body(_BODY)
    if is_named:
        if body.strip():
            raise malformed(_WHAT, "a header names one already")
        return {}
    document = parse(body, _WHAT)
    if name_of(document) == "AccessControlPolicy":
        lists = [one for name, _, one in children(document) if name == "AccessControlList"]
        read: Callable[[Element], dict[str, Any]] = _from_grant
    elif name_of(document) == "AccessControlList":
        lists = [one for name, _, one in children(document) if name == "Entries"]
        read = _from_entry
    else:
        raise malformed(_WHAT, f"the root element is AccessControlList, not {name_of(document)}")
    return {field: [read(one) for each in lists for one in each]}


def _id(entity: str) -> str:
    return entity if _TEAM.fullmatch(entity) else entity.partition("-")[2] or entity


def _scope(entity: str) -> str:
    kind, _, who = entity.partition("-")
    if entity in _EVERYBODY:
        return f"<Scope type='{_EVERYBODY[entity]}'/>"
    if kind == "domain":
        return f"<Scope type='GroupByDomain'>{tagged('Domain', who)}</Scope>"
    of = "User" if kind == "user" else "Group"
    if kind != "project" and "@" in who:
        return f"<Scope type='{of}ByEmail'>{tagged('EmailAddress', who)}</Scope>"
    return f"<Scope type='{of}ById'>{tagged('ID', _id(entity))}</Scope>"


def _grantee(entity: str) -> str:
    group = _GROUPS.get(entity)
    kind = "Group" if group else "CanonicalUser"
    inner = tagged("URI", group) or tagged("ID", _id(entity)) + tagged("DisplayName", _id(entity))
    return f"<Grantee xmlns:xsi='{_SCHEMAS}' xsi:type='{kind}'>{inner}</Grantee>"


def _from_entry(entry: Element) -> dict[str, Any]:
    told = {name: (value, one) for name, value, one in children(entry)}
    if "Scope" not in told:
        raise malformed(_WHAT, "an Entry has a Scope and a Permission")
    scope = told["Scope"][1]
    kind, inner = scope.get("type", ""), {name: value for name, value, _ in children(scope)}
    who = inner.get("EmailAddress") or inner.get("ID") or inner.get("Domain") or ""
    entities = {
        "AllUsers": "allUsers", "AllAuthenticatedUsers": "allAuthenticatedUsers",
        "UserById": f"user-{who}", "UserByEmail": f"user-{who}", "GroupByEmail": f"group-{who}",
        "GroupById": who if _TEAM.fullmatch(who) else f"group-{who}", "GroupByDomain": f"domain-{who}",
    }  # fmt: skip
    if kind not in entities:
        raise malformed(_WHAT, f"a Scope's type is one of {', '.join(entities)}, not {kind!r}")
    return {"entity": entities[kind], "role": _role(told.get("Permission", ("", entry))[0])}


def _from_grant(grant: Element) -> dict[str, Any]:
    told = {name: (value, one) for name, value, one in children(grant)}
    if "Grantee" not in told:
        raise malformed(_WHAT, "a Grant has a Grantee and a Permission")
    inner = {name: value for name, value, _ in children(told["Grantee"][1])}
    role = _role(told.get("Permission", ("", grant))[0])
    if uri := inner.get("URI"):
        found = [entity for entity, group in _GROUPS.items() if group == uri]
        if not found:
            raise malformed(_WHAT, f"a Grantee's URI is one of {', '.join(_GROUPS.values())}, not {uri!r}")
        return {"entity": found[0], "role": role}
    who = inner.get("EmailAddress") or inner.get("ID") or ""
    return {"entity": who if _TEAM.fullmatch(who) else f"user-{who}", "role": role}


def _role(permission: str) -> str:
    if permission not in _PERMISSIONS:
        raise malformed(_WHAT, f"a Permission is one of {', '.join(_PERMISSIONS)}, not {permission!r}")
    return _PERMISSIONS[permission]
