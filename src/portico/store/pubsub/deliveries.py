"""What subscriptions are given, keep for a time, acknowledge or give back; in the caller's transaction.

A message is given out at least once: whoever got it has a lease, and when that ends without an acknowledgement it is
given out again. A lease is known by the message and the number of the attempt.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.errors import PorticoError
from portico.store.pubsub.filters import compiled
from portico.store.pubsub.topics import Message, Subscription, clear, publish
from portico.store.tables.pubsub import acknowledged, deliveries, messages, subscriptions

_MOST_BYTES = 8 * 2**20  # of messages that are given out at once
_AT_ONCE = 1000  # messages in a statement
_USED = 3600.0  # seconds between two notes that a subscription is used
_NO_ATTRIBUTES: Mapping[str, str] = {}
_d, _m, _a = deliveries.c, messages.c, acknowledged.c
_is_due = (
    sa.select(_d.message, _d.attempts, _m.published, _m.data, _m.attributes, _m.ordering_key)
    .join_from(deliveries, messages, _m.id == _d.message)
    .where(
        _d.subscription == sa.bindparam("of"),
        _d.due <= sa.bindparam("now"),
        _m.published >= sa.bindparam("oldest"),
    )
    .order_by(_d.message)
    .limit(sa.bindparam("most"))
)
_before = deliveries.alias()
_in_order = _is_due.where(
    sa.or_(
        _d.ordering_key == "",
        ~sa.exists().where(
            _before.c.subscription == _d.subscription,
            _before.c.ordering_key == _d.ordering_key,
            _before.c.ordering_key != "",
            _before.c.message < _d.message,
            _before.c.due > sa.bindparam("now"),
        ),
    )
)
_these = (_d.subscription == sa.bindparam("of"), _d.message.in_(sa.bindparam("these", expanding=True)))
_lease = sa.update(deliveries).where(*_these).values(due=sa.bindparam("until"), attempts=_d.attempts + 1)
_of_attempt = (*_these, _d.attempts == sa.bindparam("attempt"))
_valid = sa.select(_d.message, _d.ordering_key).where(*_of_attempt, _d.due > sa.bindparam("now"))
_extend = sa.update(deliveries).where(*_of_attempt).values(due=sa.bindparam("until"))
_drop = sa.delete(deliveries).where(*_these)
_keep = acknowledged.insert().from_select(
    ["subscription", "message"], sa.select(_d.subscription, _d.message).where(*_these)
)
_orphans = sa.delete(messages).where(
    ~sa.exists().where(_d.message == _m.id), ~sa.exists().where(_a.message == _m.id)
)
_forget = _orphans.where(
    _m.id.in_(sa.bindparam("these", expanding=True)), _m.keep_until <= sa.bindparam("now")
)


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message that was given out, for the `attempt`th time."""

    id: int
    attempt: int
    published: float
    data: bytes
    attributes: Mapping[str, str]
    ordering_key: str


Lease = tuple[int, int]
"""The message and the attempt."""


def take(
    connection: Connection, subscription: Subscription, most: int, now: float, deadline: float | None = None
) -> list[Delivered]:
    """Gives out at most so many messages that are due, the oldest first, for `deadline` seconds (the subscription's
    own). What was given out too often goes to the dead letter topic."""
    settings = subscription.settings
    asked = {"of": subscription.id, "now": now, "oldest": now - settings.retention, "most": most}
    rows = connection.execute(_in_order if settings.ordered else _is_due, asked).all()
    if now - subscription.used > _USED:
        used = sa.update(subscriptions).where(subscriptions.c.id == subscription.id).values(used=now)
        connection.execute(used)
    found: list[Delivered] = []
    dead: list[Delivered] = []
    size = 0
    for id, attempts, published, data, attributes, key in rows:
        size += len(data)
        if found and size > _MOST_BYTES:
            break
        told = orjson.loads(attributes) if attributes else _NO_ATTRIBUTES
        one = Delivered(id, attempts + 1, published, data, told, key)
        is_dead = settings.dead_letter_topic and attempts >= settings.max_attempts
        (dead if is_dead else found).append(one)
    if dead and not _bury(connection, subscription, dead, now):
        found = sorted([*found, *dead], key=lambda one: one.id)
    lasting = settings.ack_deadline if deadline is None else deadline
    by_attempt: dict[int, list[int]] = defaultdict(list)
    for one in found:
        by_attempt[one.attempt].append(one.id)
    for attempt, ids in by_attempt.items():
        until = now + lasting + settings.backoff(attempt)
        for some in _batched(ids):
            connection.execute(_lease, {"of": subscription.id, "these": some, "until": until})
    if settings.ordered:
        _void_behind(connection, subscription, [one for one in found if one.attempt > 1], now)
    return found


def _bury(connection: Connection, subscription: Subscription, dead: list[Delivered], now: float) -> bool:
    """Publishes to the dead letter topic; False where that is gone."""
    project, name = subscription.name.split("/")[1::2]
    told = [
        Message(
            one.data,
            {
                **one.attributes,
                "CloudPubSubDeadLetterSourceDeliveryCount": str(one.attempt - 1),
                "CloudPubSubDeadLetterSourceSubscription": name,
                "CloudPubSubDeadLetterSourceSubscriptionProject": project,
                "CloudPubSubDeadLetterSourceTopicPublishTime": rfc3339(one.published),
            },
            one.ordering_key,
        )
        for one in dead
    ]
    try:
        publish(connection, subscription.settings.dead_letter_topic, told, now)
    except PorticoError:
        return False
    _acknowledged(connection, subscription, [one.id for one in dead], now)
    return True


def _void_behind(
    connection: Connection, subscription: Subscription, again: Iterable[Any], now: float
) -> None:
    """What was given out behind a message that is given out again, of the same key, is so too, after it."""
    first: dict[str, int] = {}
    for one in again:
        if one.ordering_key:
            first[one.ordering_key] = min(one.id, first.get(one.ordering_key, one.id))
    for key, id in first.items():
        behind = (_d.subscription == subscription.id, _d.ordering_key == key, _d.message > id, _d.due > now)
        later = _d.message.not_in([one.id for one in again])
        connection.execute(
            sa.update(deliveries).where(*behind, later).values(due=now, attempts=_d.attempts + 1)
        )


def acknowledge(
    connection: Connection, subscription: Subscription, leases: Sequence[Lease], now: float
) -> list[Lease]:
    """Those of `leases` that held no more, where that counts: elsewhere a late acknowledgement counts, too."""
    settings = subscription.settings
    bad: list[Lease] = []
    if settings.exactly_once or settings.ordered:
        good = _good(connection, subscription, leases, now)
        bad = [one for one in leases if one[0] not in good]
        leases = [one for one in leases if one[0] in good]
    _acknowledged(connection, subscription, [id for id, _ in leases], now)
    return bad


def _good(
    connection: Connection, subscription: Subscription, leases: Sequence[Lease], now: float
) -> dict[int, str]:
    """The messages whose leases hold, with their ordering keys."""
    found: dict[int, str] = {}
    for attempt, ids in _by_attempt(leases).items():
        for some in _batched(ids):
            asked = {"of": subscription.id, "these": some, "attempt": attempt, "now": now}
            found |= {row.message: row.ordering_key for row in connection.execute(_valid, asked)}
    return found


def _acknowledged(connection: Connection, subscription: Subscription, ids: list[int], now: float) -> None:
    for some in _batched(sorted(set(ids))):
        asked = {"of": subscription.id, "these": some}
        if subscription.settings.retain_acked:
            connection.execute(_keep, asked)
        connection.execute(_drop, asked)
        if not subscription.settings.retain_acked:
            connection.execute(_forget, {"these": some, "now": now})


def extend(
    connection: Connection, subscription: Subscription, leases: Sequence[Lease], seconds: float, now: float
) -> list[Lease]:
    """Lets leases last `seconds` from now; 0 gives the messages back. Which of them did not hold any more, where that
    counts."""
    settings = subscription.settings
    good = _good(connection, subscription, leases, now)
    bad = [one for one in leases if one[0] not in good]
    held = [one for one in leases if one[0] in good]
    for attempt, ids in _by_attempt(held).items():
        until = now + seconds + settings.backoff(attempt)
        for some in _batched(ids):
            told = {"of": subscription.id, "these": some, "attempt": attempt, "until": until}
            connection.execute(_extend, told)
    if settings.ordered and not seconds:
        given = [Delivered(id, attempt, 0.0, b"", {}, good[id]) for id, attempt in held]
        _void_behind(connection, subscription, given, now)
    return bad if settings.exactly_once else []


def waiting(connection: Connection, names: Iterable[str], now: float) -> set[str]:
    """Which of these subscriptions have something that is due, or are gone."""
    wanted = list(names)
    s = subscriptions.c
    something = sa.exists().where(_d.subscription == s.id, _d.due <= now)
    found = connection.execute(sa.select(s.name, something).where(s.name.in_(wanted))).all()
    return {name for name, due in found if due} | (set(wanted) - {name for name, _ in found})


def copy(connection: Connection, source: Subscription, target: Subscription, now: float) -> None:
    """What `source` has not acknowledged is what `target` has not; of what else it has, what it retains stays."""
    if target.settings.retain_acked:
        had = sa.select(sa.literal(target.id), _d.message).where(
            _d.subscription == target.id,
            _d.message.not_in(sa.select(_before.c.message).where(_before.c.subscription == source.id)),
        )
        connection.execute(acknowledged.insert().from_select(["subscription", "message"], had))
        again = _a.message.in_(sa.select(_d.message).where(_d.subscription == source.id))
        connection.execute(sa.delete(acknowledged).where(_a.subscription == target.id, again))
        connection.execute(sa.delete(deliveries).where(_d.subscription == target.id))
    else:
        clear(connection, target)
    key = _m.ordering_key if target.settings.ordered else sa.literal("")
    all_of = (
        sa.select(sa.literal(target.id), _d.message, sa.literal(now), sa.literal(0), key)
        .join_from(deliveries, messages, _m.id == _d.message)
        .where(_d.subscription == source.id)
    )
    columns = ["subscription", "message", "due", "attempts", "ordering_key"]
    connection.execute(deliveries.insert().from_select(columns, all_of))


def seek(connection: Connection, subscription: Subscription, time: float, now: float) -> None:
    """What was published before `time` counts as acknowledged; what came since, and is still kept, as not."""
    own, settings = _d.subscription == subscription.id, subscription.settings
    early = own & _d.message.in_(sa.select(_m.id).where(_m.published < time))
    if settings.retain_acked:
        connection.execute(
            acknowledged.insert().from_select(
                ["subscription", "message"], sa.select(_d.subscription, _d.message).where(early)
            )
        )
    connection.execute(sa.delete(deliveries).where(early))
    connection.execute(sa.update(deliveries).where(own).values(due=now))
    kept = _m.id.in_(sa.select(_a.message).where(_a.subscription == subscription.id))
    of_topic = sa.and_(_m.topic == subscription.topic, _m.keep_until >= now)
    again = sa.select(_m.id, _m.attributes, _m.ordering_key).where(
        _m.published >= time, sa.or_(kept, of_topic), _m.id.not_in(sa.select(_d.message).where(own))
    )
    passes = compiled(settings.filter) if settings.filter else None
    rows = [
        {"subscription": subscription.id, "message": row.id, "due": now, "attempts": 0,
         "ordering_key": row.ordering_key if settings.ordered else ""}
        for row in connection.execute(again).all()
        if passes is None or passes(orjson.loads(row.attributes) if row.attributes else {})
    ]  # fmt: skip
    if rows:
        connection.execute(sa.insert(deliveries), rows)
    own = _a.subscription == subscription.id
    back = _a.message.in_(sa.select(_d.message).where(_d.subscription == subscription.id))
    connection.execute(sa.delete(acknowledged).where(own, back))


def oldest(connection: Connection, subscription: Subscription) -> float | None:
    """When the oldest message was published that a subscription has not acknowledged; None where there is none."""
    first = sa.select(sa.func.min(_d.message)).where(_d.subscription == subscription.id).scalar_subquery()
    found = connection.execute(sa.select(_m.published).where(_m.id == first)).scalar()
    return None if found is None else float(found)


def sweep(connection: Connection, kept: Iterable[Subscription], now: float) -> None:
    """Removes what subscriptions keep no longer, and what nobody needs."""
    for one in kept:
        # Numbers are never behind the time: nothing goes that was published within the retention.
        last = int((now - one.settings.retention) * 1e6)
        for table in (deliveries, acknowledged):
            old = (table.c.subscription == one.id, table.c.message < last)
            connection.execute(sa.delete(table).where(*old))
    connection.execute(_orphans.where(_m.keep_until <= now))


def _by_attempt(leases: Iterable[Lease]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for id, attempt in leases:
        found[attempt].append(id)
    return found


def _batched(ids: list[int]) -> Iterable[list[int]]:
    return (ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE))
