"""Executors of tasks that kfp does not write, but others do: resolvers, custom jobs."""

from __future__ import annotations

import pytest
import yaml
from tests.services.aiplatform.kfp_compiled import compiled
from tests.services.aiplatform.kfp_sources import CONSTRUCTS
from tests.services.aiplatform.pipelines_run import failed, outputs

SAYS = r"""
@dsl.component
def say(text: str) -> str:
    return text

@dsl.pipeline
def says(text: str):
    say(text=text)

@dsl.pipeline
def sized(cpu: str, memory: str):
    say(text=cpu).set_cpu_limit(cpu).set_memory_limit(memory)
    say(text=say(text="2").output).set_cpu_limit(say(text="500m").output)
"""
FILTER = 'schema_title="system.Dataset" AND uri="{{$.inputs.parameters[\'uri\']}}" AND state=LIVE'


@pytest.fixture
def resolve(aiplatform, bucket, submit_pipeline, tmp_path):
    """Submits the pipeline `imported` with a resolver in the place of its first importer."""

    def submit(uri, asked=FILTER):
        with open(compiled(CONSTRUCTS)["imported"]) as file:
            spec = yaml.safe_load(file)
        del spec["root"]["dag"]["tasks"]["importer-2"]  # which makes such an artifact too
        query = {"artifact": {"filter": asked, "limit": 1}}
        spec["deploymentSpec"]["executors"]["exec-importer"] = {"resolver": {"outputArtifactQueries": query}}
        made = tmp_path / "resolving.yaml"
        made.write_text(yaml.safe_dump(spec))
        job = aiplatform.PipelineJob(
            display_name="resolving", template_path=str(made), pipeline_root=f"gs://{bucket.name}/root",
            job_id=f"resolving-{bucket.name.rpartition('-')[2]}-{len(asked)}", enable_caching=False,
            parameter_values={"uri": uri, "note": "n"},
        )  # fmt: skip
        job.submit()
        return job

    return submit


def test_a_resolver_finds_the_newest_artifact(resolve, aiplatform, bucket):
    bucket.blob("there.txt").upload_from_string("text")
    uri = f"gs://{bucket.name}/there.txt"
    made = [
        aiplatform.Artifact.create(schema_title="system.Dataset", uri=uri, metadata={"length": number})
        for number in (1, 2)
    ]
    job = resolve(uri)
    job.wait()
    assert outputs(job)["read"] == "text2"
    [task] = [task for task in job.task_details if task.task_name == "importer"]
    assert task.outputs["artifact"].artifacts[0].name == made[1].resource_name
    assert task.execution.schema_title == "system.ResolverExecution"


def test_a_resolver_that_finds_none_or_asks_wrong(resolve, bucket):
    assert "the task importer gave no 'artifact'" in failed(resolve(f"gs://{bucket.name}/none"))
    assert "filter" in failed(resolve(f"gs://{bucket.name}/none", 'schema_title=="x" AND'))


@pytest.mark.slow
def test_a_custom_job(aiplatform, bucket, submit_pipeline, tmp_path):
    with open(compiled(SAYS)["says"]) as file:
        spec = yaml.safe_load(file)
    executors = spec["deploymentSpec"]["executors"]
    container = executors["exec-say"]["container"]
    pool = {
        "machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": 1,
        "containerSpec": {
            "imageUri": container["image"], "command": container["command"], "args": container["args"],
        },
    }  # fmt: skip
    executors["exec-say"] = {"customJob": {"customJob": {"workerPoolSpecs": [pool]}}}
    made = tmp_path / "custom.yaml"
    made.write_text(yaml.safe_dump(spec))
    job = aiplatform.PipelineJob(
        display_name="custom", template_path=str(made), pipeline_root=f"gs://{bucket.name}/root",
        job_id=f"custom-{bucket.name.rpartition('-')[2]}", parameter_values={"text": 'it\'s "so"\n'},
    )  # fmt: skip
    job.submit()
    job.wait()
    assert outputs(job)["say"] == 'it\'s "so"\n'
    [ran] = aiplatform.CustomJob.list(filter='display_name="say"')
    assert ran.state.name == "JOB_STATE_SUCCEEDED"


def test_what_a_task_asks_of_the_machine_may_be_an_input(aiplatform, bucket, submit_pipeline):
    def submit(memory):
        job = aiplatform.PipelineJob(
            display_name="sized", template_path=compiled(SAYS)["sized"], pipeline_root=f"gs://{bucket.name}/root",
            job_id=f"sized-{bucket.name.rpartition('-')[2]}-{memory.lower()}", enable_caching=False,
            parameter_values={"cpu": "1", "memory": memory},
        )  # fmt: skip
        job.submit()
        return job

    good = submit("512Mi")
    good.wait()
    assert outputs(good)["say"] == "1"
    assert "'much' is no quantity" in failed(submit("much"))
