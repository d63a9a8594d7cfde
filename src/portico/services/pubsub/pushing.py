"""Pushes messages to the addresses and tables of subscriptions: what one takes is acknowledged, all else comes again,
after a pause that doubles as long as nothing succeeds.

https://cloud.google.com/pubsub/docs/push
"""

from __future__ import annotations

import base64
import http.client
import logging
import threading
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import orjson

from portico.errors import PorticoError
from portico.services.call import Rooms
from portico.services.iam import accounts, tokens
from portico.services.pubsub import to_tables
from portico.services.pubsub.pulling import message_json
from portico.services.standard.deadline import Deadline
from portico.store import resources
from portico.store.pubsub import deliveries, topics
from portico.store.pubsub.deliveries import Delivered
from portico.store.pubsub.topics import Subscription

log = logging.getLogger(__name__)
_AT_ONCE: Final = 8  # requests that an address gets side by side
_ROWS: Final = 500  # messages that a table gets at once
_SUCCESS: Final = (102, 200, 201, 202, 204)
_LEAST, _MOST = 0.1, 60.0  # seconds between tries


class _Staying(urllib.request.HTTPRedirectHandler):
    """Nothing is sent elsewhere than to the address itself."""

    def redirect_request(self, *args: Any) -> None:
        return None


class Pushing:
    """Belongs to the scheduler's process."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._running: set[str] = set()
        self._rests: dict[
            str, tuple[float, float]
        ] = {}  # until when, by the monotonic clock, and for how long

    def run_due(self) -> None:
        """Starts what is due; returns at once."""
        now = self._rooms.clock.monotonic()
        with self._rooms.database.read() as connection:
            pushed = [one.name for one in topics.listed(connection) if one.settings.pushed]
            due = deliveries.waiting(connection, pushed, self._rooms.clock.now()) if pushed else set()
        for name in due - self._running:
            if self._rests.get(name, (now, 0.0))[0] <= now:
                self._running.add(name)
                threading.Thread(target=self._push, args=(name,), name="push", daemon=True).start()

    def _push(self, name: str) -> None:
        try:
            with ThreadPoolExecutor(_AT_ONCE, "push") as pool:
                while self._some(name, pool):
                    pass
        except Exception:
            log.exception("what %s has can't be pushed", name)
        finally:
            self._running.discard(name)

    def _some(self, name: str, pool: ThreadPoolExecutor) -> bool:
        """Pushes what is due, or a part of it; whether it goes on at once."""
        rooms = self._rooms
        with rooms.database.write() as connection:
            resource, subscription = (
                resources.get(connection, name),
                topics.find_subscription(connection, name),
            )
            if resource is None or subscription is None or not subscription.settings.pushed:
                return False
            table = resource.body.get("bigqueryConfig")
            most = 1 if subscription.settings.ordered else _ROWS if table else _AT_ONCE
            taken = deliveries.take(connection, subscription, most, rooms.clock.now())
            headers = {} if table else self._headers(connection, resource.body["pushConfig"])
        if not taken:
            return False
        if table:
            address, errors = table["table"], to_tables.write(rooms, table, name, taken)
        else:
            address = resource.body["pushConfig"]["pushEndpoint"]
            seconds = subscription.settings.ack_deadline
            errors = list(
                pool.map(lambda one: _sent(address, headers, _wrapped(subscription, one), seconds), taken)
            )
        good = [(one.id, one.attempt) for one, error in zip(taken, errors, strict=True) if not error]
        bad = [(one.id, one.attempt) for one, error in zip(taken, errors, strict=True) if error]
        with rooms.database.write() as connection:
            found = topics.find_subscription(connection, name)
            if found is None:
                return False
            deliveries.acknowledge(connection, found, good, rooms.clock.now())
            deliveries.extend(connection, found, bad, 0.0, rooms.clock.now())
        if not bad:
            self._rests.pop(name, None)
            return True
        _, pause = self._rests.get(name, (0.0, _LEAST / 2))
        pause = min(2 * pause, _MOST)
        log.warning("%s did not take %d messages of %s: %s", address, len(bad), name, max(errors))
        self._rests[name] = (rooms.clock.monotonic() + pause, pause)
        return False

    def _headers(self, connection: Any, config: Mapping[str, Any]) -> dict[str, str]:
        # Whoever named the address is not who sends this: a server of ours, also this one, takes it for a foreign
        # page's.
        headers = {
            "content-type": "application/json",
            "user-agent": "Portico",
            "sec-fetch-site": "cross-site",
        }
        if oidc := config.get("oidcToken"):
            try:
                account = accounts.require(connection, accounts.named(oidc["serviceAccountEmail"])).body
            except PorticoError as error:
                log.warning("nobody signs for a push: %s", error.message)
                return headers
            token = tokens.id_token(
                self._rooms.home, account["email"], account["uniqueId"],
                oidc.get("audience") or config["pushEndpoint"], self._rooms.clock.now(),
            )  # fmt: skip
            headers["authorization"] = f"Bearer {token}"
        return headers


def _wrapped(subscription: Subscription, one: Delivered) -> bytes:
    told = message_json(one)
    if "data" in told:
        told["data"] = base64.b64encode(told["data"]).decode()
    told |= {"message_id": told["messageId"], "publish_time": told["publishTime"]}
    body: dict[str, Any] = {"message": told, "subscription": subscription.name}
    if subscription.settings.dead_letter_topic:
        body["deliveryAttempt"] = one.attempt
    return orjson.dumps(body)


def _sent(address: str, headers: Mapping[str, str], body: bytes, seconds: float) -> str:
    """What went wrong; "" where the address took it."""
    try:
        asked = urllib.request.Request(address, body, dict(headers))
        with (
            Deadline(seconds) as deadline,
            deadline.opener(_Staying()).open(asked, timeout=seconds) as answer,
        ):
            return "" if answer.status in _SUCCESS else f"it answered {answer.status}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        return str(error) or repr(error)
