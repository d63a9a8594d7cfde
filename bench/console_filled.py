"""What the console's bench looks at, as rows and files as services write them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from portico.clock import SystemClock
from portico.ids import RandomIds
from portico.prediction.prediction_log import schema, stream_of
from portico.services.registry import metadata, model_store
from portico.services.registry.model_store import VersionPrivate
from portico.store import resources
from portico.store.database import Database
from portico.store.segments import Segments

MODELS, JOBS, RUNS, LOGGED = 1000, 10_000, 10_000, 10_000_000
PLACE = "projects/portico/locations/us-central1"
ENDPOINT = f"{PLACE}/endpoints/1"
EXPERIMENT = f"{PLACE}/metadataStores/default/contexts/bench"
_SEGMENT = 200_000  # rows
_FEATURES = {
    "predictionType": "regression",
    "targetColumn": "y",
    "featureImportance": {f"x{i}": 0.05 for i in range(20)},
}


def fill(home: Path) -> None:
    database = Database(home)
    _models_and_jobs(database)
    _runs(database)
    _log(home, database)
    database.close()


def _models_and_jobs(database: Database) -> None:
    """Models with a version and an evaluation each, custom jobs that have ended, and an endpoint."""
    now = SystemClock().now()
    with database.write() as connection:
        for number in range(MODELS):
            body = {"displayName": f"model {number}", "metadata": _FEATURES}
            model_store.add_version(
                connection, PLACE, str(number), body, VersionPrivate(), now + number / 1e3, new=True, aliases=[],
                make_default=True,
            )  # fmt: skip
        for number in range(JOBS):
            state = "JOB_STATE_FAILED" if number % 50 == 0 else "JOB_STATE_SUCCEEDED"
            body = {"displayName": f"job {number}", "state": state, "startTime": "2026-01-01T00:00:00Z",
                    "endTime": "2026-01-01T00:01:00Z", "jobSpec": {"workerPoolSpecs": []}}  # fmt: skip
            resources.insert(
                connection, name=f"{PLACE}/customJobs/{number}", kind="aiplatform:customJobs", parent=PLACE, body=body,
                now=now + number / 1e3,
            )  # fmt: skip
        resources.insert(
            connection,
            name=ENDPOINT,
            kind="aiplatform:endpoints",
            parent=PLACE,
            body={"displayName": "logged"},
            now=now,
        )


def _runs(database: Database) -> None:
    """An experiment's runs with five parameters and five metrics each, as MLflow beside has them."""
    now = SystemClock().now()
    with database.write() as connection:
        metadata.add_context(connection, EXPERIMENT, "bench", "system.Experiment", {}, now)
        for number in range(RUNS):
            facts = {"_params": {f"p{i}": number * i for i in range(5)},
                     "_metrics": {f"m{i}": number / (i + 1) for i in range(5)}, "_state": "COMPLETE"}  # fmt: skip
            metadata.add_context(
                connection, f"{EXPERIMENT}-run-{number}", f"run-{number}", "system.ExperimentRun", facts,
                now + number / 1e3, parents=[EXPERIMENT],
            )  # fmt: skip


def _log(home: Path, database: Database) -> None:
    """A year of predictions of an endpoint, straight as segments."""
    segments = Segments(home, database, SystemClock(), RandomIds())
    random, begin = np.random.default_rng(0), SystemClock().now() - 365 * 86400
    step = 365 * 86400 / LOGGED
    texts = [
        json.dumps({"x": round(float(x), 4), "z": "abc"[i % 3]})
        for i, x in enumerate(random.random(_SEGMENT))
    ]
    said = [str(round(float(x), 4)) for x in random.random(_SEGMENT)]
    one = pa.array(range(_SEGMENT + 1), pa.int32())
    same = {"endpoint": ENDPOINT, "deployed_model_id": "7", "model": f"{PLACE}/models/1", "model_version": "1",
            "api_method": "predict", "caller_request_id": "", "log_source": "online"}  # fmt: skip
    columns = {key: pa.array([value] * _SEGMENT) for key, value in same.items()} | {
        "request_payload": pa.ListArray.from_arrays(one, pa.array(texts)),
        "response_payload": pa.ListArray.from_arrays(one, pa.array(said)),
        "latency_seconds": pa.array(random.random(_SEGMENT) / 1e3),
        "holdout": pa.array(np.zeros(_SEGMENT, bool)),
    }
    for start in range(0, LOGGED, _SEGMENT):
        times = np.round((begin + np.arange(start, start + _SEGMENT) * step) * 1e6).astype(np.int64)
        moving = {
            "logging_time": pa.array(times, pa.timestamp("us", tz="UTC")),
            "request_id": pa.array(times * 64).cast(pa.decimal128(38, 0)),
        }
        file = segments.write(pa.table({**columns, **moving}).select(schema().names))
        with database.write() as connection:
            segments.add(connection, stream_of(ENDPOINT), file, _SEGMENT, times[0] / 1e6, times[-1] / 1e6)
