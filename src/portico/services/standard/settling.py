"""How control asks the watcher to do now whatever is due."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final

from portico.errors import Unavailable
from portico.prediction.sync import ask_fronts

_FRONTS: Final = 10.0  # seconds
_POLL: Final = 0.05


def socket_path(home: Path) -> Path:
    """Where the watcher listens: a connection is answered `ok` once it has looked."""
    return home / "run" / "watcher.sock"


async def settled(home: Path, timeout: float) -> None:
    """Returns when everything answered so far is in the prediction log, and what is due has been done.

    Raises:
        Unavailable: that takes longer than `timeout` seconds.
    """
    await asyncio.to_thread(ask_fronts, home, {"flush": True}, time.monotonic() + _FRONTS)
    try:
        async with asyncio.timeout(timeout):
            while not await _looked(socket_path(home)):
                await asyncio.sleep(_POLL)  # it is being started again
    except TimeoutError:
        raise Unavailable(
            "The watcher has not done yet what is due; ask again later.", retry_after=10
        ) from None


def settle(home: Path, timeout: float) -> None:
    """`settled`, for who has a process to wait in."""
    asyncio.run(settled(home, timeout))


async def _looked(watcher: Path) -> bool:
    try:
        reader, writer = await asyncio.open_unix_connection(str(watcher))
    except OSError:
        return False
    try:
        return await reader.read(16) == b"ok"
    except OSError:
        return False
    finally:
        writer.close()
