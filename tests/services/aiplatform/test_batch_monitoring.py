"""Batch predictions that are monitored, by the official client: the findings, Google's files, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import lightgbm
import numpy as np
import pytest
from google.api_core import exceptions
from google.cloud.aiplatform import model_monitoring
from tests.services.aiplatform.monitored import csv_of, rows

from portico.services.aiplatform.monitoring import output_files
from portico.services.alerts.delivery import DELIVERIES
from portico.store import resources
from portico.store.database import Database

IMAGE = "us-docker.pkg.dev/portico/prediction/lightgbm-cpu.4-7:latest"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    from google.cloud.aiplatform import jobs

    monkeypatch.setattr(jobs, "_JOB_WAIT_TIME", 0.05)


@pytest.fixture
def model(aiplatform: Any, bucket: Any) -> Any:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(200, 2))
    data = lightgbm.Dataset(table, table[:, 0], feature_name=["a", "b"])
    trees = lightgbm.train({"objective": "regression", "verbose": -1, "num_threads": 1}, data, 3)
    bucket.blob("trees/model.txt").upload_from_string(trees.model_to_string())
    return aiplatform.Model.upload(
        display_name="trees", artifact_uri=f"gs://{bucket.name}/trees", serving_container_image_uri=IMAGE
    )


@pytest.fixture
def training(bucket: Any) -> str:
    table = [{"a": row["a"], "b": row["b"], "y": row["a"]} for row in rows(1, 600)]
    bucket.blob("training.csv").upload_from_string(csv_of(table))
    return f"gs://{bucket.name}/training.csv"


def skew(training: str, **options: Any) -> Any:
    return model_monitoring.ObjectiveConfig(
        model_monitoring.SkewDetectionConfig(
            data_source=training, data_format="csv", target_field="y", **options
        )
    )


def predict(aiplatform: Any, bucket: Any, model: Any, table: list[Any], **options: Any) -> Any:
    bucket.blob("rows.jsonl").upload_from_string("".join(json.dumps(row) + "\n" for row in table))
    job = aiplatform.BatchPredictionJob.create(
        job_display_name="watched", model_name=model, gcs_source=f"gs://{bucket.name}/rows.jsonl",
        gcs_destination_prefix=f"gs://{bucket.name}/out", machine_type="n1-standard-2", **options,
    )  # fmt: skip
    return job.api_client.get_batch_prediction_job(name=job.resource_name)


def test_what_moved_is_found_and_told(
    portico: Any, aiplatform: Any, bucket: Any, model: Any, training: str
) -> None:
    asked = [{"a": row["a"], "b": row["b"]} for row in rows(2, 300, shift=3.0)]
    job = predict(
        aiplatform, bucket, model, [*asked, "no row"],
        model_monitoring_objective_config=skew(training, skew_thresholds={"a": 0.1, "b": 0.1}),
        model_monitoring_alert_config=model_monitoring.EmailAlertConfig(user_emails=["a@example.com"]),
    )  # fmt: skip
    assert job.state.name == "JOB_STATE_SUCCEEDED" and job.completion_stats.successful_count == 300
    assert job.model_monitoring_status.code == 0
    [found] = job.model_monitoring_stats_anomalies
    assert found.objective.name == "RAW_FEATURE_SKEW" and found.anomaly_count >= 1
    stats = {one.feature_display_name: one for one in found.feature_stats}
    assert stats["a"].threshold.value == 0.1 and set(stats) == {"a", "b"}
    deviation = {name: one.prediction_stats[0].distribution_deviation for name, one in stats.items()}
    assert deviation["a"] > 0.3 > 0.1 > deviation["b"]

    folder = f"out/job-{job.name.rpartition('/')[2]}/bp_monitoring"
    anomalies = f"{folder}/stats_and_anomalies/anomalies/training_prediction_skew_anomalies"
    assert stats["a"].prediction_stats[0].anomaly_uri == f"gs://{bucket.name}/{anomalies}"
    told = json.loads(bucket.blob(anomalies).download_as_text())
    assert "a" in told["anomalyInfo"] and "b" not in told["anomalyInfo"]
    measured = {one["path"]["step"][0]: one["skewMeasurements"][0] for one in told["driftSkewInfo"]}
    assert measured["b"]["value"] == pytest.approx(deviation["b"]) and measured["b"]["threshold"] == 0.1
    now = bucket.blob(f"{folder}/stats_and_anomalies/stats/current_stats").download_as_bytes()
    before = bucket.blob(f"{folder}/stats_training/stats/training_stats").download_as_bytes()
    for text, examples in ((now, 301), (before, 600)):  # what the model refused is of the input, too
        assert output_files.encode("dataset", {"numExamples": examples}) in text
    database = Database(portico.home)
    with database.read() as connection:
        mails = [row.body for row in resources.listed(connection, DELIVERIES, job.name)]
    database.close()
    assert [mail["sink"] for mail in mails] == ["a@example.com"] and "skew of 'a'" in mails[0]["text"]


def test_lists_are_named_by_the_schema_and_what_stayed_is_no_anomaly(
    aiplatform: Any, bucket: Any, model: Any, training: str
) -> None:
    bucket.blob("schema.yaml").upload_from_string(
        "type: object\nproperties:\n  b: {type: number}\n  a: {type: number}\n"
    )
    asked = [[row["b"], row["a"]] for row in rows(3, 300, shift=2.0)]
    job = predict(
        aiplatform, bucket, model, asked,
        model_monitoring_objective_config=skew(training),
        analysis_instance_schema_uri=f"gs://{bucket.name}/schema.yaml",
    )  # fmt: skip
    [found] = job.model_monitoring_stats_anomalies
    above = {
        one.feature_display_name for one in found.feature_stats
        if one.prediction_stats[0].distribution_deviation > one.threshold.value
    }  # fmt: skip
    assert above == {"a"}


def test_training_data_that_cannot_be_read_leave_the_predictions(
    aiplatform: Any, bucket: Any, model: Any
) -> None:
    job = predict(
        aiplatform, bucket, model, [[1.0, 2.0]],
        model_monitoring_objective_config=skew(f"gs://{bucket.name}/nowhere.csv"),
    )  # fmt: skip
    assert job.state.name == "JOB_STATE_SUCCEEDED" and job.completion_stats.successful_count == 1
    assert "nowhere.csv" in job.model_monitoring_status.message and not job.model_monitoring_stats_anomalies


@pytest.mark.parametrize(
    ("objective", "field"),
    [
        (
            lambda training: model_monitoring.ObjectiveConfig(
                model_monitoring.SkewDetectionConfig(
                    data_source=training, data_format="csv", target_field="y"
                ),
                model_monitoring.DriftDetectionConfig(drift_thresholds={"a": 0.1}),
            ),
            "predictionDriftDetectionConfig",
        ),
        (lambda training: skew(training, skew_thresholds={"a": 3.0}), "skewThresholds"),
    ],
)
def test_what_is_not_monitored_is_refused(
    aiplatform: Any, bucket: Any, model: Any, training: str, objective: Any, field: str
) -> None:
    with pytest.raises(exceptions.BadRequest, match=field):
        predict(
            aiplatform, bucket, model, [[1.0, 2.0]], model_monitoring_objective_config=objective(training)
        )
