"""The local engine: a child process per job, forked by the warm server, which starts with the first job.

The warm server dies with the process that started it, and the children with the warm server: nothing is left to adopt.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from portico.jobs.engines import machine
from portico.jobs.engines.protocol import Ended, Machine, cause_of, heard
from portico.store.jobs import Resources


class LocalProcesses:
    """An `Engine`. What there is for jobs is what the machine has."""

    def __init__(self, home: Path, modules: list[str]) -> None:
        self._home = home
        self._modules = modules
        self._capacity = machine.resources()
        self._pids: dict[str, int] = {}
        self._asks: dict[str, Resources] = {}
        self._unwanted: dict[str, signal.Signals] = {}  # asked to end before their process was known
        self._ended: list[Ended] = []
        self._server: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._buffer = bytearray()

    def machines(self) -> list[Machine]:
        free = self._capacity
        for asks in self._asks.values():
            free = free.without(asks)
        return [Machine(self._capacity, free)]

    def running(self) -> list[str]:
        return list(self._pids)

    def waitables(self) -> list[socket.socket]:
        return [self._channel] if self._channel else []

    def start(self, job_id: str, asks: Resources, kind: str = "") -> None:
        self._asks[job_id] = asks
        self._pids[job_id] = 0  # its pid comes with the server's word that it started
        try:
            self._connected().sendall(json.dumps({"run": job_id, "kind": kind}).encode() + b"\n")
        except OSError:
            self._server_lost()

    def stop(self, job_id: str, *, now: bool = False) -> None:
        number = signal.SIGKILL if now else signal.SIGTERM
        if self._pids.get(job_id) == 0:
            self._unwanted[job_id] = number
        self._signal(job_id, number)

    def poll(self) -> list[Ended]:
        self._receive()
        told, self._ended = self._ended, []
        for ended in told:
            self._asks.pop(ended.job, None)
        return told

    def adopt(self, jobs: Mapping[str, Resources]) -> set[str]:
        return set()

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
        told, there = heard(self._channel, self._buffer)
        for news in told:
            if "started" in news and news["started"] in self._pids:
                self._pids[news["started"]] = news["pid"]
                if number := self._unwanted.pop(news["started"], None):
                    self._signal(news["started"], number)
            elif "ended" in news:
                self._pids.pop(news["ended"], None)
                self._unwanted.pop(news["ended"], None)
                self._ended.append(Ended(news["ended"], cause_of(news["status"])))
        if not there:
            self._server_lost()

    def _server_lost(self) -> None:
        """The warm server died; its children die with it."""
        if self._channel:
            self._channel.close()
        if self._server:
            self._server.kill()
            self._server.wait()
        self._channel, self._server, self._buffer = None, None, bytearray()
        self._ended.extend(Ended(job_id, "") for job_id in self._pids)
        self._pids.clear()
        self._unwanted.clear()

    def _signal(self, job_id: str, number: signal.Signals) -> None:
        pid = self._pids.get(job_id)
        if pid:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
