"""Model monitors of models: their outputs and attributions, in batch prediction jobs and in the log of endpoints."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from vertexai.resources.preview.ml_monitoring import model_monitors, spec

from .monitored import alerts, csv_of, monitor, points, put, rows, schema

LIMITS = {"default_numeric_alert_threshold": 0.1, "default_categorical_alert_threshold": 0.1}


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    from google.cloud.aiplatform import jobs

    monkeypatch.setattr(model_monitors, "_JOB_WAIT_TIME", 0.05)
    monkeypatch.setattr(jobs, "_JOB_WAIT_TIME", 0.05)


def labelled(seed: int, count: int, shift: float = 0.0) -> list[dict[str, object]]:
    """Rows whose class `y` is "high" where 2 a + b is above 0, which `c` has no part in."""
    return [row | {"y": "high" if 2 * row["a"] + row["b"] > 0 else "low"} for row in rows(seed, count, shift)]


@pytest.fixture(scope="module")
def trained(portico):
    """A classifier that Portico trained, and its bucket with the training data."""
    from google.cloud import aiplatform, storage

    aiplatform.init(
        project="test-project", location="us-central1", api_endpoint=portico.url, api_transport="rest"
    )
    held = storage.Client(project="test-project").create_bucket(f"monitored-{time.time_ns()}")
    held.blob("training.csv").upload_from_string(csv_of(labelled(0, 2000)))
    dataset = aiplatform.TabularDataset.create(
        display_name="rows", gcs_source=f"gs://{held.name}/training.csv"
    )
    job = aiplatform.AutoMLTabularTrainingJob(
        display_name="classes",
        optimization_prediction_type="classification",
        column_specs=dict.fromkeys("abc", "auto"),
    )
    model = job.run(dataset=dataset, target_column="y", budget_milli_node_hours=1)
    return model, held, dataset


def outputs(**more) -> spec.TabularObjective:
    return spec.TabularObjective(prediction_output_drift_spec=spec.DataDriftSpec(**LIMITS), **more)


def test_outputs_that_the_data_lack_are_the_models_own(trained):
    """The schema is the model's; the baseline is the managed dataset; neither side holds predictions."""
    model, held, dataset = trained
    baseline = spec.MonitoringInput(vertex_dataset=dataset.resource_name)
    watched = monitor(model, baseline, outputs(), model_monitoring_schema=None)
    fields = watched.get_schema()
    assert {f.name: f.data_type for f in fields.feature_fields} == {
        "a": "float",
        "b": "float",
        "c": "categorical",
    }
    assert [f.name for f in fields.prediction_fields] == ["predicted_y"]
    for name, shift, found in (("same", 0.0, []), ("moved", 1.0, ["predicted_y"])):
        target = put(held, f"{name}.csv", csv_of(rows(1, 1500, shift)))
        job = watched.run(target_dataset=target, sync=True)
        assert alerts(watched, model_monitoring_job_name=job.resource_name) == found
    newest = points(watched)["predicted_y"][0]
    (feature,) = dict(newest.current_stats.distribution_value.distribution)["features"]
    shares = {one["value"]: one["frequency"] / 1500 for one in feature["stringStats"]["topValues"]}
    # 2 (a + 1) + b is above 0 where a normal variable of variance 5 is above -2.
    assert shares["high"] == pytest.approx(0.814, abs=0.04)


def test_attributions_move_when_what_matters_does(trained):
    model, held, _ = trained
    objective = spec.TabularObjective(
        feature_attribution_spec=spec.FeatureAttributionSpec(
            default_alert_threshold=0.15, feature_alert_thresholds={"c": 0.01}
        )
    )
    baseline = put(held, "baseline.csv", csv_of(labelled(3, 1000)))
    watched = monitor(model, baseline, objective, model_monitoring_schema=None)
    watched.run(target_dataset=put(held, "same.csv", csv_of(rows(4, 1000))), sync=True)
    found = points(watched)
    before = {name: series[0].baseline_stats.double_value for name, series in found.items()}
    assert sum(before.values()) == pytest.approx(1.0)
    assert before["a"] > before["b"] > 3 * before["c"]
    assert alerts(watched) == []
    still = [row | {"a": 0.0} for row in rows(5, 1000)]
    watched.run(target_dataset=put(held, "still.csv", csv_of(still)), sync=True)
    assert {"a", "b"} <= set(alerts(watched, objective_type="feature-attribution"))
    (point, _) = points(watched)["a"]
    assert point.current_stats.double_value < point.baseline_stats.double_value - point.threshold_value
    assert point.threshold_value == 0.15 and point.algorithm == "absolute_difference"


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_batch_prediction_jobs_output_is_watched(trained, form):
    model, held, dataset = trained
    baseline = spec.MonitoringInput(vertex_dataset=dataset.resource_name)
    watched = monitor(
        model,
        baseline,
        outputs(feature_drift_spec=spec.DataDriftSpec(**LIMITS)),
        model_monitoring_schema=None,
    )
    lines = "".join(json.dumps(row) + "\n" for row in rows(6, 1000, shift=1.0))
    held.blob("instances.jsonl").upload_from_string(lines)
    batch = model.batch_predict(
        job_display_name="batch",
        gcs_source=f"gs://{held.name}/instances.jsonl",
        gcs_destination_prefix=f"gs://{held.name}/out",
        instances_format="jsonl",
        predictions_format=form,
    )
    target = spec.MonitoringInput(batch_prediction_job=batch.resource_name)
    job = watched.run(target_dataset=target, sync=True)
    assert sorted(alerts(watched)) == ["a", "predicted_y"]
    detail = job._gca_resource.job_execution_detail
    assert detail.target_datasets[0].location == batch.output_info.gcs_output_directory
    assert detail.baseline_datasets[0].location == dataset.resource_name


def test_a_batch_prediction_job_of_another_model_is_refused(trained, upload, bucket):
    model, _, dataset = trained
    other = upload()
    bucket.blob("rows.jsonl").upload_from_string('{"a": 1, "b": 2, "c": 3}\n')
    batch = other.batch_predict(
        job_display_name="batch",
        gcs_source=f"gs://{bucket.name}/rows.jsonl",
        gcs_destination_prefix=f"gs://{bucket.name}/out",
        instances_format="jsonl",
    )
    baseline = spec.MonitoringInput(vertex_dataset=dataset.resource_name)
    watched = monitor(model, baseline, outputs(), model_monitoring_schema=None)
    with pytest.raises(RuntimeError, match="the monitor watches"):
        watched.run(target_dataset=spec.MonitoringInput(batch_prediction_job=batch.resource_name), sync=True)


def test_what_an_endpoint_was_asked_just_now_is_watched(aiplatform, upload, bucket, booster):
    """Instances that are lists are named by the schema's order; the outputs are what was answered."""
    model = upload()
    endpoint = aiplatform.Endpoint.create(
        display_name="logged",
        enable_request_response_logging=True,
        request_response_logging_sampling_rate=1.0,
    )
    model.deploy(endpoint=endpoint)
    rng = np.random.default_rng(0)
    names = dict.fromkeys("abc", "float")

    def table(shift: float) -> list[list[float]]:
        return (rng.normal(size=(600, 3)) + [0.0, shift, 0.0]).tolist()  # noqa: RUF005

    training = csv_of([dict(zip("abc", row, strict=True)) for row in table(0.0)])
    watched = monitor(
        model,
        put(bucket, "training.csv", training),
        outputs(feature_drift_spec=spec.DataDriftSpec(**LIMITS)),
        model_monitoring_schema=schema(fields=names, outputs={"y": "float"}),
    )
    target = spec.MonitoringInput(endpoints=[endpoint.resource_name])
    with pytest.raises(RuntimeError, match="not one row in the target"):
        watched.run(target_dataset=target, sync=True)
    sent = table(2.0)
    for start in range(0, 600, 200):
        endpoint.predict(sent[start : start + 200])
    watched.run(target_dataset=target, sync=True)
    assert sorted(alerts(watched)) == ["b", "y"]
    (feature,) = dict(points(watched)["y"][0].current_stats.distribution_value.distribution)["features"]
    assert feature["numStats"]["commonStats"]["numNonMissing"] == "600"
    # A second version at the same endpoint is another model's business.
    watched_other = monitor(
        upload(parent_model=model.resource_name, is_default_version=False),
        put(bucket, "training.csv", training),
        model_monitoring_schema=schema(fields=names),
    )
    with pytest.raises(RuntimeError, match="not one row in the target"):
        watched_other.run(target_dataset=target, sync=True)
    endpoint.delete(force=True)
