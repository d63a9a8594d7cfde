"""projects.subscriptions.pull, acknowledge and modifyAckDeadline.

An ack id is that of a lease: the subscription's number, the message's, and that of the attempt.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import Any

from portico.clock import rfc3339
from portico.errors import FailedPrecondition, InvalidArgument
from portico.services.call import Call, Rooms, implements
from portico.services.pubsub import streams
from portico.services.pubsub.subscriptions import required
from portico.store.pubsub import deliveries
from portico.store.pubsub.deliveries import Delivered, Lease
from portico.store.pubsub.topics import Subscription

_PATIENCE = 5.0  # seconds that a pull waits for the first message
_MOST = 1000  # messages of an answer
_ACK_ID = re.compile(r"(\d{1,19})-(\d{1,19})-(\d{1,9})", re.ASCII)


@implements("pubsub", "projects.subscriptions.pull")
async def pull(call: Call) -> dict[str, Any]:
    most = int(call.body.get("maxMessages") or 0)
    if most <= 0:
        raise InvalidArgument("maxMessages must be greater than 0.", field="maxMessages")
    name = str(call.params["subscription"])
    loop = asyncio.get_running_loop()
    end = loop.time() + (0 if call.body.get("returnImmediately") else _PATIENCE)
    while True:
        found = await asyncio.to_thread(taken, call.rooms, name, min(most, _MOST))
        if found or loop.time() >= end:
            return {"receivedMessages": found} if found else {}
        await call.rooms.waiting(due).wait(name, end - loop.time())


def due(rooms: Rooms, names: set[str]) -> set[str]:
    """Those of the subscriptions that have something that is due, or are gone."""
    with rooms.database.read() as connection:
        return deliveries.waiting(connection, names, rooms.clock.now())


def taken(rooms: Rooms, name: str, most: int, deadline: float | None = None) -> list[dict[str, Any]]:
    """Messages that are due, as they are received; leased for `deadline` seconds (the subscription's own)."""
    subscription_of(rooms, name)
    with rooms.database.read() as connection:
        if not deliveries.waiting(connection, [name], rooms.clock.now()):
            return []
    with rooms.database.write() as connection:
        subscription = required(connection, name)
        found = deliveries.take(connection, subscription, most, rooms.clock.now(), deadline)
    return [_received(subscription, one) for one in found]


def subscription_of(rooms: Rooms, name: str) -> Subscription:
    """
    Raises:
        NotFound: there is no such subscription. FailedPrecondition: nobody can pull from it.
    """
    with rooms.database.read() as connection:
        found = required(connection, name)
    if found.settings.pushed:
        raise FailedPrecondition(f"{name} pushes its messages: nobody can pull them.")
    return found


def _received(subscription: Subscription, one: Delivered) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "ackId": f"{subscription.id}-{one.id}-{one.attempt}",
        "message": message_json(one),
    }
    if subscription.settings.dead_letter_topic:
        shown["deliveryAttempt"] = one.attempt
    return shown


def message_json(one: Delivered) -> dict[str, Any]:
    """A PubsubMessage, its data in bytes."""
    shown: dict[str, Any] = {"messageId": str(one.id), "publishTime": rfc3339(one.published)}
    if one.data:
        shown["data"] = one.data
    if one.attributes:
        shown["attributes"] = one.attributes
    if one.ordering_key:
        shown["orderingKey"] = one.ordering_key
    return shown


@implements("pubsub", "projects.subscriptions.acknowledge")
def acknowledge(call: Call) -> dict[str, Any]:
    acknowledged(call.rooms, str(call.params["subscription"]), call.body["ackIds"])
    return {}


def acknowledged(rooms: Rooms, name: str, ack_ids: Iterable[str]) -> None:
    """
    Raises:
        InvalidArgument: an ack id is none, or, where that counts, its lease has ended.
    """
    given = list(ack_ids)
    with rooms.database.write() as connection:
        subscription = required(connection, name)
        leases = leases_of(subscription, given)
        bad = deliveries.acknowledge(connection, subscription, leases, rooms.clock.now())
    streams.tell(rooms, name, [str(id) for id, _ in leases], None)
    _refuse(subscription, bad)


@implements("pubsub", "projects.subscriptions.modifyAckDeadline")
def modify_ack_deadline(call: Call) -> dict[str, Any]:
    extended(
        call.rooms,
        str(call.params["subscription"]),
        call.body["ackIds"],
        int(call.body.get("ackDeadlineSeconds") or 0),
    )
    return {}


def extended(rooms: Rooms, name: str, ack_ids: Iterable[str], seconds: int) -> None:
    """
    Raises:
        InvalidArgument: on the seconds or an ack id.
    """
    if not 0 <= seconds <= 600:
        raise InvalidArgument(
            f"ackDeadlineSeconds is {seconds}; it must be from 0 to 600.", field="ackDeadlineSeconds"
        )
    given = list(ack_ids)
    with rooms.database.write() as connection:
        subscription = required(connection, name)
        leases = leases_of(subscription, given)
        now = rooms.clock.now()
        bad = deliveries.extend(connection, subscription, leases, float(seconds), now)
    streams.tell(rooms, name, [str(id) for id, _ in leases], now + seconds if seconds else None)
    _refuse(subscription, bad)


def leases_of(subscription: Subscription, ack_ids: Iterable[str]) -> list[Lease]:
    """Those of other subscriptions, as of one that had this name before, are passed over."""
    found = []
    for text in ack_ids:
        told = _ACK_ID.fullmatch(text)
        if told is None:
            raise InvalidArgument(
                f"You have passed an invalid ack ID to the service (ack_id={text}).", field="ackIds"
            )
        if int(told[1]) == subscription.id:
            found.append((int(told[2]), int(told[3])))
    return found


def _refuse(subscription: Subscription, bad: list[Lease]) -> None:
    if bad and subscription.settings.exactly_once:
        raise InvalidArgument(
            "Some acknowledgement ids in the request were invalid: their leases have ended. This could be because "
            "the acknowledgement ids have expired or the acknowledgement ids were malformed.",
            metadata={
                f"{subscription.id}-{id}-{attempt}": "PERMANENT_FAILURE_INVALID_ACK_ID" for id, attempt in bad
            },
        )
