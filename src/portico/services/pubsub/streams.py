"""Who listens to a subscription: how much each has been given and not yet acknowledged."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from portico.services.call import Rooms

_MOST: Final = 1000  # messages of an answer
_lock = threading.Lock()
_open: dict[tuple[Path, str], set[Stream]] = defaultdict(set)


class Stream:
    """A client that listens. `most` and `most_bytes` are what it takes at a time; 0 is no bound. `deadline`: how long
    it has for a message, in seconds."""

    def __init__(self, rooms: Rooms, name: str, deadline: float, most: int, most_bytes: int) -> None:
        self.name, self.deadline = name, deadline
        self._rooms = rooms
        self._most, self._most_bytes = most, most_bytes
        self._held: dict[str, tuple[float, int]] = {}  # by message: the end of its lease, and its size
        self._size = 0
        self._loop = asyncio.get_running_loop()
        self.freed = asyncio.Event()

    def __enter__(self) -> Stream:
        with _lock:
            _open[self._rooms.home, self.name].add(self)
        return self

    def __exit__(self, *failed: object) -> None:
        with _lock:
            others = _open[self._rooms.home, self.name]
            others.discard(self)
            if not others:
                del _open[self._rooms.home, self.name]

    def room(self) -> int:
        """How many messages it takes now."""
        now = self._rooms.clock.now()
        if self._is_full():
            self._forget([id for id, (end, _) in self._held.items() if end <= now])
        if self._is_full():
            return 0
        return min(_MOST, self._most - len(self._held)) if self._most else _MOST

    def _is_full(self) -> bool:
        return (self._most > 0 and len(self._held) >= self._most) or (0 < self._most_bytes <= self._size)

    def hold(self, received: Iterable[Mapping[str, Any]]) -> None:
        """Notes what it was given."""
        end = self._rooms.clock.now() + self.deadline
        for one in received:
            size = len(one["message"].get("data", b""))
            self._held[one["message"]["messageId"]] = (end, size)
            self._size += size

    def _forget(self, ids: Iterable[str]) -> None:
        for id in ids:
            if (held := self._held.pop(id, None)) is not None:
                self._size -= held[1]
        self.freed.set()

    def _renew(self, ids: Iterable[str], end: float) -> None:
        for id in ids:
            if (held := self._held.get(id)) is not None:
                self._held[id] = (end, held[1])

    def told(self, ids: list[str], end: float | None) -> None:
        """In any thread: these messages are leased until `end`, or no more."""
        if not self._loop.is_closed():
            if end is None:
                self._loop.call_soon_threadsafe(self._forget, ids)
            else:
                self._loop.call_soon_threadsafe(self._renew, ids, end)


def tell(rooms: Rooms, name: str, ids: list[str], end: float | None) -> None:
    """Tells whoever listens to the subscription until when messages are leased; None: no more."""
    with _lock:
        streams = list(_open.get((rooms.home, name), ()))
    for stream in streams:
        stream.told(ids, end)
