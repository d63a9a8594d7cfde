"""One replica: the process that runs `worker.py` with a model, as its manager sees it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil

from portico.prediction.replicas import places
from portico.prediction.replicas.container import Place
from portico.prediction.replicas.frames import PING, pack
from portico.prediction.replicas.output import Marks
from portico.sandbox import environments, isolation, use
from portico.sandbox.isolation import Limits
from portico.store import sizes

_WORKER = Path(__file__).with_name("worker.py")
_BESIDE = [
    _WORKER.with_name(f"worker_{name}.py")
    for name in ("server", "tensorflow", "gradients", "pictures", "torch", "web", "direct", "tensors")
]
_PING_EVERY, _HUNG = 10.0, 300.0  # seconds; an answer before the ping's turn may take a minute
_ENDING = 5.0  # seconds that a container's processes have to end
_MOST_FILES = 10_000  # that a replica may have in its scratch folder


class Replica:
    """Starts a process that serves `file` on the socket `path`; it reads only `model_dir` and its Python, or what an
    image's server gets that `container` lays out in a scratch folder.

    `since` is the caller's monotonic time. Not `ready` before `look` has seen the process say so.
    """

    def __init__(
        self,
        number: int,
        *,
        path: str,
        folder: Path,
        python: Path,
        framework: str,
        file: Path,
        model_dir: Path,
        since: float,
        limits: Limits,
        container: Callable[[Path], Place] | None = None,
    ) -> None:
        self.number = number
        self.since = since
        self.ready = False
        self.error: str | None = None
        self._path = path
        self._limits = limits
        self._looked = self._heard = since
        self._ping: socket.socket | None = None
        self._used = 0.0
        self._log = folder / f"{number}.log"
        self._marks = Marks(self._log)
        self._told = b""
        folder.mkdir(parents=True, exist_ok=True)
        self._scratch = Path(tempfile.mkdtemp(prefix=f"{number}-", dir=folder))
        self._walled = container is None
        try:
            place = container(self._scratch) if container else Place({}, {}, [])
        except BaseException:
            shutil.rmtree(self._scratch, ignore_errors=True)
            raise
        with _listen(path) as listening, self._log.open("ab") as log:
            settings = {
                "fd": listening.fileno(),
                "framework": framework,
                "file": str(file),
                "memory": limits.memory,
                "seconds": limits.seconds,
                **place.settings,
            }
            alone = ["-I"] if self._walled else []
            self._process = isolation.start(
                [str(python), *alone, "-B", str(_WORKER), json.dumps(settings)],
                readable=[model_dir, _WORKER, *_BESIDE, *environments.prefixes(python), *place.readable],
                scratch=self._scratch,
                log=log,
                limits=limits,
                # Replicas spread over the cores; threads within one would only fight for them.
                environment={
                    "OMP_NUM_THREADS": "1",
                    "OPENBLAS_NUM_THREADS": "1",
                    "MKL_NUM_THREADS": "1",
                    "JOBLIB_MULTIPROCESSING": "0",  # it may have no other processes
                    **place.environment,
                },
                pass_fds=[listening.fileno()],
                network=not self._walled,
                processes=not self._walled,
            )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def started(self) -> float:
        """When the process started, as `end_leftover` compares it."""
        try:
            return psutil.Process(self.pid).create_time()
        except psutil.Error:
            return 0.0

    def look(self) -> None:
        """Takes note of what the process reports: that it is `ready`, or why it cannot be (`error`)."""
        if self.ready or self.error is not None:
            return
        assert self._process.stdout is not None
        with contextlib.suppress(BlockingIOError):
            self._told += os.read(self._process.stdout.fileno(), 1 << 16)
        if b"\n" not in self._told:
            return
        try:
            told = json.loads(self._told)
            self.ready = bool(told.get("ready"))
            self.error = None if self.ready else str(told.get("error"))
        except (ValueError, AttributeError):
            self.error = "its process gave no sense"

    def ended(self) -> str:
        """How the process ended; empty while it runs."""
        code = self._process.poll()
        if code is None:
            return ""
        # A process ended by a signal: directly, or below bubblewrap.
        number = -code if code < 0 else code - 128
        if number == signal.SIGALRM:
            return f"an answer took longer than the {self._limits.seconds} seconds that it may"
        if number == signal.SIGXFSZ:
            return f"a file grew beyond the {self._limits.file_size >> 20:,} MiB that it may have"
        if any(word in self.last_words() for word in ("MemoryError", "bad_alloc", "annot allocate memory")):
            return f"it ran out of memory: it may use at most {self._limits.memory >> 20:,} MiB"
        if number in list(signal.Signals):
            return f"signal {signal.Signals(number).name}"
        return f"exit status {code}"

    def exceeded(self, now: float) -> str:
        """Which limit the running process has exceeded that only its keeper sees, or empty. Looks once a second."""
        if now - self._looked < 1:
            return ""
        self._looked = now
        size = 0
        for count, found in enumerate(sizes.below(self._scratch)):
            size += found.st_blocks * 512
            if size > self._limits.disk or count > _MOST_FILES:
                return f"it wrote more than the {self._limits.disk >> 20:,} MiB, or {_MOST_FILES:,} files, that it may"
        return "" if self._walled else self._together()

    def _together(self) -> str:
        """Which limit the processes of an image's own server exceed together."""
        memory, count = use.of_below(self.pid)
        if memory > self._limits.memory:
            memory = use.weighed_below(self.pid)
        if memory > self._limits.memory:
            return f"it took {memory >> 20:,} MiB of memory; it may use at most {self._limits.memory >> 20:,} MiB"
        if count > self._limits.processes:
            return f"it had {count:,} processes; it may have at most {self._limits.processes:,}"
        return ""

    def hangs(self, now: float) -> str:
        """Why the `ready` process, which runs, is none that serves, or empty: a ping had no answer for five minutes,
        and it computed nothing either. Asks every ten seconds, and waits for nothing."""
        if not self.ready or (self._ping is None and now - self._heard < _PING_EVERY):
            if not self.ready:
                self._heard = now
            return ""
        try:
            if self._ping is None:
                self._ping = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self._ping.setblocking(False)
                self._ping.connect(self._path)
                self._ping.send(pack(0, PING, b"{}"))
            answered = bool(self._ping.recv(64))
        except BlockingIOError:
            answered = False
        except OSError:
            answered = False
            self._end_ping()
        if answered:
            self._end_ping()
            self._used, self._heard = self._computed(), now
        if now - self._heard <= _HUNG:
            return ""
        if (used := self._computed()) > self._used + 1:  # it has much to answer, each within its limit
            self._used, self._heard = used, now
            return ""
        return f"it gave no sign of life for {_HUNG:.0f} seconds"

    def _computed(self) -> float:
        """Seconds of a processor that it has used."""
        used = 0.0
        with contextlib.suppress(psutil.Error):
            above = psutil.Process(self.pid)
            for one in [above, *above.children(recursive=True)]:
                times = one.cpu_times()
                used += times.user + times.system
        return used

    def _end_ping(self) -> None:
        if self._ping is not None:
            self._ping.close()
            self._ping = None

    def explain_death(self, reason: str) -> None:
        """Leaves word for the callers that lose their answer by it."""
        with contextlib.suppress(OSError):
            Path(places.why(self._path)).write_text(reason)

    def drain(self) -> None:
        """Asks the process to end when it has answered what it has been sent; nobody new finds it."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        self._end_of_input()

    def kill(self) -> None:
        if self._process.poll() is None and not self._walled:
            self._process.terminate()  # its keeper ends all that it has started
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_ENDING)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def dispose(self) -> None:
        """Lets go of what belongs to a process that has ended."""
        self._process.wait()
        self._end_ping()
        self._end_of_input()
        assert self._process.stdout is not None
        self._process.stdout.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def last_words(self) -> str:
        """The last lines of its log."""
        try:
            with self._log.open("rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - 4096))
                lines = log.read().decode(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return " | ".join(line.strip() for line in lines[-3:])

    def note_output(self, now: float) -> None:
        """Notes when it has written what it has written; `now` in seconds since the epoch."""
        self._marks.look(now)

    def _end_of_input(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()


def end_leftover(pid: int, started: float) -> None:
    """Ends the process that a manager started before it crashed, if the pid is still that process."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        # A second of tolerance: the kernel counts from its start, and the wall clock is adjusted.
        if abs(process.create_time() - started) < 1.0:
            below = process.children(recursive=True)
            for one in [process, *below]:
                with contextlib.suppress(psutil.Error):
                    one.kill()


def _listen(path: str) -> socket.socket:
    places.make_socket_folder(path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(path)
    listening.listen(128)
    return listening
