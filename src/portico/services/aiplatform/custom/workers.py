"""The workers of a job: processes of the user's code, watched until the first of them, the chief, has ended."""

from __future__ import annotations

import contextlib
import os
import random
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from portico.errors import Cancelled, DeadlineExceeded, FailedPrecondition, ResourceExhausted
from portico.jobs.engines import machine
from portico.jobs.kinds import Crowded
from portico.jobs.worker import Context
from portico.sandbox import containers, isolation, use
from portico.sandbox.containers import Container
from portico.sandbox.isolation import Limits, View
from portico.services.aiplatform.custom.kept import Kept
from portico.services.aiplatform.custom.output import Output

_LOOK = 0.1  # seconds between two looks at what runs
_SIZE = 5.0  # seconds between two looks at the disk
_WEIGH = 1.0  # seconds between two looks at which memory is shared
_AFTER = 10.0  # seconds that the others have when the chief is done
_RESTARTS = 3  # of workers that were killed from outside
_PORTS = range(20_000, 32_000)  # below those that the kernel gives to outgoing connections
_BY_SIGNAL = 128  # what Docker and Podman add to the signal that ended what they run


@dataclass(slots=True)
class Worker:
    """`task` is its name, "workerpool0-0". `folder` is its own: HOME, TMPDIR and where it starts."""

    task: str
    command: list[str]
    readable: list[Path]
    environment: dict[str, str]
    folder: Path
    limits: Limits
    kept: Kept | None = None  # a process that waits for it
    container: Container | None = None  # that runs it
    process: subprocess.Popen[bytes] | Kept | None = None
    weighed: float = -_WEIGH  # when it was looked at what its processes share, and
    shared: int = 0  # how many bytes that were

    @property
    def code(self) -> int | None:
        """How it ended, with a minus the signal that killed it; None while it runs."""
        code = self.process.poll() if self.process else None
        if code and self.container and code - _BY_SIGNAL in signal.valid_signals():
            return _BY_SIGNAL - code
        return code


@dataclass(frozen=True, slots=True)
class Terms:
    """`timeout` in seconds. A worker that something outside has killed is started again, or all of them
    (`restart_all`), unless the job shall not be retried (`retries`)."""

    timeout: float
    restart_all: bool = False
    retries: bool = True


def ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on."""
    found: list[int] = []
    while len(found) < count:
        port = random.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


class Group:
    """All workers of a job; the first is the chief, with whose end the job ends."""

    def __init__(
        self, context: Context, workers: Sequence[Worker], view: View, output: Output, terms: Terms
    ) -> None:
        self._context, self._workers, self._view = context, list(workers), view
        self._output, self._terms = output, terms
        self._restarts = 0

    def run(self) -> None:
        """
        Raises:
            FailedPrecondition: a worker failed. DeadlineExceeded, ResourceExhausted, Cancelled: all were ended.
        """
        try:
            for worker in self._workers:
                self._start(worker)
            self._watch()
        finally:
            self._end()

    def _start(self, worker: Worker) -> None:
        """Beside the others, so that all see the same files in /gcs."""
        if worker.kept:
            worker.process = worker.kept
            assert worker.kept.stdout is not None and worker.kept.stderr is not None
            self._output.follow(worker.task, worker.kept.stdout, worker.kept.stderr)
            paths = [Path(path) for path in worker.environment["PYTHONPATH"].split(":")]
            worker.kept.begin(worker.command, worker.environment, paths)
            return
        beside = next((one.process.pid for one in self._workers if one.process and one.code is None), None)
        if beside is None:
            self._view.mounted.unlink(missing_ok=True)  # the view of those before, where all start again
        reading, writing = os.pipe()
        with os.fdopen(writing, "wb") as stderr:
            started = worker.process = self._contained(worker, stderr) or isolation.start(
                worker.command, readable=worker.readable, scratch=worker.folder, log=stderr, limits=worker.limits,
                environment=worker.environment, network=True, processes=True, view=self._view, beside=beside,
            )  # fmt: skip
        assert started.stdin is not None and started.stdout is not None
        started.stdin.close()
        self._output.follow(worker.task, started.stdout, os.fdopen(reading, "rb"))
        if beside is None and len(self._workers) > 1:
            deadline = time.monotonic() + _AFTER
            while not self._view.mounted.exists() and worker.code is None and time.monotonic() < deadline:
                time.sleep(_LOOK / 10)

    def _contained(self, worker: Worker, stderr: IO[bytes]) -> subprocess.Popen[bytes] | None:
        if worker.container is None:
            return None
        name = f"portico-{self._context.job.id}-{worker.task.replace('-', '.')}"
        return containers.start(
            worker.container, name=name, environment=worker.environment, scratch=worker.folder, view=self._view,
            limits=worker.limits, log=stderr,
        )  # fmt: skip

    def _watch(self) -> None:
        chief = self._workers[0]
        deadline = time.monotonic() + self._terms.timeout
        done = sized = 0.0
        turn = 0
        while True:
            assert chief.process is not None
            if not done:
                _await(chief.process, _LOOK)
            else:
                time.sleep(_LOOK)
            if not done and chief.code != 0:
                self._look_for_ends()
            now = time.monotonic()
            running = [worker for worker in self._workers if worker.code is None]
            if chief.code == 0 and not done:
                done = now
            if done and (not running or now - done > _AFTER):
                for worker in running:
                    self._output.service(f"{worker.task} is ended: the chief, {chief.task}, is done.")
                return
            if self._context.should_stop():
                raise Cancelled("The job was cancelled.")
            if now > deadline:
                raise DeadlineExceeded(
                    f"The job ran longer than its timeout of {self._terms.timeout:g} seconds "
                    "(jobSpec.scheduling.timeout)."
                )
            if running:
                turn += 1
                self._check_use(running[turn % len(running)])
            if now - sized > _SIZE:
                sized = now
                for worker in self._workers:
                    _check_disk(worker)

    def _look_for_ends(self) -> None:
        failed = [worker for worker in self._workers if worker.code]
        if not failed:
            return
        first = min(failed, key=lambda worker: self._output.end(worker.task))
        outside = first.code == -signal.SIGKILL and len(self._workers) > 1 and self._terms.retries
        if not outside or self._restarts >= _RESTARTS:
            raise FailedPrecondition(how_it_ended(first, self._output.last(first.task)))
        self._restarts += 1
        again = self._workers if self._terms.restart_all else [first]
        which = "all workers are" if self._terms.restart_all else "it is"
        self._output.service(f"{first.task} was killed: {which} started again.")
        if self._terms.restart_all:
            self._end()
        for worker in again:
            worker.process = None
        for worker in again:
            self._start(worker)

    def _check_use(self, worker: Worker) -> None:
        assert worker.process is not None
        memory, count = use.of_below(worker.process.pid)
        if memory > worker.limits.memory:
            if (now := time.monotonic()) - worker.weighed > _WEIGH:
                worker.weighed = now
                worker.shared = memory - use.weighed_below(worker.process.pid)
            memory -= worker.shared
        if memory > worker.limits.memory:
            raise ResourceExhausted(
                f"Replica {worker.task} exited because it ran out of memory: it took {memory >> 20:,} MiB of "
                f"the {worker.limits.memory >> 20:,} MiB of its machine type. Use a larger machineType."
            )
        if count > worker.limits.processes:
            raise ResourceExhausted(
                f"The job has {count} processes in {worker.task}; at most {worker.limits.processes} are allowed."
            )
        sure = self._context.job.memory
        every = sum(one.limits.memory for one in self._workers)
        if memory > sure * worker.limits.memory // every and sure < every and machine.runs_short():
            crowded = Crowded(every)
            if not self._terms.retries:
                raise ResourceExhausted(f"{crowded} It shall not be tried again (scheduling.disableRetries).")
            self._output.note(str(crowded), "WARNING")
            raise crowded

    def _end(self) -> None:
        """Ends what runs, with all that came of it."""
        running = [one.process for one in self._workers if one.process and one.code is None]
        for process in running:
            process.send_signal(signal.SIGTERM)  # the keeper ends everything
        for process in running:
            process.wait()


def _check_disk(worker: Worker) -> None:
    if (taken := use.disk(worker.folder)) > worker.limits.disk:
        raise ResourceExhausted(
            f"The job wrote {taken >> 20:,} MiB on the disk of {worker.task}; at most "
            f"{worker.limits.disk >> 20:,} MiB are allowed."
        )


def _await(process: subprocess.Popen[bytes] | Kept, seconds: float) -> None:
    """Returns when the process has ended, or after so many seconds."""
    if (
        isinstance(process, subprocess.Popen) and sys.platform == "linux"
    ):  # its own `wait` looks 20 times a second
        if process.poll() is None:
            ending = os.pidfd_open(process.pid)
            select.select([ending], [], [], seconds)
            os.close(ending)
        return
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def how_it_ended(worker: Worker, last: list[str]) -> str:
    """Why a worker failed, in words, with the `last` lines that it wrote."""
    code, limits = worker.code or 0, worker.limits
    how = f"a non-zero status of {code}" if code > 0 else f"the signal {signal.Signals(-code).name}"
    said = "\n".join(last).strip()
    why = ""
    if "MemoryError" in said or "annot allocate memory" in said:
        why = f" It ran out of memory: it may use at most {limits.memory >> 20:,} MiB; use a larger machineType."
    elif -code == signal.SIGXFSZ or "File too large" in said:
        why = f" A file grew beyond the {limits.file_size >> 20:,} MiB that it may have."
    elif "Too many open files" in said:
        why = f" It may have at most {limits.files:,} open files."
    elif -code == signal.SIGKILL:
        why = " Something outside of it killed it, as the system does when the machine's memory is used up."
    return f"The replica {worker.task} exited with {how}.{why}" + (
        f" Its last lines:\n{said}" if said else ""
    )


def in_words(workers: Sequence[Worker]) -> list[str]:
    """What runs, for the log."""
    first = workers[0]
    told = [isolation.in_words(first.limits)]
    if first.container:
        told = [f"The job's code runs in a container, with this machine's network and with {first.limits}."]
    name = first.container.image if first.container else isolation.isolation().name
    if len(workers) == 1:
        return [*told, f"{name}: {shlex.join(first.command)[:300]}"]
    cores = os.cpu_count() or 1
    if len(workers) > cores:
        told.append(f"{len(workers)} workers share the {cores} cores of this machine.")
    return [*told, *(f"{name}: {one.task}: {shlex.join(one.command)[:300]}" for one in workers)]
