"""Batch prediction beside a plain script with pandas and LightGBM: the same rows, booster and formats.

    python -m bench.batch [--rounds 5] [--rows 1000000] [--formats csv,jsonl,parquet]

Portico's time runs from the request that makes the job to the answer that it has succeeded; the script's from
opening its input to closing its output, imports not counted. The script runs with a job's low priority, so that
other work on the machine hinders both alike.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench.common import Report, interleaved, ratio, versions
from bench.serving import CATEGORIES, NUMBERS, make_model
from portico.jobs.warm import be_nice

IMAGE = "us-docker.pkg.dev/portico/prediction/lightgbm-cpu.4-7:latest"
LOCATION = "projects/bench/locations/us-central1"
BUCKET = "bench"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.batch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--formats", default="csv,jsonl,parquet")
    options = parser.parse_args()
    formats = options.formats.split(",")
    report = Report("batch")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        make_model(folder / "model.txt")
        inputs = {format: folder / f"rows.{format}" for format in formats}
        write_rows(inputs, options.rows)
        report.header(
            versions=versions("portico", "lightgbm", "pandas", "pyarrow", "orjson"),
            rows=options.rows,
            columns=NUMBERS + CATEGORIES,
            megabytes={format: round(path.stat().st_size / 1e6) for format, path in inputs.items()},
        )
        portico = stack.enter_context(Portico(folder / "home"))
        portico.upload(folder / "model.txt", inputs)
        plain = stack.enter_context(Plain(folder))
        measures = {"portico": portico.predict, "plain": plain.predict}
        results = {}
        for format in formats:
            predicted = {side: measure(format, inputs[format])[1] for side, measure in measures.items()}
            same_answers(format, predicted["portico"], predicted["plain"])

            def measure(side: str, format: str = format) -> dict[str, float]:
                seconds, _ = measures[side](format, inputs[format], read=False)
                print(f"{format} {side}: {options.rows / seconds:,.0f} rows/s", flush=True)
                return {"rows_per_second": options.rows / seconds}

            results[format] = values = interleaved(list(measures), measure, options.rounds)
            for side, told in values.items():
                report.beside(f"{format}, {side}", median(told["rows_per_second"]), " rows/s")
            report.limit(
                f"{format}: rows per second, Portico to the plain script",
                ratio(values, "rows_per_second", "portico", "plain"),
                1.0,
                at_least=True,
            )
        report.end(results=results)


def write_rows(inputs: dict[str, Path], rows: int) -> None:
    import pandas as pd

    random = np.random.default_rng(1)
    frame = pd.DataFrame(
        random.normal(size=(rows, NUMBERS)).round(6), columns=[f"n{i}" for i in range(NUMBERS)]
    )
    for i in range(CATEGORIES):
        frame[f"c{i}"] = random.choice([f"value {k}" for k in range(8)], rows)
    for format, path in inputs.items():
        if format == "csv":
            frame.to_csv(path, index=False)
        elif format == "jsonl":
            frame.to_json(path, orient="records", lines=True, double_precision=15)
        else:
            frame.to_parquet(path)


def same_answers(format: str, portico: np.ndarray, plain: np.ndarray) -> None:
    if not np.allclose(portico, plain, rtol=0, atol=1e-9):
        raise SystemExit(f"{format}: the two sides don't predict alike")


def predictions_of(format: str, data: bytes) -> np.ndarray:
    import pandas as pd

    if format == "jsonl":
        return np.array([json.loads(line)["prediction"] for line in data.splitlines()])
    frame = pd.read_csv(io.BytesIO(data)) if format == "csv" else pd.read_parquet(io.BytesIO(data))
    return frame["prediction"].to_numpy()


class Plain:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Plain:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.batch_plain", str(self._folder / "model.txt")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=be_nice,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)

    def predict(self, format: str, source: Path, read: bool = True) -> tuple[float, np.ndarray]:
        assert self._process.stdin is not None and self._process.stdout is not None
        target = self._folder / f"plain.{format}"
        order = {"format": format, "input": str(source), "output": str(target)}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        seconds = float(self._process.stdout.readline())
        if not read:
            return seconds, np.empty(0)
        return seconds, predictions_of(format, target.read_bytes())


class Portico:
    """A `portico up` of its own, spoken to over HTTP."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def __enter__(self) -> Portico:
        import httpx

        command = [
            str(Path(sys.executable).with_name("portico")),
            "up",
            "--home",
            str(self._home),
            "--port",
            "0",
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        match = re.search(r"http://\S+", self._process.stdout.readline())
        if match is None:
            self._process.terminate()
            raise RuntimeError("portico did not start")
        self._url = match[0]
        self._http = httpx.Client(base_url=f"{self._url}/v1/", timeout=60)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(40)

    def upload(self, model: Path, inputs: dict[str, Path]) -> None:
        os.environ["STORAGE_EMULATOR_HOST"] = self._url
        os.environ["GOOGLE_APPLICATION_CREDENTIALS"] = str(self._home / "credentials.json")
        from google.cloud import storage

        self._bucket = storage.Client(project="bench").create_bucket(BUCKET)
        self._bucket.blob("model/model.txt").upload_from_filename(str(model))
        for format, path in inputs.items():
            self._bucket.blob(f"in/{format}").upload_from_filename(str(path), timeout=600)
        operation = self._call(
            f"{LOCATION}/models:upload",
            {"model": {"displayName": "bench", "artifactUri": f"gs://{BUCKET}/model",
                       "containerSpec": {"imageUri": IMAGE}}},
        )  # fmt: skip
        while not operation.get("done"):
            time.sleep(0.05)
            operation = self._http.get(operation["name"]).json()
        self._model = operation["response"]["model"]

    def predict(self, format: str, source: Path, read: bool = True) -> tuple[float, np.ndarray]:
        started = time.perf_counter()
        job = self._call(
            f"{LOCATION}/batchPredictionJobs",
            {"displayName": format, "model": self._model,
             "inputConfig": {"instancesFormat": format, "gcsSource": {"uris": [f"gs://{BUCKET}/in/{format}"]}},
             "outputConfig": {"predictionsFormat": format,
                              "gcsDestination": {"outputUriPrefix": f"gs://{BUCKET}/out"}}},
        )  # fmt: skip
        while not job.get("endTime"):
            time.sleep(0.02)
            job = self._http.get(job["name"]).json()
        seconds = time.perf_counter() - started
        if job["state"] != "JOB_STATE_SUCCEEDED":
            raise RuntimeError(json.dumps(job))
        prefix = job["outputInfo"]["gcsOutputDirectory"].removeprefix(f"gs://{BUCKET}/")
        results = [b for b in self._bucket.list_blobs(prefix=prefix) if "results" in b.name]
        answers = np.empty(0)
        if read:
            answers = np.concatenate([predictions_of(format, b.download_as_bytes()) for b in results])
        for blob in self._bucket.list_blobs(prefix=prefix):
            blob.delete()
        return seconds, answers

    def _call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self._http.post(path, json=body)
        if answer.status_code != 200:
            raise RuntimeError(answer.text)
        told: dict[str, Any] = answer.json()
        return told


if __name__ == "__main__":
    main()
