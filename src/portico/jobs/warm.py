"""The warm server: it imports what jobs need, never computes, and forks a child for every job.

A fork after LightGBM has trained once hangs (OpenMP), a fork of a process that only imported is clean, and
starts in milliseconds where a new interpreter takes seconds. It talks with the scheduler in JSON lines over
the socket that it gets as standard input: {"run": JOB}, with its "kind" or variables for its "environment", comes in;
{"started": JOB, "pid": N} and {"ended": JOB, "status": N} go out.

A child that has computed nothing itself (`Context.unspent`) waits a while for another job of the kind: it has compiled
its statements for the database already.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portico.jobs import worker
from portico.jobs.kinds import KINDS
from portico.sandbox import isolation
from portico.sandbox.niceness import LAST, PREPARING, be_nice
from portico.sandbox.parent import die_with_parent
from portico.store.backend import DatabaseAway
from portico.store.database import Database
from portico.store.jobs import Job

_PATIENCE = 60.0  # seconds that a job waits for the database, should that be away
_IDLE = 5.0  # seconds that a child waits for another job, of which it runs
_MOST = 200
_OWN = 5.0  # seconds between two looks whether a job is still this machine's
# What each child would import else, and what takes so long that no first job shall wait for it.
_ALL_USE = (
    "numpy",
    "pyarrow",
    "pyarrow.parquet",
    "pyarrow.csv",
    "portico.store.sqlite",
    "portico.store.postgresql",
)
_LATER = ("lightgbm",)


def main(home: Path, modules: list[str], scheduler: int, elsewhere: bool = False) -> None:
    """Serves until the `scheduler` (its pid), or what stands for it `elsewhere` on another machine, ends."""
    die_with_parent(scheduler)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = socket.socket(fileno=0)
    for name in [*modules, *_ALL_USE]:
        __import__(name)
    isolation.walls()  # found out here once, not by every child
    import pyarrow

    pyarrow.set_cpu_count(max(1, (os.cpu_count() or 2)))
    _freeze()
    later = list(_LATER)
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children = _Children(home, channel, elsewhere)
    buffer = b""
    while True:
        waited = 0 if later else children.patience()
        asked: list[Any] = [channel, read_end, *children.told()]
        ready, _, _ = select.select(asked, [], [], waited)
        if read_end in ready:
            os.read(read_end, 512)
        children.hear(ready)
        if later and not ready:
            __import__(later.pop(0))
            _freeze()
        if channel not in ready:
            continue
        received = channel.recv(65536)
        if not received:
            return
        *lines, buffer = (buffer + received).split(b"\n")
        for line in lines:
            told = json.loads(line)
            children.run(told["run"], told.get("kind", ""), told.get("environment") or {})


@dataclass(slots=True)
class _Again:
    """A child that may run another job of its `kind`: by `line` it is told which, and tells that it has run it."""

    pid: int
    kind: str
    line: socket.socket
    since: float = 0.0  # when it began to wait


class _Children:
    def __init__(self, home: Path, channel: socket.socket, elsewhere: bool) -> None:
        self._home, self._channel, self._elsewhere = home, channel, elsewhere
        self._jobs: dict[int, str] = {}  # of a child's pid, what it runs
        self._again: dict[int, _Again] = {}
        self._waiting: list[_Again] = []  # who waited least comes last

    def told(self) -> list[socket.socket]:
        """What can be read when a child has run its job."""
        return [one.line for one in self._again.values()]

    def patience(self) -> float | None:
        """Seconds until the first has waited long enough."""
        return max(0.0, self._waiting[0].since + _IDLE - time.monotonic()) if self._waiting else None

    def run(self, job_id: str, kind: str, environment: dict[str, str]) -> None:
        for one in reversed(self._waiting):
            if one.kind == kind and not environment:
                self._waiting.remove(one)
                with contextlib.suppress(OSError):  # it has died
                    one.line.sendall(job_id.encode() + b"\n")
                    self._jobs[one.pid] = job_id
                    _say(self._channel, {"started": job_id, "pid": one.pid})
                    return
        server, pair = os.getpid(), socket.socketpair() if kind and not environment else None
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            self._channel.close()
            for one in self._again.values():
                one.line.close()
            if pair:
                pair[0].close()
            os.environ.update(environment)
            _child(self._home, job_id, server, self._elsewhere, pair[1] if pair else None)
        if pair:
            pair[1].close()
            self._again[pid] = _Again(pid, kind, pair[0])
        self._jobs[pid] = job_id
        _say(self._channel, {"started": job_id, "pid": pid})

    def hear(self, ready: list[Any]) -> None:
        """Tells of ends: of those whose lines are `ready`, and of those that have ended themselves."""
        for one in list(self._again.values()):
            if one.line in ready:
                if _has_run(one.line):
                    one.since = time.monotonic()
                    self._waiting.append(one)
                    _say(self._channel, {"ended": self._jobs.pop(one.pid), "status": 0})
                else:
                    self._forget(one.pid)
        while self._waiting and self._waiting[0].since + _IDLE <= time.monotonic():
            self._forget(self._waiting[0].pid)
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                self._forget(ended[0])
                if ended[0] in self._jobs:
                    _say(self._channel, {"ended": self._jobs.pop(ended[0]), "status": ended[1]})

    def _forget(self, pid: int) -> None:
        """It gets no other job, and ends when it has none."""
        if one := self._again.pop(pid, None):
            one.line.close()
            if one in self._waiting:
                self._waiting.remove(one)


def _has_run(line: socket.socket) -> bool:
    """Whether a child tells that; else it has ended."""
    try:
        return bool(line.recv(1))
    except OSError:
        return False


def _freeze() -> None:
    """A child's collections would copy every page that they look at."""
    gc.collect()
    gc.freeze()


def _say(channel: socket.socket, message: dict[str, Any]) -> None:
    channel.sendall(json.dumps(message).encode() + b"\n")


def _child(home: Path, job_id: str, server: int, elsewhere: bool, line: socket.socket | None) -> None:
    """The forked child: runs one job and exits; or others after it, of which it is told by the `line`."""
    status = 1
    try:
        die_with_parent(server)
        asked: list[int] = []  # to stop, by these signals
        signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _log_to(worker.log_path(home, job_id))
        from portico.clock import SystemClock
        from portico.ids import RandomIds
        from portico.store import jobs

        database = Database(home, patience=_PATIENCE)
        for left in reversed(range(_MOST)):
            with database.read() as connection:
                job = jobs.get(connection, job_id)
            again = False
            if job is not None and job.state == "RUNNING":
                be_nice(PREPARING if KINDS[job.kind].prepares else LAST)
                if elsewhere:
                    threading.Thread(target=_end_when_lost, args=(database, job), daemon=True).start()
                context = worker.Context(home, database, SystemClock(), RandomIds(), job, lambda: bool(asked))
                worker.run(context, write_line)
                again = context.unspent
            sys.stdout.flush()
            sys.stderr.flush()
            if not again or line is None or not left:
                break
            asked.clear()  # before the scheduler can mean the next one
            line.sendall(b"\n")
            if not (told := line.recv(256)):
                break
            job_id = told.decode().strip()
            _log_to(worker.log_path(home, job_id))
        status = 0
    except DatabaseAway:
        status = os.EX_TEMPFAIL
    except BaseException as error:
        print(f"worker failed: {error!r}", flush=True)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _end_when_lost(database: Database, job: Job) -> None:
    """Ends this process when its job is another attempt's: a machine that is thought to be gone need not be."""
    while True:
        time.sleep(_OWN)
        with contextlib.suppress(DatabaseAway):
            if worker.lost(database, job):
                write_line("the job is not this machine's any more; it ends here")
                os._exit(os.EX_TEMPFAIL)


def write_line(text: str) -> None:
    """One line of a job's log, with the time."""
    with contextlib.suppress(OSError):  # a full disk takes a line of the log, not the job
        print(time.strftime("%Y-%m-%d %H:%M:%S"), text, flush=True)


def _log_to(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2].split(","), int(sys.argv[3]), "elsewhere" in sys.argv[4:])
