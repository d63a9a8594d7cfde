"""What a training may take: node seconds, which a busy machine makes longer but not fewer."""

from __future__ import annotations

import os
import threading
import time

# A training on a machine that others keep busy may take so many times its budget by the clock on the wall.
MOST_WALL = 10.0
_COUNTED = "PORTICO_ITERATIONS_A_NODE_SECOND"


class Budget:
    """`seconds` node seconds, of which `spent()` are gone.

    A node second is a second in which this process's busiest thread ran, or all of its `threads` together did: on a
    machine of its own that is a second by the clock, and on a busy one only what it was given counts. `wall_seconds`
    (by default ten times `seconds`) bound the time by the clock: of a machine that gives less, that is what ends it.

    With `counted`, or PORTICO_ITERATIONS_A_NODE_SECOND in the environment, a node second is that many iterations, and
    no clock is looked at. Then the same data give the same model on any machine, which is what tests need.
    """

    def __init__(
        self, seconds: float, threads: int, wall_seconds: float | None = None, counted: float | None = None
    ) -> None:
        self.seconds = seconds
        self.iterations = 0
        self._threads = max(threads, 1)
        self._scale = seconds / (wall_seconds or MOST_WALL * seconds)
        self._counted = counted or float(os.environ.get(_COUNTED, 0))
        self._node = 0.0
        self._started = time.monotonic()
        self._ident = threading.get_ident()
        self._process, self._thread = time.process_time(), time.thread_time()

    def iteration(self, count: int = 1) -> None:
        """Counts what a learner did: a round of boosting, an epoch, a tree of a forest."""
        self.iterations += count

    def spent(self) -> float:
        """Node seconds so far; by the clock on the wall where that is nearer to its bound."""
        if self._counted:
            return self.iterations / self._counted
        return max(self.node_seconds(), self.wall() * self._scale)

    def remaining(self, deadline: float | None = None) -> float:
        """Node seconds until `deadline` (node seconds from the beginning; default: the end of the budget)."""
        return (self.seconds if deadline is None else deadline) - self.spent()

    def node_seconds(self) -> float:
        """What the machine gave it, whatever bounds it."""
        if self._counted:
            return self.iterations / self._counted
        process = time.process_time()
        mine = threading.get_ident() == self._ident
        thread = time.thread_time() if mine else self._thread
        busiest = max(thread - self._thread, (process - self._process) / self._threads)
        self._node += max(busiest, 0.0)
        self._process, self._thread = process, thread
        return self._node

    def wall(self) -> float:
        """Seconds by the clock since the beginning."""
        return time.monotonic() - self._started

    @property
    def bound_by_wall(self) -> bool:
        """Whether the clock on the wall, and not what was computed, ends the training."""
        return not self._counted and self.node_seconds() < 0.9 * self.wall() * self._scale
