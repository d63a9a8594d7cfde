"""A sink that drips holds nobody up but itself, and not for long; the wall clock may jump meanwhile."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from tests.waiting import until

from portico.services.alerts import delivery, mail
from portico.services.alerts.delivery import DELIVERIES, note
from portico.services.portico.stewards import StewardPrivate
from portico.services.standard.deadline import Deadline
from portico.store import resources
from portico.store.database import Database
from portico.store.resources import Resource

pytestmark = pytest.mark.usefixtures("either_store")


class Dripping:
    """Takes connections and answers each with a header that never ends, a byte now and then."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/"
        self.asked = 0
        self.closed = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.asked += 1
            threading.Thread(target=self._drip, args=(connection,), daemon=True).start()

    def _drip(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.sendall(b"HTTP/1.1 200 OK\r\nx-long: ")
                while not self.closed.wait(0.05):
                    connection.sendall(b"x")
            except OSError:
                return


@pytest.fixture
def dripping() -> Iterator[Dripping]:
    server = Dripping()
    yield server
    server.closed.set()
    server.listener.close()


class Jumping:
    """A wall clock that has gone back a year; the monotonic one goes on."""

    def __init__(self) -> None:
        self.back = 0.0
        self.ahead = 0.0

    def now(self) -> float:
        return time.time() - self.back

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def rooms(tmp_path: Any) -> Iterator[Any]:
    database = Database(tmp_path)
    database.create_tables()
    yield SimpleNamespace(database=database, clock=Jumping())
    database.close()


def tell(rooms: Any, number: int, sink: str) -> None:
    with rooms.database.write() as connection:
        note(connection, f"alerts/1/deliveries/{number}", "webhooks", sink, "opened", "", "", 1.0)


def left(rooms: Any) -> list[dict[str, Any]]:
    with rooms.database.read() as connection:
        return [row.body for row in resources.listed(connection, DELIVERIES)]


def test_a_webhook_that_drips_is_given_up(dripping: Dripping) -> None:
    with pytest.raises(TimeoutError, match="was not done within"), Deadline(0.5) as deadline:
        deadline.opener().open(dripping.url, timeout=240)


def test_a_mail_server_that_drips_is_given_up(dripping: Dripping, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(mail.VARIABLE, dripping.url.replace("http", "smtp").rstrip("/"))
    monkeypatch.setattr(mail, "_TIMEOUT", 0.5)
    with pytest.raises(mail.MailError):
        mail.send("a@example.org", "subject", "text")


def test_no_sink_waits_for_another(rooms: Any, dripping: Dripping, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dozen deliveries to slow sinks do not keep one from another; and of one sink only one runs at once."""
    told = threading.Event()
    send = delivery.send

    def noted(body: dict[str, Any]) -> None:
        if body["sink"] == "good":
            told.set()
        else:
            send(body)

    monkeypatch.setattr(delivery, "send", noted)
    for number in range(12):
        tell(rooms, number, dripping.url + str(number))
    for number in range(3):
        tell(rooms, 50 + number, dripping.url + "same")
    tell(rooms, 99, "good")
    deliveries = delivery.Deliveries(rooms)
    deliveries.run_due()
    assert told.wait(240)
    until(lambda: dripping.asked == 13, "a delivery to each sink")
    deliveries.run_due()
    assert len(deliveries._running) in (13, 14) and dripping.asked == 13


def test_what_failed_is_tried_again_by_the_monotonic_clock(rooms: Any) -> None:
    tell(rooms, 1, "http://127.0.0.1:1/nobody-listens")
    deliveries = delivery.Deliveries(rooms)
    deliveries.run_due()
    until(lambda: left(rooms)[0]["attempts"] == 1 and not deliveries._running, "attempt 1")
    rooms.clock.back = 365 * 86400.0
    rooms.clock.ahead = 3.0
    deliveries.run_due()
    until(lambda: left(rooms)[0]["attempts"] == 2 and not deliveries._running, "attempt 2")


def test_a_clock_that_went_back_does_not_put_a_steward_to_sleep() -> None:
    from portico.services.portico.steward.due import is_due

    def steward(next: float | None) -> Resource:
        body = {"checkInterval": "3600s"}
        return Resource("s", "portico:stewards", "", body, 1, 0.0, 0.0, StewardPrivate(next=next))

    assert is_due(steward(10_000.0), 10_000.0) and not is_due(steward(10_000.0), 9_000.0)
    assert is_due(steward(10_000.0), 1_000.0)
    assert is_due(steward(None), 1_000.0)
