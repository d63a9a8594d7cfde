"""Waiting for messages without holding a thread: one look serves whoever waits."""

from __future__ import annotations

import asyncio
import weakref
from collections import defaultdict

from portico.clock import Clock
from portico.services.call import Rooms
from portico.store.database import Database
from portico.store.pubsub import deliveries

_LOOK = 0.02  # seconds between two questions whether anything was written
_LEASES = 0.5  # seconds between two looks whether a lease has ended


class Arrivals:
    """What the requests of one event loop wait for."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._wanted: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._looking: asyncio.Task[None] | None = None

    async def some(self, subscription: str, timeout: float) -> None:
        """Returns when something of that subscription is due, or it is gone; or after `timeout` seconds."""
        event = asyncio.Event()
        self._wanted[subscription].add(event)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            async with asyncio.timeout(timeout):
                await event.wait()
        except TimeoutError:
            pass
        finally:
            waiting = self._wanted[subscription]
            waiting.discard(event)
            if not waiting:
                del self._wanted[subscription]

    async def _look(self) -> None:
        seen: bytes | None = None
        known: set[str] = set()
        looked = 0.0
        loop = asyncio.get_running_loop()
        while self._wanted:
            now, last = loop.time(), self._database.last_write()
            wanted = set(self._wanted)
            if last is None or last != seen or not wanted <= known or now - looked > _LEASES:
                seen, known, looked = last, wanted, now
                for name in await asyncio.to_thread(self._due, wanted):
                    for event in self._wanted.get(name, ()):
                        event.set()
            await asyncio.sleep(_LOOK)

    def _due(self, names: set[str]) -> set[str]:
        with self._database.read() as connection:
            return deliveries.waiting(connection, names, self._clock.now())


_of: weakref.WeakKeyDictionary[Database, Arrivals] = weakref.WeakKeyDictionary()


def arrivals(rooms: Rooms) -> Arrivals:
    """Those of a process, whose requests are all on one loop."""
    if rooms.database not in _of:
        _of[rooms.database] = Arrivals(rooms.database, rooms.clock)
    return _of[rooms.database]
