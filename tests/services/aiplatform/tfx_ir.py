"""The IR of TFX's pipelines as its runner for Vertex AI writes it: schemaVersion 2.0.0, every value with an arm of its
own, artifacts' types as YAML, resolvers as tasks of their own, drivers as hooks of containers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

IMAGE = "gcr.io/tfx-oss-public/tfx:1.16.0"
RUN = ("python", "-m", "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor")
DRIVE = ("python", "-m", "tfx.orchestration.kubeflow.v2.file_based_example_gen.driver")
_SPLITS = {"span": "integer", "split_names": "string"}
_PROPERTIES = {
    "Examples": {"span": "integer", "version": "integer", "split_names": "string"},
    "ExampleStatistics": _SPLITS,
}
_TYPES = {int: ("INT", "intValue"), float: ("DOUBLE", "doubleValue"), str: ("STRING", "stringValue")}


@dataclass(frozen=True)
class Given:
    """A parameter of the pipeline (`RuntimeParameter`)."""

    name: str
    kind: type = str


@dataclass
class Node:
    """One component: `inputs` by name as (type, producer, its output), `outputs` as types. `executor` is the path of
    its class; a resolver has the filters of its outputs instead, an importer its `importer`."""

    id: str
    executor: str = ""
    inputs: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    filters: Mapping[str, str] = field(default_factory=dict)
    importer: Mapping[str, Any] = field(default_factory=dict)
    driven: bool = False
    condition: str = ""


def kind(name: str) -> dict[str, str]:
    text = f"title: tfx.{name}\ntype: object\n"
    if properties := _PROPERTIES.get(name):
        text += "properties:\n" + "".join(f"  {key}:\n    type: {one}\n" for key, one in properties.items())
    return {"instanceSchema": text}


def arm(value: Any) -> dict[str, Any]:
    return {_TYPES[type(value)][1]: str(value) if isinstance(value, int) else value}


def job(
    nodes: Sequence[Node], name: str, root: str, image: str = IMAGE,
    run: Sequence[str] = RUN, drive: Sequence[str] = DRIVE,
    given: Mapping[str, Any] | None = None, beam: Sequence[str] = (), cached: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """What the file has that the runner writes: a PipelineJob as JSON."""
    executors: dict[str, Any] = {}
    components, tasks, pipelines = {}, {}, {}
    for node in nodes:
        label = f"{node.id}_executor"
        inputs: dict[str, Any] = {}
        if node.inputs:
            inputs["artifacts"] = {
                key: {"artifactType": kind(what)} for key, (what, _, _) in node.inputs.items()
            }
        types = {
            key: one.kind if isinstance(one, Given) else type(one) for key, one in node.parameters.items()
        }
        if types:
            inputs["parameters"] = {key: {"type": _TYPES[one][0]} for key, one in types.items()}
        pipelines.update(
            {
                one.name: {"type": _TYPES[one.kind][0]}
                for one in node.parameters.values()
                if isinstance(one, Given)
            }
        )
        components[node.id] = {
            "executorLabel": label,
            "outputDefinitions": {
                "artifacts": {key: {"artifactType": kind(one)} for key, one in node.outputs.items()}
            },
            **({"inputDefinitions": inputs} if inputs else {}),
        }
        executors[label] = _executor(node, image, run, drive, beam)
        task: dict[str, Any] = {
            "taskInfo": {"name": node.id},
            "componentRef": {"name": node.id},
            "inputs": {},
        }
        if node.inputs:
            task["inputs"]["artifacts"] = {
                key: {"taskOutputArtifact": {"producerTask": producer, "outputArtifactKey": output}}
                for key, (_, producer, output) in node.inputs.items()
            }
            task["dependentTasks"] = sorted({producer for _, producer, _ in node.inputs.values()})
        if node.parameters:
            task["inputs"]["parameters"] = {
                key: {"componentInputParameter": one.name} if isinstance(one, Given)
                else {"runtimeValue": {"constantValue": arm(one)}}
                for key, one in node.parameters.items()
            }  # fmt: skip
        if node.condition:
            task["triggerPolicy"] = {"condition": node.condition}
        if cached:
            task["cachingOptions"] = {"enableCache": True}
        tasks[node.id] = task
    root_component: dict[str, Any] = {"dag": {"tasks": tasks}}
    if pipelines:
        root_component["inputDefinitions"] = {"parameters": pipelines}
    return {
        "displayName": name,
        "labels": {"tfx_runner": "kubeflow_v2"},
        "pipelineSpec": {
            "pipelineInfo": {"name": name}, "schemaVersion": "2.0.0", "sdkVersion": "tfx-1.16.0",
            "deploymentSpec": {"executors": executors}, "components": components, "root": root_component,
        },
        "runtimeConfig": {
            "gcsOutputDirectory": root, "parameters": {key: arm(one) for key, one in (given or {}).items()}
        },
    }  # fmt: skip


def _executor(
    node: Node, image: str, run: Sequence[str], drive: Sequence[str], beam: Sequence[str]
) -> dict[str, Any]:
    if node.filters:
        return {
            "resolver": {"outputArtifactQueries": {key: {"filter": one} for key, one in node.filters.items()}}
        }
    if node.importer:
        return {"importer": dict(node.importer)}
    told = ["--json_serialized_invocation_args", "{{$}}"]
    made: dict[str, Any] = {
        "image": image, "command": list(run), "args": ["--executor_class_path", node.executor, *told, *beam],
    }  # fmt: skip
    if node.driven:
        made["lifecycle"] = {"preCacheCheck": {"command": list(drive), "args": [*told, *beam]}}
    return {"container": made}


BLESSED = "Resolver.latest_blessed_model_resolver"


def full(data: Any, push_to: str, module: str) -> list[Node]:
    """A pipeline of the usual nine components. `data`: where its CSV files lie, or the `Given` that says it."""
    examples = ("Examples", "CsvExampleGen", "examples")
    statistics = ("ExampleStatistics", "StatisticsGen", "statistics")
    made, graph = ("Schema", "SchemaGen", "schema"), ("TransformGraph", "Transform", "transform_graph")
    model, transformed = ("Model", "Trainer", "model"), ("Examples", "Transform", "transformed_examples")
    splits = {"splits": [{"name": "single_split", "pattern": "*"}]}
    parts = {"splits": [{"name": "train", "hashBuckets": 2}, {"name": "eval", "hashBuckets": 1}]}
    where = "tfx.components."
    return [
        Node("CsvExampleGen", f"{where}example_gen.csv_example_gen.executor.Executor", {}, {"examples": "Examples"}, {
            "input_base": data, "input_config": json.dumps(splits), "output_config": json.dumps({"splitConfig": parts}),
            "output_data_format": 6, "output_file_format": 5,
        }, driven=True),
        Node("StatisticsGen", f"{where}statistics_gen.executor.Executor", {"examples": examples},
             {"statistics": "ExampleStatistics"}, {"exclude_splits": "[]"}),
        Node("SchemaGen", f"{where}schema_gen.executor.Executor", {"statistics": statistics}, {"schema": "Schema"},
             {"exclude_splits": "[]", "infer_feature_shape": 1}),
        Node("ExampleValidator", f"{where}example_validator.executor.Executor",
             {"statistics": statistics, "schema": made}, {"anomalies": "ExampleAnomalies"}, {"exclude_splits": "[]"}),
        Node("Transform", f"{where}transform.executor.Executor", {"examples": examples, "schema": made},
             {"transform_graph": "TransformGraph", "transformed_examples": "Examples"},
             {"module_file": module, "disable_statistics": 0, "force_tf_compat_v1": 0, "custom_config": "null"}),
        Node("Trainer", f"{where}trainer.executor.GenericExecutor",
             {"examples": transformed, "schema": made, "transform_graph": graph},
             {"model": "Model", "model_run": "ModelRun"},
             {"module_file": module, "train_args": '{"num_steps": 20}', "eval_args": "{}", "custom_config": "null"}),
        Node(f"{BLESSED}-model-blessing-resolver", outputs={"model_blessing": "ModelBlessing"}, filters={
            "model_blessing": 'schema_title="tfx.ModelBlessing" AND state=LIVE AND metadata.blessed.number_value=1'
        }),
        Node(f"{BLESSED}-model-resolver", inputs={
            "input": ("ModelBlessing", f"{BLESSED}-model-blessing-resolver", "model_blessing")
        }, outputs={"model": "Model"}, filters={
            "model": "schema_title=\"tfx.Model\" AND state=LIVE AND "
                     "name=\"{{$.inputs.artifacts['input'].metadata['current_model_id']}}\""
        }),
        Node("Evaluator", f"{where}evaluator.executor.Executor",
             {"examples": examples, "model": model, "baseline_model": ("Model", f"{BLESSED}-model-resolver", "model")},
             {"evaluation": "ModelEvaluation", "blessing": "ModelBlessing"},
             {"eval_config": "{}", "example_splits": "null", "fairness_indicator_thresholds": "null"}),
        Node("Pusher", f"{where}pusher.executor.Executor",
             {"model": model, "model_blessing": ("ModelBlessing", "Evaluator", "blessing")},
             {"pushed_model": "PushedModel"},
             {"push_destination": json.dumps({"filesystem": {"baseDirectory": push_to}}), "custom_config": "null"}),
    ]  # fmt: skip
