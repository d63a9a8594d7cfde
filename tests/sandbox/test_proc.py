"""What code that may start processes sees below /proc."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from portico.sandbox import isolation
from portico.sandbox.isolation import Limits

_CHILD = """
import json, os, sys
outside = f"/proc/{sys.argv[1]}"
told = {"self": open("/proc/self/cmdline").read().split(chr(0))[0] == sys.executable, "seen": []}
for name, look in {
    "environment": lambda: open(f"{outside}/environ").read(),
    "a file": lambda: os.readlink(f"{outside}/fd/0"),
    "folder": lambda: os.readlink(f"{outside}/cwd"),
    "root": lambda: os.listdir(f"{outside}/root/"),
    "memory": lambda: open(f"{outside}/mem", "rb").read(1),
    "where its memory is": lambda: open(f"{outside}/maps").read(1),
    "kernel": lambda: open("/proc/sys/kernel/hostname", "w"),
    "itself, to write": lambda: open("/proc/self/oom_score_adj", "w"),
}.items():
    try:
        look()
        told["seen"].append(name)
    except OSError:
        pass
print(json.dumps(told))
"""
_PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]], check=True)"


def test_a_child_reads_of_itself_and_nothing_of_others(tmp_path: Path) -> None:
    if isolation.isolation().name != "landlock":
        pytest.skip("bubblewrap's walls have a /proc of their own")
    python = Path(sys.executable).resolve()
    readable = [python.parent.parent]
    with open(tmp_path / "log", "wb") as log:
        started = isolation.start(
            [str(python), "-c", _PARENT, _CHILD, str(os.getpid())], readable=readable, scratch=tmp_path / "scratch",
            log=log, limits=Limits(1 << 30), processes=True,
        )  # fmt: skip
        said, _ = started.communicate(timeout=240)
    assert started.returncode == 0, (tmp_path / "log").read_text()
    assert json.loads(said) == {"self": True, "seen": []}
