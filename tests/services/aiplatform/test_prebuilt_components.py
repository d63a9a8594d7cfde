"""Google's own pipeline components, unchanged, in the environment that their image stands for."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.environments import ENVIRONMENTS
from tests.services.aiplatform.kfp_compiled import compiled
from tests.services.aiplatform.pipelines_run import failed, outputs, states
from tests.services.aiplatform.prebuilt_sources import (
    EVALUATION,
    EVALUATION_DATA,
    FORECASTING,
    IMAGE,
    LAUNCHERS,
)
from tests.services.aiplatform.test_forecasting import as_csv, make_rows
from tests.services.bigquery.test_bigquery import connected
from tests.waiting import until

from portico.errors import InvalidArgument, Unimplemented
from portico.ids import project_number
from portico.sandbox.installer import Teller
from portico.services.aiplatform.custom.environments import python_of
from portico.services.aiplatform.pipelines.components import images, prebuilt, resources


def googles() -> Path:
    """The Python of the components' environment."""
    image = prebuilt.python_of(IMAGE, "image")
    assert image is not None
    return python_of(image, [], ENVIRONMENTS.parent, Teller())


@pytest.fixture
def submit(aiplatform: Any, bucket: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    from google.cloud.aiplatform import pipeline_jobs
    from google.cloud.aiplatform.utils import resource_manager_utils

    monkeypatch.setattr(pipeline_jobs, "_JOB_WAIT_TIME", 0.1)
    monkeypatch.setattr(resource_manager_utils, "get_project_number", lambda project: project_number(project))

    def start(name: str, job_id: str = "first", **parameters: Any) -> Any:
        number = bucket.name.rpartition("-")[2]
        source = EVALUATION if name in ("evaluation", "regression") else LAUNCHERS
        source = EVALUATION_DATA if name.startswith("data_of") else source
        source = FORECASTING if name.startswith("forecast") else source
        job = aiplatform.PipelineJob(
            display_name=name, template_path=compiled(source, interpreter=googles())[name], enable_caching=False,
            pipeline_root=f"gs://{bucket.name}/root", job_id=f"{job_id}-{name}-{number}".replace("_", "-"),
            parameter_values=parameters,
        )  # fmt: skip
        job.submit()
        return job

    return start


def test_they_run_and_tell_what_they_made(submit, aiplatform, bucket, booster):
    bucket.blob("model/model.txt").upload_from_string(booster.model_to_string())
    job = submit("launchers", folder=f"gs://{bucket.name}/model", project=bucket.client.project)
    job.wait()
    said = outputs(job)
    assert said["shout"] == "HELLO"
    assert aiplatform.Model(said["whose"]).display_name == "of a pipeline"
    assert "bigquery/v2/projects" in said["bigquery-query-job"]["gcp_resources"]
    [task] = [one for one in job.task_details if one.task_name == "bigquery-query-job"]
    [table] = task.outputs["destination_table"].artifacts
    assert (table.schema_title, table.metadata["projectId"]) == ("google.BQTable", bucket.client.project)


@pytest.mark.slow
def test_the_job_that_one_started_tells_why_it_failed(submit, bucket):
    said = failed(submit("failing", project=bucket.client.project))
    assert "customJobs/" in said and "the data is bad" in said


@pytest.mark.slow
def test_what_one_started_is_cancelled_with_it(submit, aiplatform, bucket):
    job = submit("waiting", project=bucket.client.project)

    name = 'display_name="waits"'
    [custom] = until(lambda: aiplatform.CustomJob.list(filter=name), "the job that the component starts")
    job.cancel()
    until(lambda: custom.state.name == "JOB_STATE_CANCELLED", "its end")
    until(lambda: states(job).get("custom-training-job") == "CANCELLED", "the end of its task")


@pytest.mark.slow
def test_an_evaluation_is_done_and_imported(submit, aiplatform, bucket, upload):
    model = upload()
    rows = [
        {"instance": {"where": "here" if n % 2 else "there", "y": "yes" if n % 3 else "no"},
         "prediction": {"classes": ["no", "yes"], "scores": [1 - n / 100, n / 100]}}
        for n in range(1, 100)
    ]  # fmt: skip
    bucket.blob("p/prediction.results-00000-of-00001").upload_from_string("\n".join(map(json.dumps, rows)))
    folder = f"gs://{bucket.name}/p"
    submit("evaluation", folder=folder, model=model.resource_name, project=bucket.client.project).wait()
    [found] = model.list_model_evaluations()
    assert found.display_name == "by a pipeline"
    labels, scores = [n % 3 > 0 for n in range(1, 100)], [n / 100 for n in range(1, 100)]
    expected = sum(-math.log(s if yes else 1 - s) for yes, s in zip(labels, scores, strict=True)) / 99
    assert found.metrics["logLoss"] == pytest.approx(expected)
    slices = list(model.api_client.list_model_evaluation_slices(parent=found.resource_name))
    assert {(one.slice_.dimension, one.slice_.value) for one in slices} == {
        ("annotationSpec", "no"), ("annotationSpec", "yes"), ("slice", "here"), ("slice", "there"),
    }  # fmt: skip


@pytest.mark.slow
def test_an_evaluation_of_numbers(submit, bucket):
    rows = [{"instance": {"n": n}, "prediction": {"value": n + (1 if n % 2 else -1)}} for n in range(50)]
    blob = bucket.blob("r/prediction.results-00000-of-00001")
    blob.upload_from_string("\n".join(map(json.dumps, rows)))
    job = submit("regression", folder=f"gs://{bucket.name}/r", project=bucket.client.project)
    job.wait()
    [task] = [one for one in job.task_details if one.task_name == "model-evaluation-regression"]
    [metrics] = task.outputs["evaluation_metrics"].artifacts
    assert (metrics.schema_title, metrics.metadata["rootMeanSquaredError"]) == (
        "google.RegressionMetrics",
        1.0,
    )
    blob.upload_from_string("\n".join(json.dumps({**row, "instance": {}}) for row in rows))
    job = submit("regression", folder=f"gs://{bucket.name}/r", project=bucket.client.project, job_id="again")
    assert "50 of 50 predictions have no truth at instance.n" in failed(job)


@pytest.mark.slow
def test_a_forecasting_model_is_trained_asked_and_evaluated(submit, aiplatform, bucket):
    past, truth, future = make_rows(36), make_rows(39), make_rows(39, ahead=3)
    for row in future[36::39] + future[37::39] + future[38::39]:
        row["visitors"] = ""  # which are not known before either
    for name, rows in (("past", past), ("truth", truth), ("future", future)):
        bucket.blob(f"{name}.csv").upload_from_string(as_csv(rows))
    job = submit("forecasting", folder=f"gs://{bucket.name}", project=bucket.client.project)
    job.wait()
    [of_points, of_quantiles] = [
        task.outputs["evaluation_metrics"].artifacts[0]
        for name in ("model-evaluation-forecasting", "model-evaluation-forecasting-2")
        for task in job.task_details
        if task.task_name == name
    ]
    assert of_points.schema_title == "google.ForecastingMetrics"
    assert of_points.metadata["weightedAbsolutePercentageError"] < 30
    [training] = [one for one in job.task_details if one.task_name == "automl-forecasting-training-job"]
    model = aiplatform.Model(training.outputs["model"].artifacts[0].metadata["resourceName"])
    found = {one.display_name: one for one in model.list_model_evaluations()}["by a pipeline"]
    assert found.gca_resource.metrics_schema_uri.endswith("forecasting_metrics_1.0.0.yaml")
    assert [one["quantile"] for one in found.metrics["quantileMetrics"]] == [0.1, 0.5, 0.9]
    assert found.metrics["meanAbsoluteError"] == of_quantiles.metadata["meanAbsoluteError"]
    assert found.metrics["meanAbsoluteError"] == pytest.approx(of_points.metadata["meanAbsoluteError"])


@pytest.mark.slow
def test_forecasts_of_quantiles_are_measured_by_the_one_that_is_named(submit, bucket):
    rows = [
        {"instance": {"n": n}, "prediction": {"value": 0.0, "quantile_predictions": [n - 2, n + 1]}}
        for n in range(1, 51)
    ]
    blob = bucket.blob("q/prediction.results-00000-of-00001")
    blob.upload_from_string("\n".join(map(json.dumps, rows)))
    asked = {"folder": f"gs://{bucket.name}/q", "project": bucket.client.project, "quantiles": [0.2, 0.8]}
    job = submit("forecasts", point=0.2, **asked)
    job.wait()
    [task] = [one for one in job.task_details if one.task_name == "model-evaluation-forecasting"]
    [metrics] = task.outputs["evaluation_metrics"].artifacts
    assert metrics.metadata["rootMeanSquaredError"] == 2.0
    [whole] = json.loads(bucket.blob(metrics.uri.partition(f"{bucket.name}/")[2]).download_as_text())[
        "slicedMetrics"
    ]
    [low, high] = whole["metrics"]["forecasting"]["quantileMetrics"]
    assert (low["observedQuantile"], high["observedQuantile"]) == (0.0, 1.0)
    assert low["scaledPinballLoss"] == pytest.approx(0.2 * 2) and high["scaledPinballLoss"] == pytest.approx(
        0.2
    )
    assert "must be one of forecasting_quantiles" in failed(submit("forecasts", "wrong", point=0.5, **asked))


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_instances_of_files_are_sampled_and_lose_their_target(submit, bucket, form):
    rows = [{"a": n, "b": f"w{n}", "y": n % 2} for n in range(50)]
    lines = [json.dumps(row) for row in rows]
    if form == "csv":
        lines = ["a,b,y", *(f"{row['a']},{row['b']},{row['y']}" for row in rows)]
    bucket.blob(f"in.{form}").upload_from_string("\n".join(lines) + "\n")
    where = {"folder": f"gs://{bucket.name}/out", "project": bucket.client.project}
    job = submit("data_of_files", files=[f"gs://{bucket.name}/in.{form}"], form=form, **where)
    job.wait()
    said = outputs(job)
    [sampled] = said["evaluation-data-sampler"]["gcs_output_directory"]
    [bare] = said["target-field-data-remover"]["gcs_output_directory"]
    names = [uri.removeprefix(f"gs://{bucket.name}/") for uri in (sampled, bare)]
    kept, left = (bucket.blob(name).download_as_text().splitlines() for name in names)
    if form == "csv":
        assert kept[0].replace('"', "") == "a,b,y" and left[0].replace('"', "") == "a,b"
        assert (len(kept), len(left)) == (21, 21)
    else:
        assert [json.loads(line) for line in left] == [
            {key: value for key, value in json.loads(line).items() if key != "y"} for line in kept
        ]
        assert len(kept) == 20 and all(json.loads(line) in rows for line in kept)


def test_instances_of_a_table_are_sampled_and_lose_their_target(submit, bucket, portico):
    client = connected(portico)
    client.create_dataset("to_evaluate", exists_ok=True)
    client.query(
        "CREATE OR REPLACE TABLE to_evaluate.rows AS SELECT n AS a, CAST(n AS NUMERIC) AS b, DATE '2024-01-01' AS d, "
        "MOD(n, 2) AS y FROM UNNEST(GENERATE_ARRAY(1, 50)) AS n"
    ).result()
    project = bucket.client.project
    job = submit("data_of_table", table=f"bq://{client.project}.to_evaluate.rows", project=project)
    job.wait()
    table = outputs(job)["target-field-data-remover"]["bigquery_output_table"]
    found = client.get_table(table.removeprefix("bq://"))
    assert [(one.name, one.field_type) for one in found.schema] == [
        ("a", "INTEGER"),
        ("b", "NUMERIC"),
        ("d", "DATE"),
    ]
    assert found.num_rows == 20


def test_an_image_is_the_environment_of_its_tag():
    assert prebuilt.python_of("python:3.11", "image") is None
    for uri in (IMAGE, IMAGE.replace("gcr.io/ml-pipeline", "us-docker.pkg.dev/ml-pipeline/gcpc")):
        found = images.base_of(uri).python
        assert found is not None and "google-cloud-pipeline-components==2.22.0" in found.common
    with pytest.raises(InvalidArgument, match="'dev' is no version"):
        images.base_of(IMAGE.replace("2.22.0", "dev"))


def test_a_component_that_waits_holds_no_core(tmp_path):
    assert resources.asks_of({"image": IMAGE}, tmp_path).cores == 0
    assert resources.asks_of({"image": "python:3.11"}, tmp_path).cores == 1


def test_what_only_google_has_is_refused_by_name():
    with pytest.raises(Unimplemented, match="Dataflow is not built"):
        prebuilt.require_built("google_cloud_pipeline_components.container.v1.dataflow.dataflow_launcher")
    for uri, words in (
        (
            "us-docker.pkg.dev/vertex-ai/automl-tabular/kfp-v2-base:20251102_1045",
            "AutoMLTabularTrainingJobRunOp",
        ),
        ("gcr.io/ml-pipeline/llm-model-evaluation:v0.2", "model evaluation"),
        ("us-docker.pkg.dev/vertex-ai-restricted/starryn/trainer:1", "forecasting"),
    ):
        with pytest.raises(Unimplemented, match=words):
            images.base_of(uri)
