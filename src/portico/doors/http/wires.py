"""What the wires of single APIs share: requests beside the document's JSON methods, whose bytes stream.

A wire only translates: it says which paths are its own, and which method a request means.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from portico.doors.contract.documents import Contract
from portico.doors.dispatch import Arrival, Dispatch
from portico.doors.http.incoming import Incoming
from portico.doors.storage.requests import ClientGone, Request, Send
from portico.services.call import Call, Rooms


class Wire(ABC):
    """`API` is the name and version of the API, `PATH` what its requests' paths are."""

    API: ClassVar[tuple[str, str]]
    PATH: ClassVar[re.Pattern[bytes]]

    def __init__(self, rooms: Rooms, contract: Contract, dispatch: Dispatch) -> None:
        self._rooms = rooms
        self._contract = contract
        self._dispatch = dispatch

    def owns(self, raw_path: bytes) -> bool:
        """Which requests are for `handle`; the others go through the document's routes."""
        return self.PATH.fullmatch(raw_path.partition(b"?")[0]) is not None

    async def handle(
        self, scope: dict[str, Any], receive: Incoming, send: Send, authorization: str | None
    ) -> None:
        """Answers the request, or raises PorticoError before the answer has begun."""
        found = self.PATH.fullmatch(scope["raw_path"].partition(b"?")[0])
        assert found is not None  # it is ours
        try:
            await self.answer(Request(scope, receive, send, self._rooms), found, authorization)
        except ClientGone:
            return

    @abstractmethod
    async def answer(self, request: Request, found: re.Match[bytes], authorization: str | None) -> None:
        """`found` is the match of its path."""

    async def meant(
        self,
        request: Request,
        authorization: str | None,
        method: str,
        params: dict[str, Any],
        handler: Callable[[Call], Awaitable[Any]] | None = None,
        grows: bool = True,
    ) -> Any:
        """Does the API's `method`; what it answers. See `Arrival` for the rest."""
        return await self._dispatch(
            Arrival(
                self._contract.method(*self.API, method),
                params,
                authorization,
                request.scope["state"]["owner"],
                handler=handler,
                headers=request.headers,
                grows=grows,
            )
        )
