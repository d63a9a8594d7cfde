"""MLflow's UI with as many runs, beside: its shell, and what its table of runs asks for when it opens."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import quantiles

from bench.common import Server, environment, free_port, packages_of

PEER = ("metrics-mlflow", ["mlflow>=3.17,<4"])
FILL = """
import sys, uuid
from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlParam, SqlRun
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
store, runs = SqlAlchemyStore(sys.argv[1], sys.argv[2]), int(sys.argv[3])
experiment = store.create_experiment("bench")
with store.ManagedSessionMaker() as session:
    for number in range(runs):
        id = uuid.uuid4().hex
        session.add(SqlRun(run_uuid=id, name=f"run-{number}", experiment_id=int(experiment), status="FINISHED",
                           start_time=1_700_000_000_000 + number, end_time=1_700_000_000_500 + number,
                           lifecycle_stage="active", source_type="LOCAL", user_id="bench", artifact_uri=""))
        for i in range(5):
            session.add(SqlParam(key=f"p{i}", value=str(number * i), run_uuid=id))
            session.add(SqlLatestMetric(key=f"m{i}", value=number / (i + 1), timestamp=1, step=0, is_nan=False,
                                        run_uuid=id))
print(experiment)
"""


def measured(folder: Path, runs: int, rounds: int) -> tuple[dict[str, float], dict[str, str]]:
    """p95 in ms of the first page's shell and of the table's 100 newest runs; and the versions."""
    python = environment(*PEER)
    where = f"sqlite:///{folder}/runs.db"
    command = [python, "-c", FILL, where, str(folder / "artifacts"), str(runs)]
    filled = subprocess.run(command, capture_output=True, text=True, check=False)
    if filled.returncode:
        sys.exit(filled.stderr)
    experiment = filled.stdout.split()[-1]
    port = free_port()
    serve = [
        python.with_name("mlflow"),
        "server",
        "--backend-store-uri",
        where,
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    with Server(serve, port, env={**os.environ, "PATH": path}):
        asked = json.dumps({"experiment_ids": [experiment], "max_results": 100,
                            "order_by": ["attributes.start_time DESC"]})  # fmt: skip
        found = {
            "MLflow's shell": _p95(port, rounds, "GET", "/", ""),
            "MLflow's table of runs": _p95(port, rounds, "POST", "/ajax-api/2.0/mlflow/runs/search", asked),
        }
    return found, packages_of(python, ["mlflow"])


def _p95(port: int, rounds: int, verb: str, path: str, body: str) -> float:
    took = []
    for _ in range(rounds):
        begun = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request(verb, path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        took.append(1000 * (time.perf_counter() - begun))
        assert answer.status == 200, (path, answer.status, content[:200])
    return quantiles(took, n=20)[-1]
