"""Publishes what was noted for notification configurations: each event goes in the transaction that publishes it, so it
is published once, whatever is killed when."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import orjson

from portico.clock import rfc3339
from portico.errors import PorticoError
from portico.services.call import Rooms
from portico.services.storage.render import object_json
from portico.store import events, resources
from portico.store.events import Event
from portico.store.objects import buckets, notices
from portico.store.objects.buckets import BucketRow
from portico.store.objects.generations import ObjectRow
from portico.store.pubsub import topics
from portico.store.pubsub.topics import Message
from portico.store.resources import Resource

log = logging.getLogger(__name__)
_GOOGLE = (
    "https://www.googleapis.com"  # as of which the links in a payload are, wherever this server is reached
)
_AT_ONCE = 100  # events in a transaction


class Notifying:
    """Belongs to the scheduler's process."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def run_due(self, waiting: Sequence[str]) -> None:
        """Publishes all events that wait, of those for which some do (`events.waiting`)."""
        for watcher in (one for one in waiting if one.startswith(notices.WATCHERS)):
            try:
                while self._publish(watcher):
                    pass
            except Exception:
                log.exception("what %s waits for can't be published", watcher)

    def _publish(self, watcher: str) -> bool:
        """The oldest events of a configuration and type; whether there were some."""
        name, _, type = watcher.rpartition("/")
        with self._rooms.database.write() as connection:
            configured = resources.get(connection, name)
            some = events.oldest(connection, watcher, _AT_ONCE)
            for event in some:
                events.take(connection, event)
            if configured is not None and some:
                bucket = buckets.get(connection, name.split("/")[1])
                told = [_message(configured, bucket, type, event) for event in some]
                try:
                    topic = configured.body["topic"].removeprefix("//pubsub.googleapis.com/")
                    topics.publish(connection, topic, told, self._rooms.clock.now())
                except PorticoError as error:
                    log.warning("%s tells nobody: %s", name, error.message)
        return bool(some)


def _message(configured: Resource, bucket: BucketRow, type: str, event: Event) -> Message:
    row, body = ObjectRow(**event.facts["row"]), configured.body
    attributes = {
        **(body.get("custom_attributes") or {}),
        "notificationConfig": f"projects/_/{configured.name}",
        "eventType": type,
        "payloadFormat": body["payload_format"],
        "bucketId": row.bucket,
        "objectId": row.name,
        "objectGeneration": str(row.generation),
        "eventTime": rfc3339(event.facts["eventTime"]),
        **event.facts["generations"],
    }
    payload = b"" if body["payload_format"] == "NONE" else orjson.dumps(object_json(row, _GOOGLE, bucket))
    return Message(payload, attributes)
