"""The local engine: a child process per job, forked by the warm server, which starts with the first job."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


class LocalProcesses:
    """At most one running job per core. Not thread-safe: the scheduler's loop owns it."""

    def __init__(self, home: Path, modules: list[str]) -> None:
        self._home = home
        self._modules = modules
        self._slots = max(1, os.cpu_count() or 1)
        self._pids: dict[str, int] = {}
        self._unwanted: set[str] = set()  # asked to end before their process had started
        self._ended: list[tuple[str, int | None]] = []
        self._server: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._buffer = b""

    def free(self) -> bool:
        return len(self._pids) < self._slots

    def running(self) -> list[str]:
        return list(self._pids)

    def descriptors(self) -> list[socket.socket]:
        """What to wait on for news."""
        return [self._channel] if self._channel else []

    def start(self, job_id: str) -> None:
        self._pids[job_id] = 0  # its pid comes with the server's word that it started
        try:
            self._connected().sendall(json.dumps({"run": job_id}).encode() + b"\n")
        except OSError:
            self._server_lost()

    def stop(self, job_id: str) -> None:
        """Asks the job's process to end (SIGTERM), as soon as it has one."""
        if self._pids.get(job_id) == 0:
            self._unwanted.add(job_id)
        self._signal(job_id, signal.SIGTERM)

    def kill(self, job_id: str) -> None:
        self._signal(job_id, signal.SIGKILL)

    def ended(self) -> Iterator[tuple[str, int | None]]:
        """Jobs whose process has ended since the last call, with the wait status; None when it went down with ours."""
        self._receive()
        while self._ended:
            yield self._ended.pop()

    def close(self) -> None:
        """Ends every process; their jobs stay leased and are found again at the next start."""
        for job_id in list(self._pids):
            self._signal(job_id, signal.SIGTERM)
        if self._channel:
            self._channel.close()
        if self._server:
            try:
                self._server.wait(timeout=2)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()

    def _connected(self) -> socket.socket:
        if self._channel is None:
            ours, theirs = socket.socketpair()
            with theirs:
                arguments = [str(self._home), ",".join(self._modules), str(os.getpid())]
                self._server = subprocess.Popen(
                    [sys.executable, "-m", "portico.jobs.warm", *arguments], stdin=theirs.fileno()
                )
            self._channel = ours
        return self._channel

    def _receive(self) -> None:
        if self._channel is None:
            return
        try:
            while True:
                received = self._channel.recv(65536, socket.MSG_DONTWAIT)
                if not received:
                    self._server_lost()
                    return
                self._buffer += received
        except BlockingIOError:
            pass
        except OSError:
            self._server_lost()
            return
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            news = json.loads(line)
            if "started" in news and news["started"] in self._pids:
                self._pids[news["started"]] = news["pid"]
                if news["started"] in self._unwanted:
                    self.stop(news["started"])
            elif "ended" in news:
                self._pids.pop(news["ended"], None)
                self._unwanted.discard(news["ended"])
                self._ended.append((news["ended"], news["status"]))

    def _server_lost(self) -> None:
        """The warm server died; its children die with it."""
        if self._channel:
            self._channel.close()
        if self._server:
            self._server.kill()
            self._server.wait()
        self._channel, self._server, self._buffer = None, None, b""
        self._ended.extend((job_id, None) for job_id in self._pids)
        self._pids.clear()
        self._unwanted.clear()

    def _signal(self, job_id: str, number: signal.Signals) -> None:
        pid = self._pids.get(job_id)
        if pid:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
