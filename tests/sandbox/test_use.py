"""What running code uses."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path

from portico.sandbox import use

FORKS = """
import os, sys
held = bytearray(b"x" * (64 << 20))
for _ in range(3):
    if not os.fork():
        break
else:
    print("ready", flush=True)
sys.stdin.read()
"""


def test_memory_that_forks_share_counts_once() -> None:
    """As of processes that load data for one that trains, or of a server's workers."""
    with subprocess.Popen(
        [sys.executable, "-c", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None and parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        memory, count = use.of_below(parent.pid)
        assert count == 3 and memory > 3 * 64 << 20
        assert 32 << 20 < use.weighed_below(parent.pid) < 2 * 64 << 20  # the parent has the fourth part
        parent.stdin.close()


def test_room_on_the_disk_is_told_while_folders_vanish(tmp_path: Path) -> None:
    ended = threading.Event()

    def come_and_go() -> None:
        while not ended.is_set():
            for name in ("a", "b", "c"):
                (tmp_path / name / "below" / "deep").mkdir(parents=True)
            for name in ("a", "b", "c"):
                shutil.rmtree(tmp_path / name)

    restless = threading.Thread(target=come_and_go)
    restless.start()
    try:
        (tmp_path / "stays").write_bytes(b"x" * 5000)
        assert min(use.disk(tmp_path) for _ in range(2000)) >= 5000
    finally:
        ended.set()
        restless.join()
