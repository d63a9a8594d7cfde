"""Batch prediction by the official client: native models, every format, bad rows, what can't be done."""

from __future__ import annotations

import csv
import io
import json
import time

import lightgbm
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from google.api_core import exceptions

IMAGE = "us-docker.pkg.dev/portico/prediction/lightgbm-cpu.4-7:latest"
CITIES = ["Bern", "Rome", "7"]


@pytest.fixture(scope="module")
def booster():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=600), "b": rng.normal(size=600)})
    frame["city"] = pd.Categorical(rng.choice(CITIES, 600), categories=CITIES)
    target = frame["a"] * 2 - frame["b"] + frame["city"].cat.codes * 3 + rng.normal(size=600) * 0.1
    data = lightgbm.Dataset(frame, target)
    return lightgbm.train({"objective": "regression", "verbose": -1, "num_threads": 1}, data, 20)


@pytest.fixture(scope="module")
def model(portico, booster):
    from google.cloud import aiplatform, storage

    aiplatform.init(
        project="test-project", location="us-central1", api_endpoint=portico.url, api_transport="rest"
    )
    made = storage.Client(project="test-project").create_bucket(f"models-{time.time_ns()}")
    made.blob("trees/model.txt").upload_from_string(booster.model_to_string())
    return aiplatform.Model.upload(
        display_name="my trees",
        artifact_uri=f"gs://{made.name}/trees",
        serving_container_image_uri=IMAGE,
        explanation_parameters=aiplatform.explain.ExplanationParameters(
            {"sampled_shapley_attribution": {"path_count": 5}}
        ),
        explanation_metadata=aiplatform.explain.ExplanationMetadata(
            inputs={"a": {}, "b": {}, "city": {}}, outputs={"prediction": {}}
        ),
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The client looks every five seconds; these jobs take a tenth of one."""
    from google.cloud.aiplatform import jobs

    monkeypatch.setattr(jobs, "_JOB_WAIT_TIME", 0.05)


@pytest.fixture
def predict(aiplatform, bucket, model):
    """Runs a job on `data`; the job and the texts of its output files."""

    def run(data, instances="jsonl", predictions="jsonl", **more):
        bucket.blob("in/rows").upload_from_string(data)
        body = {
            "display_name": "job",
            "model": more.pop("model", model.resource_name),
            "input_config": {
                "instances_format": instances,
                "gcs_source": {"uris": more.pop("uris", [f"gs://{bucket.name}/in/rows"])},
            },
            "output_config": {
                "predictions_format": predictions,
                "gcs_destination": {"output_uri_prefix": f"gs://{bucket.name}/out"},
            },
            **more,
        }
        client = aiplatform.BatchPredictionJob._instantiate_client()
        made = client.create_batch_prediction_job(
            parent="projects/test-project/locations/us-central1", batch_prediction_job=body
        )
        job = aiplatform.BatchPredictionJob(made.name)
        job.wait_for_completion()
        return job, files_of(job)

    return run


def files_of(job):
    return {blob.name.rpartition("/")[2]: blob.download_as_bytes() for blob in job.iter_outputs()}


def lines(data: bytes):
    return [json.loads(line) for line in data.splitlines()]


ROWS = [
    {"a": 0.5, "b": -1.0, "city": "Rome"},
    {"a": 1, "b": 2, "city": 7},
    {"a": 1.0, "b": "2", "city": "7"},
    {"a": "1", "b": 2.0, "city": 7.0},
    {"a": None, "b": 0.25, "city": "Paris"},
]


def jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_the_client_predicts_json_lines_and_reads_the_output(aiplatform, bucket, model):
    bucket.blob("rows.jsonl").upload_from_string(jsonl(ROWS))
    job = model.batch_predict(
        job_display_name="five rows",
        gcs_source=f"gs://{bucket.name}/rows.jsonl",
        gcs_destination_prefix=f"gs://{bucket.name}/out",
        labels={"team": "trees"},
        machine_type="n1-standard-2",
        starting_replica_count=1,
        sync=True,
    )
    assert job.state.name == "JOB_STATE_SUCCEEDED"
    assert job.completion_stats.successful_count == 5
    assert job.completion_stats.failed_count == 0
    assert job.start_time <= job.end_time
    shown = job.to_dict()
    assert shown["model"] == model.resource_name and shown["modelVersionId"] == "1"
    assert shown["resourcesConsumed"]["replicaHours"] > 0
    directory = shown["outputInfo"]["gcsOutputDirectory"]
    assert directory.startswith(f"gs://{bucket.name}/out/prediction-my trees-2")
    files = files_of(job)
    assert set(files) == {"prediction.results-00000-of-00001", "prediction.errors_stats-00000-of-00001"}
    assert files["prediction.errors_stats-00000-of-00001"] == b""
    assert [line["instance"] for line in lines(files["prediction.results-00000-of-00001"])] == ROWS

    listed = aiplatform.BatchPredictionJob.list(filter='labels.team="trees" AND state="JOB_STATE_SUCCEEDED"')
    assert job.resource_name in [one.resource_name for one in listed]
    with pytest.raises(exceptions.BadRequest, match="ended already"):
        job.cancel()
    job.delete()
    with pytest.raises(exceptions.NotFound):
        aiplatform.BatchPredictionJob(job.resource_name)
    assert bucket.blob(
        directory.partition(f"{bucket.name}/")[2] + "/prediction.results-00000-of-00001"
    ).exists()


def test_online_and_batch_answer_alike_in_every_format(aiplatform, model, predict):
    endpoint = aiplatform.Endpoint.create(display_name="trees")
    model.deploy(endpoint=endpoint, machine_type="n1-standard-2")
    online = endpoint.predict(instances=ROWS).predictions
    assert online[1] == online[2] == online[3]
    _, files = predict(jsonl(ROWS))
    assert [one["prediction"] for one in lines(files["prediction.results-00000-of-00001"])] == online

    written = io.StringIO()
    writer = csv.DictWriter(written, ["city", "b", "a"])
    writer.writeheader()
    writer.writerows(ROWS)
    _, files = predict(written.getvalue(), "csv", "csv")
    (result,) = files.items()
    assert result[0] == "prediction.results-00000-of-00001.csv"
    table = pd.read_csv(io.BytesIO(result[1]))
    assert list(table) == ["city", "b", "a", "prediction"]
    assert table["prediction"].tolist() == online
    _, files = predict(written.getvalue(), "csv", "jsonl")
    found = lines(files["prediction.results-00000-of-00001"])
    assert [one["prediction"] for one in found] == online
    assert found[4]["instance"] == {"city": "Paris", "b": 0.25, "a": None}

    typed = pa.table({"a": [0.5, 1.0, 1.0, 1.0, None], "b": [-1.0, 2.0, 2.0, 2.0, 0.25],
                      "city": ["Rome", "7", "7", "7", "Paris"]})  # fmt: skip
    sink = io.BytesIO()
    pyarrow.parquet.write_table(typed, sink)
    _, files = predict(sink.getvalue(), "parquet", "parquet")
    (result,) = files.values()
    assert pyarrow.parquet.read_table(io.BytesIO(result)).to_pydict() == {
        **typed.to_pydict(), "prediction": online
    }  # fmt: skip
    endpoint.delete(force=True)


def test_bad_rows_are_written_out_and_counted(predict):
    data = jsonl(ROWS[:2]) + '{"a": "much"}\nnot json\n[1, 2]\n' + jsonl(ROWS[2:])
    job, files = predict(data)
    assert job.completion_stats.successful_count == 5
    assert job.completion_stats.failed_count == 3
    assert [one["instance"] for one in lines(files["prediction.results-00000-of-00001"])] == ROWS
    errors = lines(files["prediction.errors_stats-00000-of-00001"])
    assert [one["instance"] for one in errors] == [{"a": "much"}, "not json", [1, 2]]
    assert "'a'" in errors[0]["error"]["message"] and "row 2" in errors[0]["error"]["message"]
    assert "Row 3 is not JSON" in errors[1]["error"]["message"]
    assert all(one["error"]["code"] == 3 for one in errors)


def test_bad_csv_rows_are_written_out_and_counted(predict):
    data = 'a,b,city\n1,2,Rome\n1,2\nx,2,Rome\n3,4,"He said ""no"", then\nleft"\n'
    job, files = predict(data, "csv", "csv")
    assert (job.completion_stats.successful_count, job.completion_stats.failed_count) == (2, 2)
    table = pd.read_csv(io.BytesIO(files["prediction.results-00000-of-00001.csv"]))
    assert table["city"].tolist() == ["Rome", 'He said "no", then\nleft']
    errors = lines(files["prediction.errors_stats-00000-of-00001"])
    assert sorted(str(one["instance"]) for one in errors) == ["1,2", "{'a': 'x', 'b': 2, 'city': 'Rome'}"]


def test_instance_config_picks_keys_and_fields(predict):
    rows = [{"id": n, "note": "n", **row} for n, row in enumerate(ROWS)]
    _, plain = predict(jsonl(ROWS))
    expected = [one["prediction"] for one in lines(plain["prediction.results-00000-of-00001"])]
    _, files = predict(jsonl(rows), instance_config={"key_field": "id"})
    assert lines(files["prediction.results-00000-of-00001"]) == [
        {"key": n, "prediction": p} for n, p in enumerate(expected)
    ]
    _, files = predict(jsonl(rows), instance_config={"excluded_fields": ["id", "note"]})
    assert lines(files["prediction.results-00000-of-00001"]) == [
        {"instance": row, "id": n, "note": "n", "prediction": p}
        for n, (row, p) in enumerate(zip(ROWS, expected, strict=True))
    ]
    _, files = predict(
        jsonl(rows), instance_config={"instance_type": "array", "included_fields": ["a", "b", "city"]}
    )
    found = lines(files["prediction.results-00000-of-00001"])
    assert [one["instance"] for one in found] == [list(row.values()) for row in ROWS]
    assert [one["prediction"] for one in found] == expected
    _, files = predict(jsonl(rows), "jsonl", "csv", instance_config={"key_field": "id"})
    table = pd.read_csv(io.BytesIO(files["prediction.results-00000-of-00001.csv"]))
    assert list(table) == ["key", "prediction"] and table["prediction"].tolist() == expected
    data = pd.DataFrame(rows).to_csv(index=False)
    _, files = predict(data, "csv", "jsonl", instance_config={"key_field": "id"})
    assert lines(files["prediction.results-00000-of-00001"])[3] == {"key": 3, "prediction": expected[3]}


def test_explanations_add_up_to_the_predictions(predict):
    _, files = predict(jsonl(ROWS) + "[1]\n", generate_explanation=True)
    found = lines(files["explanation.results-00000-of-00001"])
    assert len(found) == 5
    for one in found:
        (attribution,) = one["explanation"]["attributions"]
        total = sum(attribution["featureAttributions"].values()) + attribution["baselineOutputValue"]
        assert total == pytest.approx(one["prediction"])


def test_inputs_are_what_they_were_when_the_job_was_made(aiplatform, bucket, model):
    source = bucket.blob("rows.jsonl")
    source.upload_from_string(jsonl(ROWS))
    job = aiplatform.BatchPredictionJob.submit(
        job_display_name="pinned",
        model_name=f"{model.resource_name}@default",
        gcs_source=f"gs://{bucket.name}/rows.jsonl",
        gcs_destination_prefix=f"gs://{bucket.name}/out/",
    )
    source.upload_from_string(jsonl(ROWS[:1]))
    job.wait_for_completion()
    assert len(lines(files_of(job)["prediction.results-00000-of-00001"])) == 5


def test_a_file_that_cannot_be_read_is_a_partial_failure(bucket, predict):
    bucket.blob("in/broken").upload_from_string(b"PAR1 this is not Parquet")
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pa.table({"a": [1.0], "b": [2.0]}), sink)
    job, files = predict(
        sink.getvalue(), "parquet", "jsonl",
        uris=[f"gs://{bucket.name}/in/broken", f"gs://{bucket.name}/in/rows"],
    )  # fmt: skip
    assert len(lines(files["prediction.results-00000-of-00001"])) == 1
    (failure,) = job.partial_failures
    assert "in/broken cannot be read as parquet" in failure.message
    assert job.completion_stats.incomplete_count == -1


def test_a_job_that_predicts_nothing_fails_with_the_reason(aiplatform, bucket, model):
    bucket.blob("rows.jsonl").upload_from_string("nonsense\n")
    job = aiplatform.BatchPredictionJob.submit(
        job_display_name="nonsense",
        model_name=model.resource_name,
        gcs_source=f"gs://{bucket.name}/rows.jsonl",
        gcs_destination_prefix=f"gs://{bucket.name}/out",
    )
    with pytest.raises(RuntimeError, match="Row 0 is not JSON"):
        job.wait_for_completion()
    assert job.state.name == "JOB_STATE_FAILED" and job.error.code == 9
    assert job.completion_stats.failed_count == 1


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"instances_format": "xml"}, exceptions.BadRequest, "xml"),
        ({"instances_format": "tf-record"}, exceptions.MethodNotImplemented, "tf-record"),
        ({"predictions_format": ""}, exceptions.BadRequest, "predictionsFormat"),
        ({"gcs_source": {"uris": ["gs://no-such-bucket/x"]}}, exceptions.BadRequest, "no-such-bucket"),
        ({"bigquery_source": {"input_uri": "bq://p.d.t"}}, exceptions.BadRequest, "must be bigquery"),
        ({"bigquery_destination": {"output_uri": "bq://p"}}, exceptions.BadRequest, "must be bigquery"),
        ({"gcs_destination": {"output_uri_prefix": "gs://no-such-b/"}}, exceptions.BadRequest, "no-such-b"),
        ({"model": "projects/test-project/locations/us-central1/models/404"}, exceptions.NotFound, "404"),
        ({"model": ""}, exceptions.BadRequest, "Exactly one of model"),
        ({"instance_config": {"instance_type": "tensor"}}, exceptions.BadRequest, "tensor"),
        (
            {"instance_config": {"included_fields": ["a"], "excluded_fields": ["b"]}},
            exceptions.BadRequest,
            "excludedFields",
        ),
        ({"generate_explanation": True, "predictions_format": "csv"}, exceptions.BadRequest, "CSV"),
    ],
)  # fmt: skip
def test_impossible_requests_are_refused(aiplatform, bucket, model, change, error, says):
    bucket.blob("rows.jsonl").upload_from_string(jsonl(ROWS))
    body = {"display_name": "job", "model": model.resource_name}
    source = {"instances_format": "jsonl", "gcs_source": {"uris": [f"gs://{bucket.name}/rows.jsonl"]}}
    sink = {
        "predictions_format": "jsonl",
        "gcs_destination": {"output_uri_prefix": f"gs://{bucket.name}/out"},
    }
    for key, value in change.items():
        place = source if key in ("instances_format", "gcs_source", "bigquery_source") else body
        place = sink if key in ("predictions_format", "gcs_destination", "bigquery_destination") else place
        if key == "bigquery_source":
            del source["gcs_source"]
        if key == "bigquery_destination":
            del sink["gcs_destination"]
        place[key] = value
    body |= {"input_config": source, "output_config": sink}
    client = aiplatform.BatchPredictionJob._instantiate_client()
    with pytest.raises(error, match=says):
        client.create_batch_prediction_job(
            parent="projects/test-project/locations/us-central1", batch_prediction_job=body
        )
