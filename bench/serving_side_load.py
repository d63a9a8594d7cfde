"""p99 of online predictions while the same Portico lists 10,000 models and takes 1 GiB uploads, and a training runs."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.common import Report, interleaved, ratio
from bench.serving_portico import Portico
from portico.store import resources
from portico.store.database import Database

MODELS = 10_000
UPLOAD = 2**30
PARENT = "projects/portico/locations/us-central1"
_TRAINING = """
import os, numpy as np, pyarrow as pa
from pathlib import Path
os.setsid(); os.nice(19)  # as Portico's jobs run
try: Path("/proc/self/autogroup").write_text("19")
except OSError: pass
from portico.ml.learn.spec import TrainSpec
from portico.ml.learn.train import train
random = np.random.default_rng(0)
table = pa.table({f"x{i}": random.normal(size=60_000) for i in range(20)})
table = table.append_column("y", pa.array(np.asarray(table["x0"]) * table["x1"] + random.normal(size=60_000)))
while True:
    train(table, TrainSpec("regression", "y", budget_seconds=60, disable_early_stopping=True, threads=2))
"""


def side_load(
    report: Report, portico: Portico, load: Callable[[str], dict[str, float]], rounds: int
) -> dict[str, Any]:
    """Adds the line about p99. `load(side)` measures "portico" or "bare" once."""
    _add_models(portico.home)
    done: dict[str, int] = {"pages listed": 0, "uploads": 0}

    def measure(side: str) -> dict[str, float]:
        one = load(side)
        print(f"{side:>8} with side load: p50 {one['p50']:7.0f} µs, p99 {one['p99']:7.0f} µs", flush=True)
        return {"p50": one["p50"], "p99": one["p99"]}

    with _running(portico, done):
        time.sleep(3)
        values = interleaved(["portico", "bare"], measure, rounds)
    print(f"meanwhile: {done['pages listed']} pages of 1,000 models listed, {done['uploads']} GiB uploaded")
    report.limit(
        "p99 at 1 connection with side load, to the bare handler's",
        ratio(values, "p99", "portico", "bare"),
        1.0,
        at_least=False,
    )
    return {**values, "meanwhile": done}


def _add_models(home: Path) -> None:
    database = Database(home)
    with database.write() as connection:
        for i in range(MODELS):
            body = {
                "displayName": f"model {i}",
                "versionId": "1",
                "versionAliases": ["default"],
                "labels": {"a": "b"},
            }
            name = f"{PARENT}/models/{10**18 + i}"
            resources.insert(connection, name=name, kind="models", parent=PARENT, body=body, now=time.time())
    database.close()


@contextlib.contextmanager
def _running(portico: Portico, done: dict[str, int]) -> Iterator[None]:
    stop = threading.Event()
    work = (_list_models, _upload)
    threads = [threading.Thread(target=one, args=(portico.port, stop, done)) for one in work]
    training = subprocess.Popen([sys.executable, "-c", _TRAINING])
    try:
        for thread in threads:
            thread.start()
        yield
    finally:
        stop.set()
        training.kill()
        training.wait()
        for thread in threads:
            thread.join()


def _list_models(port: int, stop: threading.Event, done: dict[str, int]) -> None:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    token = ""
    while not stop.is_set():
        link.request("GET", f"/v1/{PARENT}/models?pageSize=1000&pageToken={token}")
        answer = link.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise SystemExit(f"the listing answers {content[:500]!r}")
        page = json.loads(content)
        done["pages listed"] += bool(page.get("models"))
        token = page.get("nextPageToken", "")


def _upload(port: int, stop: threading.Event, done: dict[str, int]) -> None:
    piece = bytes(2**20)
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = json.dumps({"name": "bench"})
    link.request("POST", "/storage/v1/b?project=portico", body, {"content-type": "application/json"})
    link.getresponse().read()
    while not stop.is_set():

        def pieces() -> Iterator[bytes]:
            for _ in range(UPLOAD // len(piece)):
                if stop.is_set():
                    return
                yield piece

        headers = {"content-type": "application/octet-stream", "transfer-encoding": "chunked"}
        path = "/upload/storage/v1/b/bench/o?uploadType=media&name=large"
        link.request("POST", path, pieces(), headers, encode_chunked=True)
        answer = link.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise SystemExit(f"the upload answers {content[:500]!r}")
        done["uploads"] += not stop.is_set()
