"""What a task that does nothing takes with Metaflow and with Prefect, each in an environment of its own."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from bench.common import environment

_METAFLOW = """
import subprocess, sys, time
from metaflow import FlowSpec, step

class Chain(FlowSpec):
    @step
    def start(self):
        self.next(self.one)

    @step
    def one(self):
        self.next(self.two)

    @step
    def two(self):
        self.next(self.three)

    @step
    def three(self):
        self.next(self.end)

    @step
    def end(self):
        pass

if len(sys.argv) > 1:
    Chain()
else:
    for _ in range(2):
        began = time.perf_counter()
        subprocess.run([sys.executable, __file__, "--no-pylint", "run"], check=True, stdout=subprocess.DEVNULL)
    print("seconds", (time.perf_counter() - began) / 5)
"""
_PREFECT = """
import time
from prefect import flow, task

@task
def nothing():
    pass

@flow
def chain():
    for _ in range(20):
        nothing()

chain()
began = time.perf_counter()
chain()
print("seconds", (time.perf_counter() - began) / 20)
"""
_PEERS = {
    "Metaflow, a process each": ("metaflow", ["metaflow", "setuptools<80"], _METAFLOW),
    "Prefect, in the flow's own process": ("prefect", ["prefect"], _PREFECT),
}


def measured() -> dict[str, float]:
    """Seconds of a task, of the second run, by whose it is; those that do not install here are left out."""
    found = {}
    for name, (place, packages, program) in _PEERS.items():
        try:
            python = environment(place, packages)
        except subprocess.CalledProcessError:
            continue
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "flow.py").write_text(program)
            around = os.environ | {
                "HOME": folder, "USERNAME": "bench", "PREFECT_HOME": folder, "PREFECT_LOGGING_LEVEL": "ERROR",
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            }  # fmt: skip
            ran = subprocess.run(
                [python, "flow.py"],
                cwd=folder,
                env=around,
                check=True,
                capture_output=True,
                text=True,
                timeout=600,
            )
            found[name] = float(ran.stdout.rpartition("seconds ")[2])
    return found
