"""Topics, subscriptions, snapshots and messages, by Google's generated clients."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.protobuf import duration_pb2, field_mask_pb2, timestamp_pb2
from google.pubsub_v1 import PublisherClient, SubscriberClient, types
from tests.services.pubsub.conftest import PROJECT


def publish(publisher: Any, topic: str, *data: bytes, key: str = "", **attributes: str) -> list[str]:
    messages = [{"data": one, "attributes": attributes, "ordering_key": key} for one in data]
    return list(publisher.publish(topic=topic, messages=messages).message_ids)


def pull(subscriber: Any, subscription: str, most: int = 100, *, wait: bool = True) -> list[Any]:
    asked = {"subscription": subscription, "max_messages": most, "return_immediately": not wait}
    return list(subscriber.pull(request=asked).received_messages)


def data(received: list[Any]) -> list[bytes]:
    return [one.message.data for one in received]


def acknowledge(subscriber: Any, subscription: str, received: list[Any]) -> None:
    subscriber.acknowledge(subscription=subscription, ack_ids=[one.ack_id for one in received])


def give_back(subscriber: Any, subscription: str, received: list[Any]) -> None:
    subscriber.modify_ack_deadline(
        subscription=subscription, ack_ids=[one.ack_id for one in received], ack_deadline_seconds=0
    )


def test_topics_are_made_changed_listed_and_deleted(publisher, name):
    made = publisher.create_topic(request={"name": name("topics"), "labels": {"team": "blue"}})
    assert made.state == types.Topic.State.ACTIVE and dict(made.labels) == {"team": "blue"}
    with pytest.raises(exceptions.Conflict, match="already exists"):
        publisher.create_topic(name=made.name)
    assert publisher.get_topic(topic=made.name) == made
    changed = publisher.update_topic(
        topic={"name": made.name, "message_retention_duration": duration_pb2.Duration(seconds=3600)},
        update_mask=field_mask_pb2.FieldMask(paths=["message_retention_duration"]),
    )
    assert changed.message_retention_duration.seconds == 3600 and changed.labels == made.labels
    others = {publisher.create_topic(name=name("topics")).name for _ in range(2)}
    pages = publisher.list_topics(request={"project": PROJECT, "page_size": 2})
    assert {made.name, *others} <= {one.name for one in pages}
    publisher.delete_topic(topic=made.name)
    with pytest.raises(exceptions.NotFound, match="Resource not found"):
        publisher.get_topic(topic=made.name)
    with pytest.raises(exceptions.NotFound):
        publish(publisher, made.name, b"x")


def test_a_message_goes_to_every_subscription_and_is_acknowledged_in_each(
    publisher, subscriber, topic, subscribed
):
    first, second = subscribed(), subscribed()
    ids = publish(publisher, topic, b"a", b"b", kind="x")
    received = pull(subscriber, first)
    assert data(received) == [b"a", b"b"] and [one.message.message_id for one in received] == ids
    assert (
        received[0].message.attributes == {"kind": "x"} and received[0].message.publish_time.timestamp() > 0
    )
    assert received[0].delivery_attempt == 0
    assert pull(subscriber, first, wait=False) == []  # they are leased
    acknowledge(subscriber, first, received)
    give_back(subscriber, first, received)  # too late
    assert pull(subscriber, first, wait=False) == []
    assert data(pull(subscriber, second, 1)) == [b"a"] and data(pull(subscriber, second)) == [b"b"]
    assert list(publisher.list_topic_subscriptions(topic=topic)) == [second, first]


def test_a_message_comes_again_until_it_is_acknowledged(publisher, subscriber, topic, subscribed):
    subscription = subscribed()
    publish(publisher, topic, b"again")
    first = pull(subscriber, subscription)
    give_back(subscriber, subscription, first)
    second = pull(subscriber, subscription)
    assert data(second) == [b"again"] and second[0].ack_id != first[0].ack_id
    acknowledge(subscriber, subscription, first)  # a late acknowledgement counts
    assert pull(subscriber, subscription, wait=False) == []
    publish(publisher, topic, b"short")
    short = pull(subscriber, subscription)
    subscriber.modify_ack_deadline(
        subscription=subscription, ack_ids=[short[0].ack_id], ack_deadline_seconds=1
    )
    assert data(pull(subscriber, subscription)) == [b"short"]  # the lease ended while it was waited for


def test_a_pull_waits_for_the_first_message(publisher, subscriber, topic, subscribed):
    import threading

    subscription = subscribed()
    later = threading.Timer(0.2, publish, (publisher, topic, b"late"))
    later.start()
    assert data(pull(subscriber, subscription)) == [b"late"]
    later.join()


def test_subscriptions_keep_what_they_were_told(publisher, subscriber, topic, subscribed):
    asked = subscribed(
        ack_deadline_seconds=30, retain_acked_messages=True, labels={"a": "b"}, filter="attributes:x",
        message_retention_duration=duration_pb2.Duration(seconds=1200),
        retry_policy={"minimum_backoff": duration_pb2.Duration(seconds=20)}, expiration_policy={},
    )  # fmt: skip
    found = subscriber.get_subscription(subscription=asked)
    assert found.topic == topic and found.ack_deadline_seconds == 30 and found.filter == "attributes:x"
    assert (
        found.retry_policy.maximum_backoff.seconds == 600 and found.message_retention_duration.seconds == 1200
    )
    assert "expiration_policy" in found and not found.expiration_policy.ttl
    usual = subscriber.get_subscription(subscription=subscribed())
    assert usual.ack_deadline_seconds == 10 and usual.expiration_policy.ttl.days == 31
    changed = subscriber.update_subscription(
        subscription={"name": asked, "ack_deadline_seconds": 60},
        update_mask=field_mask_pb2.FieldMask(paths=["ack_deadline_seconds"]),
    )
    assert changed.ack_deadline_seconds == 60 and changed.filter == "attributes:x"
    with pytest.raises(exceptions.BadRequest, match="filter cannot be changed"):
        subscriber.update_subscription(
            subscription={"name": asked, "filter": "attributes:y"},
            update_mask=field_mask_pb2.FieldMask(paths=["filter"]),
        )
    assert asked in {one.name for one in subscriber.list_subscriptions(project=PROJECT)}
    publisher.delete_topic(topic=topic)
    assert subscriber.get_subscription(subscription=asked).topic == "_deleted-topic_"
    subscriber.delete_subscription(subscription=asked)
    with pytest.raises(exceptions.NotFound):
        pull(subscriber, asked)


def test_a_filter_lets_through_what_it_says(publisher, subscriber, topic, subscribed):
    wanted = {
        'attributes.kind = "a"': [b"a1", b"a2"],
        'attributes.kind != "a"': [b"b", b"none"],
        "attributes:kind AND NOT attributes:old": [b"a1", b"b"],
        'hasPrefix(attributes.path, "in/") OR attributes."odd key" = "1"': [b"a1", b"b"],
        '(attributes.kind = "a" OR attributes.kind = "b") AND attributes:path': [b"a1"],
        '-attributes:kind': [b"none"],
    }  # fmt: skip
    subscriptions = {filter: subscribed(filter=filter) for filter in wanted}
    publish(publisher, topic, b"a1", kind="a", path="in/x")
    publish(publisher, topic, b"a2", kind="a", old="")
    publish(publisher, topic, b"b", kind="b", **{"odd key": "1"})
    publish(publisher, topic, b"none")
    assert {filter: data(pull(subscriber, one)) for filter, one in subscriptions.items()} == wanted


def test_messages_of_a_key_come_in_order_and_one_after_the_other(publisher, subscriber, topic, subscribed):
    subscription = subscribed(enable_message_ordering=True)
    publish(publisher, topic, b"1", b"2", b"3", key="k")
    publish(publisher, topic, b"other", key="j")
    first = pull(subscriber, subscription, 1)
    assert data(first) == [b"1"] and first[0].message.ordering_key == "k"
    assert data(pull(subscriber, subscription, wait=False)) == [b"other"]  # the rest of k waits for the first
    acknowledge(subscriber, subscription, first)
    rest = pull(subscriber, subscription)
    assert data(rest) == [b"2", b"3"]
    give_back(subscriber, subscription, rest[:1])  # and what was given out behind it comes again, too
    acknowledge(subscriber, subscription, rest[1:])
    again = pull(subscriber, subscription)
    assert data(again) == [b"2", b"3"]
    acknowledge(subscriber, subscription, again)
    assert pull(subscriber, subscription, wait=False) == []


def test_what_is_given_back_too_often_goes_to_the_dead_letter_topic(
    publisher, subscriber, topic, subscribed, name
):
    dead = publisher.create_topic(name=name("topics")).name
    bin = subscriber.create_subscription(name=name("subscriptions"), topic=dead).name
    subscription = subscribed(dead_letter_policy={"dead_letter_topic": dead, "max_delivery_attempts": 5})
    publish(publisher, topic, b"poison", kind="x")
    for attempt in range(1, 6):
        received = pull(subscriber, subscription)
        assert received[0].delivery_attempt == attempt
        give_back(subscriber, subscription, received)
    assert pull(subscriber, subscription, wait=False) == []
    [buried] = pull(subscriber, bin)
    assert buried.message.data == b"poison" and buried.message.attributes["kind"] == "x"
    assert buried.message.attributes["CloudPubSubDeadLetterSourceSubscription"] == subscription.split("/")[-1]
    assert buried.message.attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "5"


def test_a_message_that_was_given_back_rests_as_the_retry_policy_says(
    publisher, subscriber, topic, subscribed
):
    slow = {
        "minimum_backoff": duration_pb2.Duration(seconds=600),
        "maximum_backoff": duration_pb2.Duration(seconds=600),
    }
    subscription = subscribed(retry_policy=slow)
    publish(publisher, topic, b"x")
    give_back(subscriber, subscription, pull(subscriber, subscription))
    assert pull(subscriber, subscription, wait=False) == []


def test_a_subscription_goes_back_to_a_time_and_forward(publisher, subscriber, topic, subscribed):
    subscription = subscribed(retain_acked_messages=True)
    publish(publisher, topic, b"1")
    received = pull(subscriber, subscription)
    acknowledge(subscriber, subscription, received)
    publish(publisher, topic, b"2")
    subscriber.seek(request={"subscription": subscription, "time": received[0].message.publish_time})
    assert data(pull(subscriber, subscription)) == [b"1", b"2"]
    far = timestamp_pb2.Timestamp(seconds=4102444800)
    subscriber.seek(request={"subscription": subscription, "time": far})
    assert pull(subscriber, subscription, wait=False) == []


def test_a_topic_keeps_what_is_published_for_those_that_come_later(publisher, subscriber, name):
    kept = publisher.create_topic(
        request={"name": name("topics"), "message_retention_duration": duration_pb2.Duration(seconds=600)}
    ).name
    publish(publisher, kept, b"early")
    late = subscriber.create_subscription(name=name("subscriptions"), topic=kept)
    assert late.topic_message_retention_duration.seconds == 600
    assert pull(subscriber, late.name, wait=False) == []
    subscriber.seek(request={"subscription": late.name, "time": timestamp_pb2.Timestamp(seconds=1)})
    assert data(pull(subscriber, late.name)) == [b"early"]


def test_a_snapshot_is_come_back_to(publisher, subscriber, topic, subscribed, name):
    subscription = subscribed()
    publish(publisher, topic, b"1", b"2")
    acknowledge(subscriber, subscription, pull(subscriber, subscription, 1))
    made = subscriber.create_snapshot(name=name("snapshots"), subscription=subscription)
    assert made.topic == topic and made.expire_time.timestamp() > 0
    publish(publisher, topic, b"3")
    seen = pull(subscriber, subscription)
    acknowledge(subscriber, subscription, seen)
    subscriber.seek(request={"subscription": subscription, "snapshot": made.name})
    assert data(pull(subscriber, subscription)) == [b"2", b"3"]
    assert list(publisher.list_topic_snapshots(topic=topic)) == [made.name]
    assert subscriber.get_snapshot(snapshot=made.name) == made
    assert made.name in {one.name for one in subscriber.list_snapshots(project=PROJECT)}
    subscriber.delete_snapshot(snapshot=made.name)
    with pytest.raises(exceptions.NotFound):
        subscriber.seek(request={"subscription": subscription, "snapshot": made.name})


def test_a_detached_subscription_delivers_nothing(publisher, subscriber, topic, subscribed):
    subscription = subscribed()
    publish(publisher, topic, b"x")
    publisher.detach_subscription(request={"subscription": subscription})
    assert subscriber.get_subscription(subscription=subscription).detached
    with pytest.raises(exceptions.BadRequest, match="detached"):
        pull(subscriber, subscription)


def test_policies_are_kept(publisher, subscriber, topic, subscribed):
    for client, one in ((publisher, topic), (subscriber, subscribed())):
        policy = {"bindings": [{"role": "roles/pubsub.viewer", "members": ["user:a@example.com"]}]}
        client.set_iam_policy(request={"resource": one, "policy": policy})
        assert client.get_iam_policy(request={"resource": one}).bindings[0].role == "roles/pubsub.viewer"
        asked = {"resource": one, "permissions": ["pubsub.topics.publish"]}
        assert list(client.test_iam_permissions(request=asked).permissions) == ["pubsub.topics.publish"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ack_deadline_seconds": 5}, "ackDeadlineSeconds is 5"),
        ({"filter": 'attributes.a = "1" AND attributes.b = "2" OR attributes:c'}, "parentheses"),
        ({"filter": "data = 1"}, "filter can't be read"),
        ({"message_retention_duration": duration_pb2.Duration(seconds=5)}, "messageRetentionDuration is 5s"),
        ({"dead_letter_policy": {"dead_letter_topic": "x"}}, "deadLetterPolicy.deadLetterTopic"),
        ({"topic": "projects/p/topics"}, "topic is 'projects/p/topics'"),
        ({"name": f"{PROJECT}/subscriptions/1x"}, "not allowed"),
    ],
)  # fmt: skip
def test_a_wrong_subscription_is_refused_by_name(subscribed, settings, words):
    with pytest.raises(exceptions.BadRequest, match=words):
        subscribed(**settings)


def test_what_is_not_built_says_so(publisher, subscribed, name):
    with pytest.raises(exceptions.MethodNotImplemented, match="cloudStorageConfig is not built"):
        subscribed(cloud_storage_config={"bucket": "b"})
    with pytest.raises(exceptions.MethodNotImplemented, match="cloudStorageConfig is not built"):
        subscribed(cloud_storage_config={})
    with pytest.raises(exceptions.MethodNotImplemented, match="kmsKeyName is not built"):
        publisher.create_topic(request={"name": name("topics"), "kms_key_name": "k"})


def test_a_wrong_request_is_refused(publisher, subscriber, topic, subscribed):
    subscription = subscribed()
    with pytest.raises(exceptions.BadRequest, match=r"messages\[0\] is empty"):
        publish(publisher, topic, b"")
    with pytest.raises(exceptions.BadRequest, match="at most 1,000"):
        publish(publisher, topic, *[b"x"] * 1001)
    with pytest.raises(exceptions.BadRequest, match="goog"):
        publish(publisher, topic, b"x", googx="1")
    with pytest.raises(exceptions.BadRequest, match="invalid ack ID"):
        subscriber.acknowledge(subscription=subscription, ack_ids=["nonsense"])
    with pytest.raises(exceptions.BadRequest, match="maxMessages"):
        pull(subscriber, subscription, 0)
    with pytest.raises(exceptions.NotFound, match="Resource not found"):
        subscriber.create_subscription(name=subscription + "x", topic=topic + "-none")


@pytest.mark.slow
def test_what_was_published_survives_a_kill(new_portico):
    import requests

    own = new_portico().start()
    try:
        base = f"{own.url}/apis/pubsub/v1/projects/p"
        requests.put(f"{base}/topics/kept", json={}, timeout=60).raise_for_status()
        told = {"topic": "projects/p/topics/kept"}
        requests.put(f"{base}/subscriptions/kept", json=told, timeout=60).raise_for_status()
        messages = [{"data": "bGVmdA=="}, {"attributes": {"n": "2"}}]
        asked = requests.post(f"{base}/topics/kept:publish", json={"messages": messages}, timeout=60)
        own.kill()
        own.start()
        found = requests.post(f"{base}/subscriptions/kept:pull", json={"maxMessages": 5}, timeout=60).json()
        received = found["receivedMessages"]
        assert [one["message"]["messageId"] for one in received] == asked.json()["messageIds"]
        assert received[0]["message"]["data"] == "bGVmdA==" and received[1]["message"]["attributes"] == {
            "n": "2"
        }
        acks = {"ackIds": [one["ackId"] for one in received]}
        requests.post(f"{base}/subscriptions/kept:acknowledge", json=acks, timeout=60).raise_for_status()
        own.kill()
        own.start()
        asked = requests.post(
            f"{base}/subscriptions/kept:pull", json={"maxMessages": 5, "returnImmediately": True}, timeout=60
        )
        assert asked.json() == {}
    finally:
        own.stop()


@pytest.mark.parametrize(
    "wrong", ["", "x", "projects/p/topics", "projects/p/topics/a/b", "projects//topics/é"]
)
def test_a_name_of_another_form_is_refused_by_grpc(address, wrong):
    with grpc.insecure_channel(address) as channel:
        publisher, subscriber = (
            cls(transport=cls.get_transport_class("grpc")(channel=channel))
            for cls in (PublisherClient, SubscriberClient)
        )
        for ask in (
            lambda: publisher.create_topic(name=wrong),
            lambda: publisher.publish(topic=wrong, messages=[{"data": b"x"}]),
            lambda: publisher.update_topic(
                request={"topic": {"name": wrong}, "update_mask": {"paths": ["labels"]}}
            ),
            lambda: publisher.list_topics(project=wrong),
            lambda: publisher.get_iam_policy(request={"resource": wrong}),
            lambda: subscriber.create_snapshot(name=wrong, subscription=wrong),
            lambda: subscriber.acknowledge(subscription=wrong, ack_ids=["1-1-1"]),
        ):
            with pytest.raises((exceptions.InvalidArgument, exceptions.NotFound)) as refused:
                ask()
            assert refused.value.message


@pytest.mark.parametrize(
    ("first", "then", "words"),
    [
        ({}, None, "names its subscription"),
        ({"stream_ack_deadline_seconds": 1}, None, "stream_ack_deadline_seconds is 1"),
        ({"stream_ack_deadline_seconds": 10}, {"ack_ids": ["nonsense"]}, "invalid ack ID"),
        ({"stream_ack_deadline_seconds": 10}, {"modify_deadline_ack_ids": ["1-1-1"]}, "one number for each"),
    ],
)  # fmt: skip
def test_a_wrong_stream_is_refused_with_its_reason(address, publisher, subscribed, first, then, words):
    subscription = subscribed() if first else ""
    requests = [{"subscription": subscription, **first}, *([then] if then else [])]
    with grpc.insecure_channel(address) as channel:
        subscriber = SubscriberClient(transport=SubscriberClient.get_transport_class("grpc")(channel=channel))
        with pytest.raises(exceptions.InvalidArgument, match=words):
            list(subscriber.streaming_pull(requests=map(types.StreamingPullRequest, requests)))
