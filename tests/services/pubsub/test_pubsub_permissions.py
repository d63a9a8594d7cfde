"""Who may publish, subscribe and pull, by policies of topics and subscriptions; and what the audit log says."""

from __future__ import annotations

import threading
import time
from typing import Any

import grpc
import pytest
import requests
from google.api_core import exceptions
from google.oauth2 import credentials as oauth2
from google.pubsub_v1 import PublisherClient, SubscriberClient, types
from tests.services.iam.test_permissions import Someone, client

PROJECT = "guarded-messages"


@pytest.fixture
def who(portico: Any) -> Someone:
    return Someone(portico, client(portico, "iam", "v1"), PROJECT, "listener")


def as_them(portico: Any, who: Someone, cls: Any) -> Any:
    options = {"api_endpoint": f"{portico.url}/apis/pubsub"}
    return cls(transport="rest", credentials=oauth2.Credentials(who.token), client_options=options)


def allow(owner: Any, resource: str, role: str, who: Someone) -> None:
    policy = {"bindings": [{"role": role, "members": [who.member]}]}
    owner.set_iam_policy(request={"resource": resource, "policy": policy})


def test_each_needs_its_own_permission(portico, publisher, subscriber, who):
    stamp = time.time_ns()
    topic = publisher.create_topic(name=f"projects/{PROJECT}/topics/t{stamp}").name
    mine = f"projects/{PROJECT}/subscriptions/s{stamp}"
    subscription = subscriber.create_subscription(name=mine, topic=topic).name
    theirs, pulls = as_them(portico, who, PublisherClient), as_them(portico, who, SubscriberClient)
    messages = [{"data": b"x"}]
    with pytest.raises(exceptions.Forbidden, match=r"pubsub\.topics\.publish"):
        theirs.publish(topic=topic, messages=messages)
    allow(publisher, topic, "roles/pubsub.publisher", who)
    theirs.publish(topic=topic, messages=messages)
    with pytest.raises(exceptions.Forbidden, match=r"pubsub\.subscriptions\.consume"):
        pulls.pull(subscription=subscription, max_messages=1)
    allow(subscriber, subscription, "roles/pubsub.subscriber", who)
    assert len(pulls.pull(subscription=subscription, max_messages=1).received_messages) == 1


def test_who_subscribes_needs_the_topic_too(portico, publisher, who):
    stamp = time.time_ns()
    other = publisher.create_topic(name=f"projects/secret-messages/topics/t{stamp}").name
    projects = client(portico, "cloudresourcemanager", "v3").projects()
    policy = projects.getIamPolicy(resource=f"projects/{PROJECT}", body={}).execute()
    policy["bindings"] += [{"role": "roles/pubsub.editor", "members": [who.member]}]
    projects.setIamPolicy(resource=f"projects/{PROJECT}", body={"policy": policy}).execute()
    pulls = as_them(portico, who, SubscriberClient)
    name = f"projects/{PROJECT}/subscriptions/s{stamp}"
    with pytest.raises(exceptions.Forbidden, match=r"pubsub\.topics\.attachSubscription"):
        pulls.create_subscription(name=name, topic=other)
    own = as_them(portico, who, PublisherClient).create_topic(name=f"projects/{PROJECT}/topics/o{stamp}").name
    dead = {"dead_letter_topic": other, "max_delivery_attempts": 5}
    with pytest.raises(exceptions.Forbidden, match=r"pubsub\.topics\.publish"):
        pulls.create_subscription(request={"name": name, "topic": own, "dead_letter_policy": dead})
    assert pulls.create_subscription(name=name, topic=own).name == name


def test_what_changes_topics_is_in_the_audit_log(portico, publisher):
    name = f"projects/{PROJECT}/topics/audited{time.time_ns()}"
    publisher.create_topic(name=name)
    publisher.publish(topic=name, messages=[{"data": b"x"}])
    asked = {"resourceNames": [f"projects/{PROJECT}"], "filter": f'protoPayload.resourceName="{name}"'}
    found = requests.post(f"{portico.url}/apis/logging/v2/entries:list", json=asked, timeout=60).json()
    told = [one["protoPayload"]["methodName"] for one in found["entries"]]
    assert told == ["google.pubsub.v1.Publisher.CreateTopic"]


def test_a_stream_needs_its_permission_too(address, publisher, subscriber, who):
    stamp = time.time_ns()
    topic = publisher.create_topic(name=f"projects/{PROJECT}/topics/t{stamp}").name
    mine = f"projects/{PROJECT}/subscriptions/s{stamp}"
    subscription = subscriber.create_subscription(name=mine, topic=topic).name
    publisher.publish(topic=topic, messages=[{"data": b"x"}])
    with grpc.insecure_channel(address) as channel:
        theirs = SubscriberClient(transport=SubscriberClient.get_transport_class("grpc")(channel=channel))
        shown = [("authorization", f"Bearer {who.token}")]

        def first() -> Any:
            asked = [{"subscription": subscription, "stream_ack_deadline_seconds": 10}]
            waits = threading.Event()

            def requests() -> Any:
                yield from map(types.StreamingPullRequest, asked)
                waits.wait(60)

            try:
                for answer in theirs.streaming_pull(requests=requests(), metadata=shown):
                    if answer.received_messages:
                        return answer.received_messages[0].message.data
            finally:
                waits.set()

        with pytest.raises(exceptions.PermissionDenied, match=r"pubsub\.subscriptions\.consume"):
            first()
        allow(subscriber, subscription, "roles/pubsub.subscriber", who)
        assert first() == b"x"
