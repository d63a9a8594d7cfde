"""Asks the replicas of one deployed model for predictions: from a front's event loop, or from a batch job."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import socket
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import cast

from portico.errors import DeadlineExceeded, Unavailable
from portico.prediction.replicas import places, shapley
from portico.prediction.replicas.frames import END, KINDS, PING, SCORE, STREAM, Reader, pack

# A prediction that takes longer is given up; Google's limit for online predictions.
TIMEOUT = 60.0
# A stream has no more than that for a piece, and for all of them: within five minutes a replica must answer others.
STREAM_TIMEOUT = 240.0
# How long a request waits for the first connection, right after a deployment.
_CONNECTING = 2.0
_BACKOFF_FIRST, _BACKOFF_MOST = 0.05, 1.0
# A replica that is away for so long is not tried again before a request finds none up: so the client of a
# model that has been undeployed comes to rest.
_GIVEN_UP = 120.0
_AWAY = "No replica of this deployed model is up just now; it is being restarted. Retry in a second."
_EXPLAINED = 1.0  # seconds that the manager has to say why a replica ended


@dataclass(slots=True, eq=False)
class _Request:
    kind: int
    body: bytes
    future: asyncio.Future[tuple[int, bytes]]
    retried: bool = False


class ReplicaClient:
    """Spreads requests over the replicas behind `sockets`, to the one with the least in flight.

    Belongs to the event loop that runs at its first use. A replica that goes away is reconnected to with
    backoff; what it had in flight is sent once more, to a sibling (predictions change nothing).
    `explanation` says how `explain` is done; without it explain is refused.
    """

    def __init__(self, sockets: Sequence[str], explanation: shapley.Sampling | None = None) -> None:
        self._explanation = explanation
        self._links = [_Link(path, self._resend) for path in sockets]

    async def predict(self, kind: str, body: bytes) -> tuple[int, bytes]:
        """HTTP status and JSON body of the model's answer to `body`, `{"instances": [...]}`.

        `kind` is "predict", "rawPredict" (both answer `{"predictions": [...]}`) or "explain" (`{"explanations":
        [...], "predictions": [...]}`); or "raw", for an image's own server, or
        "directRawPredict" or "directPredict" (`frames`). What the model refuses comes
        back as 400 with Google's error body.

        Raises:
            Unavailable: no replica is up, or two died with this request.
            DeadlineExceeded: no answer within a minute.
            PorticoError: explain is not possible, with the reason.
        """
        if kind == "explain":
            work = shapley.explain(body, self._explanation)
            scored = None
            while True:
                try:
                    asked = work.send(scored)
                except StopIteration as done:
                    answer: tuple[int, bytes] = done.value
                    return answer
                scored = await self._ask(SCORE, asked)
        return await self._ask(KINDS[kind], body)

    async def stream(self, body: bytes) -> AsyncGenerator[tuple[int, bytes], None]:
        """The answer of an image's own server to a "raw" `body`, as it makes it: first the HTTP status and the type of
        the content, then its pieces, each with the status 100. Closed early, it ends the server's work at its next
        piece.

        Raises:
            Unavailable: no replica is up, or it ended or failed before the answer's end.
            DeadlineExceeded: no piece within a minute, or no end within `STREAM_TIMEOUT` seconds.
        """
        link = self._least() or await self._first()
        link.streams += 1
        writer: asyncio.StreamWriter | None = None
        since, end = time.time(), time.monotonic() + STREAM_TIMEOUT
        frames = Reader()
        try:
            reader, writer = await asyncio.open_unix_connection(link.path)
            writer.write(pack(1, STREAM, body))
            began = False
            while received := await asyncio.wait_for(
                reader.read(1 << 16), min(TIMEOUT, end - time.monotonic())
            ):
                for _, status, piece in frames.feed(received):
                    if began and status == END:
                        return
                    began = True
                    yield status, piece
        except TimeoutError:
            raise DeadlineExceeded(
                f"The model's stream has no next piece within {TIMEOUT:.0f} seconds, or no end within "
                f"{STREAM_TIMEOUT:.0f}."
            ) from None
        except OSError:
            pass
        finally:
            link.streams -= 1
            if writer is not None:
                writer.close()
        raise away(self._why(since))

    async def ready(self, timeout: float) -> bool:
        """Waits until at least one replica is connected; False when that takes longer than `timeout` seconds."""
        deadline = time.monotonic() + timeout
        self._start()
        while not any(link.up for link in self._links):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.02)
        return True

    async def close(self) -> None:
        """Ends the connections; requests in flight end with Unavailable."""
        for link in self._links:
            await link.close()

    def _start(self) -> None:
        for link in self._links:
            link.start()

    async def _ask(self, kind: int, body: bytes) -> tuple[int, bytes]:
        link = self._least()
        if link is None:
            link = await self._first()
        loop = asyncio.get_running_loop()
        request = _Request(kind, body, loop.create_future())
        link.send(request)
        since = time.time()
        # Cheaper than asyncio.wait_for, and this is the hot path.
        alarm = loop.call_later(TIMEOUT, _give_up, request.future)
        try:
            return await request.future
        except Unavailable:
            end = loop.time() + _EXPLAINED
            while not (reason := self._why(since)) and loop.time() < end:
                await asyncio.sleep(0.05)
            raise away(reason) from None
        finally:
            alarm.cancel()

    def _why(self, since: float) -> str:
        return why([link.path for link in self._links], since)

    def _least(self) -> _Link | None:
        best: _Link | None = None
        for link in self._links:
            if link.up and (best is None or link.load < best.load):
                best = link
        return best

    async def _first(self) -> _Link:
        self._start()
        deadline = time.monotonic() + _CONNECTING
        while any(link.untried for link in self._links) and time.monotonic() < deadline:
            await asyncio.sleep(0.005)
            if (link := self._least()) is not None:
                return link
        raise away(self._why(time.time() - 60))

    def _resend(self, requests: list[_Request]) -> None:
        """Gives what a lost replica had in flight to a sibling, once."""
        for request in requests:
            if request.future.done():
                continue
            link = self._least()
            if request.retried or link is None:
                request.future.set_exception(Unavailable(_AWAY, retry_after=1))
            else:
                request.retried = True
                link.send(request)


def why(paths: Sequence[str], since: float) -> str:
    """Why the replica behind one of `paths` ended that ended last, if after `since` (seconds since the epoch)."""
    newest, reason = since - 1, ""
    for path in paths:
        try:
            with open(places.why(path)) as told:
                written = os.fstat(told.fileno()).st_mtime
                if written > newest:
                    newest, reason = written, told.read(1000)
        except OSError:
            continue
    return reason


def away(reason: str) -> Unavailable:
    return Unavailable(f"{_AWAY} The last one ended: {reason}." if reason else _AWAY, retry_after=1)


class _Link(asyncio.Protocol):
    """The connection to one replica: up once it has answered a ping, which it does when it has its model."""

    def __init__(self, path: str, lost: Callable[[list[_Request]], None]) -> None:
        self.path = path
        self.up = False
        self.untried = True
        self.waiting: dict[int, _Request] = {}
        self.streams = 0  # under way, on connections of their own
        self._lost = lost
        self._numbers = itertools.count(1)
        self._reader = Reader()
        self._transport: asyncio.Transport | None = None
        self._closed: asyncio.Event = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def load(self) -> int:
        return len(self.waiting) + self.streams

    def start(self) -> None:
        if self._task is None or self._task.done():
            self.untried = True
            self._task = asyncio.get_running_loop().create_task(self._stay_connected())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._transport is not None:
            self._transport.abort()
            await self._closed.wait()

    def send(self, request: _Request) -> None:
        assert self._transport is not None
        number = next(self._numbers) & 0xFFFFFFFF
        self.waiting[number] = request
        self._transport.write(pack(number, request.kind, request.body))

    async def _stay_connected(self) -> None:
        loop = asyncio.get_running_loop()
        pause = _BACKOFF_FIRST
        seen = loop.time()
        while loop.time() - seen < _GIVEN_UP:
            self._closed.clear()
            try:
                await loop.create_unix_connection(lambda: self, self.path)
            except OSError:
                self.untried = False
                await asyncio.sleep(pause)
                pause = min(pause * 2, _BACKOFF_MOST)
                continue
            await self._closed.wait()
            self.untried = False
            await asyncio.sleep(_BACKOFF_FIRST)
            pause, seen = _BACKOFF_FIRST, loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast: uvloop's transports are not asyncio's by class.
        self._transport = cast(asyncio.Transport, transport)
        self._reader = Reader()
        self._transport.write(pack(0, PING, b"{}"))

    def data_received(self, data: bytes) -> None:
        for number, status, body in self._reader.feed(data):
            if number == 0:
                self.up, self.untried = True, False
            elif (request := self.waiting.pop(number, None)) and not request.future.done():
                request.future.set_result((status, body))

    def connection_lost(self, error: Exception | None) -> None:
        self.up, self._transport = False, None
        requests = list(self.waiting.values())
        self.waiting.clear()
        self._closed.set()
        self._lost(requests)


def _give_up(future: asyncio.Future[tuple[int, bytes]]) -> None:
    if not future.done():
        future.set_exception(DeadlineExceeded(f"The model gave no answer within {TIMEOUT:.0f} seconds."))


class BlockingReplicaClient:
    """The same for a caller without an event loop, such as a batch job: one request at a time, not for threads.

    Waits for a replica that is being restarted, up to `patience` seconds a request.
    """

    def __init__(
        self,
        sockets: Sequence[str],
        explanation: shapley.Sampling | None = None,
        patience: float = 60.0,
    ) -> None:
        self._sockets = list(sockets)
        self._explanation = explanation
        self._patience = patience
        self._connection: socket.socket | None = None
        self._turn = random.randrange(len(self._sockets))  # so that several jobs spread over the replicas

    def predict(self, kind: str, body: bytes) -> tuple[int, bytes]:
        """As `ReplicaClient.predict`."""
        if kind != "explain":
            return self._ask(KINDS[kind], body)
        work = shapley.explain(body, self._explanation)
        scored = None
        while True:
            try:
                asked = work.send(scored)
            except StopIteration as done:
                answer: tuple[int, bytes] = done.value
                return answer
            scored = self._ask(SCORE, asked)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, kind: int, body: bytes) -> tuple[int, bytes]:
        deadline = time.monotonic() + self._patience
        deaths = 0
        while True:
            sent = False
            try:
                connection = self._connection or self._connect()
                sent = True
                connection.sendall(pack(1, kind, body))
                return _receive(connection)
            except TimeoutError:
                self.close()
                raise DeadlineExceeded(f"The model gave no answer within {TIMEOUT:.0f} seconds.") from None
            except OSError:
                self.close()
                deaths += sent
                self._turn += 1
                # A request that ends two replicas would end them all.
                if deaths > 1 or time.monotonic() > deadline:
                    raise away(why(self._sockets, time.time() - 60)) from None
                if not sent:
                    time.sleep(0.1)

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(TIMEOUT)
            connection.connect(self._sockets[self._turn % len(self._sockets)])
            connection.sendall(pack(0, PING, b"{}"))
            _receive(connection)
        except TimeoutError:
            connection.close()
            raise ConnectionError("the replica is still loading its model") from None
        except OSError:
            connection.close()
            raise
        self._connection = connection
        return connection


def _receive(connection: socket.socket) -> tuple[int, bytes]:
    reader = Reader()
    while received := connection.recv(1 << 18):
        for _, status, body in reader.feed(received):
            return status, body
    raise ConnectionResetError("the replica went away")
