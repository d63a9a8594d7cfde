"""From run() to the first line of the user's code, where its environment is there already: a custom job, one on a
persistent resource, and beside them `ray job submit`, `mlflow run` and a local step of Metaflow's.

All run the same line, which prints when it runs, by the clock on the wall; it is compared with when the command, or the
call of the client's, began. Peers have environments of their own, in which their command runs and the line, too.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import requests

from bench.common import Report, Server, environment, interleaved, packages_of
from portico.client.api import Client
from portico.services.aiplatform.custom import workers

LIMITS = {"portico": 0.5, "persistent": 0.15}  # seconds
PEERS = {
    "ray": ["ray[default]"],
    "mlflow": ["mlflow>=3.17,<4"],  # as in training_metrics
    "metaflow": ["metaflow"],
}
LINE = "import time; print('the first line at', time.time(), flush=True)"
_READY = 120.0  # seconds
_ATTEMPTS, _PAUSE = 5, 3.0  # of the first runs; seconds between them
_SAYS = re.compile(r"the first line at (\d+\.\d+)")
PROJECT = """name: bench
entry_points:
  main:
    command: "python line.py"
"""
FLOW = f"""
from metaflow import FlowSpec, step
class Line(FlowSpec):
    @step
    def start(self):
        {LINE}
        self.next(self.end)
    @step
    def end(self):
        pass
if __name__ == "__main__":
    Line()
"""
Run = Callable[[], tuple[float, str]]
"""Runs the line once: when that was asked for, and what was printed."""


def begin(report: Report, url: str, home: Path, image: str, rounds: int) -> dict[str, Any]:
    """Seconds by side. What can't be installed or started here is left out, with words."""
    with ExitStack() as stack:
        sides: dict[str, Run] = dict(_ours(url, home, image))
        for name, requirements in PEERS.items():
            try:
                python = environment(f"training-{name}", requirements)
                sides[name] = stack.enter_context(_PEERS[name](python, home.parent / name))
            except (subprocess.CalledProcessError, RuntimeError, OSError) as error:
                print(f"{name} is left out: {' '.join(str(error).split())[-300:]}", flush=True)
                continue
            report.facts.setdefault("peers", {}).update(packages_of(python, [name]))

        def measure(side: str) -> dict[str, float]:
            asked, printed = sides[side]()
            seconds = float(_SAYS.findall(printed)[0]) - asked
            print(f"{side}: {seconds:.3f} s", flush=True)
            return {"seconds": seconds}

        for side in list(sides):
            if words := _never_ran(sides[side]):
                print(f"{side} is left out: its line was not printed ({words})", flush=True)
                del sides[side]
        values = interleaved(list(sides), measure, rounds)
    for side, found in values.items():
        seconds, words = median(found["seconds"]), f"from run() to the first line, {side}"
        if side in LIMITS:
            report.limit(words, seconds, LIMITS[side], at_least=False, unit=" s")
        else:
            report.beside(words, seconds, unit=" s")
    return values


def _never_ran(run: Run) -> str:
    """Runs the line, so that everything is in memory once; why it can't be, in words, where it can't."""
    words = ""
    for _ in range(_ATTEMPTS):  # Ray's agent comes some time after its server
        try:
            _, printed = run()
        except subprocess.SubprocessError as error:
            words = " ".join(str(error).split())[-300:]
        else:
            if _SAYS.search(printed):
                return ""
            words = printed[-300:]
        time.sleep(_PAUSE)
    return words


def _ours(url: str, home: Path, image: str) -> Iterator[tuple[str, Run]]:
    from google.cloud import aiplatform

    logging.disable(logging.INFO)  # the client's own words
    os.environ |= {
        "STORAGE_EMULATOR_HOST": url,
        "GOOGLE_APPLICATION_CREDENTIALS": str(home / "credentials.json"),
    }
    aiplatform.init(
        project="bench", location="us-central1", api_endpoint=url, api_transport="rest",
        staging_bucket="gs://bench",
    )  # fmt: skip
    client = Client(url)
    machine = {"machine_type": "n1-standard-4"}
    client.call(
        "POST", f"/v1/projects/bench/locations/us-central1/persistentResources?persistentResourceId=warm-{os.getpid()}",
        {"resourcePools": [{"machineSpec": machine, "replicaCount": "1"}]},
    )  # fmt: skip
    container = {"image_uri": image, "command": ["python", "-c", LINE]}

    def run(**options: Any) -> tuple[float, str]:
        pools = [{"machine_spec": machine, "replica_count": 1, "container_spec": container}]
        job = aiplatform.CustomJob("bench", pools, **options)
        asked = time.time()
        job.submit()
        while True:
            [held] = client.call("GET", "jobs", resource=job.resource_name)["jobs"]
            if held["state"] not in ("QUEUED", "RUNNING", "WAITING"):
                break
            time.sleep(0.05)
        time.sleep(1.0)  # the persistent resource makes the next process meanwhile
        return asked, str(client.call("GET", f"{held['name']}:readLog")["text"])

    yield "portico", run
    yield "persistent", lambda: run(persistent_resource_id=f"warm-{os.getpid()}")


@contextmanager
def _ray(python: Path, folder: Path) -> Iterator[Run]:
    sessions = f"/tmp/bench-ray-{os.getpid()}"  # a socket's path is short
    port, dashboard = workers.ports(2)  # Ray's own processes take those that the system gives out
    command = [
        python.with_name("ray"), "start", "--head", "--block", "--disable-usage-stats", "--include-dashboard=true",
        f"--port={port}", f"--dashboard-port={dashboard}", f"--temp-dir={sessions}",
    ]  # fmt: skip
    submit: list[str | Path] = [
        python.with_name("ray"), "job", "submit", "--address", f"http://127.0.0.1:{dashboard}", "--",
        python, "-c", LINE,
    ]  # fmt: skip
    address = f"http://127.0.0.1:{dashboard}"
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, sessions, ignore_errors=True)
        stack.enter_context(Server(command, dashboard, env=_with(python)))
        until = time.monotonic() + _READY
        while not _answers(f"{address}/api/version"):
            if time.monotonic() > until:
                raise RuntimeError(f"Ray's dashboard does not answer within {_READY:.0f} s")
            time.sleep(0.2)
        yield lambda: _command(submit, python)


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False


@contextmanager
def _mlflow(python: Path, folder: Path) -> Iterator[Run]:
    folder.mkdir(exist_ok=True)
    (folder / "MLproject").write_text(PROJECT)
    (folder / "line.py").write_text(LINE)
    more = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/runs.db"}
    yield lambda: _command([python.with_name("mlflow"), "run", folder, "--env-manager=local"], python, **more)


@contextmanager
def _metaflow(python: Path, folder: Path) -> Iterator[Run]:
    folder.mkdir(exist_ok=True)
    (folder / "line.py").write_text(FLOW)
    more = {"METAFLOW_DATASTORE_SYSROOT_LOCAL": str(folder), "METAFLOW_USER": "bench", "USERNAME": "bench"}
    yield lambda: _command([python, folder / "line.py", "run"], python, **more)


_PEERS = {"ray": _ray, "mlflow": _mlflow, "metaflow": _metaflow}


def _with(python: Path, **more: str) -> dict[str, str]:
    return os.environ | {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"} | more


def _command(command: list[str | Path], python: Path, **more: str) -> tuple[float, str]:
    asked = time.time()
    done = subprocess.run(
        list(map(str, command)),
        env=_with(python, **more),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise subprocess.SubprocessError((done.stderr or done.stdout)[-500:])
    return asked, done.stdout + done.stderr
