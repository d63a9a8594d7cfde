"""How the console asks the server: as the person who looks, over connections that are theirs as much as ours.

A connection is one end of a pair of sockets, whose other end is handed to the server like any client's, with the word
whether who looks is the owner. So the console can do nothing that its visitor can't.
"""

from __future__ import annotations

import http.client
import queue
import socket
import string
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from portico.client.api import Client, is_over
from portico.errors import NotFound, PermissionDenied, PorticoError, Unavailable, Unimplemented
from portico.prediction.front.handover import control_socket, give_now

_PATIENCE = 5.0  # seconds that the server may be away
_TIMEOUT = 120.0  # seconds for an answer
_AT_ONCE = 8  # questions of all pages together

One = TypeVar("One")
Of = TypeVar("Of")


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks: whether the server knows them as its owner without a token, and the credentials they sent."""

    owner: bool
    authorization: str = ""


def _sendable(target: str) -> str:
    """A target with what no request's line can have, as a page's address may bring it, in per cents."""
    return quote(target, safe=string.punctuation)


class _Handed(http.client.HTTPConnection):
    def __init__(self, home: Path, owner: bool) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._home, self._owner = home, owner

    def connect(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            if not give_now(control_socket(self._home), theirs.fileno(), self._owner, _PATIENCE):
                ours.close()
                raise ConnectionRefusedError("nobody takes connections")
        ours.settimeout(_TIMEOUT)
        self.sock = ours


class Server:
    """The server of a home, for all visitors. From any thread."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._idle: dict[bool, queue.LifoQueue[_Handed]] = {
            owner: queue.LifoQueue() for owner in (True, False)
        }
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="asks")

    @contextmanager
    def connection(self, owner: bool) -> Iterator[_Handed]:
        """One that nobody else uses meanwhile; one whose use failed is closed."""
        held = self._held(owner)
        try:
            yield held
        except BaseException:
            held.close()
            raise
        self._idle[owner].put(held)

    def _held(self, owner: bool) -> _Handed:
        """One that stands, or a new one: the server closes what nobody has used for long."""
        while True:
            try:
                held = self._idle[owner].get_nowait()
            except queue.Empty:
                return _Handed(self._home, owner)
            if not is_over(held):
                return held
            held.close()

    def over(self, ask: Callable[[Of], One], some: Iterable[Of]) -> list[One]:
        """See `Api.over`."""
        return list(self._threads.map(ask, some))


class Api(Client):
    """The API for one visitor; safe for threads."""

    def __init__(self, server: Server, visitor: Visitor, parent: str = "") -> None:
        self.parent = parent
        self._server, self._visitor = server, visitor
        self.denied: list[str] = []  # what was left out, since the visitor may not see it

    def _answered(self, verb: str, target: str, data: str | None) -> tuple[int, bytes]:
        status, _, content = self.sent(verb, target, data, {"content-type": "application/json"})
        return status, content

    def sent(
        self, verb: str, target: str, data: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """A request as it is; status, headers and body of the answer. `data`: text, bytes, or a file.

        Raises:
            Unavailable: the server does not answer.
        """
        given = dict(headers or {})
        if self._visitor.authorization:
            given["authorization"] = self._visitor.authorization
        for again in (True, False):
            try:
                with self._server.connection(self._visitor.owner) as connection:
                    stood = connection.sock is not None
                    connection.request(verb, _sendable(target), data, given)
                    answer = connection.getresponse()
                    return answer.status, dict(answer.getheaders()), answer.read()
            except (OSError, http.client.HTTPException) as error:
                # A connection that stood before may be closed just now.
                if not (again and stood and verb == "GET"):
                    raise Unavailable(f"Portico does not answer: {error!r}.") from None
        raise AssertionError

    @contextmanager
    def stream(self, target: str) -> Iterator[http.client.HTTPResponse]:
        """The answer to a GET, to be read piece by piece."""
        headers = {"authorization": self._visitor.authorization} if self._visitor.authorization else {}
        with self._server.connection(self._visitor.owner) as connection:
            connection.request("GET", _sendable(target), headers=headers)
            answer = connection.getresponse()
            try:
                yield answer
            finally:
                if not answer.isclosed():
                    connection.close()

    def listed(self, path: str, key: str, **query: Any) -> list[dict[str, Any]]:
        """The first page of a list; empty where there is no such parent, nobody built the method, or the visitor may
        not see it."""
        try:
            found: list[dict[str, Any]] = self.call("GET", path, **query).get(key) or []
        except (NotFound, Unimplemented):
            return []
        except PermissionDenied as error:
            self.denied.append(error.message)
            return []
        return found

    def maybe(self, path: str, **query: Any) -> dict[str, Any]:
        """A resource; {} where it is gone, or the visitor may not see it."""
        try:
            return self.call("GET", path, **query)
        except NotFound:
            return {}
        except PermissionDenied as error:
            self.denied.append(error.message)
            return {}

    def may(self, project: str, permissions: Iterable[str]) -> frozenset[str]:
        """Which of these permissions the visitor has in the project: the owner all."""
        asked = list(permissions)
        if not self._visitor.authorization:
            return frozenset(asked)
        path = f"/apis/cloudresourcemanager/v3/projects/{project}:testIamPermissions"
        try:
            return frozenset(self.call("POST", path, {"permissions": asked}).get("permissions") or ())
        except PorticoError:
            return frozenset()

    def each(self, *asks: Callable[[], Any]) -> list[Any]:
        """What each of several questions is answered, asked side by side. Raises what the first failed one raises."""
        return self._server.over(lambda ask: ask(), asks)

    def over(self, ask: Callable[[Of], One], some: Iterable[Of]) -> list[One]:
        """The same of one question about each of `some`."""
        return self._server.over(ask, some)

    def tried(self, ask: Callable[[], One]) -> tuple[One | None, PorticoError | None]:
        """What a question is answered, or the error."""
        try:
            return ask(), None
        except PorticoError as error:
            return None, error
