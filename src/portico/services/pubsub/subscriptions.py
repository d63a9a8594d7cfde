"""projects.subscriptions: how messages are delivered. What is delivered is in `pulling`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from sqlalchemy.engine import Connection

from portico.clock import parse_rfc3339
from portico.errors import FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from portico.services.call import Call, Rooms, implements
from portico.services.iam import accounts
from portico.services.pubsub import to_tables
from portico.services.pubsub.named import DELETED, Named, seconds
from portico.services.standard.collection import POLICIES, register
from portico.store import resources
from portico.store.pubsub import deliveries, topics
from portico.store.pubsub.filters import compiled
from portico.store.pubsub.topics import Settings, Subscription
from portico.store.resources import Resource

TOPIC_KIND: Final = "pubsub:projects.topics"
_TOPIC = re.compile(r"projects/[^/]+/topics/[^/]+")
_DAY = 86400.0
_FOREVER = 0.0
_USUAL: Final = {
    "ackDeadlineSeconds": 10,
    "messageRetentionDuration": "604800s",
    "expirationPolicy": {"ttl": "2678400s"},
}
_EMPTY_IS_NONE: Final = ("attributes", "pubsubWrapper")
_RETRIED: Final = {"minimumBackoff": "10s", "maximumBackoff": "600s"}


class Subscriptions(Named):
    def create(self, call: Call) -> dict[str, Any]:
        _check_table(call.rooms, call.body)
        return super().create(call)

    def patch(self, call: Call) -> dict[str, Any]:
        _check_table(call.rooms, call.body["subscription"])
        return super().patch(call)

    def check(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        body = resource.body
        if config := body.get("bigqueryConfig"):
            config["state"] = "ACTIVE"
            if (body.get("pushConfig") or {}).get("pushEndpoint"):
                raise InvalidArgument(
                    "A subscription pushes to an address or writes to a table.", field="bigqueryConfig"
                )
        for told in ("state", "detached", "topicMessageRetentionDuration", "analyticsHubSubscriptionInfo"):
            if before is None or told not in before:
                body.pop(told, None)
        for name, usual in _USUAL.items():
            if body.get(name) in (None, 0, "0s"):
                body[name] = usual
        if before is None:
            _check_topic(connection, body["topic"], "topic")
        if body.get("retryPolicy") is not None:
            body["retryPolicy"] = {**_RETRIED, **body["retryPolicy"]}
        if policy := body.get("deadLetterPolicy"):
            policy["maxDeliveryAttempts"] = policy.get("maxDeliveryAttempts") or 5
            if policy != (before or {}).get("deadLetterPolicy"):
                _check_topic(
                    connection, policy.get("deadLetterTopic", ""), "deadLetterPolicy.deadLetterTopic"
                )
        body["pushConfig"] = {
            key: value
            for key, value in (body.get("pushConfig") or {}).items()
            if value != {} or key not in _EMPTY_IS_NONE
        }
        _check_push(connection, body["pushConfig"])
        settings_of(body)

    def written(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        body = resource.body
        topics.write_subscription(
            connection, resource.name, body["topic"], settings_of(body), call.rooms.clock.now()
        )

    def deleting(self, call: Call, connection: Connection, resource: Resource) -> None:
        topics.delete_subscription(connection, resource.name)

    def render(self, resource: Resource) -> dict[str, Any]:
        return super().render(resource) | {"state": "ACTIVE"}

    def complete(self, connection: Connection, shown: Any) -> None:
        super().complete(connection, shown)
        for one in shown:
            topic = resources.get(connection, one.get("topic", ""))
            if topic is not None and (kept := topic.body.get("messageRetentionDuration")):
                one["topicMessageRetentionDuration"] = kept


SUBSCRIPTIONS = Subscriptions(
    "projects.subscriptions",
    "Subscription",
    output_only=frozenset(
        {"state", "detached", "topicMessageRetentionDuration", "analyticsHubSubscriptionInfo"}
    ),
    immutable=frozenset({"topic", "filter", "enableMessageOrdering"}),
    indexed=frozenset({"labels", "topic"}),
    unbuilt=("bigtableConfig", "cloudStorageConfig", "messageTransforms", "tags"),
)
register(SUBSCRIPTIONS, "create", "get", "list", "patch", "delete", *POLICIES)


def settings_of(body: Mapping[str, Any]) -> Settings:
    """What deliveries go by.

    Raises:
        InvalidArgument: naming the field.
    """
    if body.get("filter"):
        compiled(body["filter"])
    deadline = int(body["ackDeadlineSeconds"])
    if not 10 <= deadline <= 600:
        raise InvalidArgument(
            f"ackDeadlineSeconds is {deadline}; it must be from 10 to 600.", field="ackDeadlineSeconds"
        )
    dead = body.get("deadLetterPolicy") or {}
    attempts = int(dead.get("maxDeliveryAttempts", 5))
    if not 5 <= attempts <= 100:
        raise InvalidArgument(
            f"deadLetterPolicy.maxDeliveryAttempts is {attempts}; it must be from 5 to 100.",
            field="deadLetterPolicy.maxDeliveryAttempts",
        )
    least = seconds(body, "retryPolicy.minimumBackoff", 0.0, 600.0)
    most = seconds(body, "retryPolicy.maximumBackoff", 0.0, 600.0)
    if least > most:
        raise InvalidArgument(
            "retryPolicy.minimumBackoff is greater than its maximumBackoff.",
            field="retryPolicy.minimumBackoff",
        )
    retention = seconds(body, "messageRetentionDuration", 600.0, 31 * _DAY)
    ttl = seconds(body, "expirationPolicy.ttl", _DAY, math.inf, _FOREVER)
    if ttl and ttl < retention:
        raise InvalidArgument(
            "expirationPolicy.ttl is shorter than messageRetentionDuration.", field="expirationPolicy.ttl"
        )
    return Settings(
        ack_deadline=float(deadline),
        retention=retention,
        retain_acked=bool(body.get("retainAckedMessages")),
        filter=body.get("filter", ""),
        ordered=bool(body.get("enableMessageOrdering")),
        exactly_once=bool(body.get("enableExactlyOnceDelivery")),
        dead_letter_topic=dead.get("deadLetterTopic", ""),
        max_attempts=attempts,
        least_backoff=least,
        most_backoff=most,
        ttl=ttl,
        pushed=bool((body.get("pushConfig") or {}).get("pushEndpoint") or body.get("bigqueryConfig")),
        detached=bool(body.get("detached")),
    )


def required(connection: Connection, name: str) -> Subscription:
    """
    Raises:
        NotFound: there is no such subscription. InvalidArgument: there can be none. FailedPrecondition: it was
            detached.
    """
    SUBSCRIPTIONS.check_id(name.rpartition("/")[2])
    SUBSCRIPTIONS.require(connection, name)
    found = topics.find_subscription(connection, name)
    if found is None:
        raise NotFound(f"Resource not found (resource={name.rpartition('/')[2]}).")
    if found.settings.detached:
        raise FailedPrecondition(f"{name} is detached from its topic: it delivers nothing any more.")
    return found


@implements("pubsub", "projects.subscriptions.detach")
def detach(call: Call) -> dict[str, Any]:
    name = str(call.params["subscription"])
    with call.rooms.database.write() as connection:
        found = SUBSCRIPTIONS.require(connection, name)
        found.body["detached"] = True
        resources.update(connection, found, call.rooms.clock.now())
        written = topics.write_subscription(
            connection, name, found.body["topic"], settings_of(found.body), call.rooms.clock.now()
        )
        topics.clear(connection, written)
    return {}


@implements("pubsub", "projects.subscriptions.modifyPushConfig")
def modify_push_config(call: Call) -> dict[str, Any]:
    call.params["name"] = call.params["subscription"]
    call.body = {
        "subscription": {"pushConfig": call.body.get("pushConfig") or {}},
        "updateMask": "pushConfig",
    }
    SUBSCRIPTIONS.patch(call)
    return {}


@implements("pubsub", "projects.subscriptions.seek")
def seek(call: Call) -> dict[str, Any]:
    time, snapshot = call.body.get("time"), call.body.get("snapshot")
    if (time is None) == (snapshot is None):
        raise InvalidArgument("Give time or snapshot: where the subscription goes.", field="time")
    now = call.rooms.clock.now()
    with call.rooms.database.write() as connection:
        found = required(connection, str(call.params["subscription"]))
        if time is not None:
            deliveries.seek(connection, found, parse_rfc3339(time), now)
            return {}
        there = resources.get(connection, str(snapshot))
        source = topics.find_subscription(connection, str(snapshot))
        if there is None or source is None or there.kind == SUBSCRIPTIONS.kind:
            raise NotFound(f"Resource not found (resource={str(snapshot).rpartition('/')[2]}).")
        own = SUBSCRIPTIONS.require(connection, found.name)
        if there.body["topic"] != own.body["topic"]:
            raise FailedPrecondition(f"{snapshot} is of another topic than {found.name}.")
        deliveries.copy(connection, source, found, now)
    return {}


def _check_topic(connection: Connection, name: str, field: str) -> None:
    if not _TOPIC.fullmatch(name) and name != DELETED:
        raise InvalidArgument(f"{field} is {name!r}; a topic is projects/PROJECT/topics/TOPIC.", field=field)
    found = resources.get(connection, name)
    if found is None or found.kind != TOPIC_KIND:
        raise NotFound(f"Resource not found (resource={name.rpartition('/')[2]}).")


def _check_table(rooms: Rooms, body: Mapping[str, Any]) -> None:
    """What the warehouse is asked before the write transaction."""
    if config := body.get("bigqueryConfig"):
        to_tables.check(rooms, config)


def _check_push(connection: Connection, config: Mapping[str, Any]) -> None:
    """
    Raises:
        InvalidArgument, NotFound: naming the field. Unimplemented: what is asked for is not built.
    """
    if not config.get("pushEndpoint"):
        if config:
            raise InvalidArgument("pushConfig has no pushEndpoint.", field="pushConfig.pushEndpoint")
        return
    try:
        address = urlsplit(config["pushEndpoint"])
        sound = address.scheme in ("http", "https") and bool(address.hostname) and address.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise InvalidArgument(
            f"pushConfig.pushEndpoint is {config['pushEndpoint']!r}; it must be an http or https address.",
            field="pushConfig.pushEndpoint",
        )
    if config.get("noWrapper") is not None:
        raise Unimplemented("pushConfig.noWrapper is not built in Portico yet.")
    if config.get("attributes") not in (None, {}, {"x-goog-version": "v1"}):
        raise Unimplemented("pushConfig.attributes is not built, but for x-goog-version v1.")
    if (oidc := config.get("oidcToken")) is not None:
        email = oidc.get("serviceAccountEmail", "")
        if not email:
            raise InvalidArgument(
                "pushConfig.oidcToken names no account.", field="pushConfig.oidcToken.serviceAccountEmail"
            )
        accounts.require(connection, accounts.named(email))
