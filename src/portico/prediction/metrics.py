"""Counters of one deployed model in one front. The front's loop alone writes them, so they need no lock."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

from portico.prediction.sync import ask_fronts

_BUCKETS: Final = 24  # bucket k counts latencies below 2**k microseconds; the last one is 8 s and more


def collect(home: Path) -> list[dict[str, Any]]:
    """What each live front has counted: totals as numbers, and `models` with a `ModelMetrics.report` each.

    Raises:
        Unavailable: a front does not answer within two seconds.
    """
    return ask_fronts(home, {"metrics": True}, time.monotonic() + 2)


class ModelMetrics:
    __slots__ = ("buckets", "errors", "requests", "rows", "seconds")

    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0
        self.rows = 0
        self.seconds = 0.0
        self.buckets = [0] * _BUCKETS

    def count(self, rows: int, seconds: float) -> None:
        """Counts an answered request."""
        self.requests += 1
        self.rows += rows
        self.seconds += seconds
        bucket = int(seconds * 1e6).bit_length()
        self.buckets[bucket if bucket < _BUCKETS else _BUCKETS - 1] += 1

    def report(self) -> dict[str, Any]:
        """As JSON; `buckets[k]` counts requests that took less than 2**k µs and at least half of it."""
        return {
            "requests": self.requests,
            "errors": self.errors,
            "rows": self.rows,
            "seconds": self.seconds,
            "buckets": self.buckets,
        }
