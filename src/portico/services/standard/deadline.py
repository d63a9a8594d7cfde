"""A time limit for the whole of a conversation over a network, however many bytes drip in before it."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

_LEAST: Final = 0.001  # seconds: 0 would mean not to wait at all


class Deadline:
    """`with Deadline(10) as deadline`: 10 seconds later every connection that `deadline.connect` made is shut, so
    whoever reads from one sees its end. Name resolution has the system's own limit."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = 0.0
        self._held: list[socket.socket] = []
        self._lock = threading.Lock()
        self.over = False

    def __enter__(self) -> Deadline:
        self._end = time.monotonic() + self._seconds
        self._alarm = threading.Timer(self._seconds, self._shut)
        self._alarm.daemon = True
        self._alarm.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """
        Raises:
            TimeoutError: the block's time was over, whatever it made of the connection's end.
        """
        self._alarm.cancel()
        with self._lock:
            for connection in self._held:
                connection.close()
            self._held.clear()
        if self.over or (isinstance(error, TimeoutError) and time.monotonic() >= self._end):
            raise TimeoutError(f"It was not done within {self._seconds:g} seconds.") from error

    def connect(self, address: tuple[str, int], timeout: Any = None, source: Any = None) -> socket.socket:
        """As `socket.create_connection`."""
        left = max(self._end - time.monotonic(), _LEAST)
        connection = socket.create_connection(address, left, source)
        with self._lock:
            if self.over:
                connection.close()
                raise TimeoutError
            # A descriptor of our own for the connection: TLS takes the other one over.
            self._held.append(connection.dup())
        return connection

    def opener(self, *handlers: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
        """For urllib, redirects and proxies included, where `handlers` say nothing else."""
        return urllib.request.build_opener(_Http(self), _Https(self), *handlers)

    def _shut(self) -> None:
        with self._lock:
            self.over = True
            for connection in self._held:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


def _made(kind: type[http.client.HTTPConnection], deadline: Deadline) -> Callable[..., Any]:
    def make(host: str, **options: Any) -> http.client.HTTPConnection:
        connection: Any = kind(host, **options)
        connection._create_connection = deadline.connect
        made: http.client.HTTPConnection = connection
        return made

    return make


class _Http(urllib.request.HTTPHandler):
    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        found: Any = self.do_open(_made(http.client.HTTPConnection, self._deadline), request)
        answer: http.client.HTTPResponse = found
        return answer


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        make = _made(http.client.HTTPSConnection, self._deadline)
        found: Any = self.do_open(make, request, context=ssl.create_default_context())
        answer: http.client.HTTPResponse = found
        return answer
