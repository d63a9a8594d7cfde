"""projects.snapshots: what a subscription has not acknowledged at one moment, and all that comes after it."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.errors import FailedPrecondition
from portico.services.call import Call
from portico.services.pubsub.named import DELETED, Named
from portico.services.pubsub.subscriptions import SUBSCRIPTIONS, required
from portico.services.standard.collection import POLICIES, register
from portico.store.pubsub import deliveries, topics
from portico.store.pubsub.topics import Settings
from portico.store.resources import Resource

_LONGEST, _LEAST = 7 * 86400.0, 3600.0  # seconds


class Snapshots(Named):
    def check(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        if before is not None:
            return
        name = resource.body.pop("subscription")
        source = required(connection, name)
        now = call.rooms.clock.now()
        end = (deliveries.oldest(connection, source) or now) + _LONGEST
        if end - now < _LEAST:
            raise FailedPrecondition(
                f"The oldest message that {name} has not acknowledged would let the snapshot expire within the hour."
            )
        topic = SUBSCRIPTIONS.require(connection, name).body["topic"]
        if topic == DELETED:
            raise FailedPrecondition(f"The topic of {name} is deleted.")
        resource.body |= {"topic": topic, "expireTime": rfc3339(end)}
        kept = Settings(retention=2 * _LONGEST, filter=source.settings.filter, ttl=0.0)
        made = topics.write_subscription(connection, resource.name, topic, kept, now)
        deliveries.copy(connection, source, made, now)

    def deleting(self, call: Call, connection: Connection, resource: Resource) -> None:
        topics.delete_subscription(connection, resource.name)


SNAPSHOTS = Snapshots(
    "projects.snapshots",
    "Snapshot",
    output_only=frozenset({"topic"}),
    immutable=frozenset({"expireTime"}),
    indexed=frozenset({"labels", "topic"}),
    unbuilt=("tags",),
)
register(SNAPSHOTS, "create", "get", "list", "patch", "delete", *POLICIES)
