"""Jobs that stand as long as the resource that they work on: each turn does what is due, then waits for the next.

Such a job is a row from the first moment at which there is something to do. A turn that went well waits until it is
woken; one that failed has told its resource, and waits for a time of its own: it rests.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal, Protocol

from sqlalchemy.engine import Connection

from portico.jobs.queue import Queue
from portico.store import jobs
from portico.store.jobs import Stand

State = Literal["ready", "rests", "waits", "turn"]
_LONGEST = 3600.0  # seconds that one may rest: else the wall clock went back


class Standing(Protocol):
    kind: str

    def due(self, connection: Connection, now: float, states: Mapping[str, State]) -> Iterable[str]:
        """The names of the resources whose job is to take its turn at the domain time `now`. `states` are those of the
        jobs that there are, by resource; the others are ready."""
        ...


def states(connection: Connection, kind: str, now: float) -> dict[str, State]:
    """By resource, the states of the active jobs of `kind`; `now` is the wall clock."""
    return {job.resource: _state(job, now) for job in jobs.standing(connection, kind)}


def _state(job: Stand, now: float) -> State:
    if job.state != "WAITING":
        return "turn"
    if job.cancel_requested or job.has_children:
        return "waits"
    rests = job.wake_at is not None and math.isfinite(job.wake_at) and job.wake_at - now <= _LONGEST
    return "rests" if rests else "ready"


def turn(connection: Connection, queue: Queue, kind: str, names: Iterable[str], until: float) -> None:
    """Lets the jobs of these resources take a turn: their payload's `until` is that domain time. Call `queue.wake`
    when the transaction has ended."""
    there = {job.resource: job for job in jobs.active(connection, kind)}
    payload = {"until": until}
    for name in names:
        if name not in there:
            queue.add(connection, kind, name, payload)
        else:
            jobs.wake(connection, [there[name].id], payload)


def end(connection: Connection, name: str) -> None:
    """Ends the job of a resource that is deleted. Call `queue.wake` when the transaction has ended."""
    for job in jobs.of_resource(connection, name):
        if job.state in jobs.ACTIVE:
            jobs.request_cancel(connection, job.id)
