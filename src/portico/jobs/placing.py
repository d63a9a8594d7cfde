"""Which of the jobs that wait start beside those that run, and why the others don't, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from portico.jobs.engines.protocol import Machine
from portico.store.jobs import Job, Resources

_AWAY = "waits for the cluster: no machine that has what it asks for can be reached"
ITS_TURN = "waits its turn: others are before it in the queue"
_NAMED = 3  # jobs that have what another waits for


@dataclass(slots=True)
class Placed:
    """`start` beside what runs, in this order. `waits`: by id, why the others don't start yet. `never`: those that ask
    for more than any machine has, with what there is."""

    start: list[Job] = field(default_factory=list)
    waits: dict[str, str] = field(default_factory=dict)
    never: list[tuple[Job, str]] = field(default_factory=list)


def place(machines: Sequence[Machine], running: Sequence[Job], queued: Iterable[Job]) -> Placed:
    """What starts of `queued` beside what is `running` on the machines, those first that come first. What does not fit
    yet keeps its place: of the machines that can hold it, that which has most left keeps this for it, and others go
    before it only with what it does not ask for, so it can't starve. Nothing is known of `machines` where there are
    none: all waits."""
    placed = Placed()
    left = [machine.free for machine in machines]  # what nobody has
    free = list(left)  # nor is kept for one that waits
    for job in queued:
        able = [number for number, machine in enumerate(machines) if machine.whole.holds(job.asks)]
        if not able:
            if machines:
                placed.never.append((job, _lack(machines)))
            else:
                placed.waits[job.id] = _AWAY
            continue
        having = [number for number in able if free[number].holds(job.asks)]
        chosen = max(having or able, key=lambda number: _size(free[number]))
        if having:
            placed.start.append(job)
            left[chosen] = left[chosen].without(job.asks)
        elif placed.waits or any(left[number].holds(job.asks) for number in able):
            placed.waits[job.id] = ITS_TURN
        elif all(machines[number].away for number in able):
            placed.waits[job.id] = _AWAY
        else:
            placed.waits[job.id] = _why(job, machines[chosen].whole, left[chosen], [*running, *placed.start])
        free[chosen] = free[chosen].without(job.asks)
    return placed


def _lack(machines: Sequence[Machine]) -> str:
    if len(machines) == 1:
        return f"there are {machines[0].whole} here"
    largest = max((machine.whole for machine in machines), key=_size)
    return f"none of the {len(machines)} machines has that, and the largest has {largest}"


def _size(one: Resources) -> tuple[float, int]:
    return one.cores, one.memory


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
