"""A Ray cluster of several nodes on this machine, each of which can be killed."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from portico.sandbox import environments
from tests import waiting
from tests.environments import ENVIRONMENTS

VERSION = "2.60.0"


def python() -> Path:
    """Of the environment that has Ray: that of the cluster, and of the engine's driver."""
    here = environments.find_python(["3.11"])
    return environments.environment([f"ray=={VERSION}"], here, ENVIRONMENTS)


@dataclass
class Node:
    """`ray start --block`, with all that belongs to it."""

    process: subprocess.Popen[bytes]

    def processes(self, name: str = "") -> list[psutil.Process]:
        """Its processes, or those whose command has `name` in it."""
        found = []
        for one in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if name in " ".join(one.cmdline()[:2]):
                    found.append(one)
        return found

    def kill(self) -> None:
        """As when the machine is switched off: all its processes at once."""
        with contextlib.suppress(psutil.NoSuchProcess):
            everything = [psutil.Process(self.process.pid), *self.processes()]
            for one in everything:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.send_signal(signal.SIGKILL)
            psutil.wait_procs(everything, timeout=240)
        self.process.wait()


@dataclass
class Cluster:
    """The head has no cores for jobs. `folder` is short: Ray's sockets are in it."""

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="r")))
    port: int = 0
    nodes: list[Node] = field(default_factory=list)
    head: Node | None = None
    started: int = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self, *cpus: int) -> Cluster:
        self.start_head()
        for count in cpus:
            self.add(count)
        return self

    def start_head(self) -> None:
        if not self.port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
        self.head = self._start("--head", f"--port={self.port}", "--num-cpus=0", "--include-dashboard=false",
                                f"--temp-dir={self.folder}")  # fmt: skip

    def add(self, cpus: int, *options: str) -> Node:
        node = self._start(f"--address={self.address}", f"--num-cpus={cpus}", *options)
        self.nodes.append(node)
        return node

    def stop(self) -> None:
        for node in [*self.nodes, *([self.head] if self.head else [])]:
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, *options: str) -> Node:
        ray = python().with_name("ray")
        self.started += 1
        log = self.folder / f"{self.started}.log"
        with log.open("wb") as said:
            process = subprocess.Popen(
                [python(), ray, "start", "--block", "--disable-usage-stats", "--object-store-memory=80000000",
                 "--node-ip-address=127.0.0.1", "--memory=16000000000", *options],
                stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip
        waiting.until(
            lambda: "Ray runtime started" in log.read_text() or process.poll() is not None, "a node"
        )
        assert process.poll() is None, log.read_text()
        return Node(process)
