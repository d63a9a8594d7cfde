"""How soon the console's pages are there: server time at p95, with 1,000 models, 10,000 jobs, an experiment of 10,000
runs and a log of 10 million predictions; MLflow's UI with as many runs beside. And what permissions and audit cost."""

from __future__ import annotations

import http.client
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import quantiles

from bench import console_mlflow, permissions
from bench.common import Report, versions
from bench.console_filled import JOBS, LOGGED, MODELS, PLACE, RUNS, fill

ROUNDS = 40
FIRST, EVERY = 300.0, 500.0  # ms at p95
PAGES = {
    "home": "", "models": "/models", "models found": "/models?q=model+7", "a model": "/models/500",
    "endpoints": "/endpoints", "stewards": "/stewards", "training": "/training",
    "custom jobs": "/training?kind=customJobs", "custom jobs found": "/training?kind=customJobs&q=job+77",
    "pipelines": "/pipelineJobs", "data": "/datasets", "buckets": "/buckets", "experiments": "/experiments",
    "alerts": "/alerts", "system": "/system", "sql": "/sql", "an endpoint": "/endpoints/1",
    "its log": "/endpoints/1/log", "its drift": "/endpoints/1/drift", "an experiment": "/experiments/bench",
    "audit": "/audit", "cost": "/cost", "people": "/people",
}  # fmt: skip


def main() -> None:
    report = Report("console")
    report.header(versions=versions("portico", "starlette", "jinja2", "uvicorn"), models=MODELS, jobs=JOBS, runs=RUNS,
                  logged=LOGGED)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        server, _ = _start(home)
        _stop(server)
        fill(home)
        server, port = _start(home)
        try:
            begun = time.perf_counter()
            _get(port, "")
            started = 1000 * (time.perf_counter() - begun)
            found = {name: _measured(port, path) for name, path in PAGES.items()}
        finally:
            _stop(server)
        beside, packages = console_mlflow.measured(Path(folder), RUNS, ROUNDS)
    report.limit("first page, p95", found["home"], FIRST, at_least=False, unit=" ms")
    report.limit("the slowest page, p95", max(found.values()), EVERY, at_least=False, unit=" ms")
    for name, milliseconds in found.items():
        report.beside(name, milliseconds, " ms")
    report.limit("the very first, with the start of the process", started, FIRST, at_least=False, unit=" ms")
    for name, milliseconds in beside.items():
        report.beside(name, milliseconds, " ms")
    permissions.tell(report)
    report.end(pages=found, started=started, beside=beside, packages=packages)


def _measured(port: int, path: str) -> float:
    """p95 of a page, in ms."""
    took = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        _get(port, path)
        took.append(1000 * (time.perf_counter() - begun))
    return quantiles(took, n=20)[-1]


def _get(port: int, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", f"/-/console/{PLACE}{path}")
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200, (path, answer.status)
    connection.close()


def _start(home: Path) -> tuple[subprocess.Popen[str], int]:
    server = subprocess.Popen(
        [str(Path(sys.executable).with_name("portico")), "up", "--home", str(home), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    line = server.stdout.readline()
    return server, int(line.strip().rpartition(":")[2])


def _stop(server: subprocess.Popen[str]) -> None:
    server.terminate()
    server.wait(60)


if __name__ == "__main__":
    main()
