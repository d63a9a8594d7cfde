"""projects.topics.publish."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from portico.errors import InvalidArgument
from portico.services.call import Call, implements
from portico.store.pubsub import topics
from portico.store.pubsub.topics import Message

_MOST, _LARGEST = 1000, 10_000_000  # messages, and their bytes, of a request
_ATTRIBUTES, _KEY, _VALUE, _ORDERING = 100, 256, 1024, 1024  # of a message: how many, and bytes


@implements("pubsub", "projects.topics.publish")
def publish(call: Call) -> dict[str, Any]:
    given = call.body["messages"]
    if len(given) > _MOST:
        raise InvalidArgument(
            f"messages has {len(given):,} messages; one request publishes at most {_MOST:,}.",
            field="messages",
        )
    told = [_message(each, f"messages[{place}]") for place, each in enumerate(given)]
    if sum(len(one.data) for one in told) > _LARGEST:
        raise InvalidArgument("messages has more than 10 MB; publish fewer at once.", field="messages")
    with call.rooms.database.write() as connection:
        ids = topics.publish(connection, str(call.params["topic"]), told, call.rooms.clock.now())
    return {"messageIds": [str(id) for id in ids]}


def _message(given: Mapping[str, Any], where: str) -> Message:
    data = given.get("data") or b""
    if isinstance(data, str):  # as JSON has it
        data = base64.b64decode(data.replace("-", "+").replace("_", "/") + "==")
    attributes, key = given.get("attributes") or {}, given.get("orderingKey", "")
    if not data and not attributes:
        raise InvalidArgument(f"{where} is empty: it must have data or attributes.", field=where)
    if attributes:
        _check(attributes, f"{where}.attributes")
    if len(key.encode()) > _ORDERING:
        raise InvalidArgument(f"orderingKey is longer than {_ORDERING} bytes.", field=f"{where}.orderingKey")
    return Message(data, attributes, key)


def _check(attributes: Mapping[str, str], where: str) -> None:
    if len(attributes) > _ATTRIBUTES:
        raise InvalidArgument(f"A message has at most {_ATTRIBUTES} attributes.", field=where)
    for key, value in attributes.items():
        if not key or len(key.encode()) > _KEY or key.startswith("goog"):
            raise InvalidArgument(
                f"The key of the attribute {key!r} is not allowed: it has 1 to {_KEY} bytes, and does not begin with "
                "'goog'.",
                field=where,
            )
        if len(value.encode()) > _VALUE:
            raise InvalidArgument(
                f"The value of the attribute {key!r} is longer than {_VALUE} bytes.", field=where
            )
