"""Counters of one deployed model in one front. The front's loop alone writes them, so they need no lock."""

from __future__ import annotations

import time
from math import log2
from pathlib import Path
from typing import Any, Final

from portico.prediction.front.sync import ask_fronts
from portico.store.service import BUCKETS, PER_OCTAVE

_LAST: Final = BUCKETS - 1
_GIVEN_UP: Final = (499, 504)  # by the client or by us: how long the request waited is a latency too


def collect(home: Path) -> list[dict[str, Any]]:
    """What each live front has counted: totals as numbers, and `models` with a `ModelMetrics.report` each.

    Raises:
        Unavailable: a front does not answer within two seconds.
    """
    return ask_fronts(home, {"metrics": True}, time.monotonic() + 2)


class ModelMetrics:
    """They only grow. `requests` were answered, `errors` failed, by HTTP code; each request is in one of the two."""

    __slots__ = ("buckets", "errors", "requests", "rows", "seconds")

    def __init__(self) -> None:
        self.requests = 0
        self.errors: dict[int, int] = {}
        self.rows = 0
        self.seconds = 0.0
        self.buckets = [0] * BUCKETS

    def count(self, rows: int, seconds: float) -> None:
        """Counts an answered request."""
        self.requests += 1
        self.rows += rows
        self._time(seconds)

    def fail(self, code: int, seconds: float) -> None:
        """Counts a request that failed."""
        self.errors[code] = self.errors.get(code, 0) + 1
        if code in _GIVEN_UP:
            self._time(seconds)

    def _time(self, seconds: float) -> None:
        self.seconds += seconds
        micros = seconds * 1e6
        bucket = int(log2(micros) * PER_OCTAVE) if micros > 1 else 0
        self.buckets[bucket if bucket < BUCKETS else _LAST] += 1

    def report(self) -> dict[str, Any]:
        """As JSON; `buckets[k]` counts latencies from 2**(k/8) µs up to the next one's."""
        return {
            "requests": self.requests,
            "errors": sum(self.errors.values()),
            "codes": {str(code): count for code, count in self.errors.items()},
            "rows": self.rows,
            "seconds": self.seconds,
            "buckets": self.buckets,
        }


class Slots:
    """What takes one request at a time, and how much of it is in use: a model's replicas, a front's threads.

    `used` grows by a slot's seconds in use; `most` is the largest number in flight since somebody reset it.
    """

    __slots__ = ("_since", "in_flight", "most", "size", "used")

    def __init__(self, size: int) -> None:
        self.size = max(1, size)
        self.in_flight = self.most = 0
        self.used = 0.0
        self._since = time.perf_counter()

    def enter(self) -> None:
        self.settle()
        self.in_flight += 1
        if self.in_flight > self.most:
            self.most = self.in_flight

    def leave(self) -> None:
        self.settle()
        self.in_flight -= 1

    def settle(self) -> None:
        """Brings `used` up to now."""
        now = time.perf_counter()
        self.used += min(self.in_flight, self.size) * (now - self._since)
        self._since = now
