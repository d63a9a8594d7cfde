"""The Ray engine: jobs run on the nodes of an existing cluster. Ray itself is in a process of its own (`driver.py`)."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import secrets
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portico.errors import FailedPrecondition, Unavailable
from portico.jobs.engines import machine
from portico.jobs.engines.protocol import Ended, Machine, cause_of, heard
from portico.ml import openmp
from portico.sandbox import walled
from portico.store import backend
from portico.store.jobs import Resources

log = logging.getLogger(__name__)

_AGAIN = 2.0  # seconds before a driver that has ended is started again
_REMEMBERED = 600.0  # seconds that a node which has gone may yet come back
_CHECK = 120.0  # seconds that the cluster has to answer, once its environment is there
_NONE = Resources(cores=0.0)
# Of the server's environment, what Portico and its jobs read; all else is the node's own.
_PASSED_ON = ("PORTICO_", "PYTHONPATH", *openmp.ENVIRONMENT, "PIP_", "UV_")


@dataclass(slots=True)
class _Node:
    whole: Resources
    gone: float | None = None  # since when (monotonic)


@dataclass(slots=True)
class _Run:
    asks: Resources
    node: str = ""  # where it runs, once Ray has chosen


class RayCluster:
    """An `Engine`. While the cluster can't be reached nothing starts; what runs on it goes on, and is found again."""

    def __init__(self, home: Path, modules: list[str], address: str) -> None:
        self._home, self._address = home, address
        self._settings = _settings(home, modules, address)
        self._jobs: dict[str, _Run] = {}
        self._nodes: dict[str, _Node] = {}
        self._ended: list[Ended] = []
        self._driver: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._buffer = bytearray()
        self._there = False  # the driver has told of what it found
        self._began = -_AGAIN
        self._warned = ""

    def machines(self) -> list[Machine]:
        free = {name: node.whole if self._is_there(node) else _NONE for name, node in self._nodes.items()}
        for run in sorted(self._jobs.values(), key=lambda run: not run.node):  # those that wait for Ray last
            chosen = run.node or max(free, key=lambda n: (free[n].holds(run.asks), free[n].cores), default="")
            if chosen in free:
                free[chosen] = free[chosen].without(run.asks)
        return [
            Machine(node.whole, free[name], not self._is_there(node)) for name, node in self._nodes.items()
        ]

    def _is_there(self, node: _Node) -> bool:
        return self._there and node.gone is None

    def running(self) -> list[str]:
        return list(self._jobs)

    def waitables(self) -> list[socket.socket]:
        return [self._channel] if self._channel else []

    def start(self, job_id: str, asks: Resources, kind: str = "") -> None:
        self._jobs[job_id] = _Run(asks)
        self._say(run=job_id, cores=asks.cores, memory=asks.memory, accelerators=asks.accelerators)

    def stop(self, job_id: str, *, now: bool = False) -> None:
        if job_id in self._jobs:
            self._say(stop=job_id, now=now)

    def adopt(self, jobs: Mapping[str, Resources]) -> set[str]:
        self._jobs |= {job_id: _Run(asks) for job_id, asks in jobs.items()}
        self._connect()
        return set(jobs)

    def poll(self) -> list[Ended]:
        if self._channel is None and time.monotonic() - self._began >= _AGAIN:
            self._connect()
        self._receive()
        told, self._ended = self._ended, []
        return told

    def close(self) -> None:
        """What runs on the cluster goes on."""
        if self._channel:
            self._channel.close()
            self._channel = None
        if self._driver:
            try:
                self._driver.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._driver.kill()
                self._driver.wait()

    def _connect(self) -> None:
        if self._channel is None:
            self._began = time.monotonic()
            self._driver, self._channel = _start(self._settings)
            self._say(follow=list(self._jobs))

    def _say(self, **message: Any) -> None:
        if self._channel:
            try:
                self._channel.sendall(json.dumps(message).encode() + b"\n")
            except OSError:
                pass  # its end is read by `_receive`

    def _receive(self) -> None:
        if self._channel is None:
            return
        told, there = heard(self._channel, self._buffer)
        for news in told:
            self._hear(news)
        if not there:
            self._driver_lost()

    def _hear(self, news: dict[str, Any]) -> None:
        if "nodes" in news:
            self._see(news["nodes"])
        elif "followed" in news:
            for job_id, node in news["followed"].items():
                self._jobs[job_id].node = node
            self._end_all(job_id for job_id in self._jobs if job_id not in news["followed"])
            self._there, self._warned = True, ""
        elif "placed" in news and news["placed"] in self._jobs:
            self._jobs[news["placed"]].node = news["node"]
        elif "ended" in news and news["ended"] in self._jobs:
            del self._jobs[news["ended"]]
            status = news["status"]
            self._ended.append(Ended(news["ended"], "" if status is None else cause_of(status)))
        elif "refused" in news:
            self._warn(f"the Ray cluster at {self._address} can't be used: {news['refused']}")

    def _see(self, told: dict[str, dict[str, Any]]) -> None:
        now = time.monotonic()
        for name, one in told.items():
            if one["fault"]:
                self._warn(f"a node of the Ray cluster is not used: {one['fault']}")
            else:
                self._nodes[name] = _Node(_resources(one))
        for name, node in list(self._nodes.items()):
            if name not in told:
                node.gone = node.gone or now
                if now - node.gone > _REMEMBERED:
                    del self._nodes[name]
        machine.write(self._home, [node.whole for node in self._nodes.values()])

    def _warn(self, words: str) -> None:
        if words != self._warned:
            self._warned = words
            log.warning("%s", words)

    def _driver_lost(self) -> None:
        """It is started again by `poll`, and finds what runs."""
        if self._channel:
            self._channel.close()
        if self._driver:
            self._driver.kill()
            self._driver.wait()
        self._channel, self._buffer, self._there = None, bytearray(), False

    def _end_all(self, job_ids: Any) -> None:
        for job_id in list(job_ids):
            del self._jobs[job_id]
            self._ended.append(Ended(job_id, ""))


def check(home: Path, modules: list[str], address: str, tell: Callable[[str], None]) -> None:
    """Whether the cluster at `address` can be used for `home`. `tell` gets what is done meanwhile, line by line.

    Raises:
        Unavailable: nobody answers, or not as a cluster does.
        FailedPrecondition: a node, of which the message says what it lacks, can't run jobs; or none is there.
    """
    driver, channel = _start(_settings(home, modules, address))
    try:
        nodes = _first_look(channel, address, tell)
    finally:
        channel.close()
        driver.wait()
    faults = [one["fault"] for one in nodes.values() if one["fault"]]
    if faults:
        raise FailedPrecondition(f"The Ray cluster at {address} can't run Portico's jobs: {faults[0]}.")
    if not nodes:
        raise FailedPrecondition(f"No node of the Ray cluster at {address} has CPUs.")
    machine.write(home, [_resources(one) for one in nodes.values()])


def _first_look(
    channel: socket.socket, address: str, tell: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    buffer, until = b"", time.monotonic() + _CHECK
    refused = "it does not answer in time"
    while select.select([channel], [], [], max(0.0, until - time.monotonic()))[0]:
        received = channel.recv(65536)
        *lines, buffer = (buffer + received).split(b"\n")
        for line in lines:
            news = json.loads(line)
            if "nodes" in news:
                found: dict[str, dict[str, Any]] = news["nodes"]
                return found
            refused = news.get("refused", refused)
            if "says" in news:
                until = time.monotonic() + 10 * _CHECK
                tell(news["says"])
        if not received:
            break
    raise Unavailable(
        f"The Ray cluster at {address} can't be used: {refused}. Give the address of its head (HOST:PORT, as "
        f"`ray start --head` says it); this machine must be one of its nodes (ray start --address={address} "
        "--num-cpus=0 will do)."
    )


def _resources(node: Mapping[str, Any]) -> Resources:
    return Resources(float(node["cores"]), int(node["memory"]), int(node["accelerators"]))


def _settings(home: Path, modules: list[str], address: str) -> dict[str, Any]:
    version = "{} {} {}".format(importlib.metadata.version("portico"), *sys.version_info[:2])
    passed_on = {
        name: value for name, value in os.environ.items()
        if name.startswith(_PASSED_ON) and name not in walled.VARIABLES
    }  # fmt: skip
    this = "" if backend.url_of(home) else Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    recipe = {
        "python": sys.executable, "home": str(home), "modules": modules, "version": version, "environment": passed_on,
        "machine": this,
    }  # fmt: skip
    launch = ["-m", "portico.jobs.engines.ray.launch"]
    return {
        "address": address, "home": str(home), "portico": sys.executable, "launch": launch, "recipe": recipe,
        "token": _token(home),
    }  # fmt: skip


def _token(home: Path) -> str:
    """What a node finds in the home, by which it is known to be this one."""
    path = home / "run" / "ray.token"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text(secrets.token_hex(16))
    return path.read_text()


def _start(settings: dict[str, Any]) -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair()
    told = json.dumps({**settings, "parent": os.getpid()})
    with theirs, (Path(settings["home"]) / "run" / "ray.log").open("wb") as said:
        command = [settings["portico"], *settings["launch"], told]
        driver = subprocess.Popen(command, stdin=theirs.fileno(), stdout=said, stderr=said)
    return driver, ours
