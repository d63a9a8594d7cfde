"""Subscriber.StreamingPull: messages as they come, as many as the client takes at a time.

https://cloud.google.com/pubsub/docs/pull#streamingpull_api
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from portico.errors import InvalidArgument
from portico.services.call import Call, implements
from portico.services.pubsub.pulling import acknowledged, due, extended, subscription_of, taken
from portico.services.pubsub.streams import Stream

_LOOK = 1.0  # seconds between two looks whether leases have ended


@implements("pubsub", "Subscriber.StreamingPull")
async def streaming_pull(call: Call) -> AsyncIterator[dict[str, Any]]:
    return _pulled(call)


async def _pulled(call: Call) -> AsyncIterator[dict[str, Any]]:
    requests = call.body["requests"]
    first: dict[str, Any] = await anext(requests, {})
    name = str(first.get("subscription", ""))
    if not name:
        raise InvalidArgument("The first request of a stream names its subscription.", field="subscription")
    settings = (await asyncio.to_thread(subscription_of, call.rooms, name)).settings
    properties = {
        "exactlyOnceDeliveryEnabled": settings.exactly_once,
        "messageOrderingEnabled": settings.ordered,
    }
    bounds = [max(0, int(first.get(one, 0))) for one in ("maxOutstandingMessages", "maxOutstandingBytes")]
    with Stream(call.rooms, name, _deadline(first), *bounds) as stream:
        reading = asyncio.create_task(_read(call, stream, first, requests))
        try:
            yield {"subscriptionProperties": properties}
            while not reading.done():
                most, found = stream.room(), []
                if most:
                    found = await asyncio.to_thread(taken, call.rooms, name, most, stream.deadline)
                if found:
                    stream.hold(found)
                    yield {"receivedMessages": found, "subscriptionProperties": properties}
                else:
                    await _wait(call, stream, reading, full=not most)
            await reading
        finally:
            reading.cancel()


async def _wait(call: Call, stream: Stream, reading: asyncio.Task[None], *, full: bool) -> None:
    """For messages, or where the stream is `full` for room."""
    stream.freed.clear()
    waits = stream.freed.wait() if full else call.rooms.waiting(due).wait(stream.name, 60.0)
    waiting = asyncio.ensure_future(waits)
    try:
        await asyncio.wait(
            {waiting, reading}, timeout=_LOOK if full else None, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        waiting.cancel()


async def _read(
    call: Call, stream: Stream, first: dict[str, Any], requests: AsyncIterator[dict[str, Any]]
) -> None:
    """Does what the client's requests say, until it sends no more."""
    await _follow(call, stream, first)
    async for request in requests:
        if "streamAckDeadlineSeconds" in request:
            stream.deadline = _deadline(request)
        await _follow(call, stream, request)


async def _follow(call: Call, stream: Stream, request: dict[str, Any]) -> None:
    if acks := request.get("ackIds"):
        await asyncio.to_thread(acknowledged, call.rooms, stream.name, acks)
    wanted: dict[int, list[str]] = {}
    ids, times = request.get("modifyDeadlineAckIds") or [], request.get("modifyDeadlineSeconds") or []
    if len(ids) != len(times):
        raise InvalidArgument(
            "modify_deadline_seconds has one number for each of modify_deadline_ack_ids.",
            field="modify_deadline_seconds",
        )
    for ack_id, seconds in zip(ids, times, strict=True):
        wanted.setdefault(int(seconds), []).append(ack_id)
    for seconds, some in wanted.items():
        await asyncio.to_thread(extended, call.rooms, stream.name, some, seconds)


def _deadline(request: dict[str, Any]) -> float:
    seconds = int(request.get("streamAckDeadlineSeconds", 0))
    if not 10 <= seconds <= 600:
        raise InvalidArgument(
            f"stream_ack_deadline_seconds is {seconds}; it must be from 10 to 600.",
            field="stream_ack_deadline_seconds",
        )
    return float(seconds)
