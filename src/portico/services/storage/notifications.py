"""storage.notifications: which events of a bucket's objects are published, and to which topic of Pub/Sub.

https://cloud.google.com/storage/docs/pubsub-notifications
"""

from __future__ import annotations

import base64
import re
from typing import Any, Final

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument, NotFound
from portico.services.call import Call, implements
from portico.services.standard.here import base_url
from portico.store import resources
from portico.store.objects import buckets, notices
from portico.store.resources import Resource

KIND: Final = "storage:notifications"
_TOPIC = re.compile(r"//pubsub\.googleapis\.com/(projects/[^/]+/topics/[^/]+)")
_FORMATS = ("JSON_API_V1", "NONE")
_MOST = 100  # configurations of a bucket


@implements("storage", "notifications.insert")
def insert(call: Call) -> dict[str, Any]:
    body = call.body
    bucket = str(call.params["bucket"])
    for name in ("topic", "payload_format"):
        if not body.get(name):
            raise InvalidArgument(f"Required parameter: {name}", reason="required", field=name)
    if body["payload_format"] not in _FORMATS:
        raise _wrong("payload_format", body["payload_format"], "one of " + ", ".join(_FORMATS))
    types = list(dict.fromkeys(body.get("event_types") or notices.TYPES))
    for type in types:
        if type not in notices.TYPES:
            raise _wrong("event_types", type, "one of " + ", ".join(notices.TYPES))
    found = _TOPIC.fullmatch(body["topic"])
    if found is None:
        raise _wrong("topic", body["topic"], "//pubsub.googleapis.com/projects/PROJECT/topics/TOPIC")
    prefix = body.get("object_name_prefix", "")
    kept = {
        key: body[key]
        for key in ("topic", "payload_format", "event_types", "custom_attributes", "object_name_prefix")
        if body.get(key)
    }
    with call.rooms.database.write() as connection:
        buckets.get(connection, bucket)
        topic = resources.get(connection, found[1])
        if topic is None or topic.kind != "pubsub:projects.topics":
            raise NotFound(f"The Pub/Sub topic {found[1]} does not exist.", reason="notFound")
        taken = [int(one.name.rpartition("/")[2]) for one in _of(connection, bucket)]
        if len(taken) >= _MOST:
            raise InvalidArgument(
                f"A bucket has at most {_MOST} notification configurations.", reason="invalid"
            )
        name = f"{_parent(bucket)}/notificationConfigs/{max(taken, default=0) + 1}"
        made = resources.insert(
            connection, name=name, kind=KIND, parent=_parent(bucket), body=kept, now=call.rooms.clock.now()
        )
        assert made is not None
        notices.watch(connection, name, types, bucket, prefix)
    return _shown(call, made)


@implements("storage", "notifications.get")
def get(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        return _shown(call, _require(connection, call))


@implements("storage", "notifications.list")
def list_(call: Call) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        buckets.get(connection, str(call.params["bucket"]))
        found = _of(connection, str(call.params["bucket"]))
    shown: dict[str, Any] = {"kind": "storage#notifications"}
    return shown | ({"items": [_shown(call, one) for one in reversed(found)]} if found else {})


@implements("storage", "notifications.delete")
def delete(call: Call) -> None:
    with call.rooms.database.write() as connection:
        _remove(connection, _require(connection, call))


def drop(connection: Connection, bucket: str) -> None:
    """Those of a bucket that is deleted."""
    for one in _of(connection, bucket):
        _remove(connection, one)


def _remove(connection: Connection, one: Resource) -> None:
    notices.forget(connection, one.name)
    resources.delete(connection, one.name)


def _require(connection: Connection, call: Call) -> Resource:
    bucket, id = str(call.params["bucket"]), str(call.params["notification"])
    buckets.get(connection, bucket)
    found = resources.get(connection, f"{_parent(bucket)}/notificationConfigs/{id}")
    if found is None:
        raise NotFound(f"The specified notification {id} does not exist in {bucket}.", reason="notFound")
    return found


def _of(connection: Connection, bucket: str) -> list[Resource]:
    return list(resources.listed(connection, KIND, _parent(bucket)))


def _parent(bucket: str) -> str:
    return f"{notices.WATCHERS}{bucket}"


def _shown(call: Call, one: Resource) -> dict[str, Any]:
    _, bucket, _, id = one.name.split("/")
    return {
        "kind": "storage#notification",
        "id": id,
        "selfLink": f"{base_url(call.headers)}/storage/v1/b/{bucket}/notificationConfigs/{id}",
        "etag": base64.b64encode(id.encode()).decode(),
        **one.body,
    }


def _wrong(field: str, given: Any, wanted: str) -> InvalidArgument:
    return InvalidArgument(f"{field} is {given!r}; it must be {wanted}.", reason="invalid", field=field)
