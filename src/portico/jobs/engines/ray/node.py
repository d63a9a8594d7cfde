"""Runs jobs on one node of a Ray cluster: a detached actor that keeps a warm server (`jobs/warm.py`) there.

It holds no cores: what a job asks for is a placement group of its own, on this node, which goes when the job has ended.
With the actor, and so with the node, all ends that it runs. Self-contained: Ray brings it to the node, into the
cluster's Python; the warm server runs in Portico's.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import time
from typing import Any

_IDLE = 600.0  # seconds that it stays without a job and without word of a Portico
_LOOK = 30.0  # seconds between two looks whether that is so
_ASKS = "import importlib.metadata as m, sys; print(m.version('portico'), *sys.version_info[:2])"
# What Ray sets for its own workers, and what is not for a Python of another environment.
_NOT_PASSED_ON = ("RAY_", "PYTHON", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "VIRTUAL_ENV")


class _Job:
    def __init__(self, group: str) -> None:
        self.group = group
        self.pid = 0
        self.unwanted = 0  # a signal that came before its process was known
        self.ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()


class Keeper:
    """`recipe`: the `python` that has Portico, the `home`, a `token` that is in a file there, the `modules` to import,
    variables for the `environment`, the `version` of Portico, and the `machine` of all nodes where it must be one."""

    def __init__(self, recipe: dict[str, Any]) -> None:
        self._recipe = recipe
        self._jobs: dict[str, _Job] = {}
        self._driver = 0.0
        self._heard = time.monotonic()
        self._channel: socket.socket | None = None
        self._fault: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def greet(self, driver: float, token: str) -> tuple[str, list[str]]:
        """Why this node can't run jobs, or ""; and the jobs that run. `driver` is the time when it began: those from
        before are not heard any more."""
        self._driver = max(self._driver, driver)
        self._heard = time.monotonic()
        if not self._tasks:
            self._tasks.add(asyncio.create_task(self._leave_when_idle()))
        if self._fault is None or self._fault:
            self._fault = await asyncio.to_thread(self._look, token)
            if not self._fault:
                await self._connect()
        return self._fault, list(self._jobs)

    async def run(self, driver: float, job: str, group: str, environment: dict[str, str]) -> int | None:
        """Runs the job to its end; its status as `waitpid` tells it, or None when it went down with the server."""
        if driver < self._driver:
            raise RuntimeError("another driver has come")
        self._heard = time.monotonic()
        self._jobs[job] = _Job(group)
        try:
            channel = await self._connect()
            line = json.dumps({"run": job, "environment": environment}).encode() + b"\n"
            await asyncio.get_running_loop().sock_sendall(channel, line)
        except OSError:
            await self._lost()
        return await self.follow(job)

    async def follow(self, job: str) -> int | None:
        """As `run`, of a job that runs; None for one that does not."""
        running = self._jobs.get(job)
        return await asyncio.shield(running.ended) if running else None

    async def stop(self, job: str, number: int) -> None:
        running = self._jobs.get(job)
        if running and running.pid:
            _signal(running.pid, number)
        elif running:
            running.unwanted = number

    def _look(self, token: str) -> str:
        python, home, version = (self._recipe[name] for name in ("python", "home", "version"))
        host = socket.gethostname()
        try:
            with open(os.path.join(home, "run", "ray.token")) as file:
                seen = file.read()
        except OSError:
            seen = ""
        if self._recipe["machine"] not in ("", _machine()):
            return f"{host} is another machine, and SQLite's file can't be shared by two: use PostgreSQL (--database)"
        if seen != token:
            return f"{host} does not see Portico's home: {home} must be on a file system that all nodes share"
        try:
            told = subprocess.run(
                [python, "-c", _ASKS], capture_output=True, text=True, env=self._environment()
            )
        except OSError as error:
            return f"{host} has no Python with Portico at {python} ({error.strerror})"
        if told.returncode != 0:
            return f"{host}: {python} has no Portico ({told.stderr.strip().splitlines()[-1:]})"
        if told.stdout.split() != version.split():
            return f"{host} has Portico and Python {told.stdout.strip()}, and the server {version}"
        return ""

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_PASSED_ON)}
        return {**kept, **self._recipe["environment"]}

    async def _connect(self) -> socket.socket:
        """The channel to the warm server, which is started where there is none."""
        if self._channel is None:
            ours, theirs = socket.socketpair()
            with theirs:
                command = [self._recipe["python"], "-m", "portico.jobs.warm", self._recipe["home"]]
                command += [",".join(self._recipe["modules"]), str(os.getpid()), "elsewhere"]
                server = subprocess.Popen(command, stdin=theirs.fileno(), env=self._environment())
            ours.setblocking(False)
            self._channel = ours
            self._tasks.add(asyncio.create_task(self._hear(ours, server)))
        return self._channel

    async def _hear(self, channel: socket.socket, server: subprocess.Popen[bytes]) -> None:
        buffer = b""
        while True:
            try:
                piece = await asyncio.get_running_loop().sock_recv(channel, 65536)
            except OSError:
                piece = b""
            if not piece:
                break
            *lines, buffer = (buffer + piece).split(b"\n")
            for line in lines:
                await self._hear_line(json.loads(line))
        server.kill()
        server.wait()
        await self._lost()

    async def _hear_line(self, news: dict[str, Any]) -> None:
        if "started" in news and (running := self._jobs.get(news["started"])):
            running.pid = news["pid"]
            if running.unwanted:
                _signal(running.pid, running.unwanted)
        elif "ended" in news and news["ended"] in self._jobs:
            await self._end(news["ended"], news["status"])

    async def _lost(self) -> None:
        """The warm server died; its children die with it."""
        if self._channel:
            self._channel.close()
            self._channel = None
        for job in list(self._jobs):
            await self._end(job, None)

    async def _end(self, job: str, status: int | None) -> None:
        running = self._jobs[job]
        await asyncio.to_thread(_give_back, running.group)
        self._jobs.pop(job, None)
        self._heard = time.monotonic()
        if not running.ended.done():
            running.ended.set_result(status)

    async def _leave_when_idle(self) -> None:
        while self._jobs or time.monotonic() - self._heard < _IDLE:
            await asyncio.sleep(_LOOK)
        os._exit(0)


def _machine() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def _give_back(group: str) -> None:
    """What the job held, also where no driver is there to do it."""
    from ray.util import get_placement_group, remove_placement_group

    try:
        remove_placement_group(get_placement_group(group))
    except ValueError:  # it is gone
        pass


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, signal.Signals(number))
    except ProcessLookupError:
        pass
