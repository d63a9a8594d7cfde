"""Model monitors of v1beta1 by the official client: jobs compare real data, and what they found is searched."""

from __future__ import annotations

import json
import re
import struct
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import requests
from google.api_core import exceptions
from google.protobuf import empty_pb2, json_format, timestamp_pb2, unknown_fields
from vertexai.resources.preview import ml_monitoring
from vertexai.resources.preview.ml_monitoring import model_monitors, spec

from .monitored import alerts, csv_of, drift, monitor, points, put, rows, schema


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    """The client looks every 5 s whether a job has ended."""
    monkeypatch.setattr(model_monitors, "_JOB_WAIT_TIME", 0.05)


@pytest.fixture(scope="module")
def data():
    return {
        "training": csv_of(rows(0, 4000)),
        "same": csv_of(rows(1, 2000)),
        "moved": csv_of(rows(2, 2000, shift=1.5, share=0.9)),
    }


def test_a_job_finds_what_moved_and_nothing_else(upload, bucket, data):
    watched = monitor(upload(), put(bucket, "training.csv", data["training"]))
    same = watched.run(target_dataset=put(bucket, "same.csv", data["same"]), sync=True)
    assert same.state.name == "JOB_STATE_SUCCEEDED"
    assert alerts(watched) == []
    moved = watched.run(target_dataset=put(bucket, "moved.csv", data["moved"]), sync=True)
    assert sorted(alerts(watched)) == ["a", "c"]
    found = points(watched)
    assert set(found) == {"a", "b", "c"}
    assert [point.has_anomaly for point in found["a"]] == [True, False]
    assert [point.model_monitoring_job for point in found["a"]] == [moved.resource_name, same.resource_name]
    assert {name: series[0].algorithm for name, series in found.items()} == {
        "a": "jensen_shannon_divergence",
        "b": "jensen_shannon_divergence",
        "c": "l_infinity",
    }
    assert found["c"][0].current_stats.distribution_value.distribution_deviation == pytest.approx(
        0.4, abs=0.05
    )
    watched.delete(force=True)


def test_thresholds_metrics_and_fields_are_the_users(upload, bucket, data):
    watched = monitor(
        upload(),
        put(bucket, "training.csv", data["training"]),
        drift(
            features=["a", "c"],
            categorical_metric_type="jensen_shannon_divergence",
            default_categorical_alert_threshold=0.5,
            feature_alert_thresholds={"a": 0.99},
        ),
    )
    target = put(bucket, "moved.csv", data["moved"])
    watched.run(target_dataset=target, sync=True)
    found = points(watched)
    assert set(found) == {"a", "c"} and alerts(watched) == []
    assert (found["a"][0].threshold_value, found["c"][0].threshold_value) == (0.99, 0.5)
    # By hand: the share of x goes from a half to nine tenths.
    p, q = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    middle = (p + q) / 2
    divergence = ((p * np.log2(p / middle)).sum() + (q * np.log2(q / middle)).sum()) / 2
    deviation = found["c"][0].current_stats.distribution_value.distribution_deviation
    assert found["c"][0].algorithm == "jensen_shannon_divergence"
    assert deviation == pytest.approx(divergence, abs=0.03)
    # A job's own objective, baseline and id go before the monitor's.
    job = watched.run(
        target_dataset=target,
        baseline_dataset=target,
        tabular_objective_spec=drift(features=["b"]),
        model_monitoring_job_id="my-own",
        display_name="mine",
        sync=True,
    )
    assert job.resource_name == f"{watched.resource_name}/modelMonitoringJobs/my-own"
    point = points(watched, model_monitoring_job_name=job.resource_name)["b"][0]
    assert point.current_stats.distribution_value.distribution_deviation == 0.0
    with pytest.raises(exceptions.Conflict):
        watched.run(target_dataset=target, model_monitoring_job_id="my-own", sync=True)


def test_what_was_found_is_searched_by_every_filter(upload, bucket, data):
    watched = monitor(upload(), put(bucket, "training.csv", data["training"]))
    before = timestamp_pb2.Timestamp(seconds=1)
    targets = {name: put(bucket, f"{name}.csv", data[name]) for name in ("same", "moved")}
    jobs = [watched.run(target_dataset=target, sync=True) for target in targets.values()]
    assert [job.name for job in watched.list_jobs()] == [job.resource_name for job in reversed(jobs)]
    assert set(points(watched, stats_name="a")) == {"a"}
    assert set(points(watched, algorithm="l_infinity")) == {"c"}
    assert points(watched, objective_type="prediction-output-drift") == {}
    assert set(points(watched, objective_type="raw-feature-drift")) == {"a", "b", "c"}
    only = points(watched, model_monitoring_job_name=jobs[0].resource_name)
    assert {name: len(found) for name, found in only.items()} == {"a": 1, "b": 1, "c": 1}
    assert points(watched, end_time=before) == {} and alerts(watched, end_time=before) == []
    assert set(points(watched, start_time=before)) == {"a", "b", "c"}
    assert alerts(watched, stats_name="c") == ["c"]
    assert alerts(watched, model_monitoring_job_name=jobs[0].resource_name) == []
    assert alerts(watched, objective_type="feature-attribution") == []
    assert watched.search_alerts(page_size=1)["total_number_alerts"] == 2
    with pytest.raises(exceptions.BadRequest, match="raw-feature-drift"):
        watched.search_metrics(objective_type="skew")
    names, token, pages = [], "", 0
    while pages == 0 or token:
        answer = watched.api_client.search_model_monitoring_stats(
            request={"model_monitor": watched.resource_name, "page_size": 2, "page_token": token}
        )._response
        names += [s.tabular_stats.stats_name for s in answer.monitoring_stats]
        token, pages = answer.next_page_token, pages + 1
    assert names == ["a", "b", "c"] and pages == 2
    every = [
        (alert.stats_name, alert.anomaly.tabular_anomaly.condition.threshold)
        for alert in watched.api_client.search_model_monitoring_alerts(
            request={"model_monitor": watched.resource_name, "page_size": 1}
        )
    ]
    assert sorted(every) == [("a", 0.1), ("c", 0.1)]
    watched.delete_model_monitoring_job(jobs[1].resource_name)
    assert alerts(watched) == [] and len(points(watched)["a"]) == 1
    watched.delete(force=True)
    with pytest.raises(exceptions.NotFound):
        ml_monitoring.ModelMonitor(watched.resource_name)


def test_a_distribution_counts_every_row(upload, bucket):
    cells = [{"a": i % 10, "b": "" if i % 4 == 0 else 1.5, "c": "xyz"[i % 3]} for i in range(1200)]
    watched = monitor(upload(), put(bucket, "training.csv", csv_of(cells)))
    more = [*cells, {"a": 99, "b": 1.5, "c": "new"}]
    watched.run(target_dataset=put(bucket, "target.csv", csv_of(more)), sync=True)
    found = {
        name: json_format.MessageToDict(series[0].current_stats.distribution_value._pb)["distribution"]
        for name, series in points(watched).items()
    }
    (a,) = found["a"]["features"]
    buckets = a["numStats"]["histograms"][0]["buckets"]
    assert sum(bucket["sampleCount"] for bucket in buckets) == 1201
    assert (buckets[-1]["highValue"], buckets[-1]["sampleCount"]) == ("Infinity", 1)
    (b,) = found["b"]["features"]
    assert b["numStats"]["commonStats"]["numMissing"] == "300"
    (c,) = found["c"]["features"]
    assert c["stringStats"]["topValues"] == [
        *({"value": name, "frequency": 400} for name in "xyz"),
        {"value": "new", "frequency": 1},
    ]


def fields_of(data: bytes) -> dict[int, list[Any]]:
    """A protobuf message's fields by number, read by protobuf itself; messages in it are bytes."""
    message = empty_pb2.Empty.FromString(data)
    found: dict[int, list[Any]] = {}
    for one in unknown_fields.UnknownFieldSet(message):
        found.setdefault(one.field_number, []).append(one.data)
    return found


def test_what_was_found_is_written_where_the_client_looks_for_it(upload, bucket, data):
    output = spec.OutputSpec(gcs_base_dir=f"gs://{bucket.name}/found/")
    watched = monitor(upload(), put(bucket, "training.csv", data["training"]), output_spec=output)
    job = watched.run(target_dataset=put(bucket, "moved.csv", data["moved"]), sync=True)
    told = job._gca_resource.model_monitoring_spec.output_spec.gcs_base_directory.output_uri_prefix
    paths = model_monitors._feature_drift_stats_output_path(told, job.name)
    prefix = f"gs://{bucket.name}/"
    sides = [bucket.blob(path.removeprefix(prefix)).download_as_bytes() for path in paths]
    for side, rows_of in zip(sides, (4000, 2000), strict=True):
        dataset = fields_of(fields_of(side)[1][0])
        assert dataset[2] == [rows_of]
        features = {fields_of(f)[8][0][2:].decode(): fields_of(f) for f in dataset[3]}
        assert features.keys() == {"a", "b", "c"} and features["c"][2] == [2]  # STRING
        histogram = fields_of(fields_of(features["a"][3][0])[8][0])
        counts = [struct.unpack("<d", struct.pack("<Q", fields_of(b)[4][0]))[0] for b in histogram[3]]
        assert sum(counts) == rows_of
    uri = model_monitors._feature_drift_anomalies_output_path(told, job.name)
    text = bucket.blob(uri.removeprefix(prefix)).download_as_text()
    assert text.count("anomaly_info {") == 2 and 'key: "a"' in text and "COMPARATOR_L_INFTY_HIGH" in text
    found = watched.search_alerts()["model_monitoring_alerts"]
    assert {alert.anomaly.tabular_anomaly.anomaly_uri for alert in found} == {uri}


def test_json_lines_windows_and_lists(upload, bucket):
    """Rows of the target's interval only; a list's elements count as values; wildcards name files."""
    fields = schema(fields={"a": "float", "tags": "string"})
    fields.feature_fields[1].repeated = True

    def lines(day: int, shift: float, tag: str) -> str:
        return "".join(
            json.dumps({"a": row["a"], "tags": [tag, "z"], "at": f"2024-05-{day:02d}T{i % 24:02d}:00:00Z"})
            + "\n"
            for i, row in enumerate(rows(day, 600, shift))
        )

    watched = monitor(
        upload(), put(bucket, "training.jsonl", lines(1, 0.0, "x")), model_monitoring_schema=fields
    )
    put(bucket, "day/2.jsonl", lines(2, 0.0, "x"))
    put(bucket, "day/3.jsonl", lines(3, 3.0, "y"))
    moments = [timestamp_pb2.Timestamp(seconds=1714608000 + day * 86400) for day in range(3)]  # from 2 May
    found = []
    for start, end in pairwise(moments):
        target = spec.MonitoringInput(
            gcs_uri=f"gs://{bucket.name}/day/*.jsonl",
            data_format="jsonl",
            timestamp_field="at",
            start_time=start,
            end_time=end,
        )
        job = watched.run(target_dataset=target, sync=True)
        found.append(alerts(watched, model_monitoring_job_name=job.resource_name))
    assert found == [[], ["a", "tags"]]
    newest = points(watched)["tags"][0].current_stats.distribution_value
    assert newest.distribution_deviation == pytest.approx(0.5)  # half of all tags were x, and half are y
    window = job._gca_resource.job_execution_detail.target_datasets[0]
    assert window.location.endswith("day/*.jsonl") and window.time_range.start_time == moments[1]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("x,y\n1,2\n", "no column 'a' in the target"),
        ("a,b,c\n", "not one row in the target"),
        ("a,a,c\n1,2,x\n", "the column name 'a' stands twice"),
        (None, "nothing.csv"),
    ],
)
def test_bad_data_fail_the_job_and_say_what_is_wrong(upload, bucket, data, target, message):
    watched = monitor(upload(), put(bucket, "training.csv", data["training"]))
    if target is None:
        given = spec.MonitoringInput(gcs_uri=f"gs://{bucket.name}/nothing.csv", data_format="csv")
    else:
        given = put(bucket, "target.csv", target)
    with pytest.raises(RuntimeError, match="Job failed"):
        watched.run(target_dataset=given, sync=True)
    (job,) = watched.list_jobs()
    assert job.state.name == "JOB_STATE_FAILED" and job.job_execution_detail.error.code in (3, 9)
    assert re.search(message, job.job_execution_detail.error.message)
    assert points(watched) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: {"a": row["a"], "b": row["b"]}, "there is no column 'c' in the target .*csv"),
        (
            lambda row: row | {"b": "?"},
            "column 'b' of the target .* holds values of another type .* numeric field",
        ),
        (lambda row: row | {"c": ""}, "column 'c' of the target .* holds no value in 500 rows"),
        (lambda row: row | {"a": ""}, "column 'a' of the target .* holds no value in 500 rows"),
    ],
)
def test_what_cannot_be_compared_is_an_anomaly_and_the_rest_is_compared(
    upload, bucket, data, change, message
):
    watched = monitor(upload(), put(bucket, "training.csv", data["training"]))
    target = csv_of([change(row) for row in rows(3, 500)])
    job = watched.run(target_dataset=put(bucket, "target.csv", target), sync=True)
    assert job.state.name == "JOB_STATE_SUCCEEDED"
    [alert] = watched.search_alerts()["model_monitoring_alerts"]
    assert re.search(message, alert.anomaly.tabular_anomaly.summary)
    found = points(watched)
    assert set(found) == {"a", "b", "c"}
    gone = found[alert.stats_name][0].current_stats.distribution_value
    assert gone.distribution_deviation == 1.0
    # The same data on both sides: what is empty on both did not move; what neither has still can't be compared.
    again = watched.run(
        target_dataset=spec.MonitoringInput(gcs_uri=f"gs://{bucket.name}/target.csv", data_format="csv"),
        baseline_dataset=spec.MonitoringInput(gcs_uri=f"gs://{bucket.name}/target.csv", data_format="csv"),
        sync=True,
    )
    left = alerts(watched, model_monitoring_job_name=again.resource_name)
    assert left == ([] if "holds no value" in message else [alert.stats_name])


def test_a_column_that_the_baseline_has_not(upload, bucket, data):
    holes = csv_of([row | {"a": ""} for row in rows(4, 500)])
    watched = monitor(upload(), put(bucket, "training.csv", holes))
    watched.run(target_dataset=put(bucket, "moved.csv", data["moved"]), sync=True)
    found = {
        a.stats_name: a.anomaly.tabular_anomaly.summary
        for a in watched.search_alerts()["model_monitoring_alerts"]
    }
    assert set(found) == {"a", "c"} and "of the baseline" in found["a"]


def test_one_objective_may_fail_where_another_does_not(upload, bucket, data):
    """LightGBM's own model answers for the baseline what the data lack; it can't where they are no numbers."""
    fields = schema(outputs={"y": "float"})
    both = spec.TabularObjective(
        feature_drift_spec=spec.DataDriftSpec(features=["a"]),
        prediction_output_drift_spec=spec.DataDriftSpec(),
    )
    watched = monitor(
        upload(), put(bucket, "training.csv", data["training"]), both, model_monitoring_schema=fields
    )
    job = watched.run(target_dataset=put(bucket, "same.csv", data["same"]), sync=True)
    assert job.state.name == "JOB_STATE_PARTIALLY_SUCCEEDED"
    status = job._gca_resource.job_execution_detail.objective_status
    assert status["raw-feature-drift"].code == 0
    failed = status["prediction-output-drift"]
    assert failed.code == 9 and "no column 'y'" in failed.message and "the feature 'c'" in failed.message
    assert set(points(watched)) == {"a"}


def test_update_changes_what_the_next_job_does(upload, bucket, data):
    watched = monitor(upload(), put(bucket, "training.csv", data["training"]))
    watched.update(display_name="other", tabular_objective_spec=drift(features=["b"]))
    assert watched.display_name == "other"
    assert [field.name for field in watched.get_schema().feature_fields] == ["a", "b", "c"]
    watched.run(target_dataset=put(bucket, "moved.csv", data["moved"]), sync=True)
    assert set(points(watched)) == {"b"}
    found = ml_monitoring.ModelMonitor.list(filter='display_name="other"')
    assert watched.resource_name in [one.resource_name for one in found]
    with pytest.raises(exceptions.BadRequest, match="featureAlertConditions"):
        watched.update(tabular_objective_spec=drift(feature_alert_thresholds={"zz": 0.1}))


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"modelMonitoringTarget": {}}, 400, "modelMonitoringTarget.vertexModel.model"),
        ({"modelMonitoringSchema": {}}, 400, "featureFields"),
        ({"modelMonitoringSchema": {"featureFields": [{"name": "a", "dataType": "int"}]}}, 400, "dataType"),
        (
            {"modelMonitoringSchema": {"featureFields": [{"name": "a", "dataType": "float"}] * 2}},
            400,
            "'a' is given twice",
        ),
        (
            {"tabularObjective": {"featureDriftSpec": {"features": ["z"]}}},
            400,
            "'z' is not in the monitoring schema",
        ),
        ({"tabularObjective": {"featureDriftSpec": {"numericMetricType": "psi"}}}, 400, "numericMetricType"),
        (
            {"tabularObjective": {"featureDriftSpec": {"defaultNumericAlertCondition": {"threshold": 2}}}},
            400,
            "threshold 2",
        ),
        ({"tabularObjective": {"predictionOutputDriftSpec": {}}}, 400, "predictionFields"),
        ({"tabularObjective": {"featureAttributionSpec": {}}}, 501, "featureAttributionSpec"),
        ({"trainingDataset": {}}, 200, ""),
        ({"trainingDataset": {"columnizedDataset": {}}}, 400, "vertexDataset, gcsSource, bigquerySource"),
        (
            {
                "trainingDataset": {
                    "columnizedDataset": {"bigquerySource": {"query": "SELECT 1", "tableUri": "bq://a"}}
                }
            },
            400,
            "either tableUri or query",
        ),
        (
            {
                "trainingDataset": {
                    "columnizedDataset": {"gcsSource": {"gcsUri": "gs://b/x", "format": "TF_RECORD"}}
                }
            },
            501,
            "TFRecord",
        ),
        (
            {
                "trainingDataset": {
                    "columnizedDataset": {"gcsSource": {"gcsUri": "gs://b/x.csv"}},
                    "timeOffset": {"window": "1d"},
                }
            },
            400,
            "timestampField",
        ),
        *(
            (
                {
                    "trainingDataset": {
                        "columnizedDataset": {"gcsSource": {"gcsUri": "gs://b/x.csv"}, "timestampField": "t"},
                        "timeOffset": {"window": window},
                    }
                },
                400,
                "2w, 1d, 6h",
            )
            for window in ("5m", "0d", "99999w")
        ),
        ({"notificationSpec": {"emailConfig": {"userEmails": ["nobody"]}}}, 400, "no mail address"),
        ({"outputSpec": {"gcsBaseDirectory": {"outputUriPrefix": "/tmp"}}}, 400, "outputUriPrefix"),
    ],
)
def test_bad_input_names_the_field(portico, upload, change, status, message):
    model = upload()
    body = {
        "displayName": "bad",
        "modelMonitoringTarget": {"vertexModel": {"model": model.resource_name}},
        "modelMonitoringSchema": {"featureFields": [{"name": "a", "dataType": "float"}]},
    } | change
    location = model.resource_name.rpartition("/models")[0]
    answer = requests.post(f"{portico.url}/v1beta1/{location}/modelMonitors", json=body, timeout=240)
    assert answer.status_code == status, answer.text
    assert message in answer.text


def test_a_job_needs_a_baseline_an_objective_and_an_endpoint_that_logs(aiplatform, upload, bucket, data):
    model = upload()
    target = put(bucket, "same.csv", data["same"])
    watched = monitor(model)
    with pytest.raises(exceptions.BadRequest, match="baselineDataset"):
        watched.run(target_dataset=target, sync=True)
    silent = aiplatform.Endpoint.create(display_name="silent")
    with pytest.raises(exceptions.BadRequest, match="does not log"):
        watched.run(
            target_dataset=spec.MonitoringInput(endpoints=[silent.resource_name]),
            baseline_dataset=target,
            sync=True,
        )
    with pytest.raises(exceptions.BadRequest, match="no times"):
        watched.run(
            target_dataset=spec.MonitoringInput(
                batch_prediction_job=f"{model.resource_name.rpartition('/models')[0]}/batchPredictionJobs/1",
                window="1d",
            ),
            baseline_dataset=target,
            sync=True,
        )
    assert watched.list_jobs() == []
    silent.delete()
