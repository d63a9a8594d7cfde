"""How requests are spread, retried and given up, over replicas that do as a test says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading

import pytest
from tests.waiting import come

from portico.errors import DeadlineExceeded, Unavailable
from portico.prediction.replicas import client as module
from portico.prediction.replicas.client import BlockingReplicaClient, ReplicaClient
from portico.prediction.replicas.frames import PING, Reader, pack
from portico.prediction.replicas.places import make_socket_folder, socket_paths


class Fake:
    """A replica that answers with its name, or holds requests, or goes away on the first."""

    def __init__(self, path: str, *, dies: bool = False, holds: bool = False) -> None:
        self.path, self.dies, self.holds = path, dies, holds
        self.received: list[bytes] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.server: asyncio.Server | None = None

    async def start(self) -> Fake:
        self.server = await asyncio.start_unix_server(self.serve, self.path)
        return self

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        frames = Reader()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                for number, kind, body in frames.feed(data):
                    if kind == PING:
                        writer.write(pack(number, 200, b"{}"))
                        continue
                    self.received.append(body)
                    if self.dies:
                        await self.stop()
                        return
                    if not self.holds:
                        writer.write(pack(number, 200, os.path.basename(self.path).encode()))

    async def stop(self) -> None:
        assert self.server is not None
        self.server.close()
        os.unlink(self.path)
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()


async def all_up(client: ReplicaClient) -> None:
    assert await client.ready(240)
    await come(lambda: all(link.up for link in client._links), "all replicas are connected")


def test_requests_go_to_the_replica_with_the_least_in_flight(tmp_path):
    async def scenario():
        fakes = [await Fake(str(tmp_path / name), holds=name == "a").start() for name in "ab"]
        client = ReplicaClient([fake.path for fake in fakes])
        await all_up(client)
        first = [asyncio.create_task(client.predict("predict", b"x")) for _ in range(10)]
        # One each in turn, as none had been answered when they were sent.
        await come(lambda: [len(fake.received) for fake in fakes] == [5, 5], "each has five")
        await come(lambda: sum(task.done() for task in first) == 5, "one has answered its five")
        done, pending = await asyncio.wait(first, timeout=0)
        assert {await task for task in done} == {(200, b"b")}
        for _ in range(5):
            await client.predict("predict", b"y")
        assert [len(fake.received) for fake in fakes] == [5, 10]
        await client.close()
        for task in pending:
            with pytest.raises(Unavailable):
                await task
        for fake in fakes:
            await fake.stop()

    asyncio.run(scenario())


def test_what_a_dying_replica_had_is_sent_to_its_sibling_once(tmp_path):
    async def scenario():
        a = await Fake(str(tmp_path / "a"), dies=True).start()
        b = await Fake(str(tmp_path / "b")).start()
        client = ReplicaClient([a.path, b.path])
        await all_up(client)
        answers = await asyncio.gather(*(client.predict("predict", b"%d" % at) for at in range(20)))
        assert answers == [(200, b"b")] * 20
        assert len(b.received) == 20
        await client.close()
        await b.stop()

    asyncio.run(scenario())


def test_a_request_that_ends_two_replicas_is_not_sent_to_a_third(tmp_path):
    async def scenario():
        fakes = [await Fake(str(tmp_path / name), dies=True).start() for name in "abc"]
        client = ReplicaClient([fake.path for fake in fakes])
        await all_up(client)
        with pytest.raises(Unavailable) as failure:
            await client.predict("predict", b"poison")
        assert failure.value.retry_after == 1
        assert sum(len(fake.received) for fake in fakes) == 2
        await client.close()
        for fake in fakes:
            if os.path.exists(fake.path):
                await fake.stop()

    asyncio.run(scenario())


def test_with_no_replica_up_it_is_unavailable_at_once_and_back_when_one_is(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_CONNECTING", 1e9)  # nobody waits for that

    async def scenario():
        client = ReplicaClient([str(tmp_path / "a")])
        for _ in range(2):
            with pytest.raises(Unavailable):
                await client.predict("predict", b"x")
        fake = await Fake(str(tmp_path / "a")).start()
        assert await client.ready(240)
        assert await client.predict("predict", b"x") == (200, b"a")
        await fake.stop()
        await come(lambda: not any(link.up for link in client._links), "it is seen to be away")
        with pytest.raises(Unavailable):
            await client.predict("predict", b"x")
        fake = await Fake(str(tmp_path / "a")).start()
        assert await client.ready(240)
        assert await client.predict("rawPredict", b"x") == (200, b"a")
        await client.close()
        await fake.stop()

    asyncio.run(scenario())


def test_the_first_request_waits_for_the_connection(tmp_path):
    async def scenario():
        fake = await Fake(str(tmp_path / "a")).start()
        client = ReplicaClient([fake.path])
        assert await client.predict("predict", b"x") == (200, b"a")
        await client.close()
        await fake.stop()

    asyncio.run(scenario())


def test_no_answer_in_time_and_the_late_one_is_ignored(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.2)

    async def scenario():
        fake = await Fake(str(tmp_path / "a"), holds=True).start()
        client = ReplicaClient([fake.path])
        with pytest.raises(DeadlineExceeded):
            await client.predict("predict", b"slow")
        monkeypatch.undo()
        fake.holds = False
        fake.writers[0].write(pack(1, 200, b"late"))
        assert await client.predict("predict", b"x") == (200, b"a")
        await client.close()
        await fake.stop()

    asyncio.run(scenario())


def test_the_client_of_what_is_gone_comes_to_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_GIVEN_UP", 0.2)

    async def scenario():
        client = ReplicaClient([str(tmp_path / "a")])
        with pytest.raises(Unavailable):
            await client.predict("predict", b"x")
        await come(lambda: len(asyncio.all_tasks()) == 1, "nothing tries any more")
        fake = await Fake(str(tmp_path / "a")).start()
        assert await client.predict("predict", b"x") == (200, b"a")
        await client.close()
        await fake.stop()

    asyncio.run(scenario())


@contextlib.contextmanager
def in_a_thread(*fakes: Fake):
    """Runs the fakes in an event loop of their own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    for fake in fakes:
        asyncio.run_coroutine_threadsafe(fake.start(), loop).result(240)
    try:
        yield loop
    finally:
        for fake in fakes:
            if os.path.exists(fake.path):
                asyncio.run_coroutine_threadsafe(fake.stop(), loop).result(240)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_blocking_takes_a_sibling_and_waits_for_a_restart(tmp_path):
    a, b = Fake(str(tmp_path / "a"), dies=True), Fake(str(tmp_path / "b"))
    with in_a_thread(a, b) as loop:
        client = BlockingReplicaClient([a.path, b.path], patience=240)
        client._turn = 0
        assert client.predict("predict", b"x") == (200, b"b")
        asyncio.run_coroutine_threadsafe(b.stop(), loop).result(240)
        timer = threading.Timer(0.5, lambda: asyncio.run_coroutine_threadsafe(b.start(), loop).result(240))
        timer.start()
        assert client.predict("predict", b"y") == (200, b"b")
        timer.join()
        client.close()


def test_blocking_gives_up(tmp_path):
    client = BlockingReplicaClient([str(tmp_path / "a")], patience=0.3)
    with pytest.raises(Unavailable):
        client.predict("predict", b"x")
    fakes = [Fake(str(tmp_path / name), dies=True) for name in "abc"]
    with in_a_thread(*fakes):
        client = BlockingReplicaClient([fake.path for fake in fakes], patience=240)
        with pytest.raises(Unavailable):
            client.predict("predict", b"poison")
        assert sum(len(fake.received) for fake in fakes) == 2


def test_socket_paths_are_short_and_safe(tmp_path):
    for home in (tmp_path, tmp_path / ("long" * 40)):
        paths = socket_paths(home, "../../etc/passwd", 12)
        assert len(set(paths)) == 12 and max(map(len, paths)) < 104
        assert paths[:3] == socket_paths(home, "../../etc/passwd", 3)
        assert socket_paths(home, "other", 1)[0] not in paths
    make_socket_folder(paths[0])
    assert os.stat(os.path.dirname(paths[0])).st_mode & 0o777 == 0o700
    os.rmdir(os.path.dirname(paths[0]))
