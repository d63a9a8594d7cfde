"""Pipeline jobs as resources: what is asked of them, their states, their end; by the official client."""

from __future__ import annotations

import re

import pytest
import yaml
from google.api_core import exceptions
from google.cloud.aiplatform_v1beta1 import PipelineServiceClient
from tests import waiting
from tests.services.aiplatform.kfp_compiled import compiled
from tests.services.aiplatform.kfp_sources import CONSTRUCTS
from tests.services.aiplatform.pipelines_run import failed, outputs, states

PARENT = "projects/test-project/locations/us-central1"


def on_resource(name):
    """The configuration of a run whose tasks are on a persistent resource."""
    detail = {"persistent_resource_name": f"{PARENT}/persistentResources/{name}"}
    return {"default_runtime": {"persistent_resource_runtime_detail": detail}}


@pytest.fixture
def client(portico):
    """The v1beta1 client."""
    return PipelineServiceClient(client_options={"api_endpoint": portico.url}, transport="rest")


def job_of(bucket, name="chain", **more):
    with open(compiled(CONSTRUCTS)[name]) as file:
        spec = yaml.safe_load(file)
    config = {"gcs_output_directory": f"gs://{bucket.name}/r", **more.pop("runtime_config", {})}
    return {"display_name": "d", "pipeline_spec": spec, "runtime_config": config, **more}


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"pipeline_spec": {}}, exceptions.BadRequest, "pipelineSpec is missing"),
        ({"runtime_config": {"gcs_output_directory": "/tmp/x"}}, exceptions.BadRequest, "gcsOutputDirectory"),
        ({"runtime_config": {"parameter_values": {"y": 1}}}, exceptions.BadRequest, "no parameter of the"),
        ({"runtime_config": {"parameter_values": {"x": "1"}}}, exceptions.BadRequest, "must be an integer"),
        ({"runtime_config": {"input_artifacts": {"d": {"artifact_id": "1"}}}}, exceptions.BadRequest, "no input"),
        ({"encryption_spec": {"kms_key_name": "k"}}, exceptions.MethodNotImplemented, "encryptionSpec"),
        ({"runtime_config": on_resource("nowhere")}, exceptions.BadRequest, "PersistentResource .*/nowhere' does"),
        ({"original_pipeline_job_id": 7}, exceptions.BadRequest, "no pipeline job whose id is 7"),
    ],
)  # fmt: skip
def test_bad_requests_say_what_to_change(client, bucket, change, error, words):
    with pytest.raises(error, match=words):
        client.create_pipeline_job(parent=PARENT, pipeline_job=job_of(bucket) | change if "pipeline_spec" in change
                                   else job_of(bucket, **change))  # fmt: skip


def test_its_tasks_run_on_a_persistent_resource(aiplatform, client, bucket):
    from google.cloud.aiplatform.persistent_resource import PersistentResource

    pool = {"machine_spec": {"machine_type": "n1-standard-4"}, "replica_count": 1}
    resource = PersistentResource.create("pipelines", [pool])
    made = client.create_pipeline_job(
        parent=PARENT, pipeline_job=job_of(bucket, runtime_config=on_resource("pipelines"))
    )

    def ended():
        found = client.get_pipeline_job(name=made.name)
        return found if found.end_time else None

    found = waiting.until(ended, "the end of the run")
    assert found.state.name == "PIPELINE_STATE_SUCCEEDED"
    told = found.runtime_config.default_runtime.persistent_resource_runtime_detail
    assert told.persistent_resource_name.endswith("/persistentResources/pipelines")
    resource.delete()


def test_an_id_is_chosen_or_made(client, bucket):
    for chosen in ("Big", "1a", "a_b", "a" * 129):
        with pytest.raises(exceptions.BadRequest, match="pipelineJobId"):
            client.create_pipeline_job(parent=PARENT, pipeline_job=job_of(bucket), pipeline_job_id=chosen)
    made = client.create_pipeline_job(parent=PARENT, pipeline_job=job_of(bucket))
    assert made.name.startswith(f"{PARENT}/pipelineJobs/a-chain-")
    with pytest.raises(exceptions.Conflict):
        client.create_pipeline_job(
            parent=PARENT, pipeline_job=job_of(bucket), pipeline_job_id=made.name.rpartition("/")[2]
        )


def test_what_a_job_shows(submit_pipeline, aiplatform, bucket):
    job = submit_pipeline("chain", labels={"team": "a"}, parameter_values={"x": 2})
    created = job.gca_resource
    assert created.job_detail.pipeline_run_context.schema_title == "system.PipelineRun"
    job.wait()
    got = aiplatform.PipelineJob.get(job.resource_name)
    assert (
        got.pipeline_spec["pipelineInfo"]["name"] == "a-chain"
        and got.runtime_config.parameter_values["x"] == 2
    )
    resource = got.gca_resource
    assert resource.labels["team"] == "a" and resource.start_time <= resource.end_time
    assert re.fullmatch(r"\d{12}-compute@developer\.gserviceaccount\.com", resource.service_account)
    tasks = {task.task_unique_name: task for task in got.task_details}
    assert set(tasks) == {"", "add", "add-2"}
    assert tasks["add"].parent_task_id == tasks[""].task_id and tasks[""].task_name == job.job_id
    history = [status.state.name for status in tasks["add-2"].pipeline_task_status]
    assert history == ["PENDING", "RUNNING", "SUCCEEDED"]
    assert "/customJobs/" in tasks["add"].executor_detail.container_detail.main_job


def test_lists(submit_pipeline, aiplatform):
    job = submit_pipeline("chain", labels={"listed": "yes"})
    job.wait()
    for asked in (
        'labels.listed="yes"',
        'display_name="chain" AND pipeline_name="a-chain" AND labels.listed="yes"',
    ):
        [found] = aiplatform.PipelineJob.list(filter=asked)
        assert found.resource_name == job.resource_name and found.pipeline_spec
    [simple] = aiplatform.PipelineJob.list(filter='labels.listed="yes"', enable_simple_view=True)
    assert "root" not in (simple.gca_resource.pipeline_spec or {})
    assert simple.gca_resource.job_detail.pipeline_context.name
    assert simple.state.name == "PIPELINE_STATE_SUCCEEDED"
    assert aiplatform.PipelineJob.list(filter='pipeline_name="none"') == []


def test_a_cancelled_job_ends_with_all_its_tasks(submit_pipeline):
    job = submit_pipeline("slow")
    waiting.until(lambda: job.state and reached(job, say="SUCCEEDED", wait="RUNNING"), "the task runs")
    with pytest.raises(exceptions.BadRequest, match="cancel it first"):
        job.api_client.delete_pipeline_job(name=job.resource_name)
    job.cancel()
    waiting.until(lambda: job.state.name == "PIPELINE_STATE_CANCELLED", "it is cancelled")
    found = states(job)
    assert found["wait"] == "CANCELLED" and found["say-2"] == "NOT_TRIGGERED" and found["say"] == "SUCCEEDED"
    job.delete()
    with pytest.raises(exceptions.NotFound):
        job.api_client.get_pipeline_job(name=job.resource_name)


def test_batches(submit_pipeline, aiplatform, bucket, client):
    names = []
    for number in range(2):
        made = client.create_pipeline_job(
            parent=PARENT,
            pipeline_job=job_of(bucket, "slow"),
            pipeline_job_id=f"batch-{number}-{bucket.name[5:]}",
        )
        names.append(made.name)
    with pytest.raises(exceptions.NotFound):
        client.batch_cancel_pipeline_jobs(parent=PARENT, names=[names[0], f"{PARENT}/pipelineJobs/none"])
    cancelled = client.batch_cancel_pipeline_jobs(parent=PARENT, names=names).result()
    assert [job.name for job in cancelled.pipeline_jobs] == names
    for name in names:
        waiting.until(lambda name=name: client.get_pipeline_job(name=name).state == 7, "it is cancelled")
    deleted = client.batch_delete_pipeline_jobs(parent=PARENT, names=names).result()
    assert [job.name for job in deleted.pipeline_jobs] == names
    with pytest.raises(exceptions.NotFound):
        client.get_pipeline_job(name=names[0])


def test_fail_fast_begins_nothing_more(submit_pipeline):
    job = submit_pipeline("two_ways", failure_policy="fast")
    failed(job)
    found = states(job)
    assert found["fail"] == "FAILED" and found["say-2"] in ("NOT_TRIGGERED", "SUCCEEDED")


def test_a_rerun_does_not_repeat_what_is_done(submit_pipeline, client, bucket):
    job = submit_pipeline("two_ways")
    failed(job)
    original = client.get_pipeline_job(name=job.resource_name)
    configs = [
        {
            "task_id": task.task_id,
            "task_name": task.task_unique_name,
            "skip_task": task.state.name == "SUCCEEDED",
        }
        for task in original.job_detail.task_details
    ]
    number = int(original.labels["vertex-ai-pipelines-run-billing-id"])
    again = job_of(bucket, "two_ways", original_pipeline_job_id=number, pipeline_task_rerun_configs=configs)
    made = client.create_pipeline_job(parent=PARENT, pipeline_job=again)
    waiting.until(lambda: client.get_pipeline_job(name=made.name).end_time, "the rerun ends")
    found = client.get_pipeline_job(name=made.name)
    state = {task.task_name: task.state.name for task in found.job_detail.task_details}
    assert state["say"] == state["say-2"] == "SKIPPED" and state["fail"] == "FAILED"


def test_the_preview_of_the_sdk_reruns(submit_pipeline, aiplatform, bucket, monkeypatch):
    from google.cloud.aiplatform.preview.pipelinejob import pipeline_jobs

    first = submit_pipeline("two_ways")
    failed(first)
    job = pipeline_jobs._PipelineJob(
        display_name="again",
        template_path=compiled(CONSTRUCTS)["two_ways"],
        pipeline_root=f"gs://{bucket.name}/root",
    )
    job.rerun(first.resource_name, pipeline_task_rerun_configs=[], job_id=f"{first.job_id}-2")
    again = aiplatform.PipelineJob.get(f"{PARENT}/pipelineJobs/{first.job_id}-2")
    failed(again)
    assert states(again).items() >= {"say": "SKIPPED", "say-2": "SKIPPED", "fail": "FAILED"}.items()


def test_the_outputs_of_a_pipeline_lie_below_its_root(run_pipeline, bucket):
    job = run_pipeline("nested")
    names = [blob.name for blob in bucket.list_blobs()]
    [data] = [name for name in names if name.endswith("/data")]
    assert data.startswith(f"root/test-project/{job.job_id}/write_") and outputs(job)["read"] == "inner5"


def reached(job, **wanted):
    return states(job).items() >= wanted.items()
