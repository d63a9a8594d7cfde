"""Google's clients of Pub/Sub against the running Portico of the tests, and topics of a test's own."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.auth.credentials import AnonymousCredentials
from google.pubsub_v1 import PublisherClient, SubscriberClient

from portico.host.address import running

PROJECT = "projects/messages"
_names = itertools.count()


@pytest.fixture(scope="session")
def address(portico: Any) -> str:
    """Where the server speaks gRPC."""
    found = running(portico.home)
    assert found is not None
    return found.grpc_address


@pytest.fixture(scope="session", params=["rest", "grpc"])
def made(request: pytest.FixtureRequest, portico: Any, address: str) -> Iterator[Callable[[Any], Any]]:
    """Makes a client of this class, of one transport."""
    with grpc.insecure_channel(address) as channel:

        def make(cls: Any) -> Any:
            if request.param == "grpc":
                return cls(transport=cls.get_transport_class("grpc")(channel=channel))
            options = {"api_endpoint": f"{portico.url}/apis/pubsub"}
            return cls(transport="rest", credentials=AnonymousCredentials(), client_options=options)

        yield make


@pytest.fixture(scope="session")
def publisher(made: Any) -> PublisherClient:
    return made(PublisherClient)


@pytest.fixture(scope="session")
def subscriber(made: Any) -> SubscriberClient:
    return made(SubscriberClient)


@pytest.fixture
def name() -> Callable[[str], str]:
    """A new name in a collection: name("topics")."""
    return lambda collection: f"{PROJECT}/{collection}/t{os.getpid()}-{next(_names)}"


@pytest.fixture
def topic(publisher: PublisherClient, name: Callable[[str], str]) -> str:
    return publisher.create_topic(name=name("topics")).name


@pytest.fixture
def subscribed(subscriber: SubscriberClient, topic: str, name: Callable[[str], str]) -> Callable[..., str]:
    """Makes a subscription to the test's topic."""

    def subscribe(**settings: Any) -> str:
        asked = {"name": name("subscriptions"), "topic": topic, **settings}
        return subscriber.create_subscription(request=asked).name

    return subscribe
