"""Real fronts count what they serve: each request once, under its code; the counts outlive them."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fronts import MODEL, NAME, PREDICT, Processes, Raw, endpoint, eventually, lightgbm_model
from tests.waiting import until

from portico.prediction.front.metrics import collect
from portico.prediction.front.sync import await_fronts
from portico.prediction.replicas.frames import PING, Reader, pack
from portico.prediction.service_log import ServiceRows
from portico.store import domain_clock
from portico.store.served import ServedModel
from portico.store.service import Counts, listed

ROW = {"n0": 0.5, "n1": -1, "c0": "red", "c1": 2}
EXPLAIN = f"/v1/{NAME}:explain"


class World:
    """Processes of a test's own, and what the store knows about their service. `seconds` is what a slow model takes."""

    seconds = 0.05
    replica: SlowReplica

    def __init__(self, home: Path) -> None:
        self.processes = Processes(home)
        self._rows = ServiceRows(home, self.processes.database)

    def counts(
        self, deployed: str, start: float | None = None, end: float | None = None, name: str = NAME
    ) -> Counts:
        self._rows.ingest()
        with self.processes.database.read() as connection:
            return listed(connection, name, start=start, end=end).get((name, deployed), Counts())

    def counted(self, requests: int, deployed: str = "5") -> Counts:
        """What is counted once there are so many."""
        assert eventually(lambda: self.counts(deployed).requests >= requests)
        return self.counts(deployed)

    def within(self, start: float, end: float, requests: int, deployed: str) -> Counts:
        """What is counted in [start, end) once there are so many."""
        assert eventually(lambda: self.counts(deployed, start, end).requests >= requests)
        return self.counts(deployed, start, end)

    def in_flight(self, count: int) -> None:
        """Returns once so many requests are with the replicas."""

        def now() -> int:
            (report,) = collect(self.processes.home)
            return sum(model["inFlight"] for model in report["models"])

        until(lambda: now() == count, f"{count} requests are in flight")

    def advance(self, to: float) -> None:
        with self.processes.database.write() as connection:
            version = domain_clock.advance(connection, to)
        await_fronts(self.processes.home, version, 240)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "home")
    yield made
    made.processes.close()


@pytest.fixture
def serving(world: World, boosters: dict[str, Path]) -> World:
    world.processes.start_front()
    world.processes.serve(endpoint(lightgbm_model(boosters["binary"])))
    return world


def test_each_request_is_counted_once_under_its_code(serving: World) -> None:
    port = serving.processes.port
    client = Raw(port)
    for _ in range(5):
        assert client.ask(PREDICT, {"instances": [ROW, ROW]})[0] == 200
    many = [ROW] * 2000  # in a thread
    assert client.ask(PREDICT, {"instances": many})[0] == 200
    asked: list[tuple[int, Any]] = [
        (400, (PREDICT, b"{")),  # before a deployed model was chosen
        (400, (PREDICT, {"instances": []})),
        (400, (EXPLAIN, {"instances": [ROW], "deployedModelId": "none"})),
        (400, (PREDICT, {"instances": ["bad"]})),  # by it
        (400, (PREDICT, {"instances": [*many, "bad"]})),
        (400, (EXPLAIN, {"instances": [ROW]})),
        (404, (PREDICT.replace("/123", "/124"), {"instances": [ROW]})),  # nobody's
    ]
    for status, arguments in asked:
        assert client.ask(*arguments)[0] == status, arguments
    assert client.ask(PREDICT, {"instances": [ROW]}, headers="authorization: Bearer bad\r\n")[0] == 401
    assert client.ask(PREDICT, {"instances": [ROW]}, headers="origin: http://evil.example\r\n")[0] == 403
    large = Raw(port)
    large.send(f"POST {PREDICT} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
               f"content-length: {2**30}\r\n\r\n".encode())  # fmt: skip
    assert large.receive()[0] == 413
    by_model = serving.counted(9)
    assert (by_model.requests, by_model.errors, by_model.rows) == (9, {400: 3}, 2010)
    assert sum(by_model.buckets.values()) == 6 and by_model.failed == 0
    before = serving.counted(6, "")
    assert (before.requests, before.errors) == (6, {400: 3, 401: 1, 403: 1, 413: 1})
    assert serving.counts("5", name=NAME.replace("/123", "/124")).requests == 0
    (report,) = collect(serving.processes.home)
    assert {m["deployedModel"]: (m["requests"], m["codes"]) for m in report["models"]} == {
        "": (0, {"400": 3, "401": 1, "403": 1, "413": 1}),
        "5": (6, {"400": 3}),
    }
    client.close()
    large.close()


def test_counts_survive_a_killed_front_up_to_the_last_second(serving: World) -> None:
    client = Raw(serving.processes.port)
    for _ in range(20):
        assert client.ask(PREDICT, {"instances": [ROW]})[0] == 200
    serving.counted(20)  # a second later
    for _ in range(5):
        assert client.ask(PREDICT, {"instances": [ROW]})[0] == 200
    (process,) = serving.processes.fronts
    process.kill()
    process.wait()
    assert 20 <= serving.counts("5").requests <= 25
    kept = serving.counts("5").requests
    serving.processes.fronts.clear()
    serving.processes.start_front(0)
    client = Raw(serving.processes.port)
    assert client.ask(PREDICT, {"instances": [ROW]})[0] == 200
    assert serving.counted(kept + 1).requests == kept + 1
    client.close()


def test_two_fronts_add_up(world: World, boosters: dict[str, Path]) -> None:
    for _ in range(2):
        world.processes.start_front()
    world.processes.serve(endpoint(lightgbm_model(boosters["binary"])))
    total = 0

    def both() -> bool:
        nonlocal total
        client = Raw(world.processes.port)  # the kernel chooses a front for each
        with contextlib.closing(client):
            for _ in range(5):
                assert client.ask(PREDICT, {"instances": [ROW]})[0] == 200
                total += 1
        reports = collect(world.processes.home)
        return len(reports) == 2 and all(report["requests"] for report in reports)

    assert eventually(both)
    found = world.counted(total)
    assert (found.requests, found.rows) == (total, total) and found.busy.keys() == {0, 1}
    assert 0 < (found.saturation or 0) <= 1


def test_counts_belong_to_the_simulated_time_of_the_moment(serving: World) -> None:
    client = Raw(serving.processes.port)
    day, start = 86400.0, 1_325_376_000.0  # 2012-01-01
    steps = [
        (start, 3),
        (start + 3600, 1),
        (start + 3660, 4),
        (start + 400 * day, 5),
        (start + 3000 * day, 2),
    ]
    for at, many in steps:
        serving.advance(at)
        for _ in range(many):
            assert client.ask(PREDICT, {"instances": [ROW]})[0] == 200
    serving.advance(start + 3001 * day)
    assert eventually(lambda: serving.counts("5").requests == 15)
    for at, many in steps:
        minute = at if at + 2 * day > start + 3000 * day else at // day * day  # old minutes are days now
        found = serving.counts("5", minute, minute + 60)
        assert found.requests == (8 if minute == start else many)
    client.close()


class SlowReplica:
    """A replica that takes at least `seconds` for a request, one at a time, while `going` is set."""

    def __init__(self, path: Path, seconds: float) -> None:
        self.seconds = seconds
        self.going = threading.Event()
        self.going.set()
        self._one = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._begin(self._accept)

    def _begin(self, work: Callable[..., None], *arguments: Any) -> None:
        threading.Thread(target=work, args=arguments, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._begin(self._serve, self._listener.accept()[0])

    def _serve(self, link: socket.socket) -> None:
        frames = Reader()
        with contextlib.suppress(OSError):
            while data := link.recv(1 << 16):
                for number, kind, body in frames.feed(data):
                    if kind == PING:
                        link.sendall(pack(number, 200, b"{}"))
                        continue
                    with self._one:
                        self.going.wait()
                        time.sleep(self.seconds)  # it is slow
                    status = 500 if b"boom" in body else 200
                    link.sendall(pack(number, status, b'{"predictions": [1]}'))

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def slow(world: World, tmp_path: Path) -> Iterator[World]:
    replica = SlowReplica(tmp_path / "r.sock", world.seconds)
    model = ServedModel("8", MODEL, "1", "slow", "replica", replicas=[str(tmp_path / "r.sock")])
    world.processes.start_front()
    world.processes.serve(endpoint(model))
    client = Raw(world.processes.port)
    assert client.ask(PREDICT, {"instances": [1]})[0] == 200
    world.counted(1, "8")
    world.advance(1e9)  # in the past: what comes now is counted apart
    client.close()
    world.replica = replica
    yield world
    replica.close()


def test_a_slow_model_shows_its_latency_and_its_saturation(slow: World) -> None:
    client, taken = Raw(slow.processes.port), []
    before = time.monotonic()
    slow.advance(1.05e9)
    begun = time.monotonic()
    for _ in range(20):
        asked = time.monotonic()
        assert client.ask(PREDICT, {"instances": [1]})[0] == 200
        taken.append(time.monotonic() - asked)
        time.sleep(0.05)  # nobody asks
    asking = time.monotonic() - begun
    slow.advance(1.1e9)
    half = slow.within(1.05e9, 1.1e9, 20, "8")
    # In use for no less than the replica took and no longer than was waited for it.
    least, most = 20 * slow.seconds / (time.monotonic() - before), sum(taken) / asking
    assert half.requests == 20 and half.failed == 0 and half.queue == 0
    for share in (0.5, 0.95):
        seen = float(np.quantile(taken, share, method="higher"))
        assert slow.seconds / 1.1 <= half.quantile(share) <= seen * 1.1  # type: ignore[operator]
    assert least * 0.9 <= (half.saturation or 0) <= most * 1.1

    clients = [Raw(slow.processes.port) for _ in range(6)]
    before = time.monotonic()
    slow.advance(1.15e9)
    for _ in range(4):
        slow.replica.going.clear()
        for one in clients:
            one.send(one.request(PREDICT, {"instances": [1]}))
        slow.in_flight(6)
        slow.replica.going.set()
        for one in clients:
            assert one.receive()[0] == 200
    assert client.ask(PREDICT, {"instances": ["boom"]})[0] == 500
    slow.advance(1.2e9)
    full = slow.within(1.15e9, 1.2e9, 25, "8")
    assert (full.requests, full.errors, full.failed) == (25, {500: 1}, 1)
    least = 25 * slow.seconds / (time.monotonic() - before)
    assert full.queue == 5 and least * 0.9 <= (full.saturation or 0) <= 1
    assert (full.quantile(0.95) or 0) >= 5 * slow.seconds / 1.1  # the last in the queue waits for five others
    assert slow.counts("8").peak >= full.saturation  # type: ignore[operator]


def test_a_client_that_leaves_is_a_499_and_its_wait_a_latency(slow: World) -> None:
    client = Raw(slow.processes.port)
    slow.replica.going.clear()
    client.send(client.request(PREDICT, {"instances": [1]}))
    slow.in_flight(1)
    client.close()
    found = slow.within(1e9, 1.1e9, 1, "8")
    slow.replica.going.set()
    assert found.errors == {499: 1} and sum(found.buckets.values()) == 1 and found.failed == 0


def test_a_model_without_a_replica_is_a_503(world: World, tmp_path: Path) -> None:
    model = ServedModel("9", MODEL, "1", "away", "replica", replicas=[str(tmp_path / "none.sock")])
    world.processes.start_front()
    world.processes.serve(endpoint(model))
    client = Raw(world.processes.port)
    assert client.ask(PREDICT, {"instances": [1]})[0] == 503
    found = world.counted(1, "9")
    assert (found.requests, found.errors, found.failed, found.buckets) == (1, {503: 1}, 1, {})
    client.close()
