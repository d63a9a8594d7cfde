"""Messages between publish and acknowledgement, over both databases and with a clock that is held."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from portico.errors import InvalidArgument, NotFound
from portico.store import home
from portico.store.database import Database
from portico.store.pubsub import deliveries, topics
from portico.store.pubsub.filters import compiled
from portico.store.pubsub.topics import Message, Settings, Subscription
from portico.store.tables.pubsub import messages

pytestmark = pytest.mark.usefixtures("either_store")
TOPIC, SUB, DAY = "projects/p/topics/t", "projects/p/subscriptions/s", 86400.0


@pytest.fixture
def connection(tmp_path: Path) -> Any:
    home.begin(tmp_path, 1.0)
    database = Database(tmp_path)
    database.create_tables()
    with database.write() as connection:
        topics.write_topic(connection, TOPIC, 0.0, 1000.0)
        yield connection
    database.close()


def subscribe(connection: Any, name: str = SUB, now: float = 1000.0, **settings: Any) -> Subscription:
    return topics.write_subscription(connection, name, TOPIC, Settings(**settings), now)


def publish(connection: Any, *data: str, now: float = 1000.0, key: str = "") -> list[int]:
    return topics.publish(connection, TOPIC, [Message(one.encode(), {}, key) for one in data], now)


def taken(connection: Any, of: Subscription, now: float, most: int = 100) -> list[str]:
    return [one.data.decode() for one in deliveries.take(connection, of, most, now)]


def kept(connection: Any) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(messages)).scalar()


def test_a_lease_ends_and_the_message_comes_again(connection):
    of = subscribe(connection)
    publish(connection, "a", "b")
    assert taken(connection, of, 1001.0, 1) == ["a"] and taken(connection, of, 1002.0) == ["b"]
    assert taken(connection, of, 1010.9) == []
    assert taken(connection, of, 1011.0) == ["a"] and taken(connection, of, 1012.0) == ["b"]


def test_numbers_grow_though_the_clock_stands_or_goes_back(connection):
    subscribe(connection)
    ids = publish(connection, "a", "b") + publish(connection, "c") + publish(connection, "d", now=10.0)
    assert ids == sorted(set(ids))


def test_what_is_acknowledged_by_all_is_gone(connection):
    first, second = subscribe(connection), subscribe(connection, SUB + "2")
    ids = publish(connection, "a")
    for of, left in ((first, 1), (second, 0)):
        assert taken(connection, of, 1001.0) == ["a"]
        assert deliveries.acknowledge(connection, of, [(ids[0], 1)], 1002.0) == []
        assert kept(connection) == left


def test_what_no_subscription_wants_is_not_kept(connection):
    subscribe(connection, filter='attributes.a = "b"')
    publish(connection, "a")
    assert kept(connection) == 0


def test_retention_takes_what_is_old(connection):
    of = subscribe(connection, retention=600.0)
    publish(connection, "old", now=2e6)
    publish(connection, "new", now=2e6 + 500.0)
    assert taken(connection, of, 2e6 + 601.0) == ["new"]
    deliveries.sweep(connection, [of], 2e6 + 601.0)
    assert kept(connection) == 1


def test_a_late_lease_does_not_count_where_delivery_is_exactly_once(connection):
    of = subscribe(connection, exactly_once=True)
    [id] = publish(connection, "a")
    assert taken(connection, of, 1001.0) == ["a"]
    assert deliveries.acknowledge(connection, of, [(id, 1)], 1012.0) == [(id, 1)]
    assert taken(connection, of, 1012.0) == ["a"]
    assert deliveries.acknowledge(connection, of, [(id, 1)], 1013.0) == [(id, 1)]
    assert deliveries.acknowledge(connection, of, [(id, 2)], 1013.0) == []
    assert taken(connection, of, 2000.0) == []


def test_backoff_doubles_until_it_is_the_most(connection):
    of = subscribe(connection, least_backoff=10.0, most_backoff=30.0)
    [id] = publish(connection, "a")
    now = 1001.0
    for attempt, pause in enumerate((10.0, 20.0, 30.0, 30.0), 1):
        assert taken(connection, of, now) == ["a"]
        assert deliveries.extend(connection, of, [(id, attempt)], 0.0, now) == []
        assert taken(connection, of, now + pause - 0.1) == []
        now += pause


def test_order_is_kept_by_key_when_a_lease_ends(connection):
    of = subscribe(connection, ordered=True)
    publish(connection, "1", "2", "3", key="k")
    assert taken(connection, of, 1001.0, 2) == ["1", "2"]
    assert taken(connection, of, 1002.0) == []
    assert taken(connection, of, 1011.0, 1) == ["1"]
    assert taken(connection, of, 1012.0) == []
    assert taken(connection, of, 1021.0) == ["1", "2", "3"]


def test_a_dead_letter_topic_that_is_gone_buries_nothing(connection):
    of = subscribe(connection, dead_letter_topic="projects/p/topics/none", max_attempts=5)
    publish(connection, "a")
    for attempt in range(8):
        assert taken(connection, of, 1001.0 + 10 * attempt) == ["a"]


def test_seek_brings_back_what_was_kept(connection):
    of = subscribe(connection, retain_acked=True)
    ids = publish(connection, "a") + publish(connection, "b", now=1005.0)
    assert taken(connection, of, 1006.0) == ["a", "b"]
    deliveries.acknowledge(connection, of, [(id, 1) for id in ids], 1006.0)
    deliveries.seek(connection, of, 1005.0, 1007.0)
    assert taken(connection, of, 1007.0) == ["b"]
    deliveries.seek(connection, of, 0.0, 1008.0)
    assert taken(connection, of, 1008.0) == ["a", "b"]
    deliveries.seek(connection, of, 2000.0, 1009.0)
    assert taken(connection, of, 9999.0) == [] and kept(connection) == 2


def test_a_copy_has_what_was_not_acknowledged(connection):
    of, snapshot = subscribe(connection), subscribe(connection, "projects/p/snapshots/s")
    ids = publish(connection, "a", "b")
    topics.clear(connection, snapshot)
    assert taken(connection, of, 1001.0) == ["a", "b"]
    deliveries.acknowledge(connection, of, [(ids[0], 1)], 1001.0)
    deliveries.copy(connection, of, snapshot, 1002.0)
    publish(connection, "c", now=1003.0)
    deliveries.copy(connection, snapshot, of, 1004.0)
    assert taken(connection, of, 1004.0) == ["b", "c"]
    assert deliveries.oldest(connection, of) == 1000.0


def test_a_deleted_topic_leaves_what_was_published(connection):
    of = subscribe(connection)
    publish(connection, "a")
    topics.delete_topic(connection, TOPIC)
    assert taken(connection, of, 1001.0) == ["a"]
    with pytest.raises(NotFound):
        publish(connection, "b")
    topics.delete_subscription(connection, SUB)
    deliveries.sweep(connection, [], 1002.0)
    assert kept(connection) == 0 and topics.find_subscription(connection, SUB) is None


def test_who_waits_is_told_what_is_due_and_what_is_gone(connection):
    of = subscribe(connection)
    names = [SUB, SUB + "-none"]
    assert deliveries.waiting(connection, names, 1001.0) == {SUB + "-none"}
    publish(connection, "a")
    assert deliveries.waiting(connection, names, 1001.0) == set(names)
    taken(connection, of, 1001.0)
    assert deliveries.waiting(connection, [SUB], 1002.0) == set()
    assert deliveries.waiting(connection, [SUB], 1011.0) == {SUB}


@given(st.text(max_size=80))
def test_any_text_is_a_filter_or_refused(text):
    try:
        assert compiled(text)({"a": "b"}) in (True, False)
    except InvalidArgument as refused:
        assert "filter" in refused.message
