"""How soon Portico is ready, what it holds when idle, and how soon the command answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import psutil

from bench.common import Report, versions

ROUNDS = 5
SETTLE = 3.0  # seconds between ready and the look at memory
READY, IDLE, HELP = 2.0, 250.0, 0.3  # seconds, MB, seconds


def main() -> None:
    report = Report("start")
    report.header(versions=versions("portico", "uvicorn", "sqlalchemy"), rounds=ROUNDS)
    portico = Path(sys.executable).with_name("portico")
    first, ready, memory, helps, work = 0.0, [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(ROUNDS + 1):
            home = Path(folder) / ("home" if number else "first")
            seconds, cpu, by_process = _start(portico, home)
            if number == 0:
                first = seconds  # makes the key and compiles the contract, once in a home's life
                _start(portico, Path(folder) / "home")
                continue
            ready.append(seconds)
            memory.append(by_process)
            work.append(cpu)
            helps.append(_help(portico))
            print(
                f"ready {seconds:.2f} s, idle {sum(by_process.values()):.0f} MB, help {helps[-1]:.2f} s",
                flush=True,
            )
    total = [sum(by_process.values()) for by_process in memory]
    print("PSS in MB:", ", ".join(f"{name} {size:.0f}" for name, size in memory[-1].items()))
    report.limit("ready after", median(ready), READY, at_least=False, unit=" s")
    report.limit("idle memory (summed PSS)", median(total), IDLE, at_least=False, unit=" MB")
    report.limit("portico --help", median(helps), HELP, at_least=False, unit=" s")
    report.beside("processor time until ready, all processes", median(work), " s")
    report.beside("ready after, the first time on a home", first, " s")
    report.end(ready=ready, idle=memory, help=helps, first=first)


def _start(portico: Path, home: Path) -> tuple[float, float, dict[str, float]]:
    """Seconds to the line that says ready, processor seconds by then, and each process's PSS in MB when idle."""
    began = time.perf_counter()
    server = subprocess.Popen(
        [str(portico), "up", "--home", str(home), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        seconds = time.perf_counter() - began
        if "ready at" not in line:
            raise RuntimeError(f"portico up said {line!r}")
        parent = psutil.Process(server.pid)
        every = [parent, *parent.children(recursive=True)]
        cpu = sum(p.cpu_times().user + p.cpu_times().system for p in every)
        time.sleep(SETTLE)
        return seconds, cpu, {p.name(): p.memory_full_info().pss / 1e6 for p in every}
    finally:
        os.kill(server.pid, signal.SIGTERM)
        server.wait(60)


def _help(portico: Path) -> float:
    began = time.perf_counter()
    subprocess.run([str(portico), "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
