"""Pipelines that kfp compiles, submitted by the official client: what each construct does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.services.aiplatform.kfp_compiled import compiled
from tests.services.aiplatform.kfp_sources import CONSTRUCTS


@pytest.fixture
def submit(aiplatform: Any, bucket: Any) -> Callable[..., Any]:
    """Submits a pipeline of CONSTRUCTS."""
    from google.cloud.aiplatform import pipeline_jobs

    pipeline_jobs._JOB_WAIT_TIME = 0.1

    def start(name: str, **given: Any) -> Any:
        number = bucket.name.rpartition("-")[2]
        job = aiplatform.PipelineJob(
            display_name=name, template_path=compiled(CONSTRUCTS)[name], pipeline_root=f"gs://{bucket.name}/root",
            job_id=f"{name.replace('_', '-')}-{number}", enable_caching=False, **given,
        )  # fmt: skip
        job.submit()
        return job

    return start


@pytest.fixture
def run(submit: Callable[..., Any]) -> Callable[..., Any]:
    """Runs a pipeline of CONSTRUCTS to its end, with these parameters."""

    def to_the_end(name: str, **parameters: Any) -> Any:
        job = submit(name, parameter_values=parameters)
        job.wait()
        return job

    return to_the_end


def outputs(job: Any) -> dict[str, Any]:
    """The output parameters of a job's tasks; of several with one name, in a list."""
    found: dict[str, list[Any]] = {}
    for task in job.task_details:
        told = {
            key.removeprefix("output:"): value
            for key, value in dict(task.execution.metadata).items()
            if key.startswith("output:")
        }
        if told:
            found.setdefault(task.task_name, []).append(told.get("Output", told))
    return {name: some[0] if len(some) == 1 else sorted(some) for name, some in found.items()}


def states(job: Any) -> dict[str, str]:
    return {task.task_name: task.state.name for task in job.task_details}


def test_a_chain(run):
    job = run("chain", x=5)
    assert outputs(job) == {"add": 8, "add-2": 18, job.job_id: 18}
    assert set(states(job).values()) == {"SUCCEEDED"}
