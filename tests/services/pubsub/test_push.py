"""Push subscriptions: what an address gets, what counts as taken, and what comes again."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
import pytest
import requests
from google.api_core import exceptions
from google.oauth2 import id_token
from tests.services.iam.test_permissions import client
from tests.services.pubsub.conftest import PROJECT
from tests.waiting import until

from portico.services.pubsub import keeping
from portico.services.pubsub.snapshots import SNAPSHOTS
from portico.services.pubsub.subscriptions import SUBSCRIPTIONS
from portico.store import resources
from portico.store.database import Database
from portico.store.pubsub import topics
from portico.store.pubsub.topics import Settings


class Receiver:
    """An address that answers the `status` that it is told, and keeps what it got."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.statuses: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = orjson.loads(self.rfile.read(int(self.headers["content-length"])))
                receiver.got.append((dict(self.headers), body))
                status = receiver.statuses.pop(0) if receiver.statuses else 204
                self.send_response(status)
                if status == 302:
                    self.send_header("location", receiver.url)
                self.end_headers()

            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()

            def log_message(self, *told: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/push"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


def left(subscriber: Any, subscription: str) -> list[bytes]:
    """What the subscription still has, once nothing is pushed."""
    subscriber.modify_push_config(subscription=subscription, push_config={})
    asked = {"subscription": subscription, "max_messages": 10, "return_immediately": True}
    return [one.message.data for one in subscriber.pull(request=asked).received_messages]


def test_an_address_gets_each_message_until_it_takes_it(publisher, subscriber, topic, subscribed, receiver):
    receiver.statuses = [500, 302]
    subscription = subscribed(push_config={"push_endpoint": receiver.url})
    [id] = publisher.publish(
        topic=topic, messages=[{"data": b"\x00hello", "attributes": {"k": "v"}}]
    ).message_ids
    until(lambda: len(receiver.got) >= 3, "the message was pushed three times", 60)
    headers, body = receiver.got[0]
    assert headers["Content-Type"] == "application/json" and "Authorization" not in headers
    told = body["message"]
    assert base64.b64decode(told["data"]) == b"\x00hello" and told["attributes"] == {"k": "v"}
    assert told["messageId"] == told["message_id"] == id and told["publishTime"] == told["publish_time"]
    assert body["subscription"] == subscription
    assert [one["message"]["messageId"] for _, one in receiver.got] == [id] * 3
    with pytest.raises(exceptions.BadRequest, match="pushes its messages"):
        subscriber.pull(subscription=subscription, max_messages=1)
    publisher.publish(topic=topic, messages=[{"data": b"next"}])
    until(lambda: len(receiver.got) == 4, "the next one came", 60)  # and the first no more
    until(lambda: left(subscriber, subscription) == [], "all is acknowledged", 60)


def test_an_address_is_told_who_calls(portico, publisher, topic, subscribed, receiver):
    iam = client(portico, "iam", "v1")
    body = {"accountId": "pusher"}
    account = iam.projects().serviceAccounts().create(name=PROJECT, body=body)
    try:
        email = account.execute()["email"]
    except Exception:  # of the other transport's test
        email = "pusher@messages.iam.gserviceaccount.com"
    oidc = {"service_account_email": email, "audience": "https://listener.example"}
    subscribed(push_config={"push_endpoint": receiver.url, "oidc_token": oidc})
    publisher.publish(topic=topic, messages=[{"data": b"x"}])
    until(lambda: receiver.got, "the message was pushed", 60)
    kind, _, token = receiver.got[0][0]["Authorization"].partition(" ")

    def asked(url: str, **more: Any) -> Any:
        found = requests.get(url, timeout=60)
        return type("Answer", (), {"status": found.status_code, "data": found.content})

    claims = id_token.verify_token(token, asked, "https://listener.example", f"{portico.url}/-/certs")
    assert kind == "Bearer" and claims["email"] == email


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"push_endpoint": "ftp://x/y"}, "http or https"),
        ({"push_endpoint": "http://[x"}, "http or https"),
        ({"attributes": {"x-goog-version": "v1"}}, "no pushEndpoint"),
        ({"push_endpoint": "http://x", "no_wrapper": {"write_metadata": True}}, "not built"),
        ({"push_endpoint": "http://x", "no_wrapper": {}}, "not built"),
        ({"push_endpoint": "http://x", "oidc_token": {}}, "names no account"),
        ({"push_endpoint": "http://x", "oidc_token": {"audience": "a"}}, "names no account"),
    ],
)  # fmt: skip
def test_a_wrong_address_is_refused(subscribed, config, words):
    with pytest.raises((exceptions.BadRequest, exceptions.MethodNotImplemented), match=words):
        subscribed(push_config=config)


def test_what_nobody_uses_expires(tmp_path):
    class Clock:
        def now(self) -> float:
            return 2_000_000.0

    database = Database(tmp_path)
    database.create_tables()
    with database.write() as connection:
        topics.write_topic(connection, "projects/p/topics/t", 0.0, 1.0)
        for name, kind, body, ttl in (
            ("projects/p/subscriptions/idle", SUBSCRIPTIONS.kind, {}, 86400.0),
            ("projects/p/subscriptions/kept", SUBSCRIPTIONS.kind, {}, 0.0),
            ("projects/p/snapshots/old", SNAPSHOTS.kind, {"expireTime": "1970-01-02T00:00:00Z"}, 0.0),
            ("projects/p/snapshots/new", SNAPSHOTS.kind, {"expireTime": "2030-01-02T00:00:00Z"}, 0.0),
        ):  # fmt: skip
            resources.insert(connection, name=name, kind=kind, parent="projects/p", body=body, now=1.0)
            topics.write_subscription(connection, name, "projects/p/topics/t", Settings(ttl=ttl), 1.0)
    keeping.sweep(database, Clock())
    with database.read() as connection:
        left = {one.name for one in topics.listed(connection)}
        assert left == {"projects/p/subscriptions/kept", "projects/p/snapshots/new"}
        assert resources.get(connection, "projects/p/subscriptions/idle") is None
    database.close()
