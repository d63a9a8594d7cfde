"""The process of a front: it holds the loaded models, follows what is served, and answers predictions."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from portico.errors import Internal, InvalidArgument, PorticoError, Unauthenticated
from portico.prediction.front.answers import Answers
from portico.prediction.front.connection import Connection, KnownHead
from portico.prediction.front.framing import Head
from portico.prediction.front.guard import Guard, require_json
from portico.prediction.front.handover import Taker, control_socket, front_admin, front_connections, give
from portico.prediction.front.loading import Loader
from portico.prediction.front.metrics import Slots
from portico.prediction.front.peers import Auth, Peers
from portico.prediction.front.router import Router
from portico.prediction.service_log import ServiceLog, busy_seconds
from portico.prediction.tap import Tap
from portico.store.database import Database
from portico.store.sockets import run_folder

if TYPE_CHECKING:
    from portico.prediction.replicas.client import ReplicaClient

log = logging.getLogger(__name__)

Verify = Callable[[str, bytes, str], None]
"""Raises Unauthenticated for a token that is not good, PermissionDenied where it does not open this path."""

_FOLLOW: Final = 0.1  # seconds between looks at the change counter
_FLUSH: Final = 0.25
_THREADS: Final = 2  # that parse large bodies
_VERIFIED: Final = 5.0  # seconds that a token, once verified, is not looked at again
_KEEP_ALIVE: Final = 600.0  # longer than clients keep idle connections, so that it is they who close
_STALLED: Final = 60.0  # seconds; a request that stops coming in
_DRIPPED: Final = 300.0  # seconds that a request may take to come in
_AWAY: Final = 2.0  # how long control may be away before a request is answered 503
_DRAIN: Final = 30.0
_LONGEST: Final = 65.0  # no prediction takes longer
_KNOWN_HEADS: Final = 1024
_LONG_HEAD: Final = 8 * 1024  # bytes; longer ones are not remembered
_LONG_ID: Final = 256  # characters of a caller's request id
_BACKLOG: Final = 2048


class Front:
    """The state that all connections share. Lives in one event loop."""

    def __init__(
        self,
        home: Path,
        index: int,
        verify: Verify,
        auth: Auth = "owner",
        hosts: frozenset[str] = frozenset(),
    ) -> None:
        self.index = index
        self.answers = Answers()
        self.router = Router()
        self.version = -1  # of what is served
        self.heads: dict[bytes, KnownHead] = {}
        self.connections: set[Connection] = set()
        self.unfinished = 0  # bytes of bodies that are not all there
        self.draining = False
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time()
        self.domain_time = 0.0  # simulated, in seconds since the epoch; 0 while it is the wall clock's
        self.wall = time.time() - time.perf_counter()  # what makes a time of `perf_counter` the wall clock's
        self.tap = Tap(home / "spool" / f"front-{index}", index, self.loop.call_later)
        self.put = self.tap.put
        self.threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="parse")
        self.slots = Slots(_THREADS)
        self.service = ServiceLog(home / "spool" / f"service-{index}", index, self.slots)
        self.peers = Peers(auth, run_folder(home))
        self._guard = Guard(hosts)
        self._verify = verify
        self._control = control_socket(home)
        self._loader = Loader(Database(home), home / "run" / f"front-{index}.loading")
        self._following: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def learn(self, head_bytes: bytes) -> KnownHead:
        """Checks a head that was not seen before.

        Raises:
            InvalidArgument: it can't be read, so where the next request begins is not known.
        """
        head = Head(head_bytes)
        error: PorticoError | None = None
        known = KnownHead(head, None)
        try:
            self._guard.check(head.headers)
            if not head.path.endswith(
                (b"rawPredict", b"streamRawPredict")
            ):  # its body is the model's own affair
                require_json(head.headers)
            if len(known.request_id) > _LONG_ID:
                raise InvalidArgument(f"X-Request-Id is longer than {_LONG_ID} characters.")
            if known.authorization is not None:
                self.verify_again(known)
        except PorticoError as refused:
            error = refused
        except Exception:
            log.exception("a request's headers can't be checked")
            error = self.unexpected()
        if error is not None:
            return KnownHead(head, error)
        if len(head_bytes) > _LONG_HEAD or known.request_id:  # no two requests have the same id
            return known
        if len(self.heads) >= _KNOWN_HEADS:
            self.heads.clear()
        self.heads[head_bytes] = known
        return known

    def verify_again(self, known: KnownHead) -> None:
        """
        Raises:
            Unauthenticated: the request's token is not, or no longer, good.
        """
        scheme, _, token = (known.authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated(
                "The Authorization header must be 'Bearer TOKEN' with a token of this server."
            )
        path = self.router.named(known.head.path)
        self._verify(token.strip(), path, known.head.headers.get("host", ""))
        known.verified_until = self.now + _VERIFIED

    def unexpected(self) -> Internal:
        return Internal("An internal error occurred; the server's log has the details.")

    def domain_now(self) -> float:
        return self.domain_time or time.time()

    def count_refused(self, known: KnownHead, code: int) -> None:
        """Counts a request that was refused before its body was looked at, if there is such an endpoint."""
        route = self.router.find(known.head.path)
        if route is not None:
            route.target.metrics.fail(code, 0.0)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def give(self, descriptor: int, owner: bool | None, data: bytes, secure: bool) -> bool:
        """Passes a connection to control; False when control is away."""
        return await give(self._control, descriptor, self.index, owner, data, _AWAY, secure=secure)

    async def follow(self) -> None:
        """Returns when this front serves what was stored before the call."""
        if self._following is not None:
            await asyncio.wait((self._following,))  # it may have begun too early
        if self._following is None:
            self._following = self.loop.create_task(self._load())
        following = self._following
        await asyncio.wait((following,))
        following.result()

    async def _load(self) -> None:
        try:
            version, router = await self.loop.run_in_executor(None, self._loader.load)
        finally:
            self._following = None  # here, so that nobody ever waits for a task that has ended
        self.version = version
        domain_time = self._loader.domain_time or 0.0
        if domain_time != self.domain_time:
            self.service.note(self.domain_now(), leaves=True)
            self.domain_time = domain_time
        if router is None:
            return
        before, self.router = self.router, router
        self.service.follow(router.counted())
        gc.freeze()  # models are for good: the collector need not look at them
        kept = {id(deployed) for deployed in router.deployed()}
        for deployed in before.deployed():
            if id(deployed) in kept:
                continue
            if deployed.remote is not None:
                self.spawn(_close_later(deployed.remote))
            if deployed.worker is not None:
                self.spawn(deployed.worker.close())

    async def keep_following(self) -> None:
        while True:
            await asyncio.sleep(_FOLLOW)
            try:
                await self.follow()
            except Exception:
                log.exception("what is served can't be read")
                await asyncio.sleep(1)

    async def keep_house(self) -> None:
        """The clock, what the tap and the counters have gathered, and connections that nobody uses."""
        ticks = 0
        while True:
            await asyncio.sleep(_FLUSH)
            self.now = self.loop.time()
            self.wall = time.time() - time.perf_counter()
            self.tap.tick()
            ticks += 1
            if ticks % 4 == 0:
                self.answers.tick()
                self.service.flush(self.domain_now())
            if ticks % 20 == 0:
                self._close_unused()

    def _close_unused(self) -> None:
        for connection in list(self.connections):
            quiet = self.now - connection.seen
            if quiet > _KEEP_ALIVE:
                connection.transport.abort()
            elif not (connection.idle or connection.busy or connection.refused):
                taken = self.now - connection.begun
                if connection.choked:  # it does not read its answers
                    if quiet > _STALLED:
                        connection.transport.abort()
                elif quiet > _STALLED or taken > _DRIPPED:
                    connection.stalled(max(quiet, taken))

    async def administer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers lines of JSON: `{"sync": VERSION}` when that version is served, `{"flush": true}` when everything
        counted so far lies in the spool, `{"metrics": true}`, `{"unloaded": true}`."""
        with (
            contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ValueError),
            contextlib.closing(writer),
        ):
            while line := await reader.readline():
                question = orjson.loads(line)
                if "sync" in question:
                    while self.version < int(question["sync"]):
                        await self.follow()
                    answer: dict[str, Any] = {
                        "version": self.version,
                        "errors": self._loader.errors(),
                    }
                elif "flush" in question:
                    self.tap.flush()
                    await self.service.sync(self.domain_now())
                    answer = {}
                elif "unloaded" in question:
                    answer = {"unloaded": self.router.unloaded()}
                else:
                    answer = self._metrics()
                writer.write(orjson.dumps(answer) + b"\n")
                await writer.drain()

    def _metrics(self) -> dict[str, Any]:
        models = []
        for one in self.router.counted():
            own = one.slots or self.slots
            own.settle()
            models.append(
                {
                    "endpoint": one.endpoint, "deployedModel": one.deployed_model, **one.metrics.report(),
                    "slots": own.size, "inFlight": own.in_flight, "slotSeconds": own.used,
                }
            )  # fmt: skip
        totals = {
            name: sum(model[name] for model in models) for name in ("requests", "errors", "rows", "seconds")
        }
        return {
            "front": self.index,
            "pid": os.getpid(),
            "connections": len(self.connections),
            "busySeconds": busy_seconds(),
            **totals,
            **self.tap.report,
            "models": models,
        }

    async def drain(self) -> None:
        """Lets requests that have begun end, and closes everything."""
        self.draining = True
        deadline = self.loop.time() + _DRAIN
        while self.connections and self.loop.time() < deadline:
            for connection in list(self.connections):
                if connection.idle:
                    connection.transport.close()
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            connection.transport.abort()
        self.threads.shutdown(wait=False, cancel_futures=True)
        self.tap.close()
        self.service.close(self.domain_now())


async def _close_later(replicas: ReplicaClient) -> None:
    await asyncio.sleep(_LONGEST)  # requests that are in flight still want their answers
    await replicas.close()


def run_front(
    home: Path, listen_socket: socket.socket, index: int, verify: Verify, auth: Auth = "owner",
    hosts: frozenset[str] = frozenset(),
) -> None:  # fmt: skip
    """Runs a front on `listen_socket` (its own, bound with SO_REUSEPORT) until SIGTERM; then drains and returns.

    `verify(token, path, host)` raises what is wrong with a bearer token, or with what it is shown for. It is
    asked for requests to `:predict`, `:rawPredict`, `:streamRawPredict`, `:directRawPredict`, `:directPredict` and
    `:explain` only; others go to control unseen. Without a token only whom `auth` says is answered. `hosts`: the names
    beside loopback's for which it answers.
    """
    import uvloop

    sys.setswitchinterval(0.0005)  # a thread that loads a model gives the loop its turn ten times sooner
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(home, listen_socket, index, verify, auth, hosts))


async def _run(
    home: Path, listen_socket: socket.socket, index: int, verify: Verify, auth: Auth, hosts: frozenset[str]
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    front = Front(home, index, verify, auth, hosts)
    admin_path = front_admin(home, index)
    admin_path.unlink(missing_ok=True)
    # It answers before anything is loaded, so that nobody who changes what is served overlooks this front.
    admin = await asyncio.start_unix_server(front.administer, admin_path)
    await front.follow()
    taker = Taker(
        front_connections(home, index), lambda _, owner, secure, take: Connection(front, take, owner, secure)
    )
    taker.start()
    server = await loop.create_server(lambda: Connection(front), sock=listen_socket, backlog=_BACKLOG)
    chores = [loop.create_task(front.keep_following()), loop.create_task(front.keep_house())]
    await stop.wait()
    server.close()
    taker.close()
    for chore in chores:
        chore.cancel()
    await front.drain()
    admin.close()
