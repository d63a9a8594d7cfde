"""Tells what was found to mail and webhooks: from durable rows, again where it fails.

A sink has a thread while there is something to tell it, so none waits for another, and a time limit for each delivery.
"""

from __future__ import annotations

import http.client
import logging
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, Literal

import orjson
from sqlalchemy.engine import Connection

from portico.errors import PorticoError
from portico.services.alerts import mail
from portico.services.call import Rooms
from portico.services.standard.deadline import Deadline
from portico.store import resources
from portico.store.resources import Resource

log = logging.getLogger(__name__)

DELIVERIES = "portico:alertDeliveries"  # the kind of the rows of what must still be told
_ATTEMPTS = 8
_PAUSE = 2.0  # seconds after the first failure; twice that after the next, …
_TIMEOUT = 10.0  # seconds for the whole of a delivery


def note(
    connection: Connection,
    name: str,
    kind: Literal["emails", "webhooks"],
    sink: str,
    event: str,
    subject: str,
    text: str,
    now: float,
    alert: Mapping[str, Any] | None = None,
) -> None:
    """Notes in the caller's transaction that a sink must be told; `name` is PARENT/deliveries/NUMBER.

    `alert`, where the parent is one, is told to webhooks, and keeps what became of its deliveries.
    """
    body = {
        "kind": kind,
        "sink": sink,
        "event": event,
        "subject": subject,
        "text": text,
        "alert": alert or {},
        "attempts": 0,
    }
    parent = name.rpartition("/deliveries/")[0]
    resources.insert(connection, name=name, kind=DELIVERIES, parent=parent, body=body, now=now)


class Deliveries:
    """Belongs to the scheduler's process."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._running: set[str] = set()  # sinks
        self._rests: dict[
            str, float
        ] = {}  # until when what failed is not tried again, by the monotonic clock

    def run_due(self) -> None:
        """Starts what is due; returns at once."""
        now = self._rooms.clock.monotonic()
        with self._rooms.database.read() as connection:
            found = list(resources.listed(connection, DELIVERIES))
        for row in found:
            sink = row.body["sink"]
            if sink not in self._running and self._rests.get(row.name, now) <= now:
                self._running.add(sink)
                threading.Thread(target=self._deliver, args=(row,), name="alert", daemon=True).start()

    def _deliver(self, row: Resource) -> None:
        try:
            error = ""
            try:
                send(row.body)
            except (
                OSError,
                ValueError,
                http.client.HTTPException,
                PorticoError,
                mail.MailError,
            ) as caught:
                error = str(caught) or repr(caught)
            self._note(row, error)
        except Exception:
            log.exception("the delivery %s failed", row.name)
        finally:
            self._running.discard(row.body["sink"])

    def _note(self, row: Resource, error: str) -> None:
        attempts = row.body["attempts"] + 1
        with self._rooms.database.write() as connection:
            current = resources.get(connection, row.name)
            if current is None:
                return
            now = self._rooms.clock.now()
            if error:
                log.warning(
                    "%s was not told of %s (attempt %d): %s", row.body["sink"], row.parent, attempts, error
                )
            if error and attempts < _ATTEMPTS:
                self._rests[row.name] = self._rooms.clock.monotonic() + _PAUSE * 2 ** (attempts - 1)
                current.body |= {"attempts": attempts, "error": error}
                resources.update(connection, current, now)
                return
            resources.delete(connection, row.name)
            self._rests.pop(row.name, None)
            alert = resources.get(connection, row.parent) if row.body["alert"] else None
            if alert is not None:
                done = {"sink": row.body["sink"], "event": row.body["event"], "attempts": attempts,
                        "state": "FAILED" if error else "DELIVERED", "error": error}  # fmt: skip
                alert.body["deliveries"] = [*alert.body.get("deliveries", []), done]
                resources.update(connection, alert, now)


def send(body: dict[str, Any]) -> None:
    """
    Raises:
        OSError, HTTPException, MailError: the sink could not be told.
    """
    if body["kind"] == "emails":
        mail.send(body["sink"], body["subject"], body["text"])
        return
    payload = {
        "event": body["event"],
        "subject": body["subject"],
        "text": body["text"],
        "alert": body["alert"],
    }
    # Whoever named the address is not who sends this: a server of ours, also this one, takes it for a foreign page's.
    headers = {"content-type": "application/json", "user-agent": "Portico", "sec-fetch-site": "cross-site"}
    asked = urllib.request.Request(body["sink"], orjson.dumps(payload), headers)
    with Deadline(_TIMEOUT) as deadline, deadline.opener().open(asked, timeout=_TIMEOUT):
        pass  # its status says that it has arrived
