"""The one way every request goes, whatever brought it: identity → permission → room on the disk → handler →
audit. It knows no HTTP.

A transport translates what came into an `Arrival`, awaits `Dispatch`, and writes the answer or the `PorticoError`
that was raised in its own form.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from portico.doors.contract.documents import Match, Method
from portico.doors.identity import Identity
from portico.errors import Internal, PorticoError, Unimplemented
from portico.services.call import IMPLEMENTED, Call, Caller, Handler, Rooms
from portico.services.iam.permit import FOR_ANYBODY, Permit
from portico.services.standard.projects import ProjectIds
from portico.store import disk
from portico.store.beside import Beside, beside

_THREADS = 40
# Whose bodies are data, in which nothing names a project.
_DATA = re.compile(
    r"insertAll$|AppendRows$|[pP]redict\w*$|explain$|[wW]rite\w*$|addLabels$|publish$|StreamingPull$"
)


async def no_body() -> dict[str, Any]:
    return {}


@dataclass(slots=True)
class Arrival:
    """A request that a transport has read as far as its method.

    authorization: what it showed as its credentials, "Bearer TOKEN"; None without.
    owner: whether it came from the user who runs Portico, who needs none.
    caller: whose it is where that is known otherwise: by the signature of a URL, or since they began it.
    body: reads and checks the body, which is not done for who may not ask.
    handler: what does the method where its bytes stream; else what its service registered.
    """

    method: Method
    params: dict[str, Any]
    authorization: str | None
    owner: bool
    body: Callable[[], Awaitable[dict[str, Any]]] = no_body
    handler: Callable[[Call], Awaitable[Any]] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    grows: bool = True  # False: it only reads or makes room, whatever its method does otherwise
    caller: Caller | None = None


class Recording(Beside, Protocol):
    """The entry of a call in the audit log, which is written with its first change; `early`: before it. Once it
    `is_kept` only an error is still to be told."""

    @property
    def early(self) -> bool: ...

    @property
    def is_kept(self) -> bool: ...

    def end(self, error: PorticoError | None) -> None:
        """Notes how the call ended, where the log does not know it yet."""


Audit = Callable[[Call, str], Recording | None]
"""What records a call, which came by this HTTP method; None where it is not recorded."""


def note_nothing(call: Call, http: str) -> None:
    """There is no audit log."""


class Dispatch:
    """Handlers run in threads; those that are coroutines, because they wait or stream, on the loop."""

    def __init__(self, rooms: Rooms, identity: Identity, permit: Permit, audit: Audit = note_nothing) -> None:
        self._rooms = rooms
        self._identity = identity
        self._permit = permit
        self._audit = audit
        self._projects = ProjectIds(rooms.database, rooms.clock)
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
        arrival.params = await self._named(arrival.params)
        caller = arrival.caller or self._identity.caller(
            arrival.authorization,
            arrival.owner,
            anonymous=method.api in FOR_ANYBODY,
            api=method.api,
            host=arrival.headers.get("host", ""),
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
        recording = self._audit(call, method.http)
        if recording is None:
            return await self._answer(arrival, call)
        token = beside.set(recording)
        try:
            answer = await self._answer(arrival, call, recording)
        except Exception as error:
            beside.reset(token)
            known = error if isinstance(error, PorticoError) else Internal("The call failed unexpectedly.")
            await asyncio.to_thread(recording.end, known)
            raise
        beside.reset(token)
        if not recording.is_kept:
            await asyncio.to_thread(recording.end, None)
        return answer

    async def _named(self, given: dict[str, Any]) -> dict[str, Any]:
        """The same, with projects by their ids that were named by number."""
        if self._projects.unknown(given):
            await asyncio.to_thread(self._projects.look)
        found: dict[str, Any] = self._projects.named(given)
        return found

    async def _answer(self, arrival: Arrival, call: Call, recording: Recording | None = None) -> Any:
        method = arrival.method
        self._permit.before(call.caller, *method.key, method.path, arrival.params)
        handler = arrival.handler or implementation(Match(method, {}))
        if handler is None:
            raise Unimplemented(
                f"{method.api}.{method.id} ({method.version}) is not built in Portico yet; "
                "see docs/coverage.md for what is."
            )
        if arrival.grows and grows(method):
            disk.require_room(self._rooms.home)
        call.body = await arrival.body()
        if not _DATA.search(method.id):
            call.body = await self._named(call.body)
        self._permit.after(call.caller, *method.key, method.path, arrival.params, call.body)
        if recording is not None and recording.early:
            await asyncio.to_thread(recording.end, None)
        if inspect.iscoroutinefunction(handler):
            return await handler(call)
        within = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._threads, within.run, handler, call)


# What reads by POST, and what makes room or keeps it: the rest of POST, PUT and PATCH grows.
_NOT_GROWING = re.compile(
    r"(acknowledge|modifyAckDeadline|pull|cancel|delete|undeploy|remove|purge|pause|reject|silence|mutateDeployedModel|wait|search|query|read|fetch|test"
    r"|replay|labelStats|serviceStats|predict|rawPredict|streamRawPredict|directRawPredict|directPredict|explain|count|list)[A-Za-z]*"
)


def grows(method: Method) -> bool:
    """Whether a full disk refuses it. A bucket's settings free what it has soft-deleted."""
    if method.key == ("storage", "buckets.patch"):
        return False
    return method.http not in ("GET", "DELETE") and not _NOT_GROWING.fullmatch(method.id.rpartition(".")[2])


def implementation(match: Match) -> Handler | None:
    """What answers `match`. Methods that are the same below every collection are registered as "*.a.b"."""
    api, method = match.method.key
    tail = ".".join(method.rsplit(".", 2)[-2:])
    return IMPLEMENTED.get((api, method)) or IMPLEMENTED.get((api, f"*.{tail}"))
