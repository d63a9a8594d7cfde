"""Notifications of a bucket's objects, by the official client, as Pub/Sub delivers them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.pubsub_v1 import PublisherClient, SubscriberClient
from tests.waiting import until

from portico.host.address import running

PROJECT = "portico"


@pytest.fixture(scope="module")
def channel(server: Any) -> Iterator[Any]:
    address = running(server.home)
    assert address is not None
    with grpc.insecure_channel(address.grpc_address) as made:
        yield made


@pytest.fixture(scope="module")
def publisher(channel: Any) -> Any:
    return PublisherClient(transport=PublisherClient.get_transport_class("grpc")(channel=channel))


@pytest.fixture(scope="module")
def subscriber(channel: Any) -> Any:
    return SubscriberClient(transport=SubscriberClient.get_transport_class("grpc")(channel=channel))


@pytest.fixture
def topic(publisher: Any) -> str:
    id = f"objects{time.time_ns()}"
    publisher.create_topic(name=f"projects/{PROJECT}/topics/{id}")
    return id


@pytest.fixture
def told(subscriber: Any, topic: str) -> Callable[[int], list[Any]]:
    """The next so many messages of the topic, by what happened and to which object."""
    name = f"projects/{PROJECT}/subscriptions/{topic}"
    subscriber.create_subscription(name=name, topic=f"projects/{PROJECT}/topics/{topic}")
    seen: list[Any] = []

    def look(count: int) -> list[Any]:
        received = subscriber.pull(subscription=name, max_messages=100).received_messages
        if received:
            subscriber.acknowledge(subscription=name, ack_ids=[one.ack_id for one in received])
        seen.extend(one.message for one in received)
        return seen if len(seen) >= count else []

    def wait(count: int) -> list[Any]:
        found = until(lambda: look(count), "the notifications came", 60)
        assert len(found) == count
        seen_now = sorted(found, key=lambda one: (one.attributes["eventTime"], one.attributes["eventType"]))
        seen.clear()
        return seen_now

    return wait


def events(messages: list[Any]) -> list[tuple[str, str]]:
    return [(one.attributes["eventType"], one.attributes["objectId"]) for one in messages]


def test_what_happens_to_objects_is_published(bucket, topic, told):
    made = bucket.notification(
        topic_name=topic, payload_format="JSON_API_V1", custom_attributes={"team": "blue"}
    )
    made.create()
    blob = bucket.blob("in/a.csv")
    blob.metadata = {"k": "v"}
    blob.upload_from_string("1,2", content_type="text/csv")
    first = blob.generation
    [finalized] = told(1)
    attributes, payload = finalized.attributes, json.loads(finalized.data)
    assert attributes["eventType"] == "OBJECT_FINALIZE" and attributes["team"] == "blue"
    assert attributes["bucketId"] == bucket.name and attributes["objectId"] == "in/a.csv"
    assert attributes["objectGeneration"] == str(first) and attributes["payloadFormat"] == "JSON_API_V1"
    assert attributes["notificationConfig"] == f"projects/_/buckets/{bucket.name}/notificationConfigs/1"
    assert "overwroteGeneration" not in attributes and attributes["eventTime"].endswith("Z")
    assert (
        payload["kind"] == "storage#object"
        and payload["size"] == "3"
        and payload["contentType"] == "text/csv"
    )
    assert payload["generation"] == str(first) and payload["metadata"] == {"k": "v"}
    blob.metadata = {"k": "w"}
    blob.patch()
    [updated] = told(1)
    assert updated.attributes["eventType"] == "OBJECT_METADATA_UPDATE"
    assert json.loads(updated.data)["metageneration"] == "2"
    blob.upload_from_string("3,4")
    deleted, again = told(2)
    assert events([deleted, again]) == [("OBJECT_DELETE", "in/a.csv"), ("OBJECT_FINALIZE", "in/a.csv")]
    assert deleted.attributes["objectGeneration"] == again.attributes["overwroteGeneration"] == str(first)
    assert deleted.attributes["overwrittenByGeneration"] == again.attributes["objectGeneration"]
    blob.delete()
    [gone] = told(1)
    assert (
        gone.attributes["eventType"] == "OBJECT_DELETE" and "overwrittenByGeneration" not in gone.attributes
    )


def test_a_bucket_with_versions_archives(make_bucket, topic, told):
    bucket = make_bucket(versioning_enabled=True)
    bucket.notification(topic_name=topic).create()
    blob = bucket.blob("a")
    blob.upload_from_string("1")
    first = blob.generation
    bucket.blob("a").upload_from_string("2")
    bucket.delete_blob("a")
    bucket.blob("a", generation=first).delete()
    messages = told(5)
    assert sorted(events(messages)) == [
        ("OBJECT_ARCHIVE", "a"), ("OBJECT_ARCHIVE", "a"), ("OBJECT_DELETE", "a"), ("OBJECT_FINALIZE", "a"),
        ("OBJECT_FINALIZE", "a"),
    ]  # fmt: skip
    assert {one.data for one in messages} == {b""}  # the client's usual payload format is NONE


def test_only_what_was_asked_for_is_told(bucket, topic, told):
    bucket.notification(
        topic_name=topic, event_types=["OBJECT_DELETE"], blob_name_prefix="in/", payload_format="NONE"
    ).create()
    for name in ("in/a", "out/a"):
        bucket.blob(name).upload_from_string("x")
        bucket.blob(name).delete()
    assert events(told(1)) == [("OBJECT_DELETE", "in/a")]


def test_configurations_are_got_listed_and_deleted(bucket, topic):
    made = [bucket.notification(topic_name=topic) for _ in range(2)]
    for one in made:
        one.create()
    found = list(bucket.list_notifications())
    assert [one.notification_id for one in found] == ["1", "2"]
    assert (found[0].topic_name, found[0].topic_project) == (topic, PROJECT)
    assert bucket.get_notification("1").payload_format == "NONE"
    assert made[0].exists()
    made[0].delete()
    assert not made[0].exists()
    with pytest.raises(exceptions.NotFound, match="does not exist"):
        made[0].reload()
    with pytest.raises(exceptions.NotFound):
        bucket.get_notification("1")
    bucket.delete()


def test_a_wrong_configuration_is_refused(bucket, topic):
    with pytest.raises(exceptions.NotFound, match="topic projects/portico/topics/none does not exist"):
        bucket.notification(topic_name="none").create()
    with pytest.raises(exceptions.BadRequest, match="payload_format is 'XML'"):
        bucket.notification(topic_name=topic, payload_format="XML").create()
    with pytest.raises(exceptions.BadRequest, match="event_types is 'OBJECT_READ'"):
        bucket.notification(topic_name=topic, event_types=["OBJECT_READ"]).create()
