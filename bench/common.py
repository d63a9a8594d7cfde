"""What the benchmarks share: the machine in words, peers' environments, servers, interleaved rounds, ratio lines."""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

ENVIRONMENTS = Path.home() / ".cache" / "portico" / "bench-envs"
RESULTS = Path("bench-results")


def machine() -> str:
    """Processor, cores and memory of this machine, and its Python."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (OSError, ValueError):
        memory = 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores, {memory:.0f} GiB, Python {platform.python_version()}, {platform.system()}"


def versions(*packages: str) -> dict[str, str]:
    """The versions of `packages` in this environment; those that are missing are left out."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def environment(name: str, requirements: Sequence[str], version: str | None = None) -> Path:
    """The Python of a peer's own environment, made once under ~/.cache/portico/bench-envs; of another `version` than
    this one where it says so.

    Raises:
        subprocess.CalledProcessError: the requirements don't install here.
    """
    folder = ENVIRONMENTS / name
    python = folder / "bin" / "python"
    wanted = json.dumps(sorted(requirements))
    stamp = folder / "requirements.json"
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    from uv import find_uv_bin

    uv = find_uv_bin()
    shutil.rmtree(folder, ignore_errors=True)
    managed = sorted(Path.home().glob(f".pyenv/versions/{version}*/bin/python")) if version else []
    wanted_python = str(managed[-1]) if managed else version or sys.executable
    print(f"making the environment {name} ({', '.join(requirements)})", flush=True)
    subprocess.run([uv, "venv", "--quiet", "--python", wanted_python, str(folder)], check=True)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), *requirements], check=True)
    stamp.write_text(wanted)
    return python


def packages_of(python: Path, names: Sequence[str]) -> dict[str, str]:
    """The versions of `names` in the environment of `python`."""
    code = (
        "import sys, json; from importlib.metadata import version as v; "
        "print(json.dumps({n: v(n) for n in sys.argv[1:]}))"
    )
    command = [str(python), "-c", code, *names]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, str] = json.loads(answer)
    return found


class Server:
    """A server in a process group of its own, up once `port` takes connections; ended with the block."""

    def __init__(
        self, command: Sequence[str | Path], port: int, *, seconds: float = 120, **more: Any
    ) -> None:
        self.port = port
        self.process = subprocess.Popen(
            [str(part) for part in command],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            **more,
        )
        deadline = time.monotonic() + seconds
        while not _listens(port):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(
                    (self.process.stderr.read() if self.process.stderr else b"").decode()[-2000:]
                )
            time.sleep(0.05)
        _drain(self.process)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        for number in (15, 9):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(10)
                return
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                continue


def _drain(process: subprocess.Popen[bytes]) -> None:
    """A full pipe would stop the server."""
    import threading

    assert process.stderr is not None
    threading.Thread(target=process.stderr.read, daemon=True).start()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def interleaved(
    sides: Sequence[str], measure: Callable[[str], Mapping[str, float]], rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Measures every side once a round, in turning order, so that what disturbs the machine meets them alike.

    Returns the rounds' values by side and by name.
    """
    values: dict[str, dict[str, list[float]]] = {side: {} for side in sides}
    for number in range(rounds):
        order = list(sides)[number % len(sides) :] + list(sides)[: number % len(sides)]
        for side in order:
            for name, value in measure(side).items():
                values[side].setdefault(name, []).append(value)
    return values


def ratio(values: Mapping[str, Mapping[str, Sequence[float]]], name: str, side: str, other: str) -> float:
    """The median of the rounds' ratios of `side` to `other`."""
    return median(a / b for a, b in zip(values[side][name], values[other][name], strict=True))


@dataclass
class Report:
    """Collects ratio lines, prints them at the end, and writes everything to bench-results/NAME.json."""

    name: str
    facts: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def header(self, **facts: Any) -> None:
        command = " ".join(["python -m", f"bench.{self.name}", *sys.argv[1:]])
        self.facts |= {"command": command, "machine": machine(), "load": os.getloadavg()[0], **facts}
        for key, value in self.facts.items():
            shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
            print(f"{key}: {shown}")
        print(flush=True)

    def limit(self, what: str, value: float, limit: float, *, at_least: bool, unit: str = "×") -> None:
        """One ratio line: what was asked for, what was measured, whether it holds."""
        holds = value >= limit if at_least else value <= limit
        sign = "≥" if at_least else "≤"
        self.lines.append(
            f"{'ok  ' if holds else 'MISS'} {what}: {value:.3g}{unit} (limit {sign} {limit:g}{unit})"
        )

    def beside(self, what: str, value: float, unit: str = "×") -> None:
        """A line without a limit."""
        self.lines.append(f"     {what}: {value:.3g}{unit}")

    def keep(self, **results: Any) -> Path:
        """Writes what is known so far."""
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self.name}.json"
        path.write_text(json.dumps({**self.facts, "lines": self.lines, **results}, indent=1))
        return path

    def end(self, **results: Any) -> None:
        print("\n" + "\n".join(self.lines))
        print(f"\nwritten to {self.keep(**results)}")
