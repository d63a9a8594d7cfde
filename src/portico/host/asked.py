"""A Unix socket on which others ask a process to do its work now: whoever connects is answered once it is done."""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from portico.store import disk

log = logging.getLogger(__name__)

_FULL = 10.0  # seconds until a look that found the disk full


class Asked:
    """A context. Any thread may `poke`; all else belongs to the one that answers."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1024)
        self._listener.setblocking(False)
        self._poked, self._poker = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._poked.setblocking(False)
        self._poker.setblocking(False)
        self._asking: list[socket.socket] = []

    def poke(self) -> None:
        """Ends a `wait`, since there is news."""
        with contextlib.suppress(BlockingIOError):  # it was poked already
            self._poker.send(b"!")

    def wait(self, seconds: float) -> bool:
        """Returns when somebody asks, at a poke, or after `seconds`; whether anybody waits for an answer now."""
        select.select([self._listener, self._poked], [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._poked.recv(16)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._asking.append(self._listener.accept()[0])
        return bool(self._asking)

    def serve(self, stopping: threading.Event, seconds: float, look: Callable[[], bool], what: str) -> None:
        """Does `what`, a `look` at a time, until `stopping`: when somebody asks, and every so many seconds. A look that
        says that all is done answers; one that fails is repeated."""
        while not stopping.is_set():
            self.wait(seconds)
            try:
                if look():
                    self.answer()
            except Exception as error:
                full = disk.is_full(error)
                if full:
                    log.warning("the disk is full: %s waits", what)
                else:
                    log.exception("%s can't be done", what)
                self.refuse()
                stopping.wait(_FULL if full else 1)

    def answer(self) -> None:
        """Tells everybody that it is done."""
        self._hang_up(b"ok")

    def refuse(self) -> None:
        """Hangs up on everybody: they ask again."""
        self._hang_up(b"")

    def _hang_up(self, answer: bytes) -> None:
        while self._asking:
            with self._asking.pop() as link, contextlib.suppress(OSError):
                link.sendall(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()
        for link in (self._listener, self._poked, self._poker):
            link.close()
