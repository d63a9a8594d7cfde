"""Google's own pipeline components, unchanged, in the environment that their image stands for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.environments import ENVIRONMENTS
from tests.services.aiplatform.kfp_compiled import compiled
from tests.services.aiplatform.pipelines_run import failed, outputs, states
from tests.services.aiplatform.prebuilt_sources import IMAGE, LAUNCHERS
from tests.waiting import until

from portico.errors import InvalidArgument, Unimplemented
from portico.sandbox.installer import Teller
from portico.services.aiplatform.custom.environments import python_of
from portico.services.aiplatform.pipelines.components import images, prebuilt, resources
from portico.services.standard.projects import project_number


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

    def start(name: str, **parameters: Any) -> Any:
        number = bucket.name.rpartition("-")[2]
        job = aiplatform.PipelineJob(
            display_name=name, template_path=compiled(LAUNCHERS, interpreter=googles())[name], enable_caching=False,
            pipeline_root=f"gs://{bucket.name}/root", job_id=f"prebuilt-{name}-{number}", parameter_values=parameters,
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
