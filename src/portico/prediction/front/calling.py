"""Predictions that a process of this home asks a front for, as the owner: over connections that it hands over."""

from __future__ import annotations

import asyncio
import http.client
import socket
import time
from pathlib import Path
from typing import Final

from portico.errors import Unavailable
from portico.prediction.front.handover import give
from portico.store.sockets import run_folder

_TIMEOUT: Final = 600.0  # seconds for an answer
_AWAY: Final = 10.0  # seconds in which a front that was killed is there again
_NOBODY: Final = -1  # a giver's number that is no front's


class FrontConnection(http.client.HTTPConnection):
    """Speaks with a front of `home`, whatever its address is."""

    def __init__(self, home: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._home = home

    def connect(self) -> None:
        """
        Raises:
            Unavailable: no front is up.
        """
        deadline = time.monotonic() + _AWAY
        while time.monotonic() < deadline:
            for path in sorted(run_folder(self._home).glob("front-*.connections")):
                mine, its = socket.socketpair()
                with its:
                    if asyncio.run(give(path, its.fileno(), _NOBODY, True, b"", 0.5)):
                        mine.settimeout(_TIMEOUT)
                        self.sock = mine
                        return
                mine.close()
        raise Unavailable("No front is up to answer predictions.", retry_after=5)

    def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """The status and body of the answer to a POST of JSON.

        Raises:
            Unavailable: no front is up, or it ended before it answered.
        """
        try:
            self.request("POST", path, body, {"content-type": "application/json"})
            answer = self.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise Unavailable("The front ended before it answered.", retry_after=5) from None
