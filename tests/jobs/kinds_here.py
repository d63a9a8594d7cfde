"""Kinds of jobs for these tests; the warm server imports this module, too."""

from __future__ import annotations

import os
import select
from typing import Any

from portico.jobs.kinds import KINDS, Crowded, JobKind, Wait
from portico.jobs.queue import Queue
from portico.store import jobs


def nothing_follows(connection: Any, job: Any, now: float) -> None:
    pass


def quick(context: Any) -> str:
    return "done"


def light(context: Any) -> int:
    """Leaves its process as it was, and says which that is."""
    context.unspent = True
    return os.getpid()


def patient(context: Any) -> None:
    """Says that it is there, and works until it shall stop."""
    context.folder.mkdir(parents=True, exist_ok=True)
    (context.folder / "pid").write_text(str(os.getpid()))
    while True:
        context.check()
        select.select([], [], [], 0.02)


def deaf(context: Any) -> None:
    """As `patient`, but nothing stops it."""
    context.folder.mkdir(parents=True, exist_ok=True)
    (context.folder / "pid").write_text(str(os.getpid()))
    while True:
        select.select([], [], [], 60)


def parent(context: Any) -> Any:
    """Waits for two children, and says what they said."""
    with context.database.write() as connection:
        there = jobs.children(connection, context.job.id)
        if not there:
            queue = Queue(context.home, context.clock, context.ids)
            for _ in range(2):
                queue.add(connection, "here.quick", "r", {}, parent=context.job.id)
            return Wait()
    return [child.result for child in there]


def later(context: Any) -> Any:
    """Waits until the time in its payload."""
    until = context.job.payload["until"]
    return Wait(until) if context.clock.now() < until else "late"


def crowded(context: Any) -> Any:
    """Finds too little memory beside others."""
    raise Crowded(1 << 30)


def patient_again(context: Any) -> Any:
    """Waits for what is not there."""
    return Wait(context.clock.now() + 60, why="waits for a friend")


for work in (quick, light, patient, deaf, parent, later, crowded, patient_again):
    name = f"here.{work.__name__}"
    KINDS.setdefault(name, JobKind(name, f"{__name__}:{work.__name__}", nothing_follows))
