"""What a call needs: permissions, each on the full name of something."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from portico.errors import NotFound
from portico.services.iam import accounts, acl, tags, targets
from portico.services.iam.reading import Reading
from portico.services.iam.table import permissions_of
from portico.store import resources
from portico.store.objects import buckets, generations, soft_deleted
from portico.warehouse.client import job_name

Check = tuple[str, str]
NAMED_LATER: Final = "named later"
"""Among a call's parameters: who does it asks for what `written` says, once it is known which object is meant."""
_BY_BODY: Final = {
    ("logging", "entries.list"), ("logging", "entries.tail"), ("logging", "entries.write"), ("iam", "roles.list"),
    ("policytroubleshooter", "iam.troubleshoot"), ("pubsub", "Subscriber.StreamingPull"),
}  # fmt: skip
_SETTINGS: Final = frozenset({"buckets.patch", "buckets.update", "objects.patch", "objects.update"})
_OF_LISTS: Final = frozenset({"acl", "defaultObjectAcl", "iamConfiguration"})
_DESTINATION: Final = re.compile(r"output|destination|staging|export", re.IGNORECASE)
# What a job's own code, which acts as its account, is told: it reads as that account, or does not.
_ITS_OWN: Final = frozenset({"args", "command", "env", "labels"})
_GOOGLES: Final = "gs://google-cloud-aiplatform/schema/"  # names, of what is not read
_TABLE: Final = re.compile(r"bq://([^.\s]+)\.([^.\s]+)(?:\.([^.\s]+))?")
_DOTTED: Final = re.compile(r"([^.:]+)[.:]([^.]+)\.([^.]+)")  # of Pub/Sub
_RESOURCE: Final = re.compile(r"projects/([^/]+)/locations/[^/]+/([A-Za-z]+)/[^\s]+")


def of_method(
    reading: Reading, email: str, api: str, method: str, path: str, params: Mapping[str, Any]
) -> Iterator[Check]:
    """What a method checks of the caller with this e-mail address before its body is read. `path` is its template."""
    if (api, method) in _BY_BODY or api == "bigquerystorage":
        return
    asked = permissions_of(api, method)
    if api == "storage":
        yield from _storage(reading, method, params, asked)
        return
    if api == "cloudresourcemanager" and method.startswith(("tag", "effectiveTags")):
        if not method.endswith(".create"):
            yield from _tags(reading, method, asked, params)
        return
    resource = _resource(reading, api, path, params)
    if api == "bigquery" and "jobId" in params and _is_own(reading, email, params):
        asked, resource = ("bigquery.jobs.create",), targets.project(str(params["projectId"]))
    for permission in asked:
        yield permission, resource


def _tags(reading: Reading, method: str, asked: tuple[str, ...], told: Mapping[str, Any]) -> Iterator[Check]:
    """A key and its values are their project's; what has a tag has a say, too. `told`: parameters, or a body."""
    verb = method.rpartition(".")[2]
    of = "parent" if verb in ("create", "list") else "resource" if verb.endswith("IamPolicy") else "name"
    place = str(told.get(of) or "")
    if method == "effectiveTags.list":
        yield tags.permission(place, "listEffectiveTags"), place
        return
    if verb == "getNamespaced":
        named = tags.find(reading.connection, place)
        place = named.name if named is not None else ""
    if method.startswith("tagBindings."):
        value = str(told.get("tagValue") or "")
        if verb == "delete":
            place, value = tags.bound(place)
        elif verb == "create" and not value:
            found = tags.find(reading.connection, str(told.get("tagValueNamespacedName") or ""))
            value = found.name if found is not None else ""
        yield tags.permission(place, f"{verb}TagBinding{'s' if verb == 'list' else ''}"), place
        place = value
    if place.startswith("projects/") or tags.project_of(reading.connection, place):
        resource = targets.full("cloudresourcemanager", place)
    else:
        resource = targets.SERVER
    yield from ((one, resource) for one in asked)


def _resource(reading: Reading, api: str, path: str, params: Mapping[str, Any]) -> str:
    given = {name: str(params[name]) for name in _in_path(path) if name in params}
    if api == "bigquery" and "projectId" in given:
        parts = [f"projects/{given['projectId']}"]
        for name, collection in (("datasetId", "datasets"), ("tableId", "tables"), ("routineId", "routines"),
                                 ("modelId", "models"), ("jobId", "jobs")):  # fmt: skip
            if name in given:
                parts.append(f"{collection}/{given[name]}")
        return targets.full(api, "/".join(parts))
    if api == "mlflow":
        return targets.full("aiplatform", f"projects/{given['project']}/locations/{given['location']}")
    if api == "cloudresourcemanager":
        name = next(iter(given.values()), "")
        return targets.full(api, name if name.startswith("projects/") else f"projects/{name}") if name else ""
    if api in ("iam", "iamcredentials"):
        name = next(iter(given.values()), "")
        if "/serviceAccounts/" in name:
            account = "/".join(name.split("/")[:4])
            return targets.full("iam", accounts.canonical(reading.connection, account))
        return targets.full("iam", "/".join(name.split("/")[:2])) if name.startswith("projects/") else ""
    name = next((value for value in given.values() if value.startswith("projects/")), "")
    return targets.full("aiplatform" if api == "portico" else api, name) if name else targets.SERVER


def _is_own(reading: Reading, email: str, params: Mapping[str, Any]) -> bool:
    """Whether a job of BigQuery's is the caller's: who runs jobs reads and cancels their own."""
    found = resources.get(reading.connection, job_name(str(params["projectId"]), str(params["jobId"])))
    return found is not None and found.body.get("user_email") == email


@functools.cache
def _in_path(path: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\{\+?([\w.]+)\}", path))


def _storage(
    reading: Reading, method: str, params: Mapping[str, Any], asked: tuple[str, ...]
) -> Iterator[Check]:
    verb = method.rpartition(".")[2]
    if method in ("objects.copy", "objects.rewrite"):
        yield "storage.objects.get", targets.bucket(str(params["sourceBucket"]), str(params["sourceObject"]))
        yield from written(reading, str(params["destinationBucket"]), str(params["destinationObject"]))
        return
    bucket = params.get("bucket") or params.get("destinationBucket")
    if method == "objects.restore":
        restored = targets.bucket(str(bucket), str(params["object"]))
        yield "storage.objects.restore", restored
        yield from written(reading, str(bucket), str(params["object"]))
        if params.get("copySourceAcl"):
            yield "storage.objects.setIamPolicy", restored
        return
    if method == "buckets.restore" or (method == "buckets.get" and params.get("softDeleted")):
        project = soft_deleted.project_of(reading.connection, str(bucket), str(params.get("generation")))
        place = targets.project(project) if project else targets.bucket(str(bucket))
        yield from ((one, place) for one in asked)
        return
    if bucket is None:
        project = str(params.get("project") or params.get("projectId") or "")
        yield from ((one, targets.project(project)) for one in asked)
        return
    name = params.get("object") or params.get("destinationObject") or params.get("sourceObject")
    if method == "objects.insert":
        if not params.get(NAMED_LATER):
            yield from written(reading, str(bucket), str(name or params.get("name") or ""))
        return
    if verb == "compose":
        yield from written(reading, str(bucket), str(name))
        yield "storage.objects.get", targets.bucket(str(bucket), str(name))
        return
    if params.get("generation") and name and _has_lists_of_its_own(reading, str(bucket), str(name), params):
        name = ""  # that of the newest generation says nothing of those before
    yield from ((one, targets.bucket(str(bucket), None if name is None else str(name))) for one in asked)
    if (params.get("predefinedAcl") or params.get("predefinedDefaultObjectAcl")) and verb in (
        "patch",
        "update",
    ):
        yield _on_lists(method, params)


def _has_lists_of_its_own(reading: Reading, bucket: str, name: str, params: Mapping[str, Any]) -> bool:
    """Whether another generation than the newest is asked for, in a bucket whose objects have access control lists."""
    try:
        if acl.is_uniform(buckets.get(reading.connection, bucket)):
            return False
    except NotFound:
        return False
    found = generations.find(reading.connection, bucket, name)
    return found is None or str(found.generation) != str(params["generation"])


def _on_lists(method: str, params: Mapping[str, Any]) -> Check:
    """What a change needs of who may do what, which a change of settings does not."""
    kind = method.partition(".")[0]
    name = params.get("object") if kind == "objects" else None
    return f"storage.{kind}.setIamPolicy", targets.bucket(str(params["bucket"]), name and str(name))


def written(reading: Reading, bucket: str, name: str) -> Iterator[Check]:
    """Who writes over an object must be allowed to delete it."""
    yield "storage.objects.create", targets.bucket(bucket, name)
    if name and _is_there(reading, bucket, name):
        yield "storage.objects.delete", targets.bucket(bucket, name)


def _is_there(reading: Reading, bucket: str, name: str) -> bool:
    try:
        buckets.get(reading.connection, bucket)
        generations.get(reading.connection, bucket, name)
    except NotFound:
        return False
    return True


def of_body(
    reading: Reading, api: str, method: str, params: Mapping[str, Any], body: Mapping[str, Any]
) -> Iterator[Check]:
    """What a call needs beside, by what it names: what is read and written on its behalf, and as whom it acts."""
    asked = permissions_of(api, method)
    if api == "logging" and (api, method) in _BY_BODY:
        yield from _logging(body, asked)
    elif api == "bigquerystorage":
        yield from _by_grpc(body, asked)
    elif api == "policytroubleshooter":
        told = body.get("accessTuple") or {}
        found = targets.target(str(told.get("fullResourceName", "")))
        project = found.project
        if found.bucket:
            project = buckets.get(reading.connection, found.bucket).project
        yield from ((one, targets.project(project) if project else targets.SERVER) for one in asked)
    elif api == "storage" and method == "notifications.insert" and body.get("topic"):
        yield "pubsub.topics.publish", str(body["topic"])
    elif api == "storage" and method in _SETTINGS and not _OF_LISTS.isdisjoint(body):
        yield _on_lists(method, params)
    elif api == "storage" and method == "objects.compose" and body.get("deleteSourceObjects"):
        bucket = str(params["destinationBucket"])
        for source in body.get("sourceObjects") or ():
            yield "storage.objects.delete", targets.bucket(bucket, str(source.get("name") or ""))
    elif api == "cloudresourcemanager" and method.startswith("tag") and method.endswith(".create"):
        yield from _tags(reading, method, asked, body)
    elif api == "iam" and method == "roles.list":
        parent = str(params.get("parent") or "")
        if parent:
            yield "iam.roles.list", targets.full("iam", parent)
    elif api == "pubsub":
        yield from _of_messages(method, body)
    elif api == "mlflow":  # where artifacts are, which are then read and listed
        for key in ("artifact_location", "artifact_uri", "source"):
            yield from _address(str(body.get(key) or ""), False, "")
    elif api in ("aiplatform", "portico"):
        if method.endswith(".rerun"):  # what was asked for then is asked for again
            before = resources.get(reading.connection, str(params["name"]))
            body = {**(before.body if before is not None else {}), **body}
        here = next((v.split("/")[1] for v in map(str, params.values()) if v.startswith("projects/")), "")
        yield from _named(reading, body, "", here)


def _of_messages(method: str, body: Mapping[str, Any]) -> Iterator[Check]:
    """Of Pub/Sub: who subscribes reads a topic, and what can't be delivered is published for them; a snapshot is of a
    subscription's messages."""
    told = body.get("subscription") or body
    if method.endswith("subscriptions.create") and body.get("topic"):
        yield "pubsub.topics.attachSubscription", targets.full("pubsub", str(body["topic"]))
    if method.endswith("snapshots.create") and body.get("subscription"):
        yield "pubsub.subscriptions.consume", targets.full("pubsub", str(body["subscription"]))
    elif isinstance(told, Mapping):
        if dead := (told.get("deadLetterPolicy") or {}).get("deadLetterTopic"):
            yield "pubsub.topics.publish", targets.full("pubsub", str(dead))
        if found := _DOTTED.fullmatch(str((told.get("bigqueryConfig") or {}).get("table") or "")):
            name = f"projects/{found[1]}/datasets/{found[2]}/tables/{found[3]}"
            yield "bigquery.tables.updateData", targets.full("bigquery", name)
        if account := ((told.get("pushConfig") or {}).get("oidcToken") or {}).get("serviceAccountEmail"):
            yield "iam.serviceAccounts.actAs", targets.full("iam", accounts.named(str(account)))
    if method.endswith("seek") and body.get("snapshot"):
        yield "pubsub.snapshots.seek", targets.full("pubsub", str(body["snapshot"]))


def _logging(body: Mapping[str, Any], asked: tuple[str, ...]) -> Iterator[Check]:
    names = [*(body.get("resourceNames") or ()), *(f"projects/{one}" for one in body.get("projectIds") or ())]
    logs = [body.get("logName"), *(one.get("logName") for one in body.get("entries") or ())]
    names += [one for one in logs if one]
    for name in dict.fromkeys(names) or [""]:
        project = "/".join(str(name).split("/")[:2])
        yield from ((one, targets.full("logging", project) if project else targets.SERVER) for one in asked)


def _by_grpc(body: Mapping[str, Any], asked: tuple[str, ...]) -> Iterator[Check]:
    """Of BigQuery's Storage API: a stream is its table's, or its session's project's."""
    if "requests" in body:  # whose rows come later: see `permit`
        return
    session = body.get("readSession") or {}
    if table := session.get("table"):
        yield "bigquery.tables.getData", targets.full("bigquery", str(table))
    for key in ("parent", "readStream", "writeStream", "name"):
        if name := body.get(key):
            yield from ((one, of_stream(str(name))) for one in asked)
            return
    yield from ((one, targets.SERVER) for one in asked)


def of_stream(name: str) -> str:
    """The full name of a write stream's table, or of the project of what else is streamed."""
    depth = 6 if "/tables/" in name else 2
    return targets.full("bigquery", "/".join(name.split("/")[:depth]))


def _named(reading: Reading, value: Any, path: str, project: str) -> Iterator[Check]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key == "serviceAccount" and isinstance(inner, str) and inner:
                name = accounts.canonical(reading.connection, accounts.named(inner))
                yield "iam.serviceAccounts.actAs", targets.full("iam", name)
            elif key not in _ITS_OWN:
                yield from _named(reading, inner, f"{path}.{key}", project)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _named(reading, inner, path, project)
    elif isinstance(value, str):
        yield from _address(value, bool(_DESTINATION.search(path)), project)


def _address(text: str, written: bool, project: str) -> Iterator[Check]:
    if text.startswith(_GOOGLES):
        return
    if text.startswith("gs://"):
        bucket, _, name = text.removeprefix("gs://").partition("/")
        verb = "create" if written else "get"
        yield f"storage.objects.{verb}", targets.bucket(bucket, name)
    elif found := _TABLE.fullmatch(text):
        dataset = f"projects/{found[1]}/datasets/{found[2]}"
        if written:
            yield "bigquery.tables.create", targets.full("bigquery", dataset)
        else:
            name = f"{dataset}/tables/{found[3]}" if found[3] else dataset
            yield "bigquery.tables.getData", targets.full("bigquery", name)
    elif (named := _RESOURCE.fullmatch(text)) and named[1] != project:
        yield f"aiplatform.{named[2]}.get", targets.full("aiplatform", text)
