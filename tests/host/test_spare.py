from __future__ import annotations

import math
import os

from portico.host.spare import Spare


def test_what_nobody_needs_is_idle_nice_or_waiting() -> None:
    second = os.sysconf("SC_CLK_TCK")
    times = iter([10.0, 12.0, 14.0])
    stats = iter(
        [
            "cpu  100 0 50 1000 0 0 0 0 0 0\ncpu0 ...",
            f"cpu  {100 + 3 * second} 0 50 {1000 + second} 0 0 0 0 0 0\ncpu0 ...",
            f"cpu  {100 + 3 * second} {2 * second} 50 {1000 + 2 * second} {second} 0 0 0 0 0\ncpu0 ...",
        ]
    )
    spare = Spare(lambda: next(stats), lambda: next(times))
    assert spare.cores() == 0.5
    assert spare.cores() == 2.0


def test_where_it_cannot_be_told_there_is_enough() -> None:
    def nothing() -> str:
        raise FileNotFoundError

    assert Spare(nothing).cores() == math.inf
