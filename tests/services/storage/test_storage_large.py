"""A 2 GiB object up and down, with the server's memory watched."""

from __future__ import annotations

import http.client
import threading
import time
from urllib.parse import quote

import psutil
import pytest

SIZE = 2 << 30
PIECE = bytes(range(256)) * 4096  # 1 MiB


class Memory:
    """The most that a process tree's memory (USS) has grown while the block ran, in MiB."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._stop = threading.Event()
        self.growth = 0.0

    def _now(self) -> float:
        tree = [self._process, *self._process.children(recursive=True)]
        return sum(p.memory_full_info().uss for p in tree) / 2**20

    def __enter__(self) -> Memory:
        self._before = self._now()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.is_set():
            self.growth = max(self.growth, self._now() - self._before)
            time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def pieces():
    for _ in range(SIZE // len(PIECE)):
        yield PIECE


@pytest.mark.slow
def test_two_gibibytes(server, client, bucket):
    # Warm up: what an upload and a download load once is not growth by size.
    bucket.blob("warm").upload_from_string(PIECE * 8)
    bucket.blob("warm").download_as_bytes()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    with Memory(server.process.pid) as memory:
        began = time.perf_counter()
        path = f"/upload/storage/v1/b/{bucket.name}/o?uploadType=media&name={quote('big', safe='')}"
        connection.request("POST", path, pieces(), {"content-length": str(SIZE), "content-type": "x/y"})
        response = connection.getresponse()
        assert response.status == 200, response.read()
        response.read()
        up = time.perf_counter() - began
        began = time.perf_counter()
        connection.request("GET", f"/download/storage/v1/b/{bucket.name}/o/big?alt=media")
        response = connection.getresponse()
        size = 0
        while piece := response.read(len(PIECE)):
            assert piece == PIECE[: len(piece)]
            size += len(piece)
        down = time.perf_counter() - began
    assert size == SIZE
    print(
        f"\nup {SIZE / up / 2**20:.0f} MiB/s, down {SIZE / down / 2**20:.0f} MiB/s, +{memory.growth:.1f} MiB"
    )
    assert memory.growth <= 64
    bucket.blob("big").delete()
