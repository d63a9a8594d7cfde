"""A running server for Cloud Storage's tests, and clients of it."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_names = itertools.count()


@dataclass
class Server:
    """A server process on a home of its own, which can be killed and started again on the same port."""

    home: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        if not self.port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
        script = Path(__file__).with_name("serve.py")
        self.process = subprocess.Popen([sys.executable, str(script), str(self.home), str(self.port)])
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            assert self.process.poll() is None, "the server ended at its start"
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise TimeoutError("the server does not listen")

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("storage-home"))
    running.start()
    os.environ["STORAGE_EMULATOR_HOST"] = running.url
    yield running
    running.stop()


@pytest.fixture(scope="session")
def client(server: Server):
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    return storage.Client(project="portico", credentials=AnonymousCredentials())


@pytest.fixture
def make_bucket(client) -> Callable[..., object]:
    def make(**settings: object):
        bucket = client.bucket(f"bucket-{os.getpid()}-{next(_names)}")
        for name, value in settings.items():
            setattr(bucket, name, value)
        bucket.create(location="US")
        return bucket

    return make


@pytest.fixture
def bucket(make_bucket):
    return make_bucket()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server of one test's own, to kill."""
    running = Server(tmp_path / "home")
    running.start()
    yield running
    running.stop()
