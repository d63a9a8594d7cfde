"""The warm server: it imports what jobs need, never computes, and forks a child for every job.

A fork after LightGBM has trained once hangs (OpenMP), a fork of a process that only imported is clean, and
starts in milliseconds where a new interpreter takes seconds. It talks with the scheduler in JSON lines over
the socket that it gets as standard input: {"run": JOB}, with variables for its "environment", comes in;
{"started": JOB, "pid": N} and {"ended": JOB, "status": N} go out.
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
    children: dict[int, str] = {}
    buffer = b""
    while True:
        ready, _, _ = select.select([channel.fileno(), read_end], [], [], 0 if later else None)
        if not ready:
            __import__(later.pop(0))
            _freeze()
            continue
        if read_end in ready:
            os.read(read_end, 512)
        _reap(channel, children)
        if channel.fileno() not in ready:
            continue
        received = channel.recv(65536)
        if not received:
            return
        *lines, buffer = (buffer + received).split(b"\n")
        for line in lines:
            told = json.loads(line)
            job_id = told["run"]
            server = os.getpid()
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                channel.close()
                os.environ.update(told.get("environment") or {})
                _child(home, job_id, server, elsewhere)
            children[pid] = job_id
            _say(channel, {"started": job_id, "pid": pid})


def _freeze() -> None:
    """A child's collections would copy every page that they look at."""
    gc.collect()
    gc.freeze()


def _say(channel: socket.socket, message: dict[str, Any]) -> None:
    channel.sendall(json.dumps(message).encode() + b"\n")


def _reap(channel: socket.socket, children: dict[int, str]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        _say(channel, {"ended": children.pop(pid), "status": status})


def _child(home: Path, job_id: str, server: int, elsewhere: bool) -> None:
    """The forked child: runs one job and exits."""
    status = 1
    try:
        die_with_parent(server)
        stopping = False

        def stop(*_: object) -> None:
            nonlocal stopping
            stopping = True

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _log_to(worker.log_path(home, job_id))
        from portico.clock import SystemClock
        from portico.ids import RandomIds
        from portico.store import jobs

        database = Database(home, patience=_PATIENCE)
        with database.read() as connection:
            job = jobs.get(connection, job_id)
        if job is not None and job.state == "RUNNING":
            be_nice(PREPARING if KINDS[job.kind].prepares else LAST)
            if elsewhere:
                threading.Thread(target=_end_when_lost, args=(database, job), daemon=True).start()
            context = worker.Context(home, database, SystemClock(), RandomIds(), job, lambda: stopping)
            worker.run(context, write_line)
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
