"""iam.projects.serviceAccounts. https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts"""

from __future__ import annotations

import base64
import re
from typing import Any

from portico.errors import Aborted, AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from portico.services.call import Call, implements
from portico.services.iam import accounts, members, tags, targets
from portico.services.standard import pages, policies
from portico.services.standard.collection import Collection
from portico.services.standard.fields import camel
from portico.store import resources
from portico.store.resources import Resource

ACCOUNTS = Collection("projects.serviceAccounts", "ServiceAccount", api="iam", indexed=frozenset())
_ID = re.compile(r"[a-z](?:[a-z0-9-]{4,28}[a-z0-9])")
_PROJECT = re.compile(r"[a-z][a-z0-9-]{0,61}[a-z0-9]")
_PATCHED = ("displayName", "description")
_LONGEST = {"displayName": 100, "description": 256}  # bytes of UTF-8


@implements("iam", "projects.serviceAccounts.create")
def create(call: Call) -> dict[str, Any]:
    project, chosen = call.name.removeprefix("projects/"), str(call.body["accountId"])
    if not _ID.fullmatch(chosen):
        raise InvalidArgument(
            f"accountId {chosen!r} is not allowed: 6 to 30 lower-case letters, digits and '-', beginning with a letter "
            "and not ending with '-'.",
            field="accountId",
        )
    # Those of Google's agents, as which the work of projects is done here, are nobody's to make.
    if not _PROJECT.fullmatch(project) or project.startswith("gcp-sa-"):
        raise InvalidArgument(f"{project!r} is no id of a project that has service accounts.", field="name")
    told = call.body.get("serviceAccount") or {}
    _check(told)
    email = f"{chosen}@{project}.iam.gserviceaccount.com"
    taken = f"Service account {chosen} already exists within project {call.name}."
    if accounts.is_owner(email):
        raise AlreadyExists(taken)
    body = accounts.body(email, f"1{call.rooms.ids.number():0>20}"[:21], project, told)
    name = f"{call.name}/serviceAccounts/{email}"
    return shown(accounts.insert(call, name, accounts.KIND, call.name, body, taken))


@implements("iam", "projects.serviceAccounts.get")
def get(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        return shown(accounts.require(connection, call.name))


@implements("iam", "projects.serviceAccounts.list")
def listed(call: Call) -> dict[str, Any]:
    size = pages.page_size(call.params.get("pageSize"), default=100, maximum=100)
    place = pages.read_token(str(call.params.get("pageToken", "")), accounts.KIND, call.name)
    with call.rooms.database.read() as connection:
        after = (float(place[0]), str(place[1])) if place else None
        found = list(resources.listed(connection, accounts.KIND, call.name, after=after, limit=size + 1))
    answer: dict[str, Any] = {"accounts": [shown(one) for one in found[:size]]} if found else {}
    if len(found) > size:
        last = found[size - 1]
        answer["nextPageToken"] = pages.write_token([last.create_time, last.name], accounts.KIND, call.name)
    return answer


@implements("iam", "projects.serviceAccounts.patch")
def patch(call: Call) -> dict[str, Any]:
    told = call.body["serviceAccount"]
    fields = [camel(one.strip()) for one in str(call.body["updateMask"]).split(",") if one.strip()]
    if wrong := [one for one in fields if one not in _PATCHED]:
        raise InvalidArgument(
            f"updateMask can name {' and '.join(_PATCHED)}, not {wrong[0]}.", field="updateMask"
        )
    return _changed(call, told, fields)


@implements("iam", "projects.serviceAccounts.update")
def update(call: Call) -> dict[str, Any]:
    return _changed(call, call.body, ["displayName"])


def _changed(call: Call, told: dict[str, Any], fields: list[str]) -> dict[str, Any]:
    _check(told)
    with call.rooms.database.write() as connection:
        found = accounts.require(connection, call.name)
        if told.get("etag") and told["etag"] != etag(found):
            raise Aborted(f"{found.name} was changed since it was read: get it again and repeat the change.")
        for field in fields:
            found.body.pop(field, None)
            if told.get(field):
                found.body[field] = told[field]
        return shown(resources.update(connection, found, call.rooms.clock.now()))


@implements("iam", "projects.serviceAccounts.disable", "projects.serviceAccounts.enable")
def switch(call: Call) -> dict[str, Any]:
    """Of a disabled account no key, no token and no signature is good, also those that are there."""
    with call.rooms.database.write() as connection:
        accounts.switch(call, connection, accounts.require(connection, call.name))
    return {}


@implements("iam", "projects.serviceAccounts.delete")
def delete(call: Call) -> dict[str, Any]:
    """Its keys go with it. Bindings keep its number: they are none of an account that is made anew under its name."""
    with call.rooms.database.write() as connection:
        found = accounts.require(connection, call.name)
        for key in resources.below(connection, found.name):
            resources.delete(connection, key.name)
        resources.delete(connection, found.name)
        tags.drop(connection, targets.full("iam", found.name))
        email, number = found.body["email"], found.body["uniqueId"]
        resources.insert(
            connection, name=_deleted(number), kind=accounts.DELETED, parent=found.parent, body=found.body,
            now=call.rooms.clock.now(),
        )  # fmt: skip
        member = accounts.member(email)
        members.rename(connection, member, f"deleted:{member}?uid={number}", call.rooms.clock.now())
        accounts.changed(connection)
    return {}


@implements("iam", "projects.serviceAccounts.undelete")
def undelete(call: Call) -> dict[str, Any]:
    number = call.name.rpartition("/")[2]
    with call.rooms.database.write() as connection:
        found = resources.get(connection, _deleted(number))
        if found is None or call.name.split("/")[1] not in ("-", found.body["projectId"]):
            raise NotFound(f"There is no deleted service account {call.name}: it is named by its uniqueId.")
        email = found.body["email"]
        made = resources.insert(
            connection, name=accounts.named(email), kind=accounts.KIND, parent=found.parent, body=found.body,
            now=call.rooms.clock.now(),
        )  # fmt: skip
        if made is None:
            raise FailedPrecondition(f"There is another service account {email} by now: delete it first.")
        resources.delete(connection, found.name)
        member = accounts.member(email)
        members.rename(connection, f"deleted:{member}?uid={number}", member, call.rooms.clock.now())
        accounts.changed(connection)
    return {"restoredAccount": shown(made)}


@implements(
    "iam",
    "projects.serviceAccounts.getIamPolicy",
    "projects.serviceAccounts.setIamPolicy",
    "projects.serviceAccounts.testIamPermissions",
)
def policy(call: Call) -> dict[str, Any]:
    """Who may act as the account, and change it."""
    with call.rooms.database.read() as connection:
        call.params["resource"] = accounts.require(connection, str(call.params["resource"])).name
    return policies.METHODS[call.method.rpartition(".")[2]](ACCOUNTS, call)


def shown(account: Resource) -> dict[str, Any]:
    return {"name": account.name, **account.body, "etag": etag(account)}


def etag(account: Resource) -> str:
    return base64.b64encode(f"{account.body['uniqueId']}-{account.revision}".encode()).decode()


def _deleted(number: str) -> str:
    return f"deletedServiceAccounts/{number}"


def _check(told: dict[str, Any]) -> None:
    for field, most in _LONGEST.items():
        if len(str(told.get(field, "")).encode()) > most:
            raise InvalidArgument(f"{field} is longer than {most} bytes.", field=f"serviceAccount.{field}")
