"""What is due in domain time, in the scheduler's process: it starts the runs of schedules and triggers, deliveries of
alerts, and the turns of the jobs that stand beside what is watched.

It looks by itself, and at once when it is asked: whoever advances the clock is answered when all has been done.
"""

from __future__ import annotations

import threading
import time

from portico.host.asked import Asked
from portico.services.aiplatform.monitoring.due import WindowsDue
from portico.services.aiplatform.schedules import Schedules
from portico.services.alerts.delivery import Deliveries
from portico.services.call import Rooms
from portico.services.portico.steward.due import StewardsDue
from portico.services.portico.trigger_runs import TriggersDue
from portico.services.pubsub.pushing import Pushing
from portico.services.standard import standing
from portico.services.standard.settling import await_logged, due_path
from portico.services.standard.standing import Standing, State
from portico.services.storage.notifying import Notifying
from portico.store import domain_clock, events

_LOOK = 0.5  # seconds between two looks
_LOGGED = 60.0  # seconds that the watcher may take to read what was predicted


class Due:
    """`run` has a thread of its own; `poke` it when a job has ended."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._asked = Asked(due_path(rooms.home))
        self._schedules = Schedules(rooms)
        self._triggers = TriggersDue(rooms)
        self._deliveries = Deliveries(rooms)
        self._notifying = Notifying(rooms)
        self._pushing = Pushing(rooms)
        self._standing: list[Standing] = [WindowsDue(), StewardsDue(rooms.clock)]
        self._looked = -_LOOK
        self.poke = self._asked.poke

    def run(self, stopping: threading.Event) -> None:
        with self._asked as asked:
            asked.serve(stopping, _LOOK, self.look, "what is due")

    def look(self) -> bool:
        """Starts what is due; whether no work that it began is under way."""
        with self._rooms.database.read() as connection:
            wall = self._rooms.clock.now()
            stand = {one.kind: standing.states(connection, one.kind, wall) for one in self._standing}
            simulated = domain_clock.simulated(connection)
        states = {state for of in stand.values() for state in of.values()}
        if "turn" in states and time.monotonic() - self._looked < _LOOK:
            return False
        self._looked = time.monotonic()
        self._deliveries.run_due()
        idle = self._schedules.run_due(simulated)
        with self._rooms.database.read() as connection:
            waiting = events.waiting(connection)
        self._notifying.run_due(waiting)
        self._pushing.run_due()
        idle = self._triggers.run_due(waiting) and idle  # what ended just now may have been waited for
        # One takes its turn at a time: who is next is seen after it.
        return (
            "turn" not in states
            and not self._turns(stand, wall if simulated is None else simulated)
            and "waits" not in states
            and idle
        )

    def _turns(self, stand: dict[str, dict[str, State]], now: float) -> bool:
        """Wakes the jobs that have something to do at `now`, in domain time; whether one has."""
        with self._rooms.database.read() as connection:
            found = {one.kind: list(one.due(connection, now, stand[one.kind])) for one in self._standing}
        if not any(found.values()):
            return False
        await_logged(self._rooms.home, _LOGGED)  # a window wants all rows of its time
        with self._rooms.database.write() as connection:
            for kind, names in found.items():
                standing.turn(connection, self._rooms.queue, kind, names, now)
        self._rooms.queue.wake()
        return True
