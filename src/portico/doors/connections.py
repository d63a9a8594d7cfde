"""Control's end of the connections: they come from the fronts, and predictions on them go back there.

Control listens on no TCP port. A front accepts every connection; at a request that is no prediction it passes the
connection here (`prediction.handover`), and this protocol passes it back at the next prediction.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import signal
import socket
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from portico.doors.grpc.listener import Listener
from portico.errors import DeadlineExceeded, InvalidArgument, PorticoError, Unavailable
from portico.prediction.front.answers import Answers
from portico.prediction.front.framing import (
    MAX_HEAD,
    Body,
    check_protocol,
    is_absolute,
    is_prediction,
    path_form,
)
from portico.prediction.front.handover import Take, Taker, control_socket, give
from portico.prediction.front.peers import Peers, shows_token
from portico.store.sockets import run_folder

# An offer of HTTP/2 or a WebSocket, which a server may overlook; httptools would stop reading after the head.
_UPGRADE: Final = re.compile(rb"\r\nupgrade:[^\r\n]*", re.IGNORECASE)
_KEEP_ALIVE: Final = 600  # seconds; longer than clients keep idle connections, so that it is they who close
_DRAIN: Final = 25  # seconds
_STALLED: Final = 60.0  # seconds that a request's head may take to come in
_AWAY: Final = 2.0  # seconds that the fronts may be away before a prediction is answered 503


class ControlProtocol(HttpToolsProtocol):
    """uvicorn's protocol, fed one request at a time, so that each is looked at before it is begun.

    `front` is the number of the front that gave the connection, `owner` whether its client needs no token (None: it is
    asked of `peers` by the first request that shows none),
    `secure` whether it came by TLS, `take` what takes it (see `Taker`).
    """

    def __init__(
        self,
        home: Path,
        peers: Peers,
        front: int,
        owner: bool | None,
        secure: bool,
        take: Take,
        **uvicorns: Any,
    ) -> None:
        super().__init__(**uvicorns)
        self._secure = secure
        self._peers = peers
        self._asking: asyncio.Task[None] | None = None  # whose the connection is
        self._note(owner)
        self._home = home
        self._front = front
        self._take = take
        self._held = b""  # what came in and is not fed yet
        self._body: Body | None = None  # the body that is being read
        self._passing = False
        self._alarm: asyncio.TimerHandle | None = None  # while a head is not all there
        self._task: asyncio.Task[None] | None = None

    def _note(self, owner: bool | None) -> None:
        self._owner = owner
        self.app_state = {**self.app_state, "owner": bool(owner)}  # a request's scope["state"]

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._secure:  # what TLS there was ended before
            self.scheme = "https"
        self._held = self._take()
        self.loop.call_soon(self._feed)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._held += data
        self._feed()

    def _feed(self) -> None:
        while self._held and not (self._passing or self._asking) and not self.transport.is_closing():
            if self._body is not None:
                try:
                    end = self._body.feed(self._held)
                except InvalidArgument:
                    end = -1  # httptools finds the same fault and answers it
                done = end >= 0
                piece, self._held = (self._held[:end], self._held[end:]) if done else (self._held, b"")
                if done:
                    self._body = None
                super().data_received(piece)
            elif self._answering:
                self.flow.pause_reading()  # a further request waits until this one is answered
                return
            else:
                try:
                    if not self._begin():
                        return
                except InvalidArgument as error:
                    self._refuse(error)
                    return

    def _begin(self) -> bool:
        """Begins the next request; False when it is not all there yet, or not for this process.

        Raises:
            InvalidArgument: it is no HTTP request.
        """
        self._held = self._held.lstrip(b"\r\n")  # empty lines before a request mean nothing
        if not self._held:
            return False
        check_protocol(self._held)
        end = self._held.find(b"\r\n\r\n") + 4
        if end >= 4 and is_absolute(self._held):
            self._held = path_form(self._held[:end]) + self._held[end:]
            end = self._held.find(b"\r\n\r\n") + 4
        prediction = is_prediction(self._held)
        if prediction:
            self._pass_back()
            return False
        if end < 4:
            if len(self._held) > MAX_HEAD or (prediction is False and b"\n\n" in self._held):
                raise InvalidArgument("The request's head can't be read.")
            if self._alarm is None:
                self._alarm = self.loop.call_later(_STALLED, self._stalled)
            return False
        self._head_is_there()
        if self._owner is None and not shows_token(self._held):
            self.flow.pause_reading()
            self._asking = self.loop.create_task(self._ask())
            return False
        head, self._held = self._held[:end], self._held[end:]
        super().data_received(_UPGRADE.sub(b"", head))
        if self.transport.is_closing() or self.headers is None:
            return False
        headers = dict(self.headers)
        length = headers.get(b"content-length", b"0")
        chunked = b"transfer-encoding" in headers
        if chunked or length != b"0":
            self._body = Body(int(length), chunked, keep=False)
        return True

    async def _ask(self) -> None:
        self._note(await self._peers.is_owner(self.transport))
        self._asking = None
        if not self.transport.is_closing():
            self.flow.resume_reading()
            self._feed()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._held and not self.transport.is_closing():
            self._unset_keepalive_if_required()
            self.loop.call_soon(self._feed)

    def _head_is_there(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _stalled(self) -> None:
        self._alarm = None
        self._refuse(
            DeadlineExceeded(f"The request was not complete after {_STALLED:.0f} seconds.", http_status=408)
        )

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_there()
        super().connection_lost(exc)

    def _pass_back(self) -> None:
        self._head_is_there()
        self._passing = True
        self.transport.pause_reading()
        data, self._held = self._held, b""
        self._task = self.loop.create_task(self._pass_to_front(data))

    async def _pass_to_front(self, data: bytes) -> None:
        while self.transport.get_write_buffer_size() and not self.transport.is_closing():
            await asyncio.sleep(0.001)
        if self.transport.is_closing():
            return
        descriptor = self.transport.get_extra_info("socket").fileno()
        if await self._give(descriptor, data):
            self.transport.abort()  # closes this process's copy only
            return
        error = Unavailable("Portico's fronts are restarting. Retry in a second.", retry_after=1)
        self.transport.write(Answers().error(error, b"connection: close\r\n"))
        self.transport.close()

    async def _give(self, descriptor: int, data: bytes) -> bool:
        deadline = self.loop.time() + _AWAY
        own = run_folder(self._home) / f"front-{self._front}.connections"
        while True:
            others = list(run_folder(self._home).glob("front-*.connections"))
            random.shuffle(others)
            for path in (own, *others):
                if await give(path, descriptor, -1, self._owner, data, 0, secure=self._secure):
                    return True
            if self.loop.time() > deadline:
                return False
            await asyncio.sleep(0.02)

    def send_400_response(self, msg: str) -> None:
        """Google's error shape in place of uvicorn's text."""
        self._refuse(InvalidArgument(msg))

    def _refuse(self, error: PorticoError) -> None:
        if not self.transport.is_closing():
            self.transport.write(Answers().error(error, b"connection: close\r\n"))
            self.transport.close()

    def shutdown(self) -> None:
        if self._passing:
            return
        super().shutdown()


class ControlServer(uvicorn.Server):
    """uvicorn's server without a TCP listener: its connections come from the fronts of `home`.

    Run it as any `uvicorn.Server`, with `sockets=[]`.
    """

    def __init__(self, config: uvicorn.Config, home: Path, by_grpc: Listener) -> None:
        super().__init__(config)
        self._by_grpc = by_grpc
        self._taker = Taker(control_socket(home), self._protocol)
        self._home = home

    def _protocol(self, front: int, owner: bool | None, secure: bool, take: Take) -> asyncio.Protocol:
        return ControlProtocol(
            self._home,
            self._by_grpc.peers,
            front,
            owner,
            secure,
            take,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """uvicorn's own kills the process by the signal once it has drained; a supervisor wants exit code 0."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        if not self.should_exit:
            self._taker.start()
            self._by_grpc.open()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._taker.close()
        await asyncio.gather(super().shutdown(sockets=[]), self._by_grpc.close(_DRAIN))


def serve_control(app: Any, home: Path, by_grpc: Listener) -> None:
    """Runs control with the ASGI application `app` until SIGTERM, and lets requests that have begun end."""
    config = uvicorn.Config(
        app,
        loop="uvloop",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # what a client says of how it came is no word of ours
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_DRAIN,
    )
    ControlServer(config, home, by_grpc).run()
