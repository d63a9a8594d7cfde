"""The kinds of jobs, registered by the services that own them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from portico.store.jobs import Job, Lane, Resources

_USUAL = Resources(cores=1.0, memory=256 << 20)

Follow = Callable[[Connection, Job, float], None]


@dataclass(frozen=True, slots=True)
class Wait:
    """What `run` returns to end its turn without ending the job, which then holds nothing. It is called again when all
    children of the job have ended, or at the time `until` (seconds since the epoch), whatever comes first; with
    `math.inf` also when somebody wakes it. Without `until` it is called again at once where fewer than `beside` of its
    children are at work: one that ended during the turn is not missed; and at the time `limit` though they are. `why`:
    for people, "waits for …"."""

    until: float | None = None
    beside: int = 1
    why: str = ""
    limit: float | None = None


class Crowded(Exception):
    """What `run` raises where the machine's memory runs short beside others: the job is queued again, and then asks
    for `memory` (bytes)."""

    def __init__(self, memory: int) -> None:
        super().__init__(
            f"The machine's memory ran short; the job begins anew when {memory / 2**30:.3g} GiB are free."
        )
        self.memory = memory


class Held(Exception):
    """What `run` raises where another has the lock of the file `path`, for longer than a moment: the job then holds
    nothing, and is called again when the lock is free. `why`: for people, "waits for …"."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(why)
        self.path, self.why = path, why


@dataclass(frozen=True, slots=True)
class JobKind:
    """`run` names what does the work, as "module:function", called with a `worker.Context`; what it returns
    becomes the job's result, unless that is `Wait`. `follow(connection, job, now)` is called in the transaction of
    every transition to RUNNING, SUCCEEDED, FAILED and CANCELLED, and lets the resource and its operation follow the
    job. `lane`: "thread" for work that mostly waits (copying, deploying), "process" for work that computes, "watch" for
    what is short and comes often: one such job runs at a time, after all else that wants the cores. `asks` says what
    a process needs where a job itself doesn't, and `elsewhere` what it takes of a cluster's machine, if that has it;
    `stays` whether a job needs this very machine, for the server's sockets and processes. One that `prepares` first
    makes what somebody waits for, an environment, and goes behind all others (`be_nice`) before it computes."""

    name: str
    run: str
    follow: Follow
    lane: Lane = "process"
    max_attempts: int = 3
    asks: Resources = _USUAL
    prepares: bool = False
    elsewhere: Resources | None = None
    stays: Callable[[Job], bool] = lambda job: False

    def load(self) -> Callable[[Any], Any]:
        module, _, function = self.run.partition(":")
        loaded: Callable[[Any], Any] = getattr(importlib.import_module(module), function)
        return loaded


KINDS: dict[str, JobKind] = {}
_watching: list[Follow] = []


def watch(follow: Follow) -> None:
    """Lets `follow` be called after the kind's own, in the same transaction, whatever the job's kind."""
    _watching.append(follow)


def moved(connection: Connection, job: Job, now: float) -> None:
    """Lets all that follows a job follow a move of it, in the move's transaction."""
    for follow in (KINDS[job.kind].follow, *_watching):
        follow(connection, job, now)


def register(kind: JobKind) -> JobKind:
    if kind.name in KINDS:
        raise RuntimeError(f"job kind {kind.name} is registered twice")
    KINDS[kind.name] = kind
    return kind
