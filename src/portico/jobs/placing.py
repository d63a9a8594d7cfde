"""Which of the jobs that wait start beside those that run, and why the others don't, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from portico.store.jobs import Job, Resources

ITS_TURN = "waits its turn: others are before it in the queue"
_NAMED = 3  # jobs that have what another waits for


@dataclass(slots=True)
class Placed:
    """`start` beside what runs, in this order. `waits`: by id, why the others don't start yet. `never`: those that ask
    for more than there is."""

    start: list[Job] = field(default_factory=list)
    waits: dict[str, str] = field(default_factory=dict)
    never: list[Job] = field(default_factory=list)


def place(capacity: Resources, running: Sequence[Job], queued: Iterable[Job]) -> Placed:
    """What starts of `queued`, those first that come first. What does not fit yet keeps its place: others go before it
    only with what it does not ask for, so it can't starve."""
    placed = Placed()
    left = capacity  # what nobody has
    for job in running:
        left = left.without(job.asks)
    free = left  # nor is kept for one that waits
    for job in queued:
        if not capacity.holds(job.asks):
            placed.never.append(job)
            continue
        if free.holds(job.asks):
            placed.start.append(job)
            left = left.without(job.asks)
        elif placed.waits or left.holds(job.asks):
            placed.waits[job.id] = ITS_TURN
        else:
            placed.waits[job.id] = _why(job, capacity, left, [*running, *placed.start])
        free = free.without(job.asks)
    return placed


def short_name(job: Job) -> str:
    """What people call what a job works on: "customJobs/12"."""
    return "/".join(job.resource.split("/")[-2:])


def _why(job: Job, capacity: Resources, left: Resources, running: Sequence[Job]) -> str:
    lacks = []
    if job.cores > left.cores:
        lacks.append(f"cores (asks for {job.cores:g}, {left.cores:g} of {capacity.cores:g} are free)")
    if job.memory > left.memory:
        asks, there, every = (f"{size / 2**30:.3g}" for size in (job.memory, left.memory, capacity.memory))
        lacks.append(f"memory (asks for {asks} GiB, {there} of {every} are free)")
    if job.accelerators > left.accelerators:
        lacks.append(
            f"accelerators (asks for {job.accelerators}, {left.accelerators} of {capacity.accelerators} are free)"
        )
    having = [
        other
        for other in running
        if (job.cores > left.cores and other.cores)
        or (job.memory > left.memory and other.memory)
        or (job.accelerators > left.accelerators and other.accelerators)
    ]
    having.sort(key=lambda other: (other.accelerators, other.memory, other.cores), reverse=True)
    names = [short_name(other) for other in having[:_NAMED]]
    if len(having) > _NAMED:
        names.append(f"{len(having) - _NAMED} more")
    runs = f"; {', '.join(names)} run{'s' if len(having) == 1 else ''}" if names else ""
    return f"waits for {' and '.join(lacks)}{runs}"
