"""Pipelines of components that do nothing: what a task costs, warm and the first time, a fan-out and a chain; beside
them kfp's own local runner, in an environment of its own.

    python -m bench.pipelines [--rounds 5]

Seconds are the server's own, from a task's (or a job's) createTime to its endTime.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import requests

from bench import pipelines_peers
from bench.common import Report, environment, packages_of, versions
from portico.clock import parse_rfc3339
from portico.sandbox.installer import Teller
from portico.services.aiplatform.custom import environments, training_images
from portico.services.aiplatform.custom.recognised import recognise

KFP = "2.17.3"
ROUNDS = 5
WIDE, LONG, MANY = 200, 50, 2000
_UP = 5.0  # seconds
_ASK = 1.0  # seconds; to tell of 200 tasks costs something itself
PARENT = "projects/bench/locations/us-central1"
BUCKET = "bench-pipelines"
SOURCE = f"""
import json, sys, yaml
from kfp import compiler, dsl

@dsl.component(base_image="python:3.11")
def nothing(number: int = 0) -> int:
    return number

def run(**given):
    return nothing(**given).set_caching_options(False)

@dsl.pipeline
def one():
    run()

@dsl.pipeline
def wide():
    for number in range({WIDE}):
        run(number=number)

@dsl.pipeline
def long():
    last = run()
    for _ in range({LONG - 1}):
        last = run(number=last.output)

@dsl.pipeline
def many():
    for number in range({MANY}):
        run(number=number)

made = {{}}
for pipeline in (one, wide, long, many):
    compiler.Compiler().compile(pipeline, "made.yaml")
    made[pipeline.name] = next(yaml.safe_load_all(open("made.yaml")))
json.dump(made, open("made.json", "w"))
"""
LOCAL = """
import json, sys, time
from kfp import dsl, local
local.init(runner=local.SubprocessRunner(use_venv=sys.argv[1] == "venv"), raise_on_error=True)

@dsl.component(base_image="python:3.11")
def nothing(number: int = 0) -> int:
    return number

nothing()
began = time.perf_counter()
for _ in range(int(sys.argv[2])):
    nothing()
print("seconds", (time.perf_counter() - began) / int(sys.argv[2]))
"""
LIMITS = {"warm": 0.04, "first": 1.0, "wide": 10.0, "long": 5.0, "stall": 1.0}  # seconds
WORDS = {
    "warm": "a task that does nothing, warm, from queued to done",
    "first": "the first run of a component whose environment is cached, by a server that has been up for 5 s",
    "wide": f"a fan-out of {WIDE}",
    "long": f"a chain of {LONG}",
    "stall": f"the longest that another call waits while {MANY:,} tasks start, run and are listed",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.pipelines")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    report = Report("pipelines")
    python = environment("kfp", [f"kfp=={KFP}", "setuptools<80", "pip"])
    report.header(versions=versions("portico") | packages_of(python, ["kfp"]), rounds=asked.rounds)
    values: dict[str, list[float]] = {name: [] for name in (*LIMITS, "at once")}
    with tempfile.TemporaryDirectory() as folder:
        specs = _compiled(python, Path(folder))
        home = Path(folder) / "home"
        home.mkdir()
        _make_environment(specs["one"], home)
        for _ in range(2):
            with _server(home) as url:
                values["at once"].append(_task_seconds(_run(url, specs["one"]))[0])
            with _server(home) as url:
                time.sleep(_UP)
                values["first"].append(_task_seconds(_run(url, specs["one"]))[0])
        with _server(home) as url:
            _run(url, specs["one"])
            for number in range(asked.rounds):
                values["warm"].append(median(_task_seconds(_run(url, specs["one"]))[0] for _ in range(5)))
                if number < 2:
                    for name in ("wide", "long"):
                        values[name].append(_seconds(_run(url, specs[name])))
                        print(f"{WORDS[name]}: {values[name][-1]:.2f} s", flush=True)
            with _others(url) as waited:
                whole = _seconds(_run(url, specs["many"]))
            values["stall"].append(max(waited))
            print(f"{MANY:,} tasks: {whole:.0f} s, other calls {median(waited) * 1000:.0f} ms", flush=True)
    for name, limit in LIMITS.items():
        report.limit(WORDS[name], median(values[name]), limit, at_least=False, unit=" s")
    report.beside(
        "that run where the server is asked at once after its start", median(values["at once"]), unit=" s"
    )
    for kind, count in (("plain", 5), ("venv", 1)):
        told = _local(python, kind, count)
        values[kind] = [float(told.rpartition("seconds ")[2])]
        report.beside(f"a task of kfp's local runner ({kind})", values[kind][0], unit=" s")
    beside = pipelines_peers.measured()
    for name, seconds in beside.items():
        report.beside(f"a task of {name}", seconds, unit=" s")
    report.end(values=values | {name: [seconds] for name, seconds in beside.items()})


def _local(python: str, kind: str, count: int) -> str:
    """What kfp's runner printed, which leaves its outputs in its folder."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "local_runner.py").write_text(LOCAL)
        command = [python, "-W", "ignore", "local_runner.py", kind, str(count)]
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder).stdout


def _compiled(python: Path, folder: Path) -> dict[str, dict[str, Any]]:
    (folder / "source.py").write_text(SOURCE)
    subprocess.run([python, "-W", "ignore", "source.py"], check=True, cwd=folder)
    made: dict[str, dict[str, Any]] = json.loads((folder / "made.json").read_text())
    return made


def _make_environment(spec: dict[str, Any], home: Path) -> None:
    """That of the component, which a user's second pipeline finds there."""
    [executor] = spec["deploymentSpec"]["executors"].values()
    container = executor["container"]
    found = recognise([*container["command"], *container["args"]])
    image = training_images.resolve(container["image"], "")
    environments.python_of(image, found.requirements, home, Teller(print), found.apart, found.options)


@contextmanager
def _server(home: Path) -> Iterator[str]:
    server = subprocess.Popen(
        [str(Path(sys.executable).with_name("portico")), "up", "--home", str(home), "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        if "ready at" not in line:
            raise RuntimeError(f"portico up said {line!r}")
        url = line.split()[-1]
        requests.post(f"{url}/storage/v1/b", params={"project": "bench"}, json={"name": BUCKET}, timeout=60)
        yield url
    finally:
        os.kill(server.pid, signal.SIGTERM)
        server.wait(60)


def _run(url: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A pipeline job, once it has ended."""
    body = {"pipelineSpec": spec, "runtimeConfig": {"gcsOutputDirectory": f"gs://{BUCKET}/root"}}
    made = requests.post(f"{url}/v1/{PARENT}/pipelineJobs", json=body, timeout=120)
    made.raise_for_status()
    while True:
        time.sleep(_ASK)
        told: dict[str, Any] = requests.get(f"{url}/v1/{made.json()['name']}", timeout=120).json()
        if told["state"] == "PIPELINE_STATE_SUCCEEDED":
            return told
        if told["state"] in ("PIPELINE_STATE_FAILED", "PIPELINE_STATE_CANCELLED"):
            raise RuntimeError(told.get("error"))


@contextmanager
def _others(url: str) -> Iterator[list[float]]:
    """How long others' calls take meanwhile: one that reads, one that writes."""
    waited: list[float] = []
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.05):
            for method, path in (("GET", f"/v1/{PARENT}/models"), ("POST", f"/v1/{PARENT}/tensorboards")):
                began = time.perf_counter()
                body = {"displayName": "other"} if method == "POST" else None
                requests.request(method, url + path, json=body, timeout=120).raise_for_status()
                waited.append(time.perf_counter() - began)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield waited
    finally:
        over.set()
        asking.join()


def _seconds(told: dict[str, Any]) -> float:
    return parse_rfc3339(told["endTime"]) - parse_rfc3339(told["createTime"])


def _task_seconds(job: dict[str, Any]) -> list[float]:
    """Of the tasks that ran a component."""
    tasks = job["jobDetail"]["taskDetails"]
    return [_seconds(one) for one in tasks if one["taskName"].startswith("nothing")]


if __name__ == "__main__":
    main()
