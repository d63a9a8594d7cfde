"""The processes of native models, from outside: started, asked, and killed when an answer is late or not wanted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from portico.errors import BY_CODE, DeadlineExceeded, FailedPrecondition, PorticoError, Unavailable
from portico.prediction.models.native.files import size
from portico.prediction.models.native.worker import ANSWER, REQUEST
from portico.sandbox.isolation import can_wall_in

TIMEOUT: Final = 60.0  # seconds that a prediction may take, as on Vertex AI
_LOADING: Final = 45.0  # seconds
_TRYING: Final = 5.0  # seconds that a trial's prediction is waited for: a slow model is no broken one
_RESTING: Final = 60.0  # seconds without a request, after which a process that is not always needed ends
_MEMORY: Final = 2 * 2**30  # bytes, and four times what the model's files have
_MOST_WAITING: Final = 64 * 2**20  # bytes of requests that wait for one model


@dataclass(frozen=True, slots=True)
class Spec:
    """The model: as `predictors.load` takes it, and the digest of its files ("" if that is not known)."""

    format: str
    path: str
    digest: str = ""
    explanation: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    body: bytes  # of the answer, a JSON object
    rows: int
    seconds: float  # that the model took


def in_words(spec: Spec) -> str:
    """How the model's process runs, for people."""
    walls = "without network, other processes or files but its own" if can_wall_in() else "UNCONFINED"
    return (
        f"The model runs in a process of its own, {walls}, with at most {_memory(spec) >> 20:,} MiB of memory and "
        f"{TIMEOUT:.0f} s a request."
    )


def _memory(spec: Spec) -> int:
    return _MEMORY + 4 * size(Path(spec.path))


def try_out(spec: Spec) -> None:
    """Loads the model in a process that may die, and lets it predict a row.

    Raises:
        FailedPrecondition: it can't be loaded, or ends its process. The message says why.
    """
    child = Child(spec, trial=True)
    try:
        child.wait_loaded()
        child.wait_tried()
    finally:
        child.kill()
        child.reap()


class Child:
    """One process, which is loading its model. Not thread-safe."""

    def __init__(self, spec: Spec, *, trial: bool = False) -> None:
        told = {
            "format": spec.format,
            "path": spec.path,
            "digest": spec.digest,
            "explanation": dict(spec.explanation),
            "memory": _memory(spec),
            "trial": trial,
        }
        self.spec = spec
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "portico.prediction.models.native.worker"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
        self.channel = ours
        spoken = orjson.dumps(told)  # of a wide model more than an argument may have
        with contextlib.suppress(ConnectionError):  # it has ended, which is seen when it is waited for
            ours.sendall(REQUEST.pack(len(spoken), 0) + spoken)

    def wait_loaded(self) -> Child:
        """
        Raises:
            FailedPrecondition: it can't be loaded.
        """
        try:
            refused = self._read(_LOADING)
        except TimeoutError:
            raise FailedPrecondition(
                f"The {self.spec.format} model is not loaded after {_LOADING:.0f} seconds."
            ) from None
        if isinstance(refused, PorticoError):
            raise FailedPrecondition(refused.message)
        return self

    def wait_tried(self) -> None:
        """
        Raises:
            FailedPrecondition: its process ended with the row that it was tried with.
        """
        try:
            self._read(_TRYING)
        except TimeoutError:
            pass

    def ask(self, method: int, body: bytes, timeout: float) -> Answer:
        """Asks and waits. After an error that is no PorticoError of the model's own the process is to be killed.

        Raises:
            PorticoError: the model refuses. TimeoutError: no answer within `timeout` seconds.
        """
        self.channel.settimeout(timeout)
        self.channel.sendall(REQUEST.pack(len(body), method) + body)
        answer = self._read(timeout)
        if isinstance(answer, PorticoError):
            raise answer
        return answer

    def _read(self, timeout: float) -> Answer | PorticoError:
        deadline = time.monotonic() + timeout
        head = self._exactly(ANSWER.size, deadline)
        length, status, rows, seconds = ANSWER.unpack(head)
        return read_answer(status, self._exactly(length, deadline), rows, seconds)

    def _exactly(self, count: int, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < count:
            self.channel.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                piece = self.channel.recv(min(count - len(data), 1 << 20))
            except ConnectionError:
                piece = b""
            if not piece:
                raise FailedPrecondition(
                    f"The {self.spec.format} model ends the process that loads it ({self.ended()}): its file is "
                    "damaged, or wants more memory than it may take."
                )
            data += piece
        return bytes(data)

    def ended(self) -> str:
        """How the process ended, in words. Waits for the end of one whose channel is closed."""
        try:
            code = self.process.wait(5)
        except subprocess.TimeoutExpired:
            return "it closed its channel"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    def kill(self) -> None:
        self.process.kill()

    def reap(self) -> None:
        self.process.wait()
        self.channel.close()


def read_answer(status: int, body: bytes, rows: int, seconds: float) -> Answer | PorticoError:
    if status == 200:
        return Answer(body, rows, seconds)
    told = orjson.loads(body)
    return BY_CODE[told["code"]](told["message"], field=told["field"])


class ModelProcess:
    """A native model in a process of its own, asked from one event loop: one request after the other.

    What takes longer than a minute, or whose asker is cancelled, is killed with the process; the next request
    starts another. With `lasting` the process starts at once and stays; else it starts with the first request and
    ends when there was none for a minute.

    Raises:
        FailedPrecondition: `lasting`, and the model can't be loaded.
    """

    def __init__(self, spec: Spec, *, lasting: bool) -> None:
        self._spec = spec
        self._lasting = lasting
        self._child: Child | None = _start(spec) if lasting else None
        if self._child is not None:
            self._child.channel.setblocking(False)
        self._starting: asyncio.Future[Child] | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0  # bytes
        self._resting: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int:
        """The process's id; 0 while there is none."""
        return self._child.process.pid if self._child is not None else 0

    async def ask(self, method: int, body: bytes) -> Answer:
        """The answer to a request's `body`, `{"instances": [...]}`: `{"predictions": [...]}`, of `router.EXPLAIN`
        with `"explanations"` before.

        Raises:
            PorticoError: the model refuses. DeadlineExceeded: no answer within a minute.
            Unavailable: the process ended with this request, or too much waits for this model.
        """
        if self._waiting and self._waiting + len(body) > _MOST_WAITING:
            raise Unavailable(
                "Too many requests wait for this model. Retry when it has caught up.", retry_after=1
            )
        self._waiting += len(body)
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
        try:
            async with asyncio.timeout(TIMEOUT), self._turn:
                child = await self._running()
                try:
                    answer = await self._exchange(child, method, body)
                except BaseException:
                    self._end()
                    raise
        except TimeoutError:
            raise DeadlineExceeded(f"The model gave no answer within {TIMEOUT:.0f} seconds.") from None
        finally:
            self._waiting -= len(body)
            if not self._lasting and not self._waiting:
                self._resting = asyncio.get_running_loop().call_later(_RESTING, self._rest)
        if isinstance(answer, PorticoError):
            raise answer
        return answer

    async def close(self) -> None:
        """Ends the process once it has answered what it has been sent."""
        async with self._turn:
            if self._starting is not None:
                self._child = await self._starting
            self._end()

    async def _running(self) -> Child:
        if self._child is None:
            loop = asyncio.get_running_loop()
            if self._starting is None:
                self._starting = loop.run_in_executor(None, _start, self._spec)
            starting = self._starting
            try:
                # A request that is given up meanwhile leaves it to the next one.
                self._child = await asyncio.shield(starting)
            except FailedPrecondition as error:
                raise Unavailable(error.message, retry_after=10) from None
            finally:
                if starting.done():
                    self._starting = None
            self._child.channel.setblocking(False)
        return self._child

    async def _exchange(self, child: Child, method: int, body: bytes) -> Answer | PorticoError:
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_sendall(child.channel, REQUEST.pack(len(body), method) + body)
            head = await _exactly(loop, child.channel, ANSWER.size)
            length, status, rows, seconds = ANSWER.unpack(head)
            return read_answer(status, await _exactly(loop, child.channel, length), rows, seconds)
        except (ConnectionError, EOFError):
            how = await loop.run_in_executor(None, child.ended)
            raise Unavailable(
                f"The process of the deployed model ended with this request ({how}); it is started again.",
                retry_after=1,
            ) from None

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            asyncio.get_running_loop().run_in_executor(None, child.reap)

    def _rest(self) -> None:
        self._resting = None
        if not self._waiting and not self._turn.locked():
            self._end()


def _start(spec: Spec) -> Child:
    child = Child(spec)
    try:
        return child.wait_loaded()
    except BaseException:
        child.kill()
        child.reap()
        raise


async def _exactly(loop: asyncio.AbstractEventLoop, channel: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = await loop.sock_recv(channel, min(count - len(data), 1 << 20))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)


class WatchedProcess:
    """A `predictors.Predictor` whose model runs in a process of its own; waits for its answers."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._child: Child | None = None

    def predict(self, instances: list[Any], parameters: Any) -> list[Any]:
        return list(self._ask(0, instances, parameters)["predictions"])

    def explain(self, instances: list[Any], parameters: Any) -> list[dict[str, Any]]:
        return list(self._ask(2, instances, parameters)["explanations"])

    def _ask(self, method: int, instances: list[Any], parameters: Any) -> dict[str, Any]:
        if self._child is None:
            self._child = _start(self._spec)
        body = orjson.dumps({"instances": instances, "parameters": parameters})
        try:
            answer: dict[str, Any] = orjson.loads(self._child.ask(method, body, TIMEOUT).body)
            return answer
        except TimeoutError:
            self.close()
            raise DeadlineExceeded(f"The model gave no answer within {TIMEOUT:.0f} seconds.") from None
        except PorticoError:
            if self._child.process.poll() is not None:
                self.close()
            raise

    def close(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.reap()

    def __del__(self) -> None:
        self.close()
