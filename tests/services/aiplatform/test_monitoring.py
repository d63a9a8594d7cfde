"""Model deployment monitoring by the official client: skew and drift of what was really predicted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import requests
from google.api_core import exceptions
from google.cloud.aiplatform import model_monitoring
from tests.waiting import until

from portico.clock import parse_rfc3339

HOUR = 3600


@pytest.fixture
def advance(portico: Any) -> Any:
    """Moves the domain clock; all that is due has been done when it returns."""

    def go(seconds: int) -> float:
        url = f"{portico.url}/apis/portico/v1/clock:advance"
        answer = requests.post(url, json={"duration": f"{seconds}s"}, timeout=240)
        assert answer.status_code == 200, answer.text
        return parse_rfc3339(answer.json()["time"])

    return go


@pytest.fixture
def endpoint(upload: Any) -> Any:
    made = upload().deploy()
    yield made
    made.undeploy_all()
    made.delete()


def rows(seed: int, count: int, shift: float = 0.0) -> list[dict[str, float]]:
    cells = np.random.default_rng(seed).normal(size=(count, 3)) + np.array([shift, 0, 0])
    return [dict(zip("abc", row, strict=True)) for row in cells.tolist()]


def training(bucket: Any) -> str:
    lines = ["a,b,c,y", *(f"{r['a']},{r['b']},{r['c']},0" for r in rows(0, 3000))]
    bucket.blob("train.csv").upload_from_string("\n".join(lines))
    return f"gs://{bucket.name}/train.csv"


def monitor(aiplatform: Any, endpoint: Any, source: str, **options: Any) -> Any:
    skew = model_monitoring.SkewDetectionConfig(
        data_source=source, data_format="csv", skew_thresholds={"a": 0.1, "b": 0.1}, target_field="y"
    )
    drift = model_monitoring.DriftDetectionConfig(drift_thresholds={"a": 0.1, "c": 0.1})
    options = {
        "display_name": "watched",
        "schedule_config": model_monitoring.ScheduleConfig(monitor_interval=1),
        "logging_sampling_strategy": model_monitoring.RandomSampleConfig(sample_rate=1.0),
        "alert_config": model_monitoring.EmailAlertConfig(user_emails=["a@example.com"]),
        "objective_configs": model_monitoring.ObjectiveConfig(skew, drift),
    } | options
    return aiplatform.ModelDeploymentMonitoringJob.create(endpoint=endpoint, **options)


def found(job: Any, endpoint: Any, objective: str) -> dict[str, list[tuple[float, float]]]:
    """Feature -> (distance, threshold) of every window, the newest first."""
    answer = job.api_client.search_model_deployment_monitoring_stats_anomalies(
        request={
            "model_deployment_monitoring_job": job.resource_name,
            "deployed_model_id": endpoint.list_models()[0].id,
            "objectives": [{"type_": objective}],
        }
    )
    return {
        feature.feature_display_name: [
            (s.distribution_deviation, s.anomaly_detection_threshold) for s in feature.prediction_stats
        ]
        for stats in answer
        for feature in stats.feature_stats
    }


def test_skew_and_drift_are_found_where_they_are(aiplatform, bucket, endpoint, advance):
    job = monitor(aiplatform, endpoint, training(bucket))
    advance(1)
    job._sync_gca_resource()
    assert job.state.name == "JOB_STATE_RUNNING"
    assert (
        aiplatform.Endpoint(endpoint.resource_name).gca_resource.model_deployment_monitoring_job
        == job.resource_name
    )
    for seed in (1, 2):
        for start in range(0, 600, 100):
            endpoint.predict(rows(seed * 1000 + start, 100))
        advance(HOUR)
    for start in range(0, 600, 100):
        endpoint.predict(rows(9000 + start, 100, shift=2.0))
    advance(HOUR)
    skew, drift = found(job, endpoint, "RAW_FEATURE_SKEW"), found(job, endpoint, "RAW_FEATURE_DRIFT")
    assert skew.keys() == {"a", "b"} and drift.keys() == {"a", "c"}  # those that have a threshold
    assert [distance > threshold for distance, threshold in skew["a"]] == [True, False, False]
    assert [distance > threshold for distance, threshold in skew["b"]] == [False, False, False]
    assert [distance > threshold for distance, threshold in drift["a"]] == [True, False]
    assert [distance > threshold for distance, threshold in drift["c"]] == [False, False]
    assert skew["a"][0][0] > 0.4 and skew["a"][1][0] < 0.06
    job.delete()


def test_pause_resume_update_and_delete(aiplatform, bucket, endpoint, advance):
    job = monitor(aiplatform, endpoint, training(bucket))
    with pytest.raises(exceptions.BadRequest, match="monitored by"):
        monitor(aiplatform, endpoint, training(bucket))
    advance(HOUR)
    endpoint.predict(rows(1, 50))
    job.pause()
    advance(3 * HOUR)
    assert job.state.name == "JOB_STATE_PAUSED"
    assert found(job, endpoint, "RAW_FEATURE_SKEW") == {}
    job.resume()
    endpoint.predict(rows(2, 50))
    advance(HOUR - 1)
    assert found(job, endpoint, "RAW_FEATURE_SKEW") == {}
    now = advance(1)
    assert len(found(job, endpoint, "RAW_FEATURE_SKEW")["a"]) == 1
    job.update(display_name="renamed", schedule_config=model_monitoring.ScheduleConfig(monitor_interval=5))
    assert job.display_name == "renamed"
    assert job._gca_resource.next_schedule_time.timestamp() == pytest.approx(now + 5 * HOUR, abs=1)
    names = [j.resource_name for j in aiplatform.ModelDeploymentMonitoringJob.list()]
    assert job.resource_name in names
    job.delete()
    with pytest.raises(exceptions.NotFound):
        aiplatform.ModelDeploymentMonitoringJob(job.resource_name)


def test_training_data_that_are_not_there_say_so(aiplatform, bucket, endpoint, advance):
    job = monitor(aiplatform, endpoint, f"gs://{bucket.name}/nothing.csv")
    advance(1)
    assert job.state.name == "JOB_STATE_FAILED"
    assert "nothing.csv" in job._gca_resource.error.message
    training(bucket)
    bucket.copy_blob(bucket.blob("train.csv"), bucket, "nothing.csv")
    advance(1)
    assert job.state.name == "JOB_STATE_RUNNING"
    job.delete()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logging_sampling_strategy": model_monitoring.RandomSampleConfig(sample_rate=1.5)}, "sampleRate"),
        ({"schedule_config": model_monitoring.ScheduleConfig(monitor_interval=0)}, "monitorInterval"),
    ],
)
def test_bad_input_names_the_field(aiplatform, bucket, endpoint, change, message):
    with pytest.raises(exceptions.BadRequest, match=message):
        monitor(aiplatform, endpoint, training(bucket), **change)


def test_the_clock_only_goes_forward(portico, advance):
    advance(10)
    url = f"{portico.url}/apis/portico/v1/clock"
    shown = requests.get(url, timeout=240).json()
    assert shown["simulated"] is True
    for body in (
        {"time": "2001-01-01T00:00:00Z"},
        {},
        {"time": shown["time"], "duration": "1s"},
        {"speed": 2},
    ):
        answer = requests.post(f"{url}:advance", json=body, timeout=240)
        assert answer.status_code == 400 and answer.json()["error"]["message"]
    assert requests.get(url, timeout=240).json() == shown


def test_an_answer_has_an_id_where_it_is_logged(portico, upload, aiplatform):
    endpoint = aiplatform.Endpoint.create(
        display_name="logged",
        enable_request_response_logging=True,
        request_response_logging_sampling_rate=1.0,
    )
    upload().deploy(endpoint=endpoint)
    url = f"{portico.url}/v1/{endpoint.resource_name}:predict"
    ids = []
    for number in range(3):
        headers = {"X-Request-Id": f"mine-{number}"}
        answer = requests.post(url, json={"instances": rows(number, 1)}, headers=headers, timeout=240)
        ids.append(int(answer.headers["x-request-id"]))
    assert ids == sorted(set(ids))
    long = requests.post(
        url, json={"instances": rows(0, 1)}, headers={"X-Request-Id": "x" * 300}, timeout=240
    )
    assert long.status_code == 400 and "X-Request-Id" in long.text
    from portico.clock import SystemClock
    from portico.ids import RandomIds
    from portico.prediction.prediction_log import stream_of
    from portico.store.database import Database
    from portico.store.segments import Segments

    segments = Segments(portico.home, Database(portico.home), SystemClock(), RandomIds())
    name = endpoint.resource_name

    def rows_of_log() -> list[dict[str, Any]] | None:
        found = [r for table in segments.scan(stream_of(name)) for r in table.to_pylist()]
        return found if len(found) >= 3 else None

    logged = until(rows_of_log, "three predictions are logged")
    assert [int(r["request_id"]) for r in logged] == ids
    assert [r["caller_request_id"] for r in logged] == ["mine-0", "mine-1", "mine-2"]
    own = f"{portico.url}/apis/portico/v1/{endpoint.resource_name}"
    truths = [{"requestId": "mine-0", "truth": 1.5}, {"requestId": str(ids[1]), "truth": 2}]
    truths += [{"key": {"a": rows(2, 1)[0]["a"]}, "truth": 3}, {"requestId": "later", "truth": 4}]
    assert requests.post(f"{own}:addLabels", json={"labels": truths}, timeout=240).json()["new"] == 4
    stats = requests.get(f"{own}:labelStats", timeout=240).json()
    assert (stats["predictions"], stats["labelledPredictions"], stats["waiting"]) == (3, 3, 1)
    endpoint.undeploy_all()


def test_drift_goes_on_after_a_pause_and_starts_anew_with_new_objectives(
    aiplatform, bucket, endpoint, advance
):
    drift = model_monitoring.DriftDetectionConfig(drift_thresholds={"a": 0.1})
    only = model_monitoring.ObjectiveConfig(drift_detection_config=drift)
    job = monitor(aiplatform, endpoint, "", objective_configs=only)

    def hour(seed: int, count: int, shift: float = 0.0) -> None:
        for start in range(0, count, 100):
            endpoint.predict(rows(seed * 1000 + start, 100, shift))
        advance(HOUR)

    hour(1, 300)
    job.pause()
    job.resume()
    hour(2, 900)  # other rows, and so other bins, if they were made anew
    assert [d > t for d, t in found(job, endpoint, "RAW_FEATURE_DRIFT")["a"]] == [False]
    skew = model_monitoring.SkewDetectionConfig(
        data_source=training(bucket), data_format="csv", skew_thresholds=0.1, target_field="y"
    )
    job.update(objective_configs=model_monitoring.ObjectiveConfig(skew, drift))
    hour(3, 300)  # its bins are those of the training data: no window before it is like it
    assert len(found(job, endpoint, "RAW_FEATURE_DRIFT")["a"]) == 1
    hour(4, 600, shift=2.0)
    assert [d > t for d, t in found(job, endpoint, "RAW_FEATURE_DRIFT")["a"]] == [True, False]
    job.delete()
