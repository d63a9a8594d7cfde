"""Real fronts and a real (tiny) control in processes of their own, and models to serve."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tests.waiting import until

from portico.prediction.front.sync import await_fronts
from portico.store import domain_clock, served  # noqa: F401  its table
from portico.store.database import Database
from portico.store.served import ServedEndpoint, ServedModel

NAME = "projects/p/locations/us-central1/endpoints/123"
MODEL = "projects/p/locations/us-central1/models/1"
PREDICT = f"/v1/{NAME}:predict"

_FRONT = """
import socket, sys
from pathlib import Path
from portico.errors import Unauthenticated
from portico.prediction.front.process import run_front
listener = socket.socket(fileno=int(sys.argv[2]))


def verify(token: str, path: bytes, host: str) -> None:
    if token != "good":
        raise Unauthenticated("It is not good.")


run_front(Path(sys.argv[1]), listener, int(sys.argv[3]), verify)
"""

_CONTROL = """
import asyncio, os, sys
from pathlib import Path
from portico.doors.connections import serve_control
from portico.prediction.front.peers import Peers
from portico.store.sockets import run_folder

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            Path(sys.argv[1], "disconnected").touch()
            return
        size += len(message["body"])
        if not message["more_body"]:
            break
    if scope["path"] == "/whose":
        size = int(scope["state"]["owner"])
    if scope["path"] == "/slow":
        await asyncio.sleep(0.5)
    if scope["path"] == "/held":  # until the test lets it go
        Path(sys.argv[1], "held").touch()
        while not Path(sys.argv[1], "go").exists():
            await asyncio.sleep(0.01)
    if scope["path"] == "/fds":
        size = len(os.listdir("/proc/self/fd"))
    body = b"%s %s %d" % (scope["method"].encode(), scope["raw_path"], size)
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})

class NoGrpc:
    peers = Peers("owner", run_folder(Path(sys.argv[1])))

    def open(self):
        pass

    async def close(self, grace):
        pass

serve_control(app, Path(sys.argv[1]), NoGrpc())
"""


class Processes:
    """Fronts (sharing one port) and control on one home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.database = Database(home)
        self.database.create_tables()
        self.port = 0
        self.fronts: list[subprocess.Popen[bytes]] = []
        self.listeners: list[socket.socket] = []
        self.control: subprocess.Popen[bytes] | None = None

    def start_front(self, index: int | None = None, before: str = "") -> subprocess.Popen[bytes]:
        """A front's process; it runs the Python code `before` first."""
        if index is None:
            index = len(self.listeners)
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(("127.0.0.1", self.port))
            self.port = listener.getsockname()[1]
            listener.listen(64)
            self.listeners.append(listener)
        descriptor = self.listeners[index].fileno()
        process = subprocess.Popen(
            [sys.executable, "-c", before + _FRONT, str(self.home), str(descriptor), str(index)],
            pass_fds=[descriptor],
        )
        self.fronts.append(process)
        return process

    def start_control(self, before: str = "") -> subprocess.Popen[bytes]:
        self.control = subprocess.Popen([sys.executable, "-c", before + _CONTROL, str(self.home)])
        return self.control

    def serve(self, endpoint: ServedEndpoint, timeout: float = 240, only: str = "") -> None:
        with self.database.write() as connection:
            version = served.put(connection, endpoint)
        if self.fronts:
            await_fronts(self.home, version, timeout, endpoint.name, only)

    def stop_serving(self, name: str) -> None:
        with self.database.write() as connection:
            version = served.delete(connection, name)
        await_fronts(self.home, version, 240)

    def close(self) -> None:
        for process in [*self.fronts, *([self.control] if self.control else [])]:
            if process.poll() is None:
                process.terminate()
        for process in [*self.fronts, *([self.control] if self.control else [])]:
            try:
                process.wait(240)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for listener in self.listeners:
            listener.close()
        self.database.close()


def training_data(rows: int = 500) -> tuple[Any, np.ndarray]:
    import pandas as pd

    random = np.random.default_rng(7)
    frame = pd.DataFrame(random.normal(size=(rows, 4)), columns=["n0", "n1", "n2", "n3"])
    frame["c0"] = pd.Categorical(random.choice(["red", "green", "blue"], rows))
    frame["c1"] = pd.Categorical(random.choice([1, 2, 3], rows))
    target = frame["n0"] + frame["c0"].cat.codes - frame["c1"].cat.codes + random.normal(size=rows) * 0.1
    return frame, target.to_numpy()


def endpoint(
    *models: ServedModel, split: dict[str, int] | None = None, name: str = NAME, rate: float = 0.0
) -> ServedEndpoint:
    return ServedEndpoint(name, list(models), split or ({models[0].id: 100} if models else {}), rate)


def lightgbm_model(path: Path, id: str = "5", **more: Any) -> ServedModel:
    return ServedModel(id, MODEL, "1", "a model", "lightgbm", str(path), **more)


class Raw:
    """A client connection on which each byte is ours."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=240)
        self.port = port
        self._rest = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def request(self, path: str, body: Any = None, method: str = "POST", headers: str = "") -> bytes:
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = "" if "content-type" in headers else "content-type: application/json\r\n"
        return (
            f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\n{kind}{headers}"
            f"content-length: {len(content)}\r\n\r\n"
        ).encode() + content

    def receive(self) -> tuple[int, dict[str, str], bytes]:
        """One answer: status, headers, body. Raises ConnectionError when there is none."""
        while b"\r\n\r\n" not in self._rest:
            self._more()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        length = int(headers.get("content-length", 0))
        while len(self._rest) < length:
            self._more()
        body, self._rest = self._rest[:length], self._rest[length:]
        return int(lines[0].split(" ")[1]), headers, body

    def ask(self, path: str, body: Any = None, method: str = "POST", headers: str = "") -> tuple[int, Any]:
        """Status and JSON (or text) of one request's answer."""
        self.send(self.request(path, body, method, headers))
        status, _, content = self.receive()
        return status, json.loads(content) if content.lstrip().startswith(b"{") else content.decode()

    def _more(self) -> None:
        piece = self.socket.recv(65536)
        if not piece:
            raise ConnectionError("the server closed the connection")
        self._rest += piece

    def close(self) -> None:
        self.socket.close()


def eventually(check: Callable[[], bool]) -> bool:
    return until(check, "what was checked")


def open_descriptors(process: subprocess.Popen[bytes]) -> int:
    return len(os.listdir(f"/proc/{process.pid}/fd"))
