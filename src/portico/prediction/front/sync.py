"""How control hears from the fronts: that they serve a change, and what they have counted."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path
from typing import Any, Final

import orjson

from portico.errors import FailedPrecondition, Unavailable
from portico.store.sockets import run_folder

_POLL: Final = 0.05
_ADMIN_NAME: Final = re.compile(r"front-\d+\.sock")


def await_fronts(home: Path, version: int, timeout: float = 60.0, endpoint: str = "", only: str = "") -> None:
    """Returns when every live front serves `version` (as `store.served.put` returned it).

    A front that starts later reads what is stored then, which is no older.

    Raises:
        Unavailable: no front is up, or not all were done within `timeout` seconds.
        FailedPrecondition: a front could not load a model of `endpoint` (with `only`, that deployed model); the
            message says why. It goes on serving the endpoint as it was before.
    """
    deadline = time.monotonic() + timeout
    while True:
        answers = ask_fronts(home, {"sync": version}, deadline)
        if answers:
            break
        if time.monotonic() >= deadline:
            raise Unavailable("No front is up to serve the change.", retry_after=5)
        time.sleep(_POLL)
    for answer in answers:
        for deployed_model, error in answer["errors"].get(endpoint, {}).items():
            if only and deployed_model != only:
                continue  # it could not be served before
            raise FailedPrecondition(f"The deployed model {deployed_model} can't be served: {error}")


def ask_fronts(home: Path, question: dict[str, Any], deadline: float) -> list[dict[str, Any]]:
    """Every live front's answer to `question` (see `Front.administer`); fronts that died are left out.

    Raises:
        Unavailable: a front did not answer before `deadline` (of `time.monotonic`).
    """
    links = []
    try:
        for path in sorted(run_folder(home).glob("front-*.sock")):
            if _ADMIN_NAME.fullmatch(path.name) and (link := _asked(path, question)) is not None:
                links.append(link)
        answers = [_answer(link, deadline) for link in links]
    finally:
        for link in links:
            link.close()
    return [answer for answer in answers if answer is not None]


def _asked(path: Path, question: dict[str, Any]) -> socket.socket | None:
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        link.connect(str(path))
        link.sendall(orjson.dumps(question) + b"\n")
    except OSError:
        link.close()
        return None
    return link


def _answer(link: socket.socket, deadline: float) -> dict[str, Any] | None:
    received = b""
    while not received.endswith(b"\n"):
        link.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            piece = link.recv(65536)
        except TimeoutError:
            raise Unavailable("A front is slow to serve the change.", retry_after=5) from None
        except OSError:
            return None
        if not piece:
            return None
        received += piece
    answer: dict[str, Any] = orjson.loads(received)
    return answer
