"""10,000 metrics logged: by MLflow's client here and to MLflow's own server on SQLite, its fast backend, and by
Vertex's client here.

As a training logs them: ten metrics a step, a thousand steps, one call a step; by MLflow's client also in ten batches.
MLflow's server has one worker, which is all that one client can use.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.common import Report, Server, environment, free_port, interleaved, packages_of, ratio

ROUNDS = 3
LIMIT = 1.2
PEER = ("metrics-mlflow", ["mlflow>=3.17,<4"])
STEPS, METRICS = 1000, 10
MLFLOW = """
import json, logging, os, sys, time
import mlflow
from mlflow.entities import Metric
steps, metrics = map(int, sys.argv[1:])
logging.getLogger("mlflow").setLevel(logging.ERROR)
mlflow.set_experiment("bench")
with mlflow.start_run() as run:
    mlflow.log_metrics({"first": 1.0}, step=0)
    began = time.perf_counter()
    for step in range(steps):
        mlflow.log_metrics({f"metric{number}": step / (number + 1) for number in range(metrics)}, step=step)
    calls = time.perf_counter() - began
    client = mlflow.MlflowClient()
    began = time.perf_counter()
    for number in range(metrics):
        now = int(time.time() * 1000)
        client.log_batch(run.info.run_id, [Metric(f"batch{number}", step / 2, now, step) for step in range(steps)])
    batches = time.perf_counter() - began
    there = sum(
        len(client.get_metric_history(run.info.run_id, f"{name}{number}"))
        for name in ("metric", "batch") for number in range(metrics)
    )
assert there == 2 * steps * metrics, there
print(json.dumps({"calls": calls, "batches": batches}))
"""
VERTEX = """
import json, os, sys, time, uuid
from google.cloud import aiplatform
steps, metrics = map(int, sys.argv[1:])
aiplatform.init(project="bench", location="us-central1", api_endpoint=os.environ["PORTICO_URL"], api_transport="rest",
                experiment=f"vertex-{uuid.uuid4().hex[:8]}")
with aiplatform.start_run("one"):
    aiplatform.log_time_series_metrics({f"metric{number}": 0.0 for number in range(metrics)}, step=0)
    began = time.perf_counter()
    for step in range(1, steps + 1):
        aiplatform.log_time_series_metrics(
            {f"metric{number}": step / (number + 1) for number in range(metrics)}, step=step
        )
    calls = time.perf_counter() - began
print(json.dumps({"calls": calls}))
"""


def peers() -> dict[str, str]:
    return packages_of(environment(*PEER), ["mlflow"])


def metrics(report: Report, url: str, home: Path) -> dict[str, Any]:
    """Seconds by side: the calls of MLflow's client and of Vertex's to the Portico at `url`, and of MLflow's client to
    its own server; of MLflow's also the batches."""
    python = environment(*PEER)
    port, folder = free_port(), home.parent / "mlflow-server"
    folder.mkdir()
    command = [
        python.with_name("mlflow"), "server", "--host", "127.0.0.1", "--port", port, "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", folder / "artifacts",
    ]  # fmt: skip
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"  # mlflow starts uvicorn by its name
    alone = {
        "PATH": path,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }  # nothing works beside what is measured
    sides: dict[str, tuple[Path, str, dict[str, str]]] = {
        "portico": (python, MLFLOW, {"MLFLOW_TRACKING_URI": f"{url}/apis/mlflow"}),
        "mlflow": (python, MLFLOW, {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}),
        "vertex": (Path(sys.executable), VERTEX, {
            "PORTICO_URL": url, "GOOGLE_APPLICATION_CREDENTIALS": str(home / "credentials.json")
        }),
    }  # fmt: skip

    def measure(side: str) -> dict[str, float]:
        python, script, more = sides[side]
        done = subprocess.run(
            [str(python), "-W", "ignore", "-c", script, str(STEPS), str(METRICS)],
            env=os.environ | more, check=True, capture_output=True, text=True,
        )  # fmt: skip
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        print(
            f"{side}: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in found.items()), flush=True
        )
        return found

    with Server(command, port, seconds=300, cwd=folder, env=os.environ | alone):
        values = interleaved(list(sides), measure, ROUNDS)
    total = f"{STEPS * METRICS:,} metrics"
    for what, name, side in (
        (f"{total} in {STEPS:,} calls of MLflow's client", "calls", "portico"),
        (f"{total} in {METRICS} batches of MLflow's client", "batches", "portico"),
        (f"{total} in {STEPS:,} calls of Vertex's client", "calls", "vertex"),
    ):
        report.limit(
            f"{what}, to MLflow's server on SQLite",
            ratio(values, name, side, "mlflow"),
            LIMIT,
            at_least=False,
        )
    return values
