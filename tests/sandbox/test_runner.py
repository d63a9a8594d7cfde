"""The process from which others are forked, with what it has imported."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from portico.sandbox import isolation

RUNNER = Path(isolation.__file__).with_name("runner.py")
CODE = "import sys; print('threaded' in sys.modules, 'plain' in sys.modules)"


def said(tmp_path: Path, modules: str) -> str:
    """What a child of a process that is to begin with `modules` prints."""
    (tmp_path / "plain.py").write_text("")
    (tmp_path / "threaded.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    ours, theirs = socket.socketpair()
    with ours:
        started = subprocess.Popen(
            [sys.executable, "-u", str(RUNNER), modules, str(theirs.fileno())],
            pass_fds=[theirs.fileno()], env={"PYTHONPATH": str(tmp_path)},
        )  # fmt: skip
        theirs.close()
        line, out = os.pipe(), os.pipe()
        socket.send_fds(ours, [b"\n"], [line[0], out[1], out[1]])
        told = {
            "command": ["python", "-c", CODE],
            "environment": {},
            "paths": [],
            "told": str(tmp_path / "told"),
        }
        with os.fdopen(line[1], "w") as writer:
            json.dump(told, writer)
        assert json.loads(ours.recv(100)) == {"code": 0}
        os.close(out[1])
        with os.fdopen(out[0]) as reader:
            printed = reader.read().strip()
    assert started.wait(60) == 0
    os.close(line[0])
    return printed


def test_children_begin_with_what_is_imported(tmp_path: Path) -> None:
    assert said(tmp_path, "plain") == "False True"


def test_what_starts_a_thread_is_left_to_the_children(tmp_path: Path) -> None:
    assert said(tmp_path, "plain,threaded") == "False False"
