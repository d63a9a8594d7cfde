"""Wall and monotonic time, passed in so that tests can hold them.

The domain clock (windows, label delays, canaries) joins here with the steward.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""
        ...


class SystemClock:
    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


def rfc3339(seconds: float) -> str:
    """`seconds` since the epoch as proto3 JSON writes a Timestamp: UTC, microseconds, `Z`."""
    part, whole = math.modf(seconds)
    micro = round(part * 1e6)
    if not 0 <= micro < 1_000_000:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")[:26] + "Z"
    return f"{_second(whole)}.{micro:06d}Z"


@lru_cache(maxsize=4096)
def _second(whole: float) -> str:
    return datetime.fromtimestamp(whole, UTC).isoformat()[:19]


def duration_seconds(text: str) -> float:
    """Seconds of a Duration as proto3 JSON writes it ("3.5s"); "" is 0. The doors have checked its form."""
    return float(text.removesuffix("s") or 0.0)


def parse_rfc3339(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time.

    Raises:
        ValueError: it is not one.
    """
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return parsed.timestamp()


def interval_of(told: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """The startTime and endTime of a message in seconds since the epoch; None where it has none."""
    start, end = (parse_rfc3339(told[key]) if told.get(key) else None for key in ("startTime", "endTime"))
    return start, end
