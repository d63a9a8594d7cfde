"""Waiting for something in the database without holding a thread: one look serves whoever waits."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable

from portico.store.database import Database

_LOOK = 0.02  # seconds between two questions whether anything was written
_TIME = 0.5  # seconds between two looks for what comes with time alone


class Waiting:
    """What the requests of one event loop wait for, by names: `met` tells, in a thread, which of these have come."""

    def __init__(self, database: Database, met: Callable[[set[str]], set[str]]) -> None:
        self._database, self._met = database, met
        self._wanted: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._looking: asyncio.Task[None] | None = None

    async def wait(self, name: str, timeout: float) -> None:
        """Returns when it has come, or after `timeout` seconds."""
        event = asyncio.Event()
        self._wanted[name].add(event)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            async with asyncio.timeout(timeout):
                await event.wait()
        except TimeoutError:
            pass
        finally:
            waiting = self._wanted[name]
            waiting.discard(event)
            if not waiting:
                del self._wanted[name]

    async def _look(self) -> None:
        seen: bytes | None = None
        known: set[str] = set()
        looked = 0.0
        loop = asyncio.get_running_loop()
        while self._wanted:
            now, last = loop.time(), self._database.last_write()
            wanted = set(self._wanted)
            if last is None or last != seen or not wanted <= known or now - looked > _TIME:
                seen, known, looked = last, wanted, now
                for name in await asyncio.to_thread(self._met, wanted):
                    for event in self._wanted.get(name, ()):
                        event.set()
            await asyncio.sleep(_LOOK)
