"""The deployed model, evaluated in the same run as the new one: by a copy of the task that evaluates, on the rows and
with the parameters which that gets."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from portico.errors import InvalidArgument

MODEL, EVALUATION = "portico-ci-deployed-model", "portico-ci-deployed-evaluation"
_MODELS = ("system.Model", "google.VertexModel")


def with_deployed(
    spec: Mapping[str, Any], evaluates: str, uri: str, metadata: Mapping[str, Any]
) -> dict[str, Any]:
    """The compiled pipeline `spec` with two tasks more: an importer of the model's files at `uri`, and the task
    `evaluates` once more, with that model.

    Raises:
        InvalidArgument: there is no such task, or not one model among its inputs.
    """
    made = copy.deepcopy(dict(spec))
    tasks, key = _found(made, evaluates)
    again = copy.deepcopy(tasks[key])
    component = made["components"][again["componentRef"]["name"]]
    inputs = (component.get("inputDefinitions") or {}).get("artifacts") or {}
    models = [name for name, one in inputs.items() if one["artifactType"].get("schemaTitle") in _MODELS]
    if len(models) != 1:
        raise InvalidArgument(
            f"deployed.model: the task {evaluates} has {len(models)} inputs that are models; it must have one.",
            field="deployed.model",
        )
    kind = inputs[models[0]]["artifactType"]
    again["inputs"]["artifacts"][models[0]] = {
        "taskOutputArtifact": {"producerTask": MODEL, "outputArtifactKey": "artifact"}
    }
    again["dependentTasks"] = sorted({*(again.get("dependentTasks") or []), MODEL})
    again["taskInfo"] = {"name": EVALUATION}
    tasks[EVALUATION] = again
    tasks[MODEL] = {"componentRef": {"name": f"comp-{MODEL}"}, "taskInfo": {"name": MODEL}}
    made["components"][f"comp-{MODEL}"] = {
        "executorLabel": f"exec-{MODEL}",
        "outputDefinitions": {"artifacts": {"artifact": {"artifactType": kind}}},
    }
    made["deploymentSpec"]["executors"][f"exec-{MODEL}"] = {
        "importer": {
            "artifactUri": {"constant": uri}, "metadata": dict(metadata), "typeSchema": kind, "reimport": True,
        }
    }  # fmt: skip
    return made


def output(run: Mapping[str, Any], task: str, name: str) -> str:
    """The URI of an artifact that a run's task has written.

    Raises:
        InvalidArgument: there is none.
    """
    tasks = (run.get("jobDetail") or {}).get("taskDetails") or []
    for one in tasks:
        found = (one.get("outputs") or {}).get(name)
        if found and task in (one.get("taskUniqueName", "").rpartition(".")[2], one["taskName"]):
            return str(found["artifacts"][0]["uri"])
    names = ", ".join(sorted(one["taskName"] for one in tasks if one.get("outputs")))
    raise InvalidArgument(
        f"evaluation: no task {task} of the run has an output {name}; those with artifacts are {names}.",
        field="evaluation",
    )


def _found(spec: Mapping[str, Any], name: str) -> tuple[dict[str, Any], str]:
    """The tasks among which one is called so, and its key."""
    known = []
    for tasks in _dags(spec):
        for key, task in tasks.items():
            if name in (key, (task.get("taskInfo") or {}).get("name")):
                return tasks, key
            known.append(key)
    raise InvalidArgument(
        f"evaluation: the pipeline has no task {name}; it has {', '.join(known)}.", field="evaluation"
    )


def _dags(spec: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for component in [spec["root"], *spec["components"].values()]:
        if tasks := (component.get("dag") or {}).get("tasks"):
            yield tasks
