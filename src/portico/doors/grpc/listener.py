"""The port of gRPC. What comes there is passed on to gRPC's own server in this process, which starts with the first
connection: on one of two private sockets, one for who needs no token and one for all others, since gRPC does not tell
whose a connection is.

A client may speak HTTP/2 at once, or TLS, which it gets with the home's certificate; or it takes this for its proxy
(`grpc_proxy`, see `client.settings`), and is answered here in the name of Google's APIs that are spoken by gRPC.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import re
import socket
import ssl
from pathlib import Path
from typing import Any, Final

from portico.doors.contract.documents import Contract
from portico.doors.dispatch import Dispatch
from portico.prediction.front.peers import Auth, Peers
from portico.services.standard.apis import declared
from portico.store.sockets import run_folder

_CONNECT: Final = re.compile(rb"CONNECT \[?([\w.:-]+?)\]?:(\d{1,5}) HTTP/1\.[01]\r\n")
_LONGEST: Final = 8192  # bytes of the head of a CONNECT
_FORBIDDEN: Final = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
_STALLED: Final = 60.0  # seconds that the first bytes may take


class Listener:
    """`listening`: the bound socket. `auth`: who needs no token."""

    def __init__(
        self,
        home: Path,
        listening: socket.socket,
        certificate: Path,
        dispatch: Dispatch,
        contract: Contract,
        auth: Auth,
    ) -> None:
        self._home = home
        self._listening = listening
        self._certificate = certificate
        self._dispatch = dispatch
        self._contract = contract
        self.peers = Peers(auth, run_folder(home))
        self._servers: dict[bool, Any] = {}
        self._starting = asyncio.Lock()
        self._ending = asyncio.Event()
        self._accepting: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        self._accepting = asyncio.create_task(self._accept())

    async def close(self, grace: float) -> None:
        """Ends what has begun, within `grace` seconds."""
        if self._accepting is not None:
            self._accepting.cancel()
        self._ending.set()
        await asyncio.gather(*(server.stop(grace) for server in self._servers.values()))

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(self._listening)
            task = asyncio.create_task(self._take(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _take(self, connection: socket.socket) -> None:
        try:
            await self._serve(connection)
        except (OSError, TimeoutError, ssl.SSLError):
            connection.close()
        except BaseException:
            connection.close()
            raise

    async def _serve(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        owner = await self.peers.is_owner(connection)
        first = await _peek(connection)
        if first.startswith(b"CONNECT "):
            there = await self._asked(connection, owner)
            if there is None:
                connection.close()
                return
            host, port = there
            if host not in _ours() and host.endswith(
                "googleapis.com"
            ):  # nothing that is meant for here goes elsewhere
                await loop.sock_sendall(connection, _FORBIDDEN)
                connection.close()
                return
            if host not in _ours():
                _, far = await loop.create_connection(_Side, host, port)
                await loop.sock_sendall(connection, b"HTTP/1.1 200 Connection established\r\n\r\n")
                await loop.connect_accepted_socket(lambda: _Side(far), connection)
                return
            await loop.sock_sendall(connection, b"HTTP/1.1 200 Connection established\r\n\r\n")
            first = await _peek(connection)
        context = _context(self._certificate) if first[:1] == b"\x16" else None
        if context is None and not first.startswith(b"PRI "):
            connection.close()
            return
        _, far = await loop.create_unix_connection(_Side, str(await self._server(owner)))
        await loop.connect_accepted_socket(lambda: _Side(far), connection, ssl=context)

    async def _asked(self, connection: socket.socket, owner: bool) -> tuple[str, int] | None:
        """Which server a client takes this for the way to."""
        loop = asyncio.get_running_loop()
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await asyncio.wait_for(loop.sock_recv(connection, 1), _STALLED)
            if len(head) > _LONGEST or not head:
                return None
        if not owner:
            await loop.sock_sendall(connection, _FORBIDDEN)
            return None
        found = _CONNECT.match(head)
        return (found[1].decode().lower(), int(found[2])) if found else None

    async def _server(self, owner: bool) -> Path:
        """The socket of the server for such callers, which runs."""
        path = run_folder(self._home) / ("grpc-owner.sock" if owner else "grpc.sock")
        async with self._starting:
            if owner not in self._servers:
                wire = await asyncio.to_thread(
                    importlib.import_module, "portico.doors.grpc.wire"
                )  # it is large
                path.unlink(missing_ok=True)
                self._servers[owner] = server = wire.server(
                    self._dispatch, self._contract, path, owner, self._ending
                )
                await server.start()
        return path


class _Side(asyncio.Protocol):
    """One end of a connection: what comes in goes out at the other, as fast as that takes it."""

    def __init__(self, far: _Side | None = None) -> None:
        self.far = far
        self.transport: Any = None
        self._held: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        if self.far is not None:
            self.far.meet(self)

    def meet(self, far: _Side) -> None:
        self.far = far
        for data in self._held:
            far.transport.write(data)
        self._held.clear()
        if self.transport.is_closing():
            far.transport.close()

    def data_received(self, data: bytes) -> None:
        if self.far is None:
            self._held.append(data)
        else:
            self.far.transport.write(data)

    def pause_writing(self) -> None:
        if self.far is not None and self.far.transport is not None:
            self.far.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.far is not None and self.far.transport is not None:
            self.far.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.far is not None and self.far.transport is not None:
            self.far.transport.close()


async def _peek(connection: socket.socket) -> bytes:
    """The first bytes, which stay where they are.

    Raises:
        TimeoutError: none come.
    """
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def arrived() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(connection, arrived)
    try:
        await asyncio.wait_for(ready, _STALLED)
    finally:
        loop.remove_reader(connection)
    with contextlib.suppress(BlockingIOError):
        return connection.recv(8, socket.MSG_PEEK)
    return b""


def _ours() -> set[str]:
    return {f"{api.name}.googleapis.com" for api in declared().values() if api.grpc is not None}


def _context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(["h2"])
    return context
