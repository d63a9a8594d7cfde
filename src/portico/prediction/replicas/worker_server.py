"""The socket's end of a replica: reads frames, has them answered, and sends what was said. As `worker`, which has it
beside it, it is run by the model's own Python: the standard library, 3.7 and later.

Frames, both ways: a header of three little-endian numbers, then the body (JSON).
    request   length of the body (uint32), id (uint32), kind (uint16)
    response  length of the body (uint32), id (uint32), HTTP status (uint16)
A request for a stream is the only one of its connection, and has several responses (`frames.py`).
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HEADER = struct.Struct("<IIH")
PING, STREAM = 0, 4
_UNREAD = 10.0  # seconds that a piece of a stream waits for its reader, while others wait for the replica


class Peer:
    """One connection: what has been read of it and not answered, and what is still to be sent."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.incoming = bytearray()
        self.outgoing = bytearray()


class Server:
    """Answers one request after the other; a client may send the next before it has the answer."""

    def __init__(
        self,
        listening: socket.socket,
        answer: Callable[[int, bytes], tuple[int, bytes]],
        seconds: int = 0,
        stream: Callable[[bytes, Callable[[int, bytes], None]], None] | None = None,
    ) -> None:
        self.listening = listening
        self.answer = answer
        self.seconds = seconds
        self.stream = stream
        self.selector = selectors.DefaultSelector()
        self.draining = False

    def run(self) -> None:
        self.listening.setblocking(False)
        self.selector.register(self.listening, selectors.EVENT_READ)
        self.selector.register(0, selectors.EVENT_READ)
        while True:
            # While draining, a moment without a request is the end.
            ready = self.selector.select(0.25 if self.draining else None)
            if self.draining and not ready:
                return
            for key, events in ready:
                if key.fileobj == 0:
                    if not os.read(0, 4096):
                        self.draining = True
                        self.selector.unregister(0)
                elif key.fileobj is self.listening:
                    self.accept()
                elif events & selectors.EVENT_READ:
                    self.read(key.data)
                else:
                    self.send(key.data)

    def accept(self) -> None:
        try:
            connection, _ = self.listening.accept()
        except OSError:
            return
        connection.setblocking(False)
        self.selector.register(connection, selectors.EVENT_READ, Peer(connection))

    def read(self, peer: Peer) -> None:
        try:
            received = peer.connection.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self.close(peer)
            return
        peer.incoming += received
        while len(peer.incoming) >= HEADER.size:
            length, number, kind = HEADER.unpack_from(peer.incoming)
            end = HEADER.size + length
            if len(peer.incoming) < end:
                break
            body = bytes(peer.incoming[HEADER.size : end])
            del peer.incoming[:end]
            if kind == PING:
                status, told = 200, b"{}"
            elif kind == STREAM and self.stream is not None:
                self.say_stream(peer, number, body)
                return
            else:
                # The model holds the process's only thread: who waits gives up at the same time, and the kernel
                # ends what goes on, so that the next request has a process again.
                signal.alarm(self.seconds)
                status, told = self.answer(kind, body)
                signal.alarm(0)
            peer.outgoing += HEADER.pack(len(told), number, status) + told
            if not self.send(peer):
                return

    def say_stream(self, peer: Peer, number: int, body: bytes) -> None:
        """Sends each part of an answer when it is there, and closes the connection. Where the client has gone, or does
        not read, who says the parts gets an OSError."""
        assert self.stream is not None
        peer.connection.settimeout(_UNREAD)

        def say(status: int, told: bytes) -> None:
            signal.alarm(0)  # a slow reader takes none of the model's time
            peer.connection.sendall(HEADER.pack(len(told), number, status) + told)
            signal.alarm(self.seconds)

        signal.alarm(self.seconds)
        try:
            self.stream(body, say)
        finally:
            signal.alarm(0)
            self.close(peer)

    def send(self, peer: Peer) -> bool:
        """Sends what the connection takes now; False when it is closed."""
        try:
            sent = peer.connection.send(peer.outgoing)
            del peer.outgoing[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.close(peer)
            return False
        # A client that does not read its answers is not read from either.
        wanted = selectors.EVENT_WRITE if peer.outgoing else selectors.EVENT_READ
        if self.selector.get_key(peer.connection).events != wanted:
            self.selector.modify(peer.connection, wanted, peer)
        return True

    def close(self, peer: Peer) -> None:
        self.selector.unregister(peer.connection)
        peer.connection.close()


def die_with_parent() -> None:
    """Asks Linux to end this process when the manager does, however it does."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    except (OSError, AttributeError):
        pass  # stdin's end tells it too
