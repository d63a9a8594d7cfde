"""Waiting for operations without holding a thread: one look at the database serves whoever waits."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from portico.store import operations
from portico.store.database import Database

_LOOK = 0.05  # seconds between two looks


class Waiting:
    """What the requests of one event loop wait for."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._wanted: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._looking: asyncio.Task[None] | None = None

    async def done(self, operation_id: str, timeout: float) -> None:
        """Returns when that operation is done or gone, or after `timeout` seconds."""
        event = asyncio.Event()
        self._wanted[operation_id].add(event)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            async with asyncio.timeout(timeout):
                await event.wait()
        except TimeoutError:
            pass
        finally:
            waiting = self._wanted[operation_id]
            waiting.discard(event)
            if not waiting:
                del self._wanted[operation_id]

    async def _look(self) -> None:
        while self._wanted:
            wanted = list(self._wanted)
            running = await asyncio.to_thread(self._running, wanted)
            for operation_id in set(wanted) - running:
                for event in self._wanted.get(operation_id, ()):
                    event.set()
            await asyncio.sleep(_LOOK)

    def _running(self, wanted: list[str]) -> set[str]:
        with self._database.read() as connection:
            return operations.running(connection, wanted)
