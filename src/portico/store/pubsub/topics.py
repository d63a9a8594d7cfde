"""Topics, subscriptions, and how what is published gets from the ones to the others, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.errors import NotFound
from portico.store.pubsub.filters import compiled
from portico.store.tables.pubsub import acknowledged, deliveries, messages, numbers, subscriptions, topics

_topic_named = sa.select(topics).where(topics.c.name == sa.bindparam("of"))
_subscription_named = sa.select(subscriptions).where(subscriptions.c.name == sa.bindparam("of"))
_to = sa.select(subscriptions.c.id, subscriptions.c.settings).where(
    subscriptions.c.topic == sa.bindparam("of")
)
_insert_messages = sa.insert(messages)
_insert_deliveries = sa.insert(deliveries)


class Settings(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a subscription's deliveries go by. Times are in seconds; 0 backoff: at once; `ttl` 0: it never expires."""

    ack_deadline: float = 10.0
    retention: float = 7 * 86400.0
    retain_acked: bool = False
    filter: str = ""
    ordered: bool = False
    exactly_once: bool = False
    dead_letter_topic: str = ""
    max_attempts: int = 5
    least_backoff: float = 0.0
    most_backoff: float = 0.0
    ttl: float = 31 * 86400.0
    pushed: bool = False
    detached: bool = False

    def backoff(self, attempts: int) -> float:
        """How long a message rests that was given out so often in vain."""
        if not self.least_backoff and not self.most_backoff:
            return 0.0
        return min(self.least_backoff * 2.0 ** min(attempts - 1, 60), self.most_backoff)


_ENCODER, _DECODER = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(Settings)


@dataclass(frozen=True, slots=True)
class Subscription:
    """`topic` is the number of its topic; 0 where it gets nothing any more."""

    id: int
    name: str
    topic: int
    used: float
    settings: Settings


@dataclass(frozen=True, slots=True)
class Message:
    data: bytes
    attributes: Mapping[str, str] = field(default_factory=dict)
    ordering_key: str = ""


def next_number(connection: Connection, count: int, now: float) -> int:
    """The first of `count` numbers that nothing has: they grow, and are about the time in microseconds."""
    wanted = int(now * 1e6)
    last = connection.execute(sa.select(numbers.c.last)).scalar()
    if last is None:
        connection.execute(sa.insert(numbers).values(id=1, last=wanted + count))
        return wanted + 1
    first = max(wanted, int(last) + 1)
    connection.execute(sa.update(numbers).values(last=first + count - 1))
    return first


def write_topic(connection: Connection, name: str, retention: float, now: float) -> None:
    """Makes the topic, or changes how long it keeps what is published."""
    found = connection.execute(_topic_named, {"of": name}).first()
    if found is None:
        made = next_number(connection, 1, now)
        connection.execute(sa.insert(topics).values(id=made, name=name, retention=retention))
    elif found.retention != retention:
        connection.execute(sa.update(topics).where(topics.c.id == found.id).values(retention=retention))
        kept = messages.c.published + retention if retention else 0.0
        connection.execute(sa.update(messages).where(messages.c.topic == found.id).values(keep_until=kept))


def delete_topic(connection: Connection, name: str) -> None:
    """Its subscriptions keep what they have."""
    found = connection.execute(_topic_named, {"of": name}).first()
    if found is not None:
        of = subscriptions.c.topic == found.id
        connection.execute(sa.update(subscriptions).where(of).values(topic=0))
        connection.execute(sa.update(messages).where(messages.c.topic == found.id).values(keep_until=0.0))
        connection.execute(sa.delete(topics).where(topics.c.id == found.id))


def write_subscription(
    connection: Connection, name: str, topic: str, settings: Settings, now: float
) -> Subscription:
    """Makes the subscription to `topic`, or changes its settings."""
    found = connection.execute(_topic_named, {"of": topic}).first()
    number = int(found.id) if found and not settings.detached else 0
    values = {"topic": number, "settings": _ENCODER.encode(settings)}
    before = find_subscription(connection, name)
    if before is None:
        made = next_number(connection, 1, now)
        connection.execute(sa.insert(subscriptions).values(id=made, name=name, used=now, **values))
        return Subscription(made, name, number, now, settings)
    connection.execute(sa.update(subscriptions).where(subscriptions.c.id == before.id).values(**values))
    return Subscription(before.id, name, number, before.used, settings)


def find_subscription(connection: Connection, name: str) -> Subscription | None:
    row = connection.execute(_subscription_named, {"of": name}).first()
    return None if row is None else _subscription(row)


def listed(connection: Connection) -> list[Subscription]:
    """All subscriptions and snapshots."""
    return [_subscription(row) for row in connection.execute(sa.select(subscriptions)).all()]


def _subscription(row: sa.Row[tuple[object, ...]]) -> Subscription:
    return Subscription(row.id, row.name, row.topic, row.used, _DECODER.decode(row.settings))


def delete_subscription(connection: Connection, name: str) -> None:
    """With all that it has not acknowledged; what nobody else needs is swept."""
    found = find_subscription(connection, name)
    if found is not None:
        clear(connection, found)
        connection.execute(sa.delete(subscriptions).where(subscriptions.c.id == found.id))


def clear(connection: Connection, subscription: Subscription) -> None:
    """Forgets all that a subscription has."""
    for table in (deliveries, acknowledged):
        connection.execute(sa.delete(table).where(table.c.subscription == subscription.id))


def publish(connection: Connection, topic: str, published: Sequence[Message], now: float) -> list[int]:
    """The ids of what is published, in the given order: kept for every subscription whose filter it passes.

    Raises:
        NotFound: there is no such topic.
    """
    to = connection.execute(_topic_named, {"of": topic}).first()
    if to is None:
        raise NotFound(f"Resource not found (resource={topic.rpartition('/')[2]}).")
    now = round(now, 6)  # as it is shown: whoever seeks there finds it
    first = next_number(connection, len(published), now)
    subscribed = [(row.id, _DECODER.decode(row.settings)) for row in connection.execute(_to, {"of": to.id})]
    keep_until = now + to.retention if to.retention else 0.0
    rows, due = [], []
    for number, message in enumerate(published, first):
        wanting = [
            (id, settings) for id, settings in subscribed
            if not settings.filter or compiled(settings.filter)(message.attributes)
        ]  # fmt: skip
        due += [
            {"subscription": id, "message": number, "due": now, "attempts": 0,
             "ordering_key": message.ordering_key if settings.ordered else ""}
            for id, settings in wanting
        ]  # fmt: skip
        if wanting or keep_until:
            rows.append({
                "id": number, "topic": to.id, "published": now, "keep_until": keep_until, "data": message.data,
                "attributes": orjson.dumps(message.attributes) if message.attributes else None,
                "ordering_key": message.ordering_key,
            })  # fmt: skip
    if rows:
        connection.execute(_insert_messages, rows)
    if due:
        connection.execute(_insert_deliveries, due)
    return list(range(first, first + len(published)))
