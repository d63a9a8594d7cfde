"""Pipelines that kfp before 2.0 compiled (schemaVersion 2.0.0), by the official client."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from google.api_core import exceptions
from google.cloud.aiplatform_v1 import PipelineServiceClient
from tests.services.aiplatform.kfp_compiled import compiled, compiled_by_1
from tests.services.aiplatform.kfp_sources import CONSTRUCTS
from tests.services.aiplatform.pipelines_run import outputs, states

WHOLE = r"""
@component
def toss(chance: float, times: int, fair: bool, names: list, more: dict) -> str:
    assert (times, fair, names, more) == (3, True, [{"who": "ann"}, {"who": "bob"}], {"k": [1]})
    return "heads" if chance > 0.25 else "tails"

@component
def several(times: int) -> NamedTuple("Several", [("text", str), ("half", float), ("all", list)]):
    from collections import namedtuple
    return namedtuple("Several", "text half all")(str(times), times / 2, [1, 2])

@component
def write(text: str, data: Output[Dataset], numbers: Output[Metrics]):
    with open(data.path, "w") as file:
        file.write(text)
    numbers.log_metric("length", len(text))

@component
def length(data: Input[Dataset], unit: str = "letters") -> int:
    with open(data.path) as file:
        return len(file.read())

@component
def say(words: str) -> str:
    return words

@dsl.pipeline(name="of-kfp-1")
def whole(chance: float = 0.5, times: int = 3, fair: bool = True, text: str = "hello",
          names: list = [{"who": "ann"}, {"who": "bob"}], more: dict = {"k": [1]}):
    with dsl.ExitHandler(say(words="the end")):
        tossed = toss(chance, times, fair, names, more)
        found = several(times)
        written = write(text)
        counted = length(written.outputs["data"])
        with dsl.Condition(tossed.output == "heads"):
            say(f"it is {tossed.output}")
            with dsl.Condition(found.outputs["half"] > 1.0):
                say(found.outputs["text"])
        with dsl.Condition(tossed.output == "tails"):
            say("lost")
        with dsl.Condition(counted.output == 5):
            say("five")
        with dsl.ParallelFor(names) as one:
            say(one.who)
"""


def run(aiplatform: Any, bucket: Any, **parameters: Any) -> Any:
    job = aiplatform.PipelineJob(
        display_name="of-kfp-1", template_path=compiled_by_1(WHOLE)["whole"],
        pipeline_root=f"gs://{bucket.name}/root", parameter_values=parameters,
    )  # fmt: skip
    job.run()
    return job


@pytest.mark.slow
def test_what_kfp_1_compiles_runs(aiplatform: Any, bucket: Any):
    job = run(aiplatform, bucket)
    found = outputs(job)
    assert found["toss"] == "heads"
    assert found["several"] == {"text": "3", "half": 1.5, "all": "[1, 2]"}
    assert found["length"] == 5
    assert [found[name] for name in ("say", "say-2", "say-3", "say-5")] == [
        "the end",
        "it is heads",
        "3",
        "five",
    ]
    assert found["say-6"] == ["ann", "bob"]
    assert states(job)["condition-4"] == "NOT_TRIGGERED"
    [metrics] = [
        artifact
        for task in job.task_details
        for name, some in task.outputs.items()
        if name == "numbers"
        for artifact in some.artifacts
    ]
    assert dict(metrics.metadata) == {"length": 5.0}


@pytest.mark.slow
def test_its_parameters_are_those_that_a_run_is_given(aiplatform: Any, bucket: Any):
    found = outputs(run(aiplatform, bucket, chance=0.1, text="five and more"))
    assert found["toss"] == "tails"
    assert found["say-4"] == "lost"
    assert found["length"] == 13


def test_values_with_their_types_are_for_them_alone(aiplatform: Any, portico: Any, bucket: Any):
    with open(compiled(CONSTRUCTS)["chain"]) as file:
        spec = yaml.safe_load(file)
    client = PipelineServiceClient(client_options={"api_endpoint": portico.url}, transport="rest")
    config = {"gcs_output_directory": f"gs://{bucket.name}/r", "parameters": {"x": {"int_value": 1}}}
    with pytest.raises(exceptions.BadRequest, match="parameterValues"):
        client.create_pipeline_job(
            parent="projects/test-project/locations/us-central1",
            pipeline_job={"display_name": "d", "pipeline_spec": spec, "runtime_config": config},
        )
