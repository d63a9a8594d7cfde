"""Tells alerts to mail and webhooks: from durable rows, in threads, again where it fails. No sink blocks another."""

from __future__ import annotations

import logging
import threading
import urllib.error
import urllib.request
from typing import Any

import orjson

from portico.errors import PorticoError
from portico.services.aiplatform import monitoring_mail
from portico.services.call import Rooms
from portico.services.portico.alerts import ALERTS, DELIVERIES
from portico.store import resources
from portico.store.resources import Resource

log = logging.getLogger(__name__)

_ATTEMPTS = 8
_PAUSE = 2.0  # seconds after the first failure; twice that after the next, …
_TIMEOUT = 10.0
_AT_ONCE = 8


class Deliveries:
    """Belongs to the watcher's process."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._running: set[str] = set()

    def run_due(self) -> None:
        """Starts what is due; returns at once."""
        now = self._rooms.clock.now()
        with self._rooms.database.read() as connection:
            found = list(resources.listed(connection, DELIVERIES))
        for row in found:
            if len(self._running) >= _AT_ONCE:
                return
            if row.name not in self._running and row.body["due"] <= now:
                self._running.add(row.name)
                threading.Thread(target=self._deliver, args=(row,), name="alert", daemon=True).start()

    def _deliver(self, row: Resource) -> None:
        try:
            error = ""
            try:
                send(row.body)
            except (OSError, ValueError, PorticoError, monitoring_mail.MailError) as caught:
                error = str(caught) or repr(caught)
            self._note(row, error)
        except Exception:
            log.exception("the delivery %s failed", row.name)
        finally:
            self._running.discard(row.name)

    def _note(self, row: Resource, error: str) -> None:
        attempts = row.body["attempts"] + 1
        with self._rooms.database.write() as connection:
            current = resources.get(connection, row.name)
            if current is None:
                return
            now = self._rooms.clock.now()
            if error and attempts < _ATTEMPTS:
                due = now + _PAUSE * 2 ** (attempts - 1)
                current.body |= {"attempts": attempts, "due": due, "error": error}
                resources.update(connection, current, now)
                return
            if error:
                log.warning("%s was not told of %s: %s", row.body["sink"], row.parent, error)
            resources.delete(connection, row.name)
            alert = resources.get(connection, row.parent)
            if alert is not None and alert.kind == ALERTS.kind:
                done = {"sink": row.body["sink"], "event": row.body["event"], "attempts": attempts,
                        "state": "FAILED" if error else "DELIVERED", "error": error}  # fmt: skip
                alert.body["deliveries"] = [*alert.body.get("deliveries", []), done]
                resources.update(connection, alert, now)


def send(body: dict[str, Any]) -> None:
    """
    Raises:
        OSError, MailError: the sink could not be told.
    """
    if body["kind"] == "emails":
        monitoring_mail.send_once([body["sink"]], body["subject"], body["text"])
        return
    payload = {
        "event": body["event"],
        "subject": body["subject"],
        "text": body["text"],
        "alert": body["alert"],
    }
    asked = urllib.request.Request(
        body["sink"], orjson.dumps(payload), {"content-type": "application/json", "user-agent": "Portico"}
    )
    with urllib.request.urlopen(asked, timeout=_TIMEOUT) as answer:
        answer.read(1024)
