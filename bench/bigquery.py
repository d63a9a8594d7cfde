"""BigQuery by the official client beside raw DuckDB, and beside bqemulator and local-bigquery, each in an environment
of its own: small queries, an aggregate, loads, inserts, DataFrames, many clients, and BigQuery ML beside XGBoost alone.

`python -m bench.bigquery [--rounds N] [--without-peers]`
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.bigquery_client import AGGREGATE
from bench.common import Report, Server, environment, free_port, versions

ROWS = 1_000_000
PEERS = {"bqemulator": ("bqemulator", None), "local-bigquery": ("local-bigquery", "3.13")}
SMALL, AGGREGATE_LIMIT, LOAD, INSERT, FRAME, BUSY = 0.008, 1.3, 1.2, 0.020, 1.0, 0.9  # of the issue
MODEL, PREDICT = 1.15, 1.3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-peers", action="store_true")
    parser.add_argument("--without-models", action="store_true")
    asked = parser.parse_args()
    report = Report("bigquery")
    names = (
        "portico",
        "duckdb",
        "google-cloud-bigquery",
        "google-cloud-bigquery-storage",
        "sqlglot",
        "xgboost-cpu",
    )
    report.header(versions=versions(*names), rounds=asked.rounds, rows=ROWS)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "big.parquet"
        _write(file)
        raw: list[dict[str, float]] = []
        ours: list[dict[str, Any]] = []
        with _portico(Path(folder)) as run:
            parts = ["small", "aggregate", "load", "frame", "insert"]
            parts += [] if asked.without_models else ["load", "model", "predict"]
            for number in range(asked.rounds):
                raw.append(_raw(Path(folder), file, models=not asked.without_models))
                print("raw", raw[-1], flush=True)
                ours.append(run(file, ["begin", *parts, *(["many", "sixteen"] if number == 0 else [])]))
                print("portico", ours[-1], flush=True)
        peers = {} if asked.without_peers else {name: _peer(name, Path(folder), file) for name in PEERS}
    _tell(report, ours, raw, peers)
    report.end(portico=ours, raw=raw, peers=peers)


def _write(file: Path) -> None:
    """A million rows of ten columns."""
    random = np.random.default_rng(7)
    numbers = {name: random.normal(size=ROWS) for name in ("b", "c", "d", "e", "f")}
    words = pa.array(np.char.add("word", random.integers(0, 1000, ROWS).astype(str)))
    table = pa.table({
        "a": np.arange(ROWS), **numbers, "g": random.integers(0, 100, ROWS), "h": random.integers(0, 10**6, ROWS),
        "w": words, "v": words.take(pa.array(random.permutation(ROWS))),
    })  # fmt: skip
    pq.write_table(table, file)


def _raw(folder: Path, file: Path, *, models: bool) -> dict[str, float]:
    """DuckDB alone, in a file as Portico's, and XGBoost alone."""
    place = folder / "raw.duckdb"
    place.unlink(missing_ok=True)
    found = {}
    with duckdb.connect(str(place)) as connection:
        began = time.perf_counter()
        connection.execute(f"CREATE TABLE big AS SELECT * FROM read_parquet('{file}')")
        found["load"] = time.perf_counter() - began
        text = AGGREGATE.format(table="big", group="g")
        found["aggregate"] = _median(lambda: connection.execute(text).fetchall())
        inputs = connection.sql(
            "SELECT a, b, c, d, e, f, b + c * d AS y FROM big LIMIT 500000"
        ).to_arrow_table()
        whole = connection.sql("SELECT a, b, c, d, e, f FROM big").to_arrow_table()
    return found | (_xgboost(inputs, whole) if models else {})


def _xgboost(inputs: pa.Table, whole: pa.Table) -> dict[str, float]:
    import xgboost

    trained: list[Any] = []

    def matrix(table: pa.Table) -> np.ndarray:
        return np.column_stack([column.to_numpy() for column in table.columns]).astype(np.float32)

    def train() -> None:
        data = xgboost.QuantileDMatrix(matrix(inputs.drop_columns("y")), label=inputs.column("y").to_numpy())
        trained[:] = [xgboost.train({"eta": 0.3, "max_depth": 6, "tree_method": "hist"}, data, 20)]

    found = {"model": _median(train, 3)}
    return found | {"predict": _median(lambda: trained[0].predict(xgboost.DMatrix(matrix(whole))), 3)}


def _median(run: Any, times: int = 5) -> float:
    run()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return median(taken)


@contextmanager
def _portico(folder: Path) -> Iterator[Any]:
    home, port = folder / "home", free_port()
    portico = [sys.executable, "-m", "portico.cli.main"]
    command = [*portico, "up", "--home", str(home), "--port", str(port), "--unconfined"]
    with Server(command, port):

        def run(file: Path, parts: list[str]) -> dict[str, Any]:
            ahead = [*portico, "exec", "--home", str(home), "--"]
            return _client([*ahead, sys.executable], "exec", file, parts)

        yield run


def _client(python: list[str], url: str, file: Path, parts: list[str]) -> dict[str, Any]:
    command = [*python, "-m", "bench.bigquery_client", url, str(file), *parts]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, timeout=3000)
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def _peer(name: str, folder: Path, file: Path) -> dict[str, Any]:
    package, version = PEERS[name]
    try:
        python = environment(f"bigquery-{name}", [package], version)
    except subprocess.CalledProcessError as error:
        return {"failed": f"it can't be installed here: {error}"}
    port, other, data = free_port(), free_port(), folder / name
    data.mkdir()
    commands = {
        "bqemulator": ["start", "--rest-port", port, "--grpc-port", other, "--persistent", "--data-dir", data,
                       "--log-level", "error"],
        "local-bigquery": ["serve", "--port", port, "--grpc-port", other, "--data-dir", data],
    }  # fmt: skip
    try:
        with Server([python.parent / name, *map(str, commands[name])], port):
            parts = ["begin", "small", "aggregate", "load", "frame", "insert"]
            found = _client([sys.executable], f"http://127.0.0.1:{port}", file, parts)
    except (RuntimeError, subprocess.SubprocessError) as error:
        return {"failed": _gist(str(error))}
    print(name, found, flush=True)
    return {key: _gist(value) if key.endswith("failed") else value for key, value in found.items()}


def _gist(words: str) -> str:
    """The last line of an error, short and without this machine's paths."""
    last = [line.strip() for line in words.splitlines() if line.strip()][-1:] or [""]
    return re.sub(r"(?<![\w/:.])/[^\s\"',]+", "…", last[0])[:160]


def _tell(
    report: Report, ours: list[dict[str, Any]], raw: list[dict[str, float]], peers: dict[str, dict[str, Any]]
) -> None:
    def of(name: str) -> float:
        return median(one[name] for one in ours)

    def ratio(name: str, beside: float = 0.0) -> float:
        """To raw, of what is more than `beside` seconds."""
        return median(
            max(0.0, one[name] - beside) / other[name] for one, other in zip(ours, raw, strict=True)
        )

    thousand = 1000
    whole = ours[0]
    report.limit(
        "a small query, median", of("small") * thousand, SMALL * thousand, at_least=False, unit=" ms"
    )
    flat = whole["last"] / whole["first"]
    report.limit("the last 1,000 of 10,000 small queries against the first", flat, 1.2, at_least=False)
    report.limit(
        "an aggregate, less 8 ms, to DuckDB alone", ratio("aggregate", SMALL), AGGREGATE_LIMIT, at_least=False
    )
    report.limit("a load of a Parquet file to DuckDB alone", ratio("load"), LOAD, at_least=False)
    for name, words in (("insert", "in JSON"), ("append", "in Arrow, by the Write API")):
        report.limit(
            f"1,000 rows into a table of 1,000,000, {words}", of(name) * thousand, INSERT * thousand, at_least=False,
            unit=" ms",
        )  # fmt: skip
    report.limit("1,000,000 × 10 of a table to a DataFrame", of("frame"), FRAME, at_least=False, unit=" s")
    report.limit(
        "1,000,000 × 10 of a result to a DataFrame", of("frame of a result"), FRAME, at_least=False, unit=" s"
    )
    report.beside("the same by JSON", of("frame by JSON"), " s")
    report.limit("the processors that sixteen clients keep busy", whole["busy"], BUSY, at_least=True, unit="")
    report.beside("their aggregates a second", whole["queries"], "")
    if "model" in raw[0]:
        report.limit("CREATE MODEL of boosted trees to XGBoost alone", ratio("model"), MODEL, at_least=False)
        report.limit(
            "ML.PREDICT of 1,000,000 rows to the booster alone", ratio("predict"), PREDICT, at_least=False
        )
    for peer, found in peers.items():
        for name in ("small", "aggregate", "load", "insert", "frame"):
            if name in found:
                report.beside(f"{peer}: {name}, to Portico", found[name] / of(name))
        report.lines += [
            f"     {peer}: {key}: {value}" for key, value in found.items() if key.endswith("failed")
        ]


if __name__ == "__main__":
    main()
