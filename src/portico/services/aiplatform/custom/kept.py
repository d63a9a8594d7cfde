"""A process that waits for a job's worker, seen from that worker: `persistent_run` keeps it."""

from __future__ import annotations

import array
import contextlib
import dataclasses
import json
import os
import select
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, ClassVar

from portico.jobs.worker import Context
from portico.sandbox import isolation
from portico.sandbox.isolation import View
from portico.services.aiplatform.custom import contract
from portico.store.sockets import run_folder

TELLS = ".imported"  # in a worker's folder: the modules that it came to import
_ANSWER = 30.0  # seconds
_WATCH, _PAUSE = 5.0, 0.002  # seconds that are waited for a view to be watched, and between two looks
_PATIENCE, _LOOK = 10.0, 0.02  # seconds that a process to fork from may take to come; between two looks


def socket_of(home: Path, job_id: str) -> Path:
    """Where the job with that id, which keeps processes, listens."""
    return run_folder(home) / f"p{int(job_id) % (1 << 40):x}"  # a socket's path is short


def view_in(folder: Path) -> View:
    """What a worker in `folder` sees of Cloud Storage: filled when it is known what it shall run."""
    seen = contract.metrics_seen(folder / "work")
    return View("gcs", folder / "gcs" / "lower", folder / "gcs" / "view", beside=seen)


def say(connection: socket.socket, message: dict[str, Any]) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")


@dataclass(slots=True)
class Kept:
    """A replica that is held by this job; its process is there once `prepare` was called. Then it is used as a
    `subprocess.Popen`."""

    connection: socket.socket
    folder: Path = Path()
    warm: bool = False
    pid: int = 0
    returncode: int | None = None
    stdout: IO[bytes] | None = None
    stderr: IO[bytes] | None = None
    lost: bool = False  # with all that keeps it
    _stdin: IO[bytes] | None = None
    _told: bytes = field(default=b"")

    forks: ClassVar[bool] = False

    @property
    def view(self) -> View:
        """What it sees of Cloud Storage."""
        return view_in(self.folder)

    def prepare(self, recipe: dict[str, Any]) -> None:
        """Gets a process of which `recipe` says the Python and the walls."""
        say(self.connection, {**recipe, "forks": self.forks})
        told, ancillary, _, _ = self.connection.recvmsg(1 << 16, socket.CMSG_SPACE(3 * 4))
        files = array.array("i")
        for _, _, data in ancillary:
            files.frombytes(data)
        if not told or not files:
            raise ConnectionError
        answer, _, self._told = told.partition(b"\n")
        found = json.loads(answer)
        self.pid, self.folder, self.warm = found["pid"], Path(found["folder"]), found["warm"]
        self._open(list(files), found)

    def _open(self, files: list[int], found: dict[str, Any]) -> None:
        self._stdin, self.stdout, self.stderr = (
            os.fdopen(file, mode) for file, mode in zip(files, ("wb", "rb", "rb"), strict=True)
        )

    def begin(self, command: list[str], environment: dict[str, str], paths: list[Path]) -> None:
        """Runs `command` in it, with `paths` for Python's modules."""
        self._watch()
        scratch = self.folder / "work"
        told = {
            "command": command,
            "environment": isolation.clean_environment(scratch) | environment,
            "paths": [str(path) for path in paths],
            "told": str(scratch / TELLS),
        }
        with contextlib.suppress(BrokenPipeError, ConnectionError):
            self._send(json.dumps(told).encode() + b"\n")

    def _watch(self) -> None:
        """Lets it be noted what is opened of the view, which is filled by now; what was opened before has been."""
        view = self.view
        noted, deadline = view.opened / str(self.pid), time.monotonic() + _WATCH
        while not view.mounted.exists() and time.monotonic() < deadline:
            time.sleep(_PAUSE)
        if noted.exists():
            before = noted.stat().st_size
            self.send_signal(signal.SIGUSR1)
            while noted.stat().st_size == before and time.monotonic() < deadline:
                time.sleep(_PAUSE)

    def _send(self, line: bytes) -> None:
        assert self._stdin is not None
        with self._stdin:
            self._stdin.write(line)

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """
        Raises:
            subprocess.TimeoutExpired: it runs still.
        """
        while self.returncode is None:
            if b"\n" in self._told:
                self.returncode = json.loads(self._told.partition(b"\n")[0])["code"]
                continue
            ready = select.select(self._watched(), [], [], timeout)[0]
            if not ready:
                raise subprocess.TimeoutExpired("", timeout or 0)
            for one in ready:
                self._hear(one)
        return self.returncode

    def _watched(self) -> list[socket.socket]:
        """What tells the end."""
        return [self.connection]

    def _hear(self, one: socket.socket) -> None:
        piece = _piece(one)
        self._told += piece
        if not piece:
            self.lost = True
            self.returncode = -signal.SIGKILL

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def close(self) -> None:
        """Lets the replica go: what runs in it ends."""
        self.connection.close()


@dataclass(slots=True)
class Forked(Kept):
    """One whose process forks: what runs is a child of that, and its end is not the process's."""

    _control: socket.socket | None = None
    _writing: list[int] = field(default_factory=list)  # for the child to write to
    _heard: bytes = b""
    _part: str = ""

    forks: ClassVar[bool] = True

    @property
    def view(self) -> View:
        whole = view_in(self.folder)
        return dataclasses.replace(whole, lower=whole.lower / self._part, part=self._part)

    def _open(self, files: list[int], found: dict[str, Any]) -> None:
        self._control, self._part = socket.socket(fileno=files[0]), found["part"]
        read: list[IO[bytes]] = []
        for _ in range(2):
            reading, writing = os.pipe()
            read.append(os.fdopen(reading, "rb"))
            self._writing.append(writing)
        self.stdout, self.stderr = read

    def _send(self, line: bytes) -> None:
        """The child alone reads the line, which may hold secrets: the process that forks it lives longer."""
        assert self._control is not None
        reading, writing = os.pipe()
        with os.fdopen(writing, "wb") as told:
            try:
                socket.send_fds(self._control, [b"\n"], [reading, *self._writing])
            finally:
                for file in (reading, *self._writing):
                    os.close(file)
                self._writing.clear()
            told.write(line)

    def _watched(self) -> list[socket.socket]:
        return [self.connection, *([self._control] if self._control else [])]

    def _hear(self, one: socket.socket) -> None:
        if one is not self._control:
            Kept._hear(self, one)  # super() finds no class with slots
            return
        piece = _piece(one)
        self._heard += piece
        if not piece:  # the process itself has ended, which the connection tells
            one.close()
            self._control = None
        elif b"\n" in self._heard:
            self.returncode = json.loads(self._heard)["code"]
            self._watch()

    def close(self) -> None:
        if self._control:
            self._control.close()
            if self.returncode is not None:
                with contextlib.suppress(OSError):
                    say(self.connection, {"again": True})
        for file in self._writing:
            os.close(file)
        Kept.close(self)


def _piece(one: socket.socket) -> bytes:
    """What comes; nothing where the other end is gone, whatever it had not read."""
    try:
        return one.recv(4096)
    except ConnectionResetError:
        return b""


def take(context: Context, job_id: str) -> Kept | None:
    """A replica of the persistent resource whose job has that id; None while none is free."""
    reaching = reserve(socket_of(context.home, job_id))
    return Kept(reaching) if reaching else None


def fork(context: Context, job_id: str) -> Forked | None:
    """A process to fork from, of those that the job with that id keeps; None where none comes."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        context.check()
        if reaching := reserve(socket_of(context.home, job_id)):
            return Forked(reaching)
        time.sleep(_LOOK)  # it is being started, or another is about to let go
    return None


def reserve(path: Path) -> socket.socket | None:
    """The connection by which a process is held, of those of the keeper that listens at `path`; None where none is
    free, or nobody listens."""
    reaching = socket.socket(socket.AF_UNIX)
    reaching.settimeout(_ANSWER)
    try:
        reaching.connect(str(path))
        say(reaching, {"reserve": True})
        told = reaching.recv(4096)
    except OSError:  # it is being started
        told = b""
    if told and json.loads(told)["free"]:
        return reaching
    reaching.close()
    return None
