"""Training of one's own code: a tuning job's eight trials, beside the same functions called by joblib; from run() to
the first line (`training_begin`); metrics logged (`training_metrics`); and lineage asked (`training_lineage`).

    python -m bench.training [--parts trials,begin,metrics,lineage] [--rounds 3]

The trials and the functions run in the environment of Google's scikit-learn image, at the lowest priority, on all
cores.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import requests

from bench import training_begin, training_lineage, training_metrics
from bench.common import Report, interleaved, packages_of, ratio, versions
from portico.jobs.warm import be_nice
from portico.sandbox.installer import Teller
from portico.services.aiplatform.custom import environments, training_images

ROUNDS = 3
TRIALS, PARALLEL = 8, 2
LIMIT = 1.15
IMAGE = "us-docker.pkg.dev/vertex-ai/training/scikit-learn-cpu.1-6:latest"
PARENT = "projects/bench/locations/us-central1"
FUNCTION = """
import sys
def score(rate, depth):
    from sklearn.datasets import make_classification
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.model_selection import cross_val_score
    rows, labels = make_classification(4000, 20, n_informative=8, random_state=0)
    model = GradientBoostingClassifier(n_estimators=60, learning_rate=rate, max_depth=depth, random_state=0)
    return float(cross_val_score(model, rows, labels, cv=3).mean())
"""
TRIAL = """
import argparse, hypertune
parser = argparse.ArgumentParser()
parser.add_argument("--rate", type=float)
parser.add_argument("--depth", type=int)
reported = score(**vars(parser.parse_args()))
hypertune.HyperTune().report_hyperparameter_tuning_metric("accuracy", reported)
"""
JOBLIB = """
import json
import joblib
asked = json.loads(sys.argv[1])
print(json.dumps(joblib.Parallel(n_jobs=int(sys.argv[2]))(joblib.delayed(score)(**one) for one in asked)))
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.training")
    parser.add_argument("--parts", default="trials,begin,metrics,lineage")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of begin")
    asked = parser.parse_args()
    parts = asked.parts.split(",")
    report = Report("training")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        peers: dict[str, str] = {}
        if "trials" in parts:
            python = environments.python_of(training_images.resolve(IMAGE, ""), [], home, Teller(print))
            peers |= packages_of(python, ["scikit-learn", "joblib"])
        if "metrics" in parts:
            peers |= training_metrics.peers()
        report.header(
            versions=versions("portico", "optuna", "google-cloud-aiplatform") | peers, rounds=ROUNDS
        )
        server = subprocess.Popen(
            [str(Path(sys.executable).with_name("portico")), "up", "--home", str(home), "--port", "0"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            if "ready at" not in line:
                raise RuntimeError(f"portico up said {line!r}")
            url, results = line.split()[-1], {}
            if "trials" in parts:
                results["trials"] = trials(report, url, python)
            if "begin" in parts:
                results["begin"] = training_begin.begin(report, url, home, IMAGE, asked.rounds)
            if "metrics" in parts:
                results["metrics"] = training_metrics.metrics(report, url, home)
            if "lineage" in parts:
                results["lineage"] = training_lineage.lineage(report, url, home)
        finally:
            os.kill(server.pid, signal.SIGTERM)
            server.wait(60)
    report.end(**results)


def trials(report: Report, url: str, python: Path) -> dict[str, Any]:
    """Eight trials, two at a time: seconds from the request to the end, and of the same eight calls by joblib."""
    asked: list[dict[str, Any]] = []

    def measure(side: str) -> dict[str, float]:
        began = time.perf_counter()
        if side == "portico" or not asked:
            asked[:] = _tune(url)
        else:
            command = [str(python), "-c", FUNCTION + JOBLIB, json.dumps(asked), str(PARALLEL)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, preexec_fn=be_nice)
        seconds = time.perf_counter() - began
        print(f"{side}: {TRIALS} trials in {seconds:.2f} s", flush=True)
        return {"seconds": seconds}

    _tune(url)  # everything is in memory once
    values = interleaved(["portico", "joblib"], measure, ROUNDS)
    report.limit(
        f"{TRIALS} trials, beside joblib",
        ratio(values, "seconds", "portico", "joblib"),
        LIMIT,
        at_least=False,
    )
    return values


def _tune(url: str) -> list[dict[str, Any]]:
    """A tuning job to its end; the parameters of its trials."""
    body = {
        "displayName": "bench",
        "maxTrialCount": TRIALS,
        "parallelTrialCount": PARALLEL,
        "studySpec": {
            "metrics": [{"metricId": "accuracy", "goal": "MAXIMIZE"}],
            "parameters": [
                {"parameterId": "rate", "doubleValueSpec": {"minValue": 0.01, "maxValue": 0.3}},
                {"parameterId": "depth", "integerValueSpec": {"minValue": 3, "maxValue": 3}},
            ],
        },
        "trialJobSpec": {
            "workerPoolSpecs": [
                {"containerSpec": {"imageUri": IMAGE, "command": ["python", "-c", FUNCTION + TRIAL]}}
            ]
        },
    }
    made = requests.post(f"{url}/v1/{PARENT}/hyperparameterTuningJobs", json=body, timeout=60)
    made.raise_for_status()
    while True:
        told = requests.get(f"{url}/v1/{made.json()['name']}", timeout=60).json()
        if told["state"] == "JOB_STATE_SUCCEEDED":
            return [
                {one["parameterId"]: one["value"] for one in trial["parameters"]} for trial in told["trials"]
            ]
        if told["state"] in ("JOB_STATE_FAILED", "JOB_STATE_CANCELLED"):
            raise RuntimeError(told)
        time.sleep(0.05)


if __name__ == "__main__":
    main()
