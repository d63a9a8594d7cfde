"""Batch jobs in the prediction log: which rows, under which ids, once each whatever is killed, and where not."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import numpy as np
import pytest
import requests

from portico.client.api import Client
from portico.clock import SystemClock
from portico.ids import RandomIds
from portico.jobs.worker import Context
from portico.prediction.prediction_log import batch_stream_of, stream_of
from portico.services.aiplatform.batch import log as batch_log
from portico.services.aiplatform.batch import run as batch_run
from portico.store import jobs
from portico.store.database import Database
from portico.store.segments import Segments, listed

from .test_batch_jobs import half_done, submitted, until_it_is
from .test_batch_prediction import quick  # noqa: F401


@pytest.fixture
def logged(aiplatform: Any, upload: Any) -> Any:
    """Deploys a model at endpoints that log at the given rates; (model, endpoints)."""
    made = []

    def deploy(*rates: float, **options: Any) -> Any:
        model = upload()
        for rate in rates:
            endpoint = aiplatform.Endpoint.create(
                display_name="logged",
                enable_request_response_logging=rate > 0,
                request_response_logging_sampling_rate=rate,
            )
            made.append(endpoint)
            model.deploy(endpoint=endpoint, **options)
        return model, made

    yield deploy
    for endpoint in made:
        endpoint.delete(force=True)


def log_of(home: Any, stream: str) -> list[dict[str, Any]]:
    segments = Segments(home, Database(home), SystemClock(), RandomIds())
    return [row for table in segments.scan(stream) for row in table.to_pylist()]


def run(aiplatform: Any, bucket: Any, model: Any, data: str, format: str = "jsonl", **options: Any) -> Any:
    bucket.blob("rows").upload_from_string(data)
    job = aiplatform.BatchPredictionJob.submit(
        job_display_name="logged",
        model_name=model.resource_name,
        instances_format=format,
        gcs_source=f"gs://{bucket.name}/rows",
        gcs_destination_prefix=f"gs://{bucket.name}/out",
        **options,
    )
    job.wait_for_completion()
    return job


def context_of(portico: Any, job_id: str) -> Context:
    database = Database(portico.home)
    with database.read() as connection:
        job = jobs.get(connection, job_id)
    assert job is not None
    return Context(portico.home, database, SystemClock(), RandomIds(), job, lambda: False)


def test_each_row_is_a_request(portico, aiplatform, bucket, logged):
    model, (endpoint, silent) = logged(1.0, 0.0)
    rows = [{"a": 0.5, "b": -1, "c": 0}, {"a": "x", "b": 0, "c": 0}, {"a": 3, "b": 1, "c": 2}]
    job = run(aiplatform, bucket, model, "".join(json.dumps(row) + "\n" for row in rows))
    assert job.completion_stats.failed_count == 1
    found = log_of(portico.home, batch_stream_of(endpoint.resource_name))
    assert [[json.loads(text) for text in row["request_payload"]] for row in found] == [[rows[0]], [rows[2]]]
    answers = endpoint.predict([rows[0], rows[2]]).predictions
    assert [json.loads(row["response_payload"][0]) for row in found] == pytest.approx(answers)
    number = int(job.name)
    assert [int(row["request_id"]) for row in found] == [number * 10**10, number * 10**10 + 2] < [10**29]
    for row in found:
        assert row["endpoint"] == endpoint.resource_name
        assert row["deployed_model_id"] == endpoint.list_models()[0].id
        assert (row["model"], row["model_version"]) == (model.resource_name, "1")
        assert (row["api_method"], row["log_source"], row["latency_seconds"]) == (
            "batchPredict",
            "batch",
            None,
        )
    clock = requests.get(f"{portico.url}/apis/portico/v1/clock", timeout=240).json()
    wall = job.create_time.timestamp()
    times = {row["logging_time"].timestamp() for row in found}
    assert len(times) == 1 and (clock["simulated"] or abs(times.pop() - wall) < 5)
    client = Client(portico.url)
    second = f"{number}0000000002"
    client.add_labels(
        endpoint.resource_name, [{"requestId": second, "truth": 5}, {"key": {"a": 3}, "truth": 6}]
    )
    stats = client.call("GET", f"{endpoint.resource_name}:labelStats")
    assert (stats["batchPredictions"], stats["waiting"]) == (2, 0) and stats["labelledPredictions"] >= 1
    shown = [one for one in client.predictions(endpoint.resource_name) if one["logSource"] == "batch"]
    assert [(one["requestId"], one.get("truths")) for one in shown] == [
        (second, [5]),
        (f"{number}0000000000", None),
    ]
    # What watches online service reads its own stream, and logging is off at the other endpoint.
    assert not [
        row
        for row in log_of(portico.home, stream_of(endpoint.resource_name))
        if row["log_source"] != "online"
    ]
    assert log_of(portico.home, batch_stream_of(silent.resource_name)) == []


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_columns_are_logged_as_the_instances_that_they_are(portico, aiplatform, bucket, logged, form):
    model, (endpoint,) = logged(1.0)
    job = run(
        aiplatform, bucket, model, "a,b,c\n1,2,3\n4,5\n6,7,8\n", "csv", predictions_format=form
    )  # fmt: skip
    assert job.completion_stats.failed_count == 1
    found = log_of(portico.home, batch_stream_of(endpoint.resource_name))
    assert [json.loads(row["request_payload"][0]) for row in found] == [
        {"a": 1, "b": 2, "c": 3},
        {"a": 6, "b": 7, "c": 8},
    ]
    # A line that is no row has no number.
    assert [int(row["request_id"]) % 10**10 for row in found] == [0, 1]


def test_rows_are_sampled_at_each_endpoints_rate(portico, aiplatform, bucket, logged):
    model, (some, few) = logged(0.5, 0.1)
    count = 20_000
    run(aiplatform, bucket, model, '{"a":1,"b":2,"c":3}\n' * count)
    kept = [
        {int(row["request_id"]) for row in log_of(portico.home, batch_stream_of(endpoint.resource_name))}
        for endpoint in (some, few)
    ]
    for ids, rate in zip(kept, (0.5, 0.1), strict=True):
        assert abs(len(ids) - rate * count) < 5 * (count * rate * (1 - rate)) ** 0.5
    assert kept[1] < kept[0]


def test_shares_and_ids():
    numbers = np.arange(200_000)
    shares = batch_log.shares_of(8_999_999_999_999_999_999, numbers)
    assert np.array_equal(shares, batch_log.shares_of(8_999_999_999_999_999_999, numbers))
    counts, _ = np.histogram(shares, bins=100, range=(0, 1))
    assert ((counts - 2000) ** 2 / 2000).sum() < 160  # chi squared with 99 degrees: p = 0.0001
    assert abs(np.corrcoef(shares[:-1], shares[1:])[0, 1]) < 0.01
    for job in (10**18, 8_999_999_999_999_999_999, 1 << 62):
        places = np.array([0, 1, 7, 10**10 - 1])
        expected = [int(f"{job}{place:010d}") for place in places.tolist()]
        assert [int(one) for one in batch_log.request_ids(job, places).to_pylist()] == expected


def test_a_job_whose_process_is_killed_logs_each_row_once(portico, aiplatform, bucket, logged):
    model, (endpoint,) = logged(1.0)
    count = 200_000
    job = submitted(aiplatform, bucket, model, '{"a":0.5,"b":-1.0,"c":2}\n' * count)
    until_it_is(job, "JOB_STATE_RUNNING")
    os.kill(half_done(portico).pid, signal.SIGKILL)
    job.wait_for_completion()
    stream = batch_stream_of(endpoint.resource_name)
    ids = [int(row["request_id"]) for row in log_of(portico.home, stream)]
    assert ids == [int(job.name) * 10**10 + number for number in range(count)]
    # Killed once more, after the output was published and before the job had ended.
    (done,) = jobs_of(portico, job.resource_name)
    assert batch_run.run(context_of(portico, done))["successful"] == count
    with Database(portico.home).read() as connection:
        assert sum(segment.rows for segment in listed(connection, stream)) == count


def jobs_of(portico: Any, resource: str) -> list[str]:
    with Database(portico.home).read() as connection:
        return [job.id for job in jobs.of_resource(connection, resource)]


def test_a_job_that_fails_logs_nothing(portico, aiplatform, bucket, logged):
    model, (endpoint,) = logged(1.0)
    with pytest.raises(RuntimeError, match="Not one row"):
        run(aiplatform, bucket, model, '{"a":"x"}\n')
    assert log_of(portico.home, batch_stream_of(endpoint.resource_name)) == []
