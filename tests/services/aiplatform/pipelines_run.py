"""What the tests of pipelines look at in a job of the official client."""

from __future__ import annotations

from typing import Any

import pytest


def outputs(job: Any) -> dict[str, Any]:
    """The output parameters of a job's tasks; of several with one name, in a list."""
    found: dict[str, list[Any]] = {}
    for task in job.task_details:
        told = {
            key.removeprefix("output:"): value
            for key, value in dict(task.execution.metadata or {}).items()
            if key.startswith("output:")
        }
        if told:
            found.setdefault(task.task_name, []).append(told.get("Output", told))
    return {name: some[0] if len(some) == 1 else sorted(some, key=str) for name, some in found.items()}


def states(job: Any) -> dict[str, str]:
    return {task.task_name: task.state.name for task in job.task_details}


def failed(job: Any) -> str:
    """The error of a job that fails."""
    with pytest.raises(RuntimeError):
        job.wait()
    assert job.state.name == "PIPELINE_STATE_FAILED"
    return str(job.gca_resource.error.message)
