"""How one asks for what was answered to be in the log, and for whatever is due in domain time to be done, now."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from typing import Final

from portico.errors import Unavailable
from portico.prediction.front.sync import ask_fronts
from portico.store.sockets import run_folder

_FRONTS: Final = 10.0  # seconds
_POLL: Final = 0.05
_UNREAD: Final = "The watcher has not read yet what was predicted; ask again later."


def log_path(home: Path) -> Path:
    """Where the watcher listens: a connection is answered `ok` once it has read what the fronts had written."""
    return run_folder(home) / "watcher.sock"


def due_path(home: Path) -> Path:
    """Where the scheduler listens: a connection is answered `ok` once what is due has been done."""
    return run_folder(home) / "due.sock"


async def logged(home: Path, timeout: float) -> None:
    """Returns when everything answered so far is in the prediction log.

    Raises:
        Unavailable: that takes longer than `timeout` seconds.
    """
    await asyncio.to_thread(ask_fronts, home, {"flush": True}, time.monotonic() + _FRONTS)
    await _asked(log_path(home), timeout, _UNREAD)


async def settled(home: Path, timeout: float) -> None:
    """Returns when everything answered so far is in the prediction log, and what is due has been done.

    Raises:
        Unavailable: that takes longer than `timeout` seconds.
    """
    await logged(home, timeout)
    await _asked(due_path(home), timeout, "What is due has not been done yet; ask again later.")


def await_logged(home: Path, timeout: float) -> None:
    """`logged`, for who has a thread to wait in."""
    ask_fronts(home, {"flush": True}, time.monotonic() + _FRONTS)
    deadline = time.monotonic() + timeout
    while not _heard(log_path(home), deadline):
        if time.monotonic() > deadline:
            raise Unavailable(_UNREAD, retry_after=10)
        time.sleep(_POLL)  # it is being started again


def _heard(path: Path, deadline: float) -> bool:
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            link.connect(str(path))
            return link.recv(16) == b"ok"
        except OSError:
            return False


async def _asked(path: Path, timeout: float, words: str) -> None:
    try:
        async with asyncio.timeout(timeout):
            while not await _done(path):
                await asyncio.sleep(_POLL)  # it is being started again
    except TimeoutError:
        raise Unavailable(words, retry_after=10) from None


async def _done(path: Path) -> bool:
    try:
        reader, writer = await asyncio.open_unix_connection(str(path))
    except OSError:
        return False
    try:
        return await reader.read(16) == b"ok"
    except OSError:
        return False
    finally:
        writer.close()
