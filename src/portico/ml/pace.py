"""How far a long step is, and how long it will take yet by the time that it took so far: a wide table takes a while."""

from __future__ import annotations

import time
from collections.abc import Callable

Progress = Callable[[float, str], None]
_EVERY = 1.0  # seconds between two tellings


class Pace:
    """Call it with what is done of `count`; `tell` gets the fraction between `start` and `end`, and the words."""

    def __init__(
        self, tell: Progress, noun: str, count: int, start: float = 0.0, end: float = 1.0,
        *, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._tell, self._noun, self._count = tell, noun, count
        self._start, self._share = start, end - start
        self._clock = clock
        self._began = self._told = clock()

    def __call__(self, done: int) -> None:
        now = self._clock()
        if now - self._told < _EVERY or not 0 < done < self._count:
            return
        self._told = now
        words = f"{self._noun} {done:,} of {self._count:,}{left(now - self._began, done / self._count)}"
        self._tell(self._start + self._share * done / self._count, words)


def left(seconds: float, fraction: float) -> str:
    """ ", about 8 s left" after `seconds` in which `fraction` was done; "" while that says nothing."""
    if seconds < _EVERY or not 0 < fraction < 1:
        return ""
    rest = max(1, round(seconds * (1 - fraction) / fraction))
    return f", about {rest} s left" if rest < 120 else f", about {round(rest / 60)} min left"
