"""Keeps the warm workers of a persistent resource: started, behind their walls, waiting to be told what to run.

A job's worker (`take`) connects to the socket of the resource's own job, which stands as long as the resource. It says
which Python it needs, behind which walls, and gets a process: one that waits, or else a new one. When it lets go, what
it ran is ended, and another such process is started, with the modules imported that this one came to import. So each
process runs one job.

Lines of JSON go over the connection: {"reserve"} -> {"free": BOOL}; RECIPE -> {"pid", "folder", "warm"} with the
process's standard files; and once that has ended {"code"}.
"""

from __future__ import annotations

import array
import contextlib
import itertools
import json
import os
import re
import select
import selectors
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from portico.errors import Cancelled
from portico.jobs.worker import Context
from portico.sandbox import isolation
from portico.sandbox.isolation import Limits, View
from portico.services.aiplatform.custom.persistent_resources import PERSISTENT, replicas
from portico.services.standard.jobs import JobPrivate
from portico.store import resources

_RUNNER = Path(isolation.__file__).with_name("runner.py")
_LOOK = 0.5  # seconds between two looks whether it shall stop
_TELLS = ".imported"  # in a worker's folder: the modules that it came to import
_MODULES = re.compile(r"[A-Za-z_]\w*(\.\w+)*(,[A-Za-z_]\w*(\.\w+)*)*", re.ASCII)
_LIMIT = 16_384  # characters of their names
_ANSWER = 30.0  # seconds
_WATCH, _PAUSE = 5.0, 0.002  # seconds that are waited for a view to be watched, and between two looks


def run(context: Context) -> dict[str, Any]:
    """Job: stands until it is cancelled."""
    _Keeper(context).run()
    raise Cancelled("The persistent resource is gone.")


def _socket(home: Path, job_id: str) -> Path:
    return home / "run" / f"p{int(job_id) % (1 << 40):x}"  # a socket's path is short


@dataclass(slots=True)
class _Process:
    """One that was started for `recipe`, in a `folder` of its own."""

    recipe: dict[str, Any]
    folder: Path
    running: subprocess.Popen[bytes]
    stderr: int
    ended: int  # becomes readable when it has ended

    def remove(self) -> None:
        if self.running.poll() is None:
            self.running.send_signal(signal.SIGTERM)
        self.running.wait()
        for file in (self.running.stdin, self.running.stdout):
            if file:
                file.close()
        os.close(self.stderr)
        os.close(self.ended)
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(slots=True)
class _Client:
    connection: socket.socket
    process: _Process | None = None
    told: bytes = b""


class _Keeper:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._clients: list[_Client] = []
        self._waiting: list[_Process] = []
        self._numbers = itertools.count()
        self._events = selectors.DefaultSelector()
        self._folder = context.folder / "workers"
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self) -> None:
        path = _socket(self._context.home, self._context.job.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
            listening.listen(64)
            self._events.register(listening, selectors.EVENT_READ, lambda: self._accept(listening))
            try:
                while not self._context.should_stop():
                    for key, _ in self._events.select(_LOOK):
                        key.data()
            finally:
                path.unlink(missing_ok=True)
                for client in list(self._clients):
                    client.connection.close()
                for process in (*self._waiting, *(one.process for one in self._clients if one.process)):
                    process.remove()

    def _accept(self, listening: socket.socket) -> None:
        client = _Client(listening.accept()[0])
        self._events.register(client.connection, selectors.EVENT_READ, lambda: self._hear(client))

    def _hear(self, client: _Client) -> None:
        try:
            piece = client.connection.recv(1 << 16)
        except ConnectionError:
            piece = b""
        if not piece:
            self._let_go(client)
            return
        *lines, client.told = (client.told + piece).split(b"\n")
        for line in lines:
            asked = json.loads(line)
            with contextlib.suppress(ConnectionError):
                if "reserve" in asked:
                    free = len(self._clients) < self._replicas()
                    if free:
                        self._clients.append(client)
                    _say(client.connection, {"free": free})
                else:
                    self._give(client, asked)

    def _replicas(self) -> int:
        with self._context.database.read() as connection:
            found = resources.get(connection, self._context.job.resource)
        return replicas(found.body) if found else 0

    def _give(self, client: _Client, recipe: dict[str, Any]) -> None:
        there = next(
            (one for one in self._waiting if one.recipe == recipe and one.running.poll() is None), None
        )
        if there:
            self._waiting.remove(there)
            self._events.unregister(there.ended)
        given = client.process = there or self._start(recipe, "")
        self._events.register(given.ended, selectors.EVENT_READ, lambda: self._tell_end(client, given))
        assert given.running.stdin is not None and given.running.stdout is not None
        files = array.array("i", [given.running.stdin.fileno(), given.running.stdout.fileno(), given.stderr])
        answer = {"pid": given.running.pid, "folder": str(given.folder), "warm": there is not None}
        client.connection.sendmsg(
            [json.dumps(answer).encode() + b"\n"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)]
        )
        given.running.stdin.close()

    def _tell_end(self, client: _Client, process: _Process) -> None:
        self._events.unregister(process.ended)
        with contextlib.suppress(ConnectionError):
            _say(client.connection, {"code": process.running.wait()})

    def _let_go(self, client: _Client) -> None:
        self._events.unregister(client.connection)
        client.connection.close()
        if client in self._clients:
            self._clients.remove(client)
        if (process := client.process) is None:
            return
        with contextlib.suppress(KeyError):
            self._events.unregister(process.ended)
        modules = _told(process.folder)
        process.remove()
        if self._context.should_stop():
            return
        while self._waiting and len(self._waiting) >= self._replicas():
            self._forget(self._waiting[0])
        made = self._start(process.recipe, modules)
        self._waiting.append(made)
        self._events.register(made.ended, selectors.EVENT_READ, lambda: self._forget(made))

    def _forget(self, process: _Process) -> None:
        self._events.unregister(process.ended)
        self._waiting.remove(process)
        process.remove()

    def _start(self, recipe: dict[str, Any], modules: str) -> _Process:
        folder = self._folder / str(next(self._numbers))
        packages, view = folder / "packages", view_in(folder)
        for made in (packages, view.lower):
            made.mkdir(parents=True)
        reading, writing = os.pipe()
        with os.fdopen(writing, "wb") as stderr:
            running = isolation.start(
                [recipe["python"], "-u", str(_RUNNER), modules],
                readable=[*map(Path, recipe["readable"]), packages, _RUNNER], scratch=folder / "work", log=stderr,
                limits=Limits(**recipe["limits"]), environment=recipe["environment"], network=True, processes=True,
                view=view,
            )  # fmt: skip
        return _Process(recipe, folder, running, reading, os.pidfd_open(running.pid))


def view_in(folder: Path) -> View:
    """What a worker in `folder` sees of Cloud Storage: filled when it is known what it shall run."""
    return View("gcs", folder / "gcs" / "lower", folder / "gcs" / "view")


def _told(folder: Path) -> str:
    try:
        told = (folder / "work" / _TELLS).read_text()[:_LIMIT]
    except (OSError, ValueError):
        return ""
    return told if _MODULES.fullmatch(told) else ""


def _say(connection: socket.socket, message: dict[str, Any]) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")


@dataclass(slots=True)
class Kept:
    """A replica of a persistent resource, held by this job; its process is there once `prepare` was called. Then it is
    used as a `subprocess.Popen`."""

    connection: socket.socket
    folder: Path = Path()
    warm: bool = False
    pid: int = 0
    returncode: int | None = None
    stdout: IO[bytes] | None = None
    stderr: IO[bytes] | None = None
    _stdin: IO[bytes] | None = None
    _told: bytes = field(default=b"")

    def prepare(self, recipe: dict[str, Any]) -> None:
        """Gets a process of which `recipe` says the Python and the walls."""
        _say(self.connection, recipe)
        told, ancillary, _, _ = self.connection.recvmsg(1 << 16, socket.CMSG_SPACE(3 * 4))
        files = array.array("i")
        for _, _, data in ancillary:
            files.frombytes(data)
        if not told or len(files) != 3:
            raise ConnectionError
        answer, _, self._told = told.partition(b"\n")
        found = json.loads(answer)
        self.pid, self.folder, self.warm = found["pid"], Path(found["folder"]), found["warm"]
        self._stdin, self.stdout, self.stderr = (
            os.fdopen(file, mode) for file, mode in zip(files, ("wb", "rb", "rb"), strict=True)
        )

    def begin(self, command: list[str], environment: dict[str, str], paths: list[Path]) -> None:
        """Runs `command` in it, with `paths` for Python's modules."""
        self._watch(view_in(self.folder))
        scratch = self.folder / "work"
        told = {
            "command": command,
            "environment": isolation.clean_environment(scratch) | environment,
            "paths": [str(path) for path in paths],
            "told": str(scratch / _TELLS),
        }
        assert self._stdin is not None
        with contextlib.suppress(BrokenPipeError), self._stdin:
            self._stdin.write(json.dumps(told).encode() + b"\n")

    def _watch(self, view: View) -> None:
        """Lets it be noted what is opened of the view, which is filled by now."""
        noted, deadline = view.opened / str(self.pid), time.monotonic() + _WATCH
        while not view.mounted.exists() and time.monotonic() < deadline:
            time.sleep(_PAUSE)
        if noted.exists():
            before = noted.stat().st_size
            self.send_signal(signal.SIGUSR1)
            while noted.stat().st_size == before and time.monotonic() < deadline:
                time.sleep(_PAUSE)

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
            elif not select.select([self.connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("", timeout or 0)
            elif piece := self.connection.recv(4096):
                self._told += piece
            else:
                self.returncode = -signal.SIGKILL  # with all of the persistent resource
        return self.returncode

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def close(self) -> None:
        """Lets the replica go: what runs in it ends."""
        self.connection.close()


def take(context: Context, name: str) -> Kept | None:
    """A replica of the persistent resource `name`; None while none is free."""
    with context.database.read() as connection:
        found = PERSISTENT.require(connection, name)
    reaching = socket.socket(socket.AF_UNIX)
    reaching.settimeout(_ANSWER)
    try:
        reaching.connect(str(_socket(context.home, JobPrivate.of(found).job)))
        _say(reaching, {"reserve": True})
        told = reaching.recv(4096)
    except OSError:  # it is being started
        told = b""
    if told and json.loads(told)["free"]:
        return Kept(reaching)
    reaching.close()
    return None
