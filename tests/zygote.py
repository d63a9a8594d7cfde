"""Starts `portico up` without importing Portico each time, which takes longer than the start itself: a process that
has imported everything forks the servers of this test process. They run the command's own code with the arguments,
the environment and the folder that they would have been given.

Run as `python -m tests.zygote FD`, it serves requests in JSON at the socket FD, one at a time:
{"arguments", "environment", "folder"} with the files for its standard output and error is answered by {"pid"},
{"ended": PID} by {"code"}, which is null while it runs.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any


class Started:
    """A server, with what `subprocess.Popen` says of one."""

    def __init__(self, arguments: list[str], stderr: IO[str]) -> None:
        read, write = os.pipe()
        told = {"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd()}
        self.pid: int = _zygote().ask(told, write, stderr.fileno())["pid"]
        os.close(write)
        self.stdout: IO[str] = os.fdopen(read)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = _zygote().ask({"ended": self.pid})["code"]
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        end = None if timeout is None else time.monotonic() + timeout
        if self.poll() is None:
            handle = os.pidfd_open(self.pid)
            try:
                ready, _, _ = select.select([handle], [], [], end and max(0.0, end - time.monotonic()))
            finally:
                os.close(handle)
            if not ready:
                raise subprocess.TimeoutExpired("portico up", timeout or 0.0)
        code = self.poll()
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


class _Zygote:
    def __init__(self) -> None:
        self._socket, there = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.zygote", str(there.fileno())],
            cwd=Path(__file__).parents[1],
            pass_fds=[there.fileno()],
            preexec_fn=_end_with_parent,
        )
        self._lock = threading.Lock()
        there.close()

    def ask(self, told: dict[str, Any], *files: int) -> dict[str, Any]:
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(told).encode() + b"\n"], list(files))
            answer = self._socket.recv(1024)
        if not answer:
            raise RuntimeError(f"the process that starts servers ended with {self._process.wait()}")
        return dict(json.loads(answer))


@functools.cache
def _zygote() -> _Zygote:
    return _Zygote()


def _end_with_parent() -> None:
    """SIGTERM when the process that started this one ends, however that ends (Linux)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _receive(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    message, files = b"", []
    while not message.endswith(b"\n"):
        part, received, _, _ = socket.recv_fds(channel, 65536, 2)
        if not part:
            os._exit(0)
        message += part
        files += received
    return json.loads(message), files


def _ended(pid: int) -> int | None:
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def serve(channel: socket.socket) -> list[str]:
    """Returns only in a child, with the arguments that it shall run with."""
    while True:
        told, files = _receive(channel)
        if "ended" in told:
            channel.sendall(json.dumps({"code": _ended(told["ended"])}).encode())
        elif pid := os.fork():
            for file in files:
                os.close(file)
            channel.sendall(json.dumps({"pid": pid}).encode())
        else:
            channel.close()
            _end_with_parent()
            os.setsid()
            for number, file in enumerate(files, 1):
                os.dup2(file, number)
                os.close(file)
            os.environ.clear()
            os.environ.update(told["environment"])
            os.chdir(told["folder"])
            return list(told["arguments"])


def _import_all() -> None:
    """What the server's processes import: they do so before they fork, so nothing here has a thread."""
    import portico.cli.main
    import portico.cli.up
    import portico.doors.connections
    import portico.host.certificate
    import portico.host.control
    import portico.host.predicting
    import portico.host.scheduling
    import portico.host.supervisor
    import portico.host.watching
    import portico.host.wiring
    import portico.prediction.front.process
    import portico.services.iam.rsa_keys
    import portico.store.objects.sweep
    import portico.store.postgresql
    import portico.store.sqlite

    portico.host.wiring.import_services()
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    channel = socket.socket(fileno=int(sys.argv[1]))
    _import_all()
    sys.argv = ["portico", *serve(channel)]
    sys.orig_argv = [sys.executable, "-m", "portico.cli.main", *sys.argv[1:]]
    from portico.cli.main import main

    main()
