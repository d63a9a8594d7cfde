"""What is due is done by the scheduler's process, whatever the watcher does."""

from __future__ import annotations

import http.server
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import event
from tests import processes
from tests.conftest import Portico
from tests.waiting import until

from portico.clock import SystemClock
from portico.host.asked import Asked
from portico.host.due import Due
from portico.ids import RandomIds
from portico.jobs.queue import Queue
from portico.services.alerts import delivery
from portico.services.call import Rooms
from portico.store.database import Database


@pytest.fixture
def sink() -> Iterator[tuple[str, list[bytes]]]:
    """A webhook, and what it was told."""
    told: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/", told
    server.shutdown()
    server.server_close()


def test_an_alert_is_told_while_the_watcher_stands_still(
    new_portico: Callable[..., Portico], sink: tuple[str, list[bytes]]
) -> None:
    server = new_portico().start()
    url, told = sink
    try:
        children = psutil.Process(server.pid).children()
        (watcher,) = (child.pid for child in children if processes.name(child) == "watcher")
        database = Database(server.home)
        with database.write() as connection:  # so that the watcher is not stopped while it writes
            os.kill(watcher, signal.SIGSTOP)
            delivery.note(connection, "alert/deliveries/1", "webhooks", url, "OPENED", "s", "it moved", 0.0)
        database.close()
        until(lambda: told, "the webhook was told")
        assert b"it moved" in told[0]
        os.kill(watcher, signal.SIGCONT)
    finally:
        server.stop()


def test_who_asks_is_answered_once_it_is_done(tmp_path: Path) -> None:
    path = tmp_path / "run" / "x.sock"
    with Asked(path) as asked:
        assert not asked.wait(0.0)
        threading.Timer(0.0, asked.poke).start()
        assert not asked.wait(240.0)
        links = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for link in links[:2]:
            link.connect(str(path))
            link.settimeout(240)
        assert asked.wait(240.0)
        asked.answer()
        assert [link.recv(16) for link in links[:2]] == [b"ok", b"ok"]
        links[2].connect(str(path))
        assert asked.wait(240.0)
        asked.refuse()
        assert links[2].recv(16) == b""
        assert not asked.wait(0.0)
        for link in links:
            link.close()


def test_a_look_at_which_nothing_is_due_asks_little(tmp_path: Path) -> None:
    """It is taken twice a second, and several times at each advance of the clock."""
    database, clock, ids = Database(tmp_path), SystemClock(), RandomIds()
    database.create_tables()
    due = Due(
        Rooms(tmp_path, database, clock, ids, Queue(tmp_path, clock, ids), lambda *_: pytest.fail("no"))
    )
    asked: list[str] = []
    event.listen(database._engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    assert due.look()
    assert len(asked) <= 10, asked
    database.close()
