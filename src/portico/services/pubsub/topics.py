"""projects.topics, and what is below one."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from portico.services.call import Call, implements
from portico.services.pubsub.named import DELETED, Named, seconds
from portico.services.pubsub.snapshots import SNAPSHOTS
from portico.services.pubsub.subscriptions import SUBSCRIPTIONS
from portico.services.standard.collection import POLICIES, register
from portico.store import resources
from portico.store.pubsub import topics
from portico.store.resources import Resource

_DAY = 86400.0


class Topics(Named):
    def check(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        resource.body.pop("state", None)
        seconds(resource.body, "messageRetentionDuration", 600.0, 31 * _DAY)

    def written(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        kept = seconds(resource.body, "messageRetentionDuration", 600.0, 31 * _DAY)
        topics.write_topic(connection, resource.name, kept, call.rooms.clock.now())

    def deleting(self, call: Call, connection: Connection, resource: Resource) -> None:
        topics.delete_topic(connection, resource.name)
        now = call.rooms.clock.now()
        for collection in (SUBSCRIPTIONS, SNAPSHOTS):
            of = list(resources.listed(connection, collection.kind, wanted={"topic": resource.name}))
            for one in of:
                if one.body.get("topic") == resource.name:
                    one.body["topic"] = DELETED
                    resources.update(connection, one, now)

    def render(self, resource: Resource) -> dict[str, Any]:
        return super().render(resource) | {"state": "ACTIVE"}


TOPICS = Topics(
    "projects.topics",
    "Topic",
    output_only=frozenset({"state", "satisfiesPzs"}),
    unbuilt=(
        "ingestionDataSourceSettings",
        "kmsKeyName",
        "messageStoragePolicy",
        "messageTransforms",
        "schemaSettings",
        "tags",
    ),
)
register(TOPICS, "create", "get", "list", "patch", "delete", *POLICIES)


@implements("pubsub", "projects.topics.subscriptions.list")
def list_subscriptions(call: Call) -> dict[str, Any]:
    return _of_topic(call, SUBSCRIPTIONS)


@implements("pubsub", "projects.topics.snapshots.list")
def list_snapshots(call: Call) -> dict[str, Any]:
    return _of_topic(call, SNAPSHOTS)


def _of_topic(call: Call, collection: Named) -> dict[str, Any]:
    with call.rooms.database.read() as connection:
        TOPICS.require(connection, str(call.params["topic"]))
    return collection.names_of_topic(call)
