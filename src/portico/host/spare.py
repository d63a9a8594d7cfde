"""How much of the machine nobody needs: so that what can wait gives way to a spike of predictions."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path

_STAT = Path("/proc/stat")


class Spare:
    """The cores that were idle, or busy with what is nice, since the call before. Linux; elsewhere always enough."""

    def __init__(
        self, stat: Callable[[], str] = _STAT.read_text, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stat, self._clock = stat, clock
        self._before = self._read()

    def cores(self) -> float:
        """Of the time since the last call; infinite where that can't be told."""
        before, self._before = self._before, self._read()
        seconds = self._before[0] - before[0]
        spared = self._before[1] - before[1]
        return spared / seconds if seconds > 0 and not math.isnan(spared) else math.inf

    def _read(self) -> tuple[float, float]:
        """The time, and seconds of all cores up to now that were nice or idle (also while a disk was waited for)."""
        now = self._clock()
        try:
            _, _, nice, _, idle, waiting, *_ = self._stat().split(maxsplit=6)
        except (OSError, ValueError):
            return now, math.inf
        return now, (int(nice) + int(idle) + int(waiting)) / os.sysconf("SC_CLK_TCK")
