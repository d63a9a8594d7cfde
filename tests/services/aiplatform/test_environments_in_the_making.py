"""An environment in the making tells how far it is, is made once, and ends with whoever it is made for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.waiting import until

from portico.errors import Cancelled
from portico.sandbox import environments, installer, niceness
from portico.sandbox.installer import Teller

# What uv prints, a line whenever the file GO has grown by one.
UV = """#!/bin/bash
told() { while [ "$(wc -l < GO)" -lt "$1" ]; do sleep 0.02; done; echo "$2" >&2; }
told 1 "Resolved 3 packages in 1ms"
told 2 "Downloading tensorflow (230.1MiB)"
told 3 "Downloading numpy (17.1MiB)"
told 4 " Downloaded numpy"
told 5 "Prepared 3 packages in 2ms"
told 6 "Installed 3 packages in 3ms"
"""


@pytest.fixture
def uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A command in uv's place; the file by which it goes on."""
    go, binary = tmp_path / "go", tmp_path / "uv"
    go.touch()
    binary.write_text(UV.replace("GO", str(go)))
    binary.chmod(0o755)
    monkeypatch.setattr("uv.find_uv_bin", lambda: str(binary))
    return go


def running(binary: Path) -> list[int]:
    every = psutil.process_iter(["cmdline"])
    return [one.pid for one in every if str(binary) in (one.info["cmdline"] or ())]


def test_it_tells_what_it_does_meanwhile(uv, monkeypatch):
    monkeypatch.setattr(installer, "_EVERY", 0.0)
    told: list[str] = []
    expected = iter(
        [
            "resolving (0 s)",
            "downloading what is not here yet of 3 packages",
            "downloading: 0 of 1 large packages are there, tensorflow (230.1MiB) to come",
            "downloading: 0 of 2 large packages are there, tensorflow (230.1MiB), numpy (17.1MiB) to come",
            "downloading: 1 of 2 large packages are there, tensorflow (230.1MiB) to come",
            "installing 3 packages",
        ]
    )
    wanted = [next(expected)]

    def progress(line: str) -> None:
        told.append(line)
        if wanted and line.startswith(wanted[0]):
            wanted[:] = [one for one in [next(expected, "")] if one]
            with uv.open("a") as file:
                file.write("\n")

    ended = installer.run_uv(["pip", "install"], Teller(progress), "resolving")
    assert (ended.code, wanted) == (0, []), told
    assert "Prepared 3 packages in 2ms" in told and ended.stderr[-1] == "Installed 3 packages in 3ms\n"


def test_who_shall_stop_stops_it(uv):
    asked: list[int] = []

    def check() -> None:
        asked.append(1)
        if running(uv.with_name("uv")):
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        installer.run_uv(["pip", "install"], Teller(check=check), "resolving")
    assert asked and not running(uv.with_name("uv"))


def test_it_does_not_outlive_who_started_it(uv):
    script = (
        f"import uv; uv.find_uv_bin = lambda: {str(uv.with_name('uv'))!r}\n"
        "from portico.sandbox import installer\n"
        "installer.run_uv(['pip', 'install'], installer.Teller(), 'resolving')"
    )
    starter = subprocess.Popen([sys.executable, "-c", script])
    until(lambda: running(uv.with_name("uv")), "it runs")
    os.kill(starter.pid, signal.SIGKILL)
    starter.wait()
    until(lambda: not running(uv.with_name("uv")), "nothing is left of it")


def test_it_is_niced_once(monkeypatch):
    monkeypatch.setattr(os, "nice", lambda more: 0)
    assert installer.niced() == ["nice", "-n", str(niceness.PREPARING)]
    monkeypatch.setattr(os, "nice", lambda more: 19)
    assert installer.niced() == []


def test_of_two_that_need_the_same_one_makes_it_and_one_says_that_it_waits(tmp_path, monkeypatch):
    made: list[Any] = []
    begun, go = threading.Event(), threading.Event()
    real = environments._build

    def build(*given: Any) -> None:
        made.append(given)
        begun.set()
        go.wait()
        real(*given)

    monkeypatch.setattr(environments, "_build", build)
    found: list[Path] = []
    first = threading.Thread(
        target=lambda: found.append(environments.environment([], sys.executable, tmp_path))
    )
    first.start()
    begun.wait()

    def say(line: str) -> None:
        assert line == "another makes this environment; it is waited for"
        go.set()

    found.append(environments.environment([], sys.executable, tmp_path, Teller(say)))
    first.join()
    assert go.is_set() and len(made) == 1 and found[0] == found[1]
