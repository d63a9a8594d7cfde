"""Waiting for the thing itself: the one place where tests sleep."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 240.0  # seconds: only a thing that never comes takes so long, however busy the machine
_FIRST, _MOST = 0.02, 0.2  # seconds between two questions, each of which takes time from what is waited for
_PART = 0.1  # of the time that was waited already, that passes between two questions
T = TypeVar("T")


def until(condition: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """The first true value of `condition`, which is asked 50 times a second, and less often as time goes by.

    Raises:
        AssertionError: it did not come to `what` within `seconds`; has the last value.
    """
    began = time.monotonic()
    while not (found := condition()):
        waited = time.monotonic() - began
        assert waited < seconds, f"{what}: not within {seconds:.0f} s; at last: {found!r}"
        time.sleep(min(_MOST, max(_FIRST, waited * _PART)))
    return found


async def come(condition: Callable[[], T], what: str) -> T:
    """The same in an event loop, which goes on meanwhile."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, f"{what}: not within {PATIENCE:.0f} s; at last: {found!r}"
        await asyncio.sleep(0.01)
    return found
