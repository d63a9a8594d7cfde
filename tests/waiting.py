"""Waiting for the thing itself: the one place where tests sleep."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 240.0  # seconds: only a thing that never comes takes so long, however busy the machine
T = TypeVar("T")


def until(condition: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """The first true value of `condition`, which is asked 50 times a second.

    Raises:
        AssertionError: it did not come to `what` within `seconds`; has the last value.
    """
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"{what}: not within {seconds:.0f} s; at last: {found!r}"
        time.sleep(0.02)
    return found


async def come(condition: Callable[[], T], what: str) -> T:
    """The same in an event loop, which goes on meanwhile."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, f"{what}: not within {PATIENCE:.0f} s; at last: {found!r}"
        await asyncio.sleep(0.01)
    return found
