"""AutoML measured: the same rows, the same seconds, the same two threads for Portico and for its peers.

    python -m bench.automl [--budget 60] [--seeds 2] [--tables OLD|NEW|LOOKED|KEPT|census,bikes] [--peers flaml]

Each side runs in a process and an environment of its own (made once under ~/.cache/portico/bench-envs). AutoGluon is
installed without PyTorch: its medium_quality and good_quality then have LightGBM, CatBoost, XGBoost, random forests
and extra trees, and no neural nets.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from bench.automl_data import OLD, PROBLEMS, write_split
from bench.automl_tables import KEPT, LOOKED, NEW
from bench.common import Report, environment, packages_of, versions
from portico.ml.learn.objectives import log_loss

PEERS = {
    "flaml": ["flaml[automl]==2.7.0", "pyarrow"],
    "autogluon": ["autogluon.tabular[lightgbm,catboost,xgboost]==1.6.3", "pyarrow"],
}
NAMES = {"flaml": ["flaml"], "autogluon": ["autogluon.tabular"]}
GROUPS = {"OLD": list(OLD), "NEW": list(NEW), "LOOKED": list(LOOKED), "KEPT": list(KEPT)}
SIDES = {"flaml": ["flaml"], "autogluon": ["autogluon-medium", "autogluon-good"]}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.automl")
    parser.add_argument("--budget", type=float, default=60, help="seconds of training for each side")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument(
        "--tables", default="OLD", help="OLD, NEW, LOOKED, KEPT, or names with commas between"
    )
    parser.add_argument(
        "--node-seconds",
        action="store_true",
        help="the budget is what the machine gives to Portico, not the time by the clock: for a machine that is busy",
    )
    parser.add_argument("--peers", default="flaml,autogluon", help="empty: Portico alone")
    options = parser.parse_args()
    peers = [peer for peer in options.peers.split(",") if peer]
    environments = {peer: environment(peer, PEERS[peer]) for peer in peers}
    pythons = {"portico": Path(sys.executable)} | {
        side: environments[peer] for peer in peers for side in SIDES[peer]
    }
    report = Report("automl")
    found = {peer: packages_of(environments[peer], NAMES[peer]) for peer in peers}
    report.header(
        versions=versions("portico", "lightgbm", "catboost", "numpy"),
        peers={name: number for of in found.values() for name, number in of.items()},
    )
    results: list[dict[str, Any]] = []
    for name in GROUPS.get(options.tables, options.tables.split(",")):
        for seed in range(options.seeds):
            with tempfile.TemporaryDirectory() as folder:
                write_split(name, seed, Path(folder))
                for side, python in pythons.items():
                    result = measure(
                        name, seed, side, python, Path(folder), options.budget, options.node_seconds
                    )
                    results.append(result)
                    report.keep(results=results)  # an hour's work: what is measured stays
                    print(line(result), flush=True)
    text = table(results, list(pythons))
    print("\n" + text)
    summarise(results, report)
    report.end(results=results, table=text)


def measure(
    name: str, seed: int, side: str, python: Path, folder: Path, budget: float, node: bool
) -> dict[str, Any]:
    """Trains one side and measures its loss on the test rows and the median time of one row's prediction."""
    problem = PROBLEMS[name]
    spec = find_spec("bench.automl_side")
    assert spec is not None and spec.origin is not None
    made = folder / f"{side}.npz"
    arguments = [side, folder, budget, seed, problem.target, problem.prediction_type, problem.objective]
    command = [python, "-W", "ignore", spec.origin, *map(str, [*arguments, problem.time, made])]
    environ = os.environ | {
        "OMP_NUM_THREADS": "2",
        "CUDA_VISIBLE_DEVICES": "",
        "NODE_SECONDS": "1" if node else "",
    }
    done = subprocess.run(command, capture_output=True, text=True, env=environ)
    result: dict[str, Any] = {"dataset": name, "seed": seed, "side": side, "metric": problem.objective}
    if done.returncode or not made.exists():
        return result | {"error": done.stderr[-2000:] or f"exit {done.returncode}"}
    with np.load(made) as file:
        output, about = file["output"], json.loads(str(file["about"]))
    true = pq.read_table(folder / "test.parquet")[problem.target]
    return result | {
        "loss": loss(problem.objective, true.to_pylist(), output, about["labels"]),
        "seconds": about["seconds"],
        "row_ms": about["row"] * 1e3,
    }


def loss(objective: str, true: list[Any], output: np.ndarray, labels: list[str]) -> float:
    if objective == "minimize-log-loss":
        position = {label.lower(): index for index, label in enumerate(labels)}
        y = np.array([position[str(cell).lower()] for cell in true], float)
        return log_loss(y, output, np.ones(len(y)))
    difference = np.asarray(true, float) - output
    return float(
        np.sqrt(np.mean(difference**2)) if objective == "minimize-rmse" else np.mean(np.abs(difference))
    )


def line(result: dict[str, Any]) -> str:
    head = f"{result['dataset']:11s} seed {result['seed']}  {result['side']:17s}"
    if "error" in result:
        return f"{head} failed: {result['error'].strip().splitlines()[-1]}"
    return f"{head} {result['loss']:12.5g}  trained {result['seconds']:5.1f} s  one row {result['row_ms']:8.3f} ms"


def means(results: list[dict[str, Any]], key: str) -> dict[str, dict[str, float]]:
    """data set -> side -> mean over seeds; sides that failed on a data set are absent there."""
    made: dict[str, dict[str, list[float]]] = {}
    for result in results:
        if key in result:
            made.setdefault(result["dataset"], {}).setdefault(result["side"], []).append(result[key])
    return {name: {side: float(np.mean(cells)) for side, cells in of.items()} for name, of in made.items()}


def mean_ranks(losses: dict[str, dict[str, float]]) -> dict[str, float]:
    """Of each side, over the data sets that all sides were measured on; 1 is the best."""
    sides = sorted({side for of in losses.values() for side in of})
    whole = [of for of in losses.values() if len(of) == len(sides)]
    ranks = [[1 + sum(of[other] < of[side] for other in sides) for side in sides] for of in whole]
    return dict(zip(sides, np.mean(ranks, axis=0).tolist(), strict=True)) if ranks else {}


def table(results: list[dict[str, Any]], sides: list[str]) -> str:
    losses = means(results, "loss")
    rows = ["loss on test rows (lower is better)  " + "".join(f"{side:>18s}" for side in sides)]
    for name, of in losses.items():
        cells = "".join(f"{of[side]:18.5g}" if side in of else f"{'failed':>18s}" for side in sides)
        rows.append(f"{name:37s}{cells}")
    return "\n".join(rows)


def summarise(results: list[dict[str, Any]], report: Report) -> None:
    """The ratios against the named limits, one a line."""
    losses, rows = means(results, "loss"), means(results, "row_ms")
    both = [(of["portico"], of["flaml"]) for of in losses.values() if "portico" in of and "flaml" in of]
    gluons = [
        of["portico"] / min(of[side] for side in SIDES["autogluon"] if side in of)
        for of in losses.values()
        if "portico" in of and any(side in of for side in SIDES["autogluon"])
    ]
    if gluons:
        report.limit("mean loss to the better AutoGluon's", float(np.mean(gluons)), 1.005, at_least=False)
    for side, rank in mean_ranks(losses).items():
        print(f"mean rank of {side}: {rank:.2f}")
    if both:
        ours = float(np.mean([1 if p < f else 2 if p > f else 1.5 for p, f in both]))
        report.limit("mean rank to FLAML's", ours / (3 - ours), 1, at_least=False)
    for name, of in losses.items():
        gluon = [of[side] for side in SIDES["autogluon"] if side in of]
        if gluon and "portico" in of:
            report.limit(
                f"{name}: loss to the better AutoGluon's", of["portico"] / min(gluon), 1.01, at_least=False
            )
    for name, of in rows.items():
        peers = [of[side] / of["portico"] for side in SIDES["autogluon"] if side in of and "portico" in of]
        if peers:
            report.limit(
                f"{name}: AutoGluon's time for one row to Portico's, the faster preset",
                min(peers), 20, at_least=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()
