"""What is due in domain time, in the scheduler's process: the runs of schedules and the deliveries of alerts.

It looks by itself, and at once when it is asked: whoever advances the clock is answered when all has been done.
"""

from __future__ import annotations

import logging
import threading

from portico.host.asked import Asked
from portico.services.aiplatform.schedules import Schedules
from portico.services.alerts.delivery import Deliveries
from portico.services.call import Rooms
from portico.services.standard.settling import due_path
from portico.store import disk

log = logging.getLogger(__name__)

_LOOK = 0.5  # seconds between two looks
_FULL = 10.0  # seconds until a look that found the disk full


class Due:
    """`run` has a thread of its own; `poke` it when a job has ended."""

    def __init__(self, rooms: Rooms) -> None:
        self._asked = Asked(due_path(rooms.home))
        self._schedules = Schedules(rooms)
        self._deliveries = Deliveries(rooms)
        self.poke = self._asked.poke

    def run(self, stopping: threading.Event) -> None:
        with self._asked as asked:
            while not stopping.is_set():
                anyone = asked.wait(_LOOK)
                try:
                    if self.look() and anyone:
                        asked.answer()
                except Exception as error:
                    full = disk.is_full(error)
                    if full:
                        log.warning("the disk is full: nothing that is due is done")
                    else:
                        log.exception("what is due can't be done")
                    asked.refuse()
                    stopping.wait(_FULL if full else 1)

    def look(self) -> bool:
        """Starts what is due; whether no work that it began is under way."""
        self._deliveries.run_due()
        return self._schedules.run_due()
