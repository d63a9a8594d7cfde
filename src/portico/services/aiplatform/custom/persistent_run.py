"""Keeps warm workers, of a persistent resource or of a tuning job: started, behind their walls, waiting to be told what
to run.

A job's worker (`take`) connects to the socket of the job that keeps them, which stands as long as what they are for. It
says which Python it needs, behind which walls, and gets a process: one that waits, or else a new one. When it lets go,
what it ran is ended, and another such process is started, with the modules imported that this one came to import. So
each process runs one job. A process whose recipe says that it `forks` runs any number, one after another, each in a
child that it forks: the trials of a tuning job are of one author, and begin with their imports done. Its folder is
emptied between two; where one has left a process behind, or did not end by itself, the next gets a new process.

Lines of JSON go over the connection: {"reserve"} -> {"free": BOOL}; RECIPE -> {"pid", "folder", "warm", "part"} with
the process's standard files, or the socket of one that forks; once that has ended {"code"}; and {"again"} of a child
that ended by itself.
"""

from __future__ import annotations

import array
import contextlib
import dataclasses
import itertools
import json
import math
import os
import re
import selectors
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portico.errors import Cancelled
from portico.jobs.engines import machine
from portico.jobs.worker import Context
from portico.sandbox import isolation, use
from portico.sandbox.isolation import Limits
from portico.sandbox.runner import NEVER_FORKED
from portico.services.aiplatform.custom.kept import TELLS, say, socket_of, view_in
from portico.services.aiplatform.custom.persistent_resources import replicas
from portico.store import resources

_RUNNER = Path(isolation.__file__).with_name("runner.py")
_LOOK = 0.5  # seconds between two looks whether it shall stop
_MODULES = re.compile(r"[A-Za-z_]\w*(\.\w+)*(,[A-Za-z_]\w*(\.\w+)*)*", re.ASCII)
_LIMIT = 16_384  # characters of their names
_SHARE = 0.125  # of this machine's memory that those may take which end when they are idle
_MOUNTED = 10.0  # seconds that a view may take to be there


def run(context: Context) -> dict[str, Any]:
    """Job: stands until it is cancelled."""
    Keeper(context, socket_of(context.home, context.job.id), lambda: _replicas(context)).run()
    raise Cancelled("What its workers were for is gone.")


def _replicas(context: Context) -> int:
    if given := context.job.payload.get("replicas"):
        return int(given)
    with context.database.read() as connection:
        found = resources.get(connection, context.job.resource)
    return replicas(found.body) if found else 0


@dataclass(slots=True)
class _Process:
    """One that was started for `recipe`, in a `folder` of its own."""

    recipe: dict[str, Any]
    folder: Path
    running: subprocess.Popen[bytes]
    stderr: int
    ended: int  # becomes readable when it has ended
    modules: str  # that it has imported
    control: socket.socket | None = None  # of one that forks
    parts: int = 0
    since: float = 0.0  # when it began to wait

    def give_part(self) -> str:
        """What the next child sees at /gcs: a part of the view of its own, for what has been seen of another may be
        seen so for ever."""
        self.parts += 1
        root, view = Path(f"/proc/{self.running.pid}/root"), view_in(self.folder)
        deadline = time.monotonic() + _MOUNTED
        while not view.mounted.exists() and self.running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        with contextlib.suppress(OSError):
            if (root / ".gcs").is_dir() and not root.samefile("/"):
                new = root / ".gcs-next"
                new.symlink_to(f".gcs/{self.parts}")
                new.rename(root / "gcs")
        return str(self.parts)

    def empty(self) -> bool:
        """Makes it as new, its imports done; False where that can't be: something of the last child is left."""
        if use.of_below(self.running.pid)[1] != 1:
            return False
        mounted = set(view_in(self.folder).beside.values())
        tmp = self.folder / "work" / isolation.TMP
        # What it sees below /tmp is mounted there: where that is, it stays.
        seen = [self.folder, _RUNNER, *map(Path, self.recipe["readable"])]
        left = {tmp / path.parts[2] for path in seen if path.parts[:2] == ("/", "tmp")}
        try:
            _empty(self.folder / "work", mounted | {tmp}, left)
            _empty(self.folder / "packages", mounted)
        except OSError:
            return False
        return True

    def remove(self) -> None:
        if self.running.poll() is None:
            self.running.send_signal(signal.SIGTERM)
        self.running.wait()
        for file in (self.running.stdin, self.running.stdout, self.control):
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
    again: bool = False  # its child ended by itself


class Keeper:
    """Listens at `path`. As many as `replicas` says are in use, and so many wait, at once; those that have waited for
    `idle` seconds end, and when there is none left so does `run`."""

    def __init__(
        self, context: Context, path: Path, replicas: Callable[[], int], idle: float = math.inf
    ) -> None:
        self._context, self._path, self._replicas, self.idle = context, path, replicas, idle
        self._modules: dict[str, str] = {}  # what a child came to import, by the recipe
        self._used = time.monotonic()
        self._clients: list[_Client] = []
        self._waiting: list[_Process] = []
        self._numbers = itertools.count()
        self._events = selectors.DefaultSelector()
        self._folder = context.folder / "workers"
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self) -> None:
        path = self._path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
            listening.listen(64)
            self._events.register(listening, selectors.EVENT_READ, lambda: self._accept(listening))
            try:
                while not self._context.should_stop() and not self._is_idle():
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
                    say(client.connection, {"free": free})
                elif "again" in asked:
                    client.again = True
                else:
                    self._give(client, asked)

    def _is_idle(self) -> bool:
        """Whether nobody has used it for so long. What has waited as long goes, and the oldest of what takes too much
        memory; all where that runs short."""
        now = time.monotonic()
        if self._clients:
            self._used = now
        if self.idle < math.inf:
            left = 0 if machine.runs_short() else int(machine.resources().memory * _SHARE)
            for process in reversed(list(self._waiting)):
                left -= use.of_below(process.running.pid)[0]
                if left < 0 or now - process.since > self.idle:
                    self._forget(process)
        return now - self._used > self.idle

    def _give(self, client: _Client, recipe: dict[str, Any]) -> None:
        there = next(
            (one for one in self._waiting if one.recipe == recipe and one.running.poll() is None), None
        )
        if there:
            self._waiting.remove(there)
            self._events.unregister(there.ended)
        else:
            while self._waiting and len(self._waiting) + len(self._clients) > self._replicas():
                self._forget(self._waiting[0])
        given = client.process = there or self._start(recipe, self._imports(recipe))
        self._events.register(given.ended, selectors.EVENT_READ, lambda: self._tell_end(client, given))
        answer = {
            "pid": given.running.pid,
            "folder": str(given.folder),
            "warm": there is not None,
            "part": "",
        }
        assert given.running.stdin is not None and given.running.stdout is not None
        if given.control:
            answer |= {"warm": bool(there and there.modules), "part": given.give_part()}
            files = [given.control.fileno()]
        else:
            files = [given.running.stdin.fileno(), given.running.stdout.fileno(), given.stderr]
        client.connection.sendmsg(
            [json.dumps(answer).encode() + b"\n"],
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))],
        )
        given.running.stdin.close()

    def _tell_end(self, client: _Client, process: _Process) -> None:
        self._events.unregister(process.ended)
        with contextlib.suppress(ConnectionError):
            say(client.connection, {"code": process.running.wait()})

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
        if process.control:
            self._mind_threads(process)
            if modules and _may_fork(modules):
                self._modules.setdefault(json.dumps(process.recipe), modules)
            modules = self._imports(process.recipe)
            if client.again and process.running.poll() is None and process.empty():
                if modules != process.modules:
                    process.modules = modules
                    say(process.control, {"import": modules})
                self._keep(process)
                return
        process.remove()
        if self._context.should_stop():
            return
        while self._waiting and len(self._waiting) >= self._replicas():
            self._forget(self._waiting[0])
        self._keep(self._start(process.recipe, modules))

    def _imports(self, recipe: dict[str, Any]) -> str:
        """The modules with which a process of that recipe begins."""
        learned, said = self._modules.get(json.dumps(recipe)), str(recipe.get("modules", ""))
        return learned if learned is not None else said if _may_fork(said) else ""

    def _mind_threads(self, process: _Process) -> None:
        """One that has ended by itself came to import what starts threads: none of its recipe does so again."""
        if process.running.poll() == 1:
            self._modules[json.dumps(process.recipe)] = ""

    def _keep(self, process: _Process) -> None:
        process.since = time.monotonic()
        self._waiting.append(process)
        self._events.register(process.ended, selectors.EVENT_READ, lambda: self._forget(process))

    def _forget(self, process: _Process) -> None:
        self._events.unregister(process.ended)
        self._mind_threads(process)
        self._waiting.remove(process)
        process.remove()

    def _start(self, recipe: dict[str, Any], modules: str) -> _Process:
        folder = self._folder / str(next(self._numbers))
        packages, view = folder / "packages", view_in(folder)
        for made in (packages, view.lower):
            made.mkdir(parents=True)
        reading, writing = os.pipe()
        ours, theirs = socket.socketpair() if recipe["forks"] else (None, None)
        if ours:
            view = dataclasses.replace(view, name=".gcs")
        with os.fdopen(writing, "wb") as stderr, theirs or contextlib.nullcontext():
            passed = [theirs.fileno()] if theirs else []
            running = isolation.start(
                [recipe["python"], "-u", str(_RUNNER), modules, *map(str, passed)],
                readable=[*map(Path, recipe["readable"]), packages, _RUNNER], scratch=folder / "work", log=stderr,
                limits=Limits(**recipe["limits"]), environment=recipe["environment"], network=True, processes=True,
                view=view, pass_fds=passed,
            )  # fmt: skip
        return _Process(recipe, folder, running, reading, os.pidfd_open(running.pid), modules, ours)


def _empty(folder: Path, mounted: set[Path], left: Set[Path] = frozenset()) -> None:
    """Removes what is in `folder` but for what is to be `left`; of what is `mounted` elsewhere, what is in it."""
    for entry in folder.iterdir():
        if entry in left:
            continue
        if entry.is_symlink() or not entry.is_dir():
            entry.unlink()
        elif entry in mounted:
            _empty(entry, set(), left)
        else:
            shutil.rmtree(entry)


def _told(folder: Path) -> str:
    try:
        told = (folder / "work" / TELLS).read_text()[:_LIMIT]
    except (OSError, ValueError):
        return ""
    return told if _MODULES.fullmatch(told) else ""


def _may_fork(modules: str) -> bool:
    return NEVER_FORKED.isdisjoint(name.partition(".")[0] for name in modules.split(","))
