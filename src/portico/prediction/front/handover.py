"""Passes an idle client connection, with the bytes already read of its next request, to another process.

The giver connects to the taker's Unix socket and sends the connection's descriptor (SCM_RIGHTS), its own number,
whether the client is the owner (see `peers`; or that nobody had to know yet), and the bytes; the taker answers one byte
when the connection is its own, before it looks at the request. Without that byte the giver still owns the connection,
so a taker that dies in between loses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from portico.store.sockets import run_folder

# The giver's number, whether the client is the owner (below 0: not known), whether it came by TLS, the count of bytes.
_HEADER: Final = struct.Struct("<ib?I")
_FIRST: Final = 32 * 1024  # goes with the descriptor: always fits into a fresh socket's buffer
_RETRY: Final = 0.02  # seconds
_NO_FRONT: Final = -1  # the number of a giver that is none
_UNKNOWN: Final = -1


def control_socket(home: Path) -> Path:
    """Where control takes connections."""
    return run_folder(home) / "control.sock"


def front_connections(home: Path, index: int) -> Path:
    """Where the front `index` takes connections."""
    return run_folder(home) / f"front-{index}.connections"


def front_admin(home: Path, index: int) -> Path:
    """Where the front `index` answers about itself."""
    return run_folder(home) / f"front-{index}.sock"


Take = Callable[[], bytes]


async def give(
    path: Path,
    descriptor: int,
    number: int,
    owner: bool | None,
    data: bytes,
    patience: float,
    *,
    secure: bool = False,
) -> bool:
    """Passes `descriptor` with `data` to whoever takes connections at `path`.

    True when it was taken: the caller then closes its copy. False when nobody took it for `patience` seconds; the
    descriptor is then the caller's alone. A taker that is there but busy is waited for.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while True:
        try:
            if await _give(loop, path, descriptor, _told(number, owner, secure, data), data):
                return True
        except OSError:
            pass
        if loop.time() >= deadline:
            return False
        await asyncio.sleep(_RETRY)


async def _give(
    loop: asyncio.AbstractEventLoop, path: Path, descriptor: int, told: bytes, data: bytes
) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.setblocking(False)
        link.connect(str(path))
        first = told + data[:_FIRST]
        sent = socket.send_fds(link, [first], [descriptor])
        rest = first[sent:] + data[_FIRST:]
        if rest:
            await loop.sock_sendall(link, rest)
        return await loop.sock_recv(link, 1) != b""


def _told(number: int, owner: bool | None, secure: bool, data: bytes) -> bytes:
    return _HEADER.pack(number, _UNKNOWN if owner is None else owner, secure, len(data))


def give_now(path: Path, descriptor: int, owner: bool, patience: float) -> bool:
    """Passes a connection on which nothing was said yet, as `give` does, from a thread that may wait."""
    deadline = time.monotonic() + patience
    while True:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(patience)
            link.connect(str(path))
            socket.send_fds(link, [_told(_NO_FRONT, owner, False, b"")], [descriptor])
            if link.recv(1):
                return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(_RETRY)


class Taker:
    """Takes connections at the Unix socket `path`.

    `protocol(number, owner, secure, take)` makes the protocol for a connection that the process `number` gave, and
    whose client is the owner or not (None: that is not known yet), and came by TLS or not. Its `connection_made` must
    call `take`, which tells the giver that the connection is taken, and deal with the bytes that it returns before
    those that come in. The transport does not read yet at that moment, so it can't be paused: what may pause it must
    wait for the loop's next turn.
    """

    def __init__(
        self, path: Path, protocol: Callable[[int, bool | None, bool, Take], asyncio.Protocol]
    ) -> None:
        self._path = path
        self._protocol = protocol
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Listens. A socket that a dead process left at the path is replaced."""
        self._loop = asyncio.get_running_loop()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        temporary = self._path.with_suffix(f".{os.getpid()}")
        temporary.unlink(missing_ok=True)
        self._listener.bind(str(temporary))
        self._listener.listen(1024)
        temporary.rename(self._path)  # whoever connects finds the old listener or this one
        self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Stops listening; connections that were taken go on."""
        self._loop.remove_reader(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                return  # out of descriptors: the giver goes on waiting
            task = self._loop.create_task(self._take(link))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _take(self, link: socket.socket) -> None:
        with link:
            link.setblocking(False)
            received = await self._receive(link)
            if received is None:
                return
            connection, told, data = received

            def take() -> bytes:
                with contextlib.suppress(OSError):  # the giver is dead: then the connection is ours anyway
                    link.send(b"\x01")
                return data

            try:
                await self._loop.connect_accepted_socket(lambda: self._protocol(*told, take), connection)
            except OSError:  # the client went away meanwhile
                connection.close()

    async def _receive(
        self, link: socket.socket
    ) -> tuple[socket.socket, tuple[int, bool | None, bool], bytes] | None:
        """The connection, and what the giver says of it; None when the giver gave up."""
        while True:
            try:
                first, descriptors, _, _ = socket.recv_fds(link, _FIRST + _HEADER.size, 1, _CLOEXEC)
                break
            except BlockingIOError:
                await self._readable(link)
            except OSError:
                return None
        if not descriptors:
            return None
        connection = socket.socket(fileno=descriptors[0])
        try:
            number, owner, secure, length = _HEADER.unpack_from(first)
            data = bytearray(first[_HEADER.size :])
            while len(data) < length:
                piece = await self._loop.sock_recv(link, length - len(data))
                if not piece:
                    connection.close()
                    return None
                data += piece
        except BaseException:
            connection.close()
            raise
        connection.setblocking(False)
        return connection, (number, None if owner == _UNKNOWN else bool(owner), secure), bytes(data)

    async def _readable(self, link: socket.socket) -> None:
        ready = self._loop.create_future()
        self._loop.add_reader(link, lambda: None if ready.done() else ready.set_result(None))
        try:
            await ready
        finally:
            self._loop.remove_reader(link)


_CLOEXEC: Final = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
