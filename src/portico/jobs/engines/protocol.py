"""What runs jobs: an engine. The scheduler leases a job, gives it to its engine, and hears of its end.

Every engine passes `tests/jobs/test_engines.py`. What it runs, wherever that is, is `worker.run` for a job that is
RUNNING in the store; so an engine says nothing of success: the worker has recorded that, and where it could not, the
end that the engine tells is how the scheduler knows.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from portico.store.jobs import Resources


@dataclass(frozen=True, slots=True)
class Ended:
    """What ran `job` is gone. `cause`: how it ended ("signal 9", "exit status 0"); "" when it went down with the
    engine or the machine, which is no fault of the job's."""

    job: str
    cause: str


@dataclass(frozen=True, slots=True)
class Machine:
    """`whole` is what it has for jobs when none runs, `free` what is left: nothing, where it is `away`."""

    whole: Resources
    free: Resources
    away: bool = False


def heard(channel: socket.socket, buffer: bytearray) -> tuple[list[dict[str, Any]], bool]:
    """The lines of JSON that have come from an engine's process, and whether it is still there. What is no whole line
    yet stays in `buffer`."""
    there = True
    try:
        while received := channel.recv(65536, socket.MSG_DONTWAIT):
            buffer += received
        there = False
    except BlockingIOError:
        pass
    except OSError:
        there = False
    *lines, rest = bytes(buffer).split(b"\n")
    buffer[:] = rest
    return [json.loads(line) for line in lines], there


def cause_of(status: int) -> str:
    """The `cause` of an end that waitpid tells by `status`."""
    code = os.waitstatus_to_exitcode(status)
    if code == os.EX_TEMPFAIL:  # the database went away: no fault of the job's
        return ""
    return f"signal {-code}" if code < 0 else f"exit status {code}"


class Engine(Protocol):
    """Not thread-safe: the scheduler's loop owns it. No call waits for a job."""

    def machines(self) -> Sequence[Machine]:
        """Where jobs run. Empty while that is not known."""
        ...

    def start(self, job: str, asks: Resources, kind: str = "") -> None:
        """Runs the leased job with this id, which needs `asks`: the scheduler sees to it that a machine has that left.
        Where its `kind` is said it may run in a process that has run one of it. What can't be started is told by `poll`
        as ended."""
        ...

    def running(self) -> Sequence[str]:
        """Jobs that were started or adopted and whose end was not told yet."""
        ...

    def poll(self) -> Sequence[Ended]:
        """Jobs that have ended since the last call, each told once."""
        ...

    def stop(self, job: str, *, now: bool = False) -> None:
        """Asks the job to end (its `should_stop` becomes true), also one that has not quite begun; with `now` it is
        ended whatever it does. Its end is told by `poll`. A job that does not run here is passed over."""
        ...

    def adopt(self, jobs: Mapping[str, Resources]) -> set[str]:
        """After a restart: those of `jobs`, started by an earlier scheduler's engine, that may still run; from now on
        they are followed as if started here. The others, by which is said what they ask for, do not run any more, nor
        will they."""
        ...

    def waitables(self) -> Sequence[socket.socket]:
        """What becomes readable when `poll` has news."""
        ...

    def close(self) -> None:
        """Ends what runs, or leaves it to be adopted."""
        ...
