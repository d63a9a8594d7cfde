"""What a compiled pipeline says for Kubernetes in its second document: timeouts hold, what can't be is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.services.aiplatform.kfp_compiled import compiled
from tests.waiting import until

from portico.client.api import Client
from portico.errors import InvalidArgument, PorticoError, Unimplemented

SOURCE = """
@dsl.component(base_image="python:3.11")
def sleepy(seconds: float) -> str:
    import time
    time.sleep(seconds)
    return "awake"

@dsl.pipeline
def naps(seconds: float):
    sleepy(seconds=seconds)
"""


@pytest.fixture
def submit(portico: Any, bucket: Any) -> Callable[..., dict[str, Any]]:
    """Starts the pipeline of a template that the server fetches, with the second document `told`; its end."""
    client = Client(portico.url, project="test-project")

    def submitted(told: Any, seconds: float = 0.0) -> dict[str, Any]:
        text = Path(compiled(SOURCE)["naps"]).read_text()
        bucket.blob("naps.yaml").upload_from_string(f"{text}\n---\n{yaml.safe_dump(told)}")
        config = {"gcsOutputDirectory": f"gs://{bucket.name}/root", "parameterValues": {"seconds": seconds}}
        body = {"templateUri": f"gs://{bucket.name}/naps.yaml", "runtimeConfig": config}
        name = client.call("POST", f"/v1/{client.parent}/pipelineJobs", body)["name"]
        ended = ("PIPELINE_STATE_SUCCEEDED", "PIPELINE_STATE_FAILED", "PIPELINE_STATE_CANCELLED")
        return until(
            lambda: (job := client.call("GET", f"/v1/{name}"))["state"] in ended and job, "its end", 120
        )

    return submitted


def kubernetes(**told: Any) -> dict[str, Any]:
    return {"platforms": {"kubernetes": told}}


def of_task(**told: Any) -> dict[str, Any]:
    return kubernetes(deploymentSpec={"executors": {"exec-sleepy": told}})


def test_a_task_has_its_timeout(submit: Any) -> None:
    job = submit(of_task(activeDeadlineSeconds="2"), seconds=600.0)
    assert job["state"] == "PIPELINE_STATE_FAILED"
    assert "ran longer than its timeout of 2 seconds" in job["error"]["message"]


def test_a_pipeline_has_its_own(submit: Any) -> None:
    job = submit(kubernetes(pipelineConfig={"activeDeadlineSeconds": 3}), seconds=600.0)
    assert job["state"] == "PIPELINE_STATE_FAILED"
    assert "The pipeline ran longer than its timeout of 3 seconds" in job["error"]["message"]
    states = {task["state"] for task in job["jobDetail"]["taskDetails"]}
    assert states <= {"CANCELLED", "NOT_TRIGGERED"}, "nothing of it goes on"


def test_where_a_pod_runs_is_nothing_here(submit: Any) -> None:
    told = of_task(
        nodeSelector={"labels": {"gpu": "yes"}},
        podMetadata={"labels": {"team": "a"}},
        imagePullPolicy="Always",
        activeDeadlineSeconds="600",
    )
    told["platforms"]["kubernetes"]["pipelineConfig"] = {"resourceTtlOnCompletion": 60}
    assert submit(told)["state"] == "PIPELINE_STATE_SUCCEEDED"


@pytest.mark.parametrize(
    ("told", "kind", "said"),
    [
        (
            of_task(secretAsEnv=[{"secretName": "s"}]),
            Unimplemented,
            "executors[exec-sleepy].secretAsEnv asks",
        ),
        (
            kubernetes(pipelineConfig={"workspace": {"size": "1Gi"}}),
            Unimplemented,
            "pipelineConfig.workspace",
        ),
        ({"platforms": {"moon": {}}}, Unimplemented, "platforms[moon]"),
        (of_task(activeDeadlineSeconds="soon"), InvalidArgument, "whole number of seconds"),
        (of_task(activeDeadlineSeconds=0), InvalidArgument, "whole number of seconds"),
        ({"platforms": []}, InvalidArgument, "platforms must be an object"),
        ({"pipelineInfo": {}}, InvalidArgument, "holds its platforms, and nothing else"),
    ],
)
def test_what_it_says_otherwise_is_refused(
    submit: Any, told: Any, kind: type[PorticoError], said: str
) -> None:
    with pytest.raises(kind) as raised:
        submit(told)
    assert said in raised.value.message
