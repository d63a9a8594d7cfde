"""The one way every request goes, whatever brought it: identity → permission → room on the disk → handler →
audit. It knows no HTTP.

A transport translates what came into an `Arrival`, awaits `Dispatch`, and writes the answer or the `PorticoError`
that was raised in its own form.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portico.doors.contract.documents import Match, Method
from portico.doors.identity import Identity
from portico.errors import PorticoError, Unimplemented
from portico.services.call import IMPLEMENTED, Call, Caller, Handler, Rooms
from portico.store import disk

_THREADS = 40


async def _no_body() -> dict[str, Any]:
    return {}


@dataclass(slots=True)
class Arrival:
    """A request that a transport has read as far as its method.

    authorization: what it showed as its credentials, "Bearer TOKEN"; None without.
    owner: whether it came from the user who runs Portico, who needs none.
    body: reads and checks the body, which is not done for who may not ask.
    handler: what does the method where its bytes stream; else what its service registered.
    """

    method: Method
    params: dict[str, Any]
    authorization: str | None
    owner: bool
    body: Callable[[], Awaitable[dict[str, Any]]] = _no_body
    handler: Callable[[Call], Awaitable[Any]] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    grows: bool = True  # False: it only reads or makes room, whatever its method does otherwise


Permit = Callable[[Caller, Method, Mapping[str, Any]], None]
"""Raises PermissionDenied where the caller may not call the method with these parameters."""
Audit = Callable[[Call, PorticoError | None], None]
"""Notes what was done, or the error with which it was refused."""


def allow(caller: Caller, method: Method, params: Mapping[str, Any]) -> None:
    """Whoever is known may do everything."""


def note_nothing(call: Call, error: PorticoError | None) -> None:
    """There is no audit log."""


class Dispatch:
    """Handlers run in threads; those that are coroutines, because they wait or stream, on the loop."""

    def __init__(
        self, rooms: Rooms, identity: Identity, permit: Permit = allow, audit: Audit = note_nothing
    ) -> None:
        self._rooms = rooms
        self._identity = identity
        self._permit = permit
        self._audit = audit
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="service")

    @property
    def home(self) -> Path:
        return self._rooms.home

    async def __call__(self, arrival: Arrival) -> Any:
        """What the method answers.

        Raises:
            PorticoError: the request is refused, or failed.
        """
        method = arrival.method
        caller = self._identity.caller(arrival.authorization, arrival.owner)
        self._permit(caller, method, arrival.params)
        handler = arrival.handler or implementation(Match(method, {}))
        if handler is None:
            raise Unimplemented(
                f"{method.api}.{method.id} ({method.version}) is not built in Portico yet; "
                "see docs/coverage.md for what is."
            )
        call = Call(
            method.api,
            method.version,
            method.id,
            arrival.params,
            {},
            caller,
            self._rooms,
            headers=arrival.headers,
            response=method.response,
        )
        try:
            if arrival.grows and grows(method):
                disk.require_room(self._rooms.home)
            call.body = await arrival.body()
            if inspect.iscoroutinefunction(handler):
                answer = await handler(call)
            else:
                answer = await asyncio.get_running_loop().run_in_executor(self._threads, handler, call)
        except PorticoError as error:
            self._audit(call, error)
            raise
        self._audit(call, None)
        return answer


# What reads by POST, and what makes room or keeps it: the rest of POST, PUT and PATCH grows.
_NOT_GROWING = re.compile(
    r"(cancel|delete|undeploy|remove|purge|pause|reject|silence|mutateDeployedModel|wait|search|query|read|fetch|test"
    r"|replay|labelStats|serviceStats|predict|rawPredict|explain|count|list)[A-Za-z]*"
)


def grows(method: Method) -> bool:
    """Whether a full disk refuses it."""
    return method.http not in ("GET", "DELETE") and not _NOT_GROWING.fullmatch(method.id.rpartition(".")[2])


def implementation(match: Match) -> Handler | None:
    """What answers `match`. Methods that are the same below every collection are registered as "*.a.b"."""
    api, method = match.method.key
    tail = ".".join(method.rsplit(".", 2)[-2:])
    return IMPLEMENTED.get((api, method)) or IMPLEMENTED.get((api, f"*.{tail}"))
