"""Pipelines of TFX's runner for Vertex AI: their IR, with what stands in for TFX's executors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.services.aiplatform import tfx_ir
from tests.services.aiplatform.pipelines_run import failed, states
from tests.services.aiplatform.tfx_ir import BLESSED, Given, Node

from portico.errors import FailedPrecondition, InvalidArgument
from portico.sandbox import environments
from portico.services.aiplatform.pipelines import conditions, ir
from portico.services.aiplatform.pipelines.components import images

# Does with its arguments what TFX's own does: reads what its driver wrote, writes of each artifact where it is, its
# metadata and its name. Its "executors" are trivial.
STAND_IN = r"""
import argparse, glob, hashlib, json, os
said = argparse.ArgumentParser()
said.add_argument("--executor_class_path", default="driver")
said.add_argument("--json_serialized_invocation_args")
said, beam = said.parse_known_args()
told = json.loads(said.json_serialized_invocation_args)
arms = told["inputs"].get("parameters", {})
read = {"intValue": int, "doubleValue": float, "stringValue": str}
values = {name: read[arm](one) for name, told_so in arms.items() for arm, one in told_so.items()}
assert told["inputs"].get("parameterValues", {}) == values
place = told["outputs"]["outputFile"]
path = lambda uri: uri.replace("gs://", "/gcs/")
def single(side, name):
    found = told[side].get("artifacts", {}).get(name, {}).get("artifacts") or [None]
    return found[0]
def rows():
    files = sorted(glob.glob(path(values["input_base"]) + "/*.csv"))
    return "".join(open(file).read() for file in files)
os.makedirs(os.path.dirname(place), exist_ok=True)
if said.executor_class_path == "driver":
    print("driver", hashlib.md5(rows().encode()).hexdigest())
    found = {"span": {"intValue": "0"}, "input_fingerprint": {"stringValue": "rows"}}
    json.dump({"parameters": found}, open(place, "w"))
    raise SystemExit
if os.path.exists(place):
    driven = json.load(open(place))["parameters"]
    assert driven["input_fingerprint"] == {"stringValue": "rows"}
metadata = {}
what = said.executor_class_path.split(".")[2]
for name, held in told["outputs"].get("artifacts", {}).items():
    [one] = held["artifacts"]
    assert one["type"]["schemaTitle"].startswith("tfx."), one
    os.makedirs(path(one["uri"]), exist_ok=True)
    open(path(one["uri"]) + "/made", "w").write(what + (rows() if what == "example_gen" else ""))
if what == "example_gen":
    metadata["examples"] = {"span": 0.0, "split_names": '["train", "eval"]'}
if what == "evaluator":
    model, baseline = single("inputs", "model"), single("inputs", "baseline_model")
    metadata["blessing"] = {"blessed": 1.0, "current_model_id": model["name"]}
    if baseline:
        metadata["blessing"]["baseline_model_id"] = baseline["name"]
        assert open(path(baseline["uri"]) + "/made").read() == "trainer"
if what == "pusher":
    assert single("inputs", "model_blessing")["metadata"]["blessed"] == 1
    to = json.loads(values["push_destination"])["filesystem"]["baseDirectory"]
    os.makedirs(path(to), exist_ok=True)
    open(path(to) + "/1", "w").write("pushed")
    metadata["pushed_model"] = {"pushed": 1.0, "pushed_destination": to}
artifacts = {
    name: {"artifacts": [{"name": one["name"], "uri": one["uri"], "metadata": metadata.get(name, {})}]}
    for name, held in told["outputs"].get("artifacts", {}).items() for one in held["artifacts"]
}
json.dump({"artifacts": artifacts}, open(place, "w"))
"""
STANDS = {"image": "python:3.11", "run": ["python", "-c", STAND_IN], "drive": ["python", "-c", STAND_IN]}


@pytest.fixture
def submit(aiplatform, bucket, submit_pipeline, tmp_path):
    """Submits what the runner has compiled, with parameters."""

    def start(nodes: list[Node], run: str, **given: Any) -> Any:
        cached, change = given.pop("cached", False), given.pop("change", lambda spec: None)
        made = tmp_path / f"{run}.json"
        compiled = tfx_ir.job(nodes, "taxi", f"gs://{bucket.name}/root", **STANDS, cached=cached)
        change(compiled["pipelineSpec"])
        made.write_text(json.dumps(compiled))
        job = aiplatform.PipelineJob(
            display_name="taxi", template_path=str(made), job_id=f"{run}-{bucket.name.rpartition('-')[2]}",
            parameter_values=given or None,
        )  # fmt: skip
        job.submit()
        return job

    return start


def task_of(job, name):
    [found] = [task for task in job.task_details if task.task_name == name]
    return found


def made(job, task, output):
    [artifact] = task_of(job, task).outputs[output].artifacts
    return artifact


def test_a_pipeline_of_all_its_components(submit, bucket):
    bucket.blob("data/rows.csv").upload_from_string("a,b\n1,2\n")
    nodes = tfx_ir.full(Given("data"), f"gs://{bucket.name}/serving", "module.py")
    here = {"data": f"gs://{bucket.name}/data"}
    first = submit(nodes, "tfx-first", cached=True, **here)
    first.wait()
    assert set(states(first).values()) == {"SUCCEEDED"}
    assert bucket.blob("serving/1").download_as_text() == "pushed"
    examples = made(first, "CsvExampleGen", "examples")
    assert examples.schema_title == "tfx.Examples"
    assert dict(examples.metadata)["split_names"] == '["train", "eval"]'
    blessing = dict(made(first, "Evaluator", "blessing").metadata)
    assert blessing["current_model_id"] == made(first, "Trainer", "model").name
    assert "baseline_model_id" not in blessing  # there was none before

    again = submit(nodes, "tfx-again", cached=True, **here)
    again.wait()
    assert states(again)["CsvExampleGen"] == states(again)["Trainer"] == "SKIPPED"
    assert made(again, f"{BLESSED}-model-resolver", "model").name == made(first, "Trainer", "model").name
    blessing = dict(made(again, "Evaluator", "blessing").metadata)
    assert blessing["baseline_model_id"] == made(first, "Trainer", "model").name

    # The driver of the examples looks at the files: others are others, though their folder is called the same.
    bucket.blob("data/more.csv").upload_from_string("3,4\n")
    changed = submit(nodes[:1], "tfx-changed", cached=True, **here)
    changed.wait()
    assert states(changed)["CsvExampleGen"] == "SUCCEEDED"


def test_conditions_of_artifacts_and_what_fails(submit, bucket):
    condition = "inputs.artifacts['model'].artifacts[0].metadata['version'] == {}"
    source = {
        "artifactUri": {"constantValue": {"stringValue": f"gs://{bucket.name}/model"}},
        "typeSchema": tfx_ir.kind("Model"),
        "customProperties": {"version": {"constantValue": {"intValue": "3"}}},
    }  # fmt: skip
    nodes = [Node("Old", outputs={"result": "Model"}, importer=source)]
    for name, version in (("Yes", "3.0"), ("No", "4.0")):
        nodes.append(Node(
            name, "tfx.components.infra.Executor", {"model": ("Model", "Old", "result")}, {"copied": "Model"},
            {"times": 3, "rate": 0.5}, condition=condition.format(version),
        ))  # fmt: skip
    job = submit(nodes, "tfx-conditions")
    job.wait()
    assert (states(job)["Yes"], states(job)["No"]) == ("SUCCEEDED", "NOT_TRIGGERED")
    nodes = [
        Node(
            "CsvExampleGen",
            "tfx.components.example_gen.Executor",
            {},
            {"examples": "Examples"},
            {},
            driven=True,
        )
    ]
    assert "KeyError: 'input_base'" in failed(submit(nodes, "tfx-driver"))  # the driver's own words


def test_an_exit_handler_is_told_how_the_others_ended(submit):
    def nest(spec: dict[str, Any]) -> None:
        tasks = spec["root"]["dag"]["tasks"]
        last = tasks.pop("Notify")
        spec["components"]["tfx-dag"] = {"dag": {"tasks": tasks}}
        last["inputs"]["parameters"]["status"] = {"taskFinalStatus": {"producerTask": "tfx-dag"}}
        last |= {
            "dependentTasks": ["tfx-dag"],
            "triggerPolicy": {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"},
        }
        around = {"taskInfo": {"name": "tfx-dag"}, "componentRef": {"name": "tfx-dag"}}
        spec["root"]["dag"]["tasks"] = {"tfx-dag": around, "Notify": last}

    broken = Node(
        "CsvExampleGen", "tfx.components.example_gen.Executor", {}, {"examples": "Examples"}, driven=True
    )
    nodes = [broken, Node("Notify", "tfx.components.infra.Executor", {}, {}, {"status": ""})]
    job = submit(nodes, "tfx-exit", change=nest)
    failed(job)
    assert states(job)["Notify"] == "SUCCEEDED"
    status = json.loads(dict(task_of(job, "Notify").execution.metadata)["input:status"])
    assert status["state"] == "FAILED" and "input_base" in status["error"]["message"]


def test_parameters_of_the_older_schema(submit, bucket):
    source = {"artifactUri": {"runtimeParameter": "artifact_uri"}, "typeSchema": tfx_ir.kind("Model")}
    steps, old = {"steps": Given("steps", int)}, {"artifact_uri": Given("old")}
    nodes = [
        Node("Train", "tfx.components.trainer.Executor", {}, {"model": "Model"}, steps),
        Node("Old", outputs={"result": "Model"}, importer=source, parameters=old),
    ]
    with pytest.raises(Exception, match=r"parameterValues lacks (old, steps|steps, old)"):
        submit(nodes, "tfx-lacks")
    job = submit(nodes, "tfx-steps", steps=7, old=f"gs://{bucket.name}/old")
    job.wait()
    assert made(job, "Old", "result").uri == f"gs://{bucket.name}/old"
    assert dict(task_of(job, "Train").execution.metadata)["input:steps"] == 7


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (
            "!((inputs.artifacts['m'].artifacts[0].uri == 'gs://b/o')) && (inputs.parameter_values['b'] == 3)",
            False,
        ),
        ("inputs.artifacts['m'].artifacts[0].metadata['n'] == 2.0", True),
    ],
)
def test_conditions_of_artifacts(condition, holds):
    artifacts = {"m": [{"uri": "gs://b/o", "metadata": {"n": 2}}]}
    assert conditions.holds(condition, {"b": 3}, artifacts) is holds


def test_a_parameter_of_another_tasks_output_and_an_exit_handler():
    nodes = [
        Node("Range", "tfx.a.Executor", {}, {"range": "String"}, {}),
        Node("Gen", "tfx.b.Executor", {}, {}, {"range": ""}),
    ]
    spec = tfx_ir.job(nodes, "ranges", "gs://b/r")["pipelineSpec"]
    spec["components"]["Range"]["outputDefinitions"]["parameters"] = {"range": {"parameterType": "STRING"}}
    source = {
        "producerTask": "Range_task",
        "outputParameterKey": "range",
    }  # so TFX 1.16 calls the task `Range`
    tasks = spec["root"]["dag"]["tasks"]
    tasks["Gen"]["inputs"]["parameters"]["range"] = {"taskOutputParameter": source}
    tasks["Gen"]["dependentTasks"] = ["Range"]
    [_, found] = ir.read(spec)[ir.ROOT]["tasks"]
    assert found["upstream"] == ["Range"]
    assert tasks["Gen"]["inputs"]["parameters"]["range"]["taskOutputParameter"] is source
    assert source["producerTask"] == "Range_task"  # what was given is left as it is


@pytest.mark.parametrize(
    ("image", "first", "python"),
    [
        ("gcr.io/tfx-oss-public/tfx:1.16.0", "tfx==1.16.0", "3.10"),
        ("tensorflow/tfx:1.14.0", "tfx==1.14.0", "3.10"),
        ("docker.io/tensorflow/tfx:1.21.0", "tfx==1.21.0", "3.12"),
        ("gcr.io/tfx-oss-public/tfx:1.9.1", "tfx==1.9.1", "3.9"),
        ("gcr.io/tfx-oss-public/tfx", "tfx==1.16.0", "3.10"),
    ],
)
def test_its_image_is_an_environment(image, first, python):
    found = images.base_of(image).python
    assert (found.common[0], found.pythons[0]) == (first, python)


def test_an_image_that_is_none_and_a_machine_without_its_python(monkeypatch):
    with pytest.raises(InvalidArgument, match="'nightly' is no version of TFX"):
        images.base_of("gcr.io/tfx-oss-public/tfx:nightly")
    monkeypatch.setattr(environments, "_candidates", lambda version: [])
    found = images.base_of("gcr.io/tfx-oss-public/tfx:1.15.1").python
    with pytest.raises(
        FailedPrecondition, match=r"tfx:1\.15\.1 needs Python 3\.10 or 3\.9, and none of these"
    ):
        environments.find_python(found.pythons, found.short)
