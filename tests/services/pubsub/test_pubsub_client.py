"""The official client as users have it: publishing in batches, and callbacks for what comes by a stream."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.subscriber.exceptions import AcknowledgeError
from tests.services.iam.test_permissions import Someone
from tests.services.iam.test_service_accounts import client
from tests.waiting import until

from portico.client.settings import of_a_shell, settings
from portico.host.address import Address, running

PROJECT = "official-messages"


@pytest.fixture(scope="module")
def emulator(portico: Any) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PUBSUB_EMULATOR_HOST", settings(portico.home)["PUBSUB_EMULATOR_HOST"])
        yield os.environ["PUBSUB_EMULATOR_HOST"]


@pytest.fixture(scope="module")
def publisher(emulator: str) -> pubsub_v1.PublisherClient:
    return pubsub_v1.PublisherClient()


@pytest.fixture(scope="module")
def subscriber(emulator: str) -> Iterator[pubsub_v1.SubscriberClient]:
    with pubsub_v1.SubscriberClient() as client:
        yield client


@pytest.fixture
def topic(publisher: Any) -> str:
    path = publisher.topic_path(PROJECT, f"t{time.time_ns()}")
    publisher.create_topic(name=path)
    return path


@pytest.fixture
def subscribed(subscriber: Any, topic: str) -> Callable[..., str]:
    def subscribe(**asked: Any) -> str:
        path = subscriber.subscription_path(PROJECT, f"s{time.time_ns()}")
        subscriber.create_subscription(request={"name": path, "topic": topic, **asked})
        return path

    return subscribe


@contextmanager
def listening(subscriber: Any, subscription: str, callback: Any, **more: Any) -> Iterator[Any]:
    future = subscriber.subscribe(subscription, callback, **more)
    try:
        yield future
    finally:
        future.cancel()
        future.result(timeout=60)


def test_what_is_published_comes_to_the_callback(publisher, subscriber, topic, subscribed):
    subscription, seen = subscribed(), {}

    def callback(message: Any) -> None:
        seen[message.message_id] = (message.data, dict(message.attributes))
        message.ack()

    with listening(subscriber, subscription, callback):
        futures = [publisher.publish(topic, f"{n}".encode(), number=str(n)) for n in range(250)]
        wanted = {
            future.result(60): (f"{n}".encode(), {"number": str(n)}) for n, future in enumerate(futures)
        }
        until(lambda: len(seen) == 250, "the callback was called")
    assert seen == wanted
    left = subscriber.pull(
        request={"subscription": subscription, "max_messages": 5, "return_immediately": True}
    )
    assert not left.received_messages


def test_a_nack_brings_it_again(publisher, subscriber, topic, subscribed):
    subscription, attempts = subscribed(), []

    def callback(message: Any) -> None:
        attempts.append(message.data)
        message.nack() if len(attempts) < 3 else message.ack()

    with listening(subscriber, subscription, callback):
        publisher.publish(topic, b"x").result(60)
        until(lambda: len(attempts) == 3, "the callback was called")
    assert attempts == [b"x"] * 3


def test_the_client_is_given_no_more_than_it_takes(publisher, subscriber, topic, subscribed):
    subscription, held, go = subscribed(), [], threading.Event()

    def callback(message: Any) -> None:
        held.append(message)

    flow = pubsub_v1.types.FlowControl(max_messages=3)
    for n in range(10):
        publisher.publish(topic, f"{n}".encode()).result(60)
    with listening(subscriber, subscription, callback, flow_control=flow):
        until(lambda: len(held) == 3, "the callback was called")
        other = subscriber.pull(subscription=subscription, max_messages=20)
        assert len(other.received_messages) == 7  # the server kept them from the client that is full
        subscriber.modify_ack_deadline(
            subscription=subscription,
            ack_ids=[one.ack_id for one in other.received_messages],
            ack_deadline_seconds=0,
        )
        for message in list(held):
            message.ack()
        until(lambda: len(held) == 6, "the callback was called")
        go.set()
        until(
            lambda: [m.ack() for m in held[3:]] and len({m.message_id for m in held}) == 10,
            "the callback was called",
        )


def test_keys_keep_their_order(subscriber, emulator, topic, subscribed):
    ordered = pubsub_v1.PublisherClient(
        publisher_options=pubsub_v1.types.PublisherOptions(enable_message_ordering=True)
    )
    subscription, seen = subscribed(enable_message_ordering=True), []

    def callback(message: Any) -> None:
        seen.append((message.ordering_key, int(message.data)))
        message.ack()

    sent = [ordered.publish(topic, str(n).encode(), ordering_key=f"k{n % 3}") for n in range(60)]
    assert len({one.result(60) for one in sent}) == 60
    ordered.stop()
    with listening(subscriber, subscription, callback):
        until(lambda: len(set(seen)) == 60, "the callback was called")
    first = dict.fromkeys(seen)  # some may come again: once is not promised here, the order is
    for key in range(3):
        assert [n for of, n in first if of == f"k{key}"] == list(range(key, 60, 3))


def test_exactly_once_says_what_became_of_an_acknowledgement(publisher, subscriber, topic, subscribed):
    subscription, results, late = subscribed(enable_exactly_once_delivery=True), [], []

    def callback(message: Any) -> None:
        if message.data == b"late":
            late.append(message)
        else:
            results.append(message.ack_with_response())

    with listening(subscriber, subscription, callback, await_callbacks_on_shutdown=True):
        publisher.publish(topic, b"x").result(60)
        until(lambda: results, "the callback was called")
        assert results[0].result(60).name == "SUCCESS"
        publisher.publish(topic, b"late").result(60)
        until(lambda: late, "the callback was called")
        # Somebody else gives it back: its lease is over.
        subscriber.modify_ack_deadline(
            subscription=subscription, ack_ids=[late[0].ack_id], ack_deadline_seconds=0
        )
        until(lambda: len(late) == 2, "the callback was called")
        with pytest.raises(AcknowledgeError) as failed:
            late[0].ack_with_response().result(60)
        assert failed.value.error_code.name == "INVALID_ACK_ID"
        assert late[1].ack_with_response().result(60).name == "SUCCESS"


def test_a_stream_of_nothing_is_refused_with_its_reason(subscriber, topic, subscribed):
    future = subscriber.subscribe(subscriber.subscription_path(PROJECT, "none"), lambda message: None)
    with pytest.raises(exceptions.InvalidArgument, match="'123' in the name is not allowed"):
        subscriber.subscribe(subscriber.subscription_path(PROJECT, "123"), print).result(timeout=60)
    with pytest.raises(exceptions.NotFound, match="Resource not found"):
        future.result(timeout=60)


def test_a_subscription_that_is_deleted_ends_its_stream(subscriber, topic, subscribed):
    subscription = subscribed()
    future = subscriber.subscribe(subscription, lambda message: None)
    with pytest.raises(NotYet):
        future.result(timeout=0.5)
    subscriber.delete_subscription(subscription=subscription)
    with pytest.raises(exceptions.NotFound):
        future.result(timeout=60)


@pytest.mark.slow  # the client itself waits ten seconds when it can't connect five times
def test_a_stream_goes_on_after_the_server_was_stopped_and_started(new_portico, monkeypatch):
    own = new_portico().start()
    try:
        address = running(own.home)
        own.options = (*own.options, "--grpc-port", str(address.grpc))
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", address.grpc_address)
        publisher, seen = pubsub_v1.PublisherClient(), []
        with pubsub_v1.SubscriberClient() as subscriber:
            topic, subscription = publisher.topic_path("p", "ttt"), subscriber.subscription_path("p", "sss")
            publisher.create_topic(name=topic)
            subscriber.create_subscription(name=subscription, topic=topic)

            def callback(message: Any) -> None:
                seen.append(message.data)
                message.ack()

            with listening(subscriber, subscription, callback):
                publisher.publish(topic, b"before").result(60)
                until(lambda: seen == [b"before"], "the callback was called")
                assert own.stop() == 0
                own.start()
                publisher.publish(topic, b"after").result(60)
                until(lambda: seen == [b"before", b"after"], "the callback was called")
    finally:
        own.stop()


SCRIPT = """
from google.cloud import pubsub_v1
publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
topic, subscription = publisher.topic_path("shell", "t{0}"), subscriber.subscription_path("shell", "s{0}")
publisher.create_topic(name=topic)
subscriber.create_subscription(name=subscription, topic=topic)
publisher.publish(topic, b"hello").result()
[received] = subscriber.pull(subscription=subscription, max_messages=1).received_messages
print(received.message.data.decode())
"""


def test_a_script_runs_unchanged_in_a_shell_and_under_exec(portico):
    exec = [sys.executable, "-m", "portico.cli.main", "exec", "--home", str(portico.home), "--"]
    # As in jobs, and where a token is required: the client shows its own.
    with_token = [*exec, "env", "-u", "PUBSUB_EMULATOR_HOST"]
    for number, command in enumerate(([], exec, with_token)):
        script = [sys.executable, "-c", SCRIPT.format(f"{time.time_ns()}-{number}")]
        environment = os.environ | ({} if command else of_a_shell(portico.home))
        ran = subprocess.run(
            [*command, *script], env=environment, capture_output=True, text=True, timeout=120
        )
        assert ran.stdout == "hello\n", ran.stderr


BY_REST = """
from google.api_core.exceptions import PermissionDenied
from google.cloud import pubsub_v1
publisher, subscriber = pubsub_v1.PublisherClient(transport="rest"), pubsub_v1.SubscriberClient(transport="rest")
topic, subscription = publisher.topic_path("shell", "t{0}"), subscriber.subscription_path("shell", "s{0}")
publisher.create_topic(name=topic)
subscriber.create_subscription(name=subscription, topic=topic)
publisher.publish(topic, b"hello").result()
[received] = subscriber.pull(subscription=subscription, max_messages=1).received_messages
print(received.message.data.decode())
for transport in ("grpc", "rest"):
    theirs = pubsub_v1.PublisherClient.from_service_account_json({1!r}, transport=transport)
    try:
        theirs.get_topic(topic=topic)
    except PermissionDenied:
        print("denied")
"""


def test_under_exec_a_client_speaks_rest_and_shows_its_own_key(portico, tmp_path):
    someone = Someone(portico, client(portico, "iam", "v1"), "shell")
    key = tmp_path / "key.json"
    key.write_text(json.dumps(someone.key))
    exec = [sys.executable, "-m", "portico.cli.main", "exec", "--home", str(portico.home), "--"]
    script = BY_REST.format(f"{time.time_ns()}-rest", str(key))
    ran = subprocess.run([*exec, sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert ran.stdout == "hello\ndenied\ndenied\n", ran.stderr


def test_where_a_token_is_required_the_client_is_not_told_to_show_none(tmp_path, monkeypatch):
    address = Address("127.0.0.1", 1, 2, auth="required", grpc=3)
    monkeypatch.setattr(sys.modules[settings.__module__], "running", lambda home: address)
    assert "PUBSUB_EMULATOR_HOST" not in settings(tmp_path) and "grpc_proxy" in of_a_shell(tmp_path)
