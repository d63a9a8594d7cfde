"""The work of a custom job: the user's code in its environment, behind walls, with its log, its limits and its end."""

from __future__ import annotations

import shlex
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from portico.errors import Cancelled, DeadlineExceeded, FailedPrecondition, PorticoError, ResourceExhausted
from portico.jobs.worker import Context
from portico.sandbox import environments, isolation
from portico.services.aiplatform.custom import contract, gcs_view, packages, spec
from portico.services.aiplatform.custom.environments import python_of
from portico.services.standard.sources import gcs_of

_LOOK = 0.1  # seconds between two looks at what runs
_PROCESSES = 512
_LINE = 16 << 10  # bytes of a line that are kept
_LOG = 64 << 20  # bytes of a job's log
_LAST = 20  # lines that an error tells

# How Google's clients find this server, and a folder for PYTHONPATH: set by `host`, which knows.
clients: Callable[[Path], tuple[dict[str, str], Path]] | None = None


def run(context: Context) -> dict[str, Any]:
    """Job: runs what a CustomJob says to its end.

    Raises:
        FailedPrecondition, DeadlineExceeded, ResourceExhausted, Cancelled: it did not succeed; the message says why.
    """
    payload = context.job.payload
    return run_spec(context, payload["spec"], payload["job"], {})


def run_spec(
    context: Context, job_spec: dict[str, Any], name: str, data: Mapping[str, str]
) -> dict[str, Any]:
    """Runs a CustomJobSpec for the resource `name`; `data` are variables about its data."""
    pool = job_spec["workerPoolSpecs"][0]
    image = spec.image_of(pool)
    if image.accelerated or (pool.get("machineSpec") or {}).get("acceleratorCount"):
        context.say("This machine has no accelerator; the job runs on its processors.")
    scratch = context.folder / "work"
    unpacked = packages.Unpacked([], [])
    if package := pool.get("pythonPackageSpec"):
        field = "jobSpec.workerPoolSpecs[0].pythonPackageSpec.packageUris"
        unpacked = packages.unpack(
            gcs_of(context), package["packageUris"], context.folder / "packages", field
        )
    python = python_of(image, unpacked.requirements, context.home, context.say)
    context.check()
    settings, injected = clients(context.home) if clients else ({}, Path("/"))
    environment = {
        **settings,
        "PATH": f"{python.parent}:{injected}/bin:/usr/local/bin:/usr/bin:/bin",
        "VIRTUAL_ENV": str(python.parent.parent),
        "PYTHONPATH": ":".join(map(str, [injected, *unpacked.paths])),
        **contract.variables(job_spec, name, data),
    }
    environment.pop("GOOGLE_APPLICATION_CREDENTIALS", None)  # the server's own
    command = _command(pool, python)
    timeout = spec.timeout_of(job_spec)
    limits = isolation.Limits(
        spec.asks_of(job_spec).memory, files=65_536, file_size=spec.DISK, disk=spec.DISK, seconds=int(timeout),
        processes=_PROCESSES,
    )  # fmt: skip
    view = gcs_view.make(context)
    context.say(isolation.in_words(limits))
    context.say(f"{isolation.isolation().name}: {shlex.join(command)[:300]}")
    with (context.folder / "stderr").open("wb") as unread:
        running = isolation.start(
            command, readable=[*environments.prefixes(python), injected, *unpacked.paths], scratch=scratch,
            log=unread, limits=limits, environment=environment, network=True, processes=True, merged=True, view=view,
        )  # fmt: skip
    assert running.stdin is not None and running.stdout is not None
    running.stdin.close()
    teller = _Teller(context.say)
    reading = threading.Thread(target=teller.read, args=(running.stdout,), daemon=True)
    reading.start()
    try:
        ended = _watch(context, running, limits, scratch, timeout)
    finally:
        if running.poll() is None:
            running.send_signal(signal.SIGTERM)  # the keeper ends everything
            running.wait()
        reading.join(10)
        gcs_view.collect(context, view)
    if ended is not None:
        raise ended
    if running.returncode:
        raise FailedPrecondition(_how_it_ended(running.returncode, list(teller.last), limits))
    return {"exitCode": 0}


def _command(pool: Mapping[str, Any], python: Path) -> list[str]:
    if package := pool.get("pythonPackageSpec"):
        return [str(python), "-m", package["pythonModule"], *(package.get("args") or [])]
    container = pool["containerSpec"]
    return [*(container.get("command") or []), *(container.get("args") or [])]


class _Teller:
    """Takes what a job prints: into its log line by line, as much of it as a log holds; `last` are the newest lines."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._room = _LOG
        self.last: deque[str] = deque(maxlen=_LAST)

    def read(self, pipe: Any) -> None:
        while line := pipe.readline(_LINE):
            text = line.decode(errors="replace").rstrip("\n")
            self.last.append(text)
            if self._room > 0:
                self._room -= len(line)
                self._say(
                    text if self._room > 0 else f"(the log is full at {_LOG >> 20} MiB; the rest is left out)"
                )


def _watch(
    context: Context,
    running: subprocess.Popen[bytes],
    limits: isolation.Limits,
    scratch: Path,
    timeout: float,
) -> PorticoError | None:
    """Waits for its end. The reason, where it is to be ended before."""
    deadline = time.monotonic() + timeout
    sized = 0.0
    while True:
        try:
            running.wait(_LOOK)
            return None
        except subprocess.TimeoutExpired:
            pass
        if context.should_stop():
            return Cancelled("The job was cancelled.")
        now = time.monotonic()
        if now > deadline:
            return DeadlineExceeded(
                f"The job ran longer than its timeout of {timeout:g} seconds (jobSpec.scheduling.timeout)."
            )
        memory, count = _used(running.pid)
        if memory > limits.memory:
            return ResourceExhausted(
                f"Replica workerpool0-0 exited because it ran out of memory: it took {memory >> 20:,} MiB of "
                f"the {limits.memory >> 20:,} MiB of its machine type. Use a larger machineType."
            )
        if count > _PROCESSES:
            return ResourceExhausted(f"The job has {count} processes; at most {_PROCESSES} are allowed.")
        if now - sized > 5:
            sized = now
            if (taken := _size(scratch)) > limits.disk:
                return ResourceExhausted(
                    f"The job wrote {taken >> 20:,} MiB on its disk; at most {limits.disk >> 20:,} MiB are allowed."
                )


def _used(keeper: int) -> tuple[int, int]:
    """Bytes of memory that what runs below the process `keeper` takes (shared pages count for each), and how many
    processes that are."""
    import psutil

    memory = count = 0
    try:
        below = psutil.Process(keeper).children(recursive=True)
    except psutil.NoSuchProcess:
        return 0, 0
    for process in below:
        try:
            memory += process.memory_info().rss
            count += 1
        except psutil.NoSuchProcess:
            continue
    return memory, count


def _size(folder: Path) -> int:
    taken = 0
    for entry in folder.rglob("*"):
        try:
            taken += entry.lstat().st_blocks * 512
        except OSError:
            continue
    return taken


def _how_it_ended(code: int, last: list[str], limits: isolation.Limits) -> str:
    how = f"a non-zero status of {code}" if code > 0 else f"the signal {signal.Signals(-code).name}"
    said = "\n".join(last).strip()
    why = ""
    if "MemoryError" in said or "annot allocate memory" in said:
        why = f" It ran out of memory: it may use at most {limits.memory >> 20:,} MiB; use a larger machineType."
    elif -code == signal.SIGXFSZ or "File too large" in said:
        why = f" A file grew beyond the {limits.file_size >> 20:,} MiB that it may have."
    elif "Too many open files" in said:
        why = f" It may have at most {limits.files:,} open files."
    return f"The replica workerpool0-0 exited with {how}.{why}" + (
        f" Its last lines:\n{said}" if said else ""
    )
