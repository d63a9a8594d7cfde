"""What a task gets, and what a dag or a loop gives: values by name, as the pipeline says where each comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from portico.clock import rfc3339
from portico.errors import FailedPrecondition
from portico.services.aiplatform.pipelines import conditions, ir
from portico.services.aiplatform.pipelines.placeholders import Scope
from portico.services.aiplatform.pipelines.turn import Turn
from portico.services.aiplatform.pipelines.values import as_type, in_text
from portico.store.pipelines import Task

_MOST = 10_000  # iterations of a loop
_NOTHING: Any = object()
_AROUND = ("dag", "loop")  # kinds of tasks that others are in
_STATES = {"SKIPPED": "SUCCEEDED"}


def shown_name(task: Task) -> str:
    """What its author calls a task."""
    return str((task.spec.get("taskInfo") or {}).get("name") or task.name)


def inputs_of(turn: Turn, task: Task, upstream: Mapping[str, Task]) -> dict[str, Any]:
    """A task's inputs: {"parameters", "artifacts"}, also those that only its texts refer to.

    Raises:
        FailedPrecondition: one has no value, or one of another type.
    """
    given = task.spec.get("inputs") or {}
    definitions = turn.component(task).get("inputDefinitions") or {}
    around = around_of(turn, task)
    artifacts = _artifacts(given.get("artifacts") or {}, around, upstream)
    parameters: dict[str, Any] = {}
    constants: dict[str, Any] = {}
    why: dict[str, str] = {}
    for name, one in (given.get("parameters") or {}).items():
        value = _parameter(turn, task, one, around, upstream)
        if value is _NOTHING:
            why[name] = _whence(one)
            continue
        if selector := one.get("parameterExpressionSelector"):
            value = conditions.select(selector, value)
        (constants if "runtimeValue" in one else parameters)[name] = value
    scope = Scope({"inputs": {"parameterValues": parameters, "artifacts": as_lists(artifacts)}, "outputs": {}},
                  facts_of(turn, task))  # fmt: skip
    parameters |= scope.fill_all(constants)
    items = _item_names(task)
    for name, one in (definitions.get("parameters") or {}).items():
        if name not in parameters and "defaultValue" in one:
            parameters[name] = scope.fill_all(one["defaultValue"])
        if name in parameters and (parameters[name] is not None or not one.get("isOptional")):
            parameters[name] = _as_input(name, one, parameters[name])
        elif not (one.get("isOptional") or name in items or (task.kind in _AROUND and ir.is_stray(name))):
            raise FailedPrecondition(f"The input {name!r} has no value: {why.get(name, 'nothing gives it')}.")
        else:
            parameters.pop(name, None)
    for name, one in (definitions.get("artifacts") or {}).items():
        if name not in artifacts and not one.get("isOptional") and name not in items:
            source = _whence((given.get("artifacts") or {}).get(name) or {})
            raise FailedPrecondition(f"The input {name!r} has no artifact: {source}.")
    return {"parameters": parameters, "artifacts": artifacts}


def written_in(task: Task, definitions: Mapping[str, Any]) -> set[str]:
    """Which of a task's parameters, with these `definitions`, have the value that its pipeline was written with."""
    given = (task.spec.get("inputs") or {}).get("parameters") or {}
    return {
        name
        for name, one in definitions.items()
        if ("constant" in (given[name].get("runtimeValue") or {}) if name in given else "defaultValue" in one)
        and name in task.inputs["parameters"]
    }


def _as_input(name: str, definition: Mapping[str, Any], value: Any) -> Any:
    """A value as an input's type; what a text takes may be anything, as its JSON: kfp calls the items of a list texts
    where it does not know better."""
    wanted = definition.get("parameterType", "")
    if wanted == "STRING" and value is not None:
        return in_text(value)
    try:
        return as_type(value, wanted, f"The input {name!r}")
    except ValueError as error:
        raise FailedPrecondition(str(error)) from None


def _item_names(task: Task) -> set[str]:
    """The inputs that only the iterations of a loop have."""
    if task.kind != "loop":
        return set()
    return {
        str((task.spec.get(key) or {}).get("itemInput")) for key in ("parameterIterator", "artifactIterator")
    }


def around_of(turn: Turn, task: Task) -> dict[str, Any]:
    """The inputs of the component that a task is in; an iteration's own, with those of its loop."""
    return whole_inputs(turn, turn.parent(task))


def whole_inputs(turn: Turn, task: Task) -> dict[str, Any]:
    """A task's inputs; an iteration's row has only what the others lack."""
    if task.iteration < 0:
        return task.inputs
    loop = turn.parent(task).inputs
    return {which: {**loop[which], **(task.inputs.get(which) or {})} for which in ("parameters", "artifacts")}


def _parameter(
    turn: Turn, task: Task, one: Mapping[str, Any], around: Mapping[str, Any], upstream: Mapping[str, Task]
) -> Any:
    if "taskOutputParameter" in one:
        source = one["taskOutputParameter"]
        made = upstream[source["producerTask"]].outputs.get("parameters") or {}
        return made.get(source["outputParameterKey"], _NOTHING)
    if "componentInputParameter" in one:
        return around["parameters"].get(one["componentInputParameter"], _NOTHING)
    if "taskFinalStatus" in one:
        return _final_status(turn.root(task), upstream[one["taskFinalStatus"]["producerTask"]])
    value = one.get("runtimeValue") or {}
    if "runtimeParameter" in value:
        return around["parameters"].get(value["runtimeParameter"], _NOTHING)
    return value.get("constant", _NOTHING)


def _final_status(root: Task, task: Task) -> dict[str, Any]:
    """PipelineTaskFinalStatus."""
    return {
        "state": _STATES.get(task.state, task.state),
        "error": task.error or {},
        "pipelineJobUuid": str(root.id),
        "pipelineJobName": root.spec["job"],
        "pipelineJobResourceName": root.run,
        "pipelineTaskName": shown_name(task),
    }


def _artifacts(
    given: Mapping[str, Any], around: Mapping[str, Any], upstream: Mapping[str, Task]
) -> dict[str, list[dict[str, Any]]]:
    found = {}
    for name, one in given.items():
        if "taskOutputArtifact" in one:
            source = one["taskOutputArtifact"]
            made = (upstream[source["producerTask"]].outputs.get("artifacts") or {}).get(
                source["outputArtifactKey"]
            )
        else:
            made = around["artifacts"].get(one.get("componentInputArtifact"))
        if made is not None:
            found[name] = made
    return found


def as_lists(artifacts: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """As an ExecutorInput has them."""
    return {name: {"artifacts": some} for name, some in artifacts.items()}


def _whence(one: Mapping[str, Any]) -> str:
    for key, output in (
        ("taskOutputParameter", "outputParameterKey"),
        ("taskOutputArtifact", "outputArtifactKey"),
    ):
        if key in one:
            return f"the task {one[key]['producerTask']} gave no {one[key][output]!r}"
    return "nothing gives it"


def container_of(turn: Turn, task: Task) -> dict[str, Any]:
    """A task's container; what it asks of the machine may be inputs of the task."""
    container: dict[str, Any] = turn.component(task)["executor"]["container"]
    asked = container.get("resources") or {}
    scope = Scope({"inputs": {"parameterValues": whole_inputs(turn, task)["parameters"]}, "outputs": {}},
                  facts_of(turn, task))  # fmt: skip
    return {**container, "resources": scope.fill_all(asked)}


def facts_of(turn: Turn, task: Task) -> dict[str, str]:
    """What the placeholders without a path stand for."""
    root = turn.root(task)
    told, project, location = root.spec, *root.run.split("/")[1:4:2]
    return {
        "pipeline_job_name": told["job"],
        "pipeline_job_resource_name": root.run,
        "pipeline_job_uuid": str(root.id),
        "pipeline_job_create_time_utc": rfc3339(told["createTime"]),
        "pipeline_job_schedule_time_utc": rfc3339(told.get("scheduleTime") or told["createTime"]),
        "pipeline_root": told["pipelineRoot"],
        "pipeline_task_name": shown_name(task),
        "pipeline_task_uuid": str(task.id),
        "pipeline_google_cloud_project_id": project,
        "pipeline_google_cloud_location": location,
        "pipeline_persistent_resource_id": "",  # tasks don't run on any (see `pipeline_jobs`)
        "pipeline_service_account": told.get("serviceAccount") or "",
    }


# --- what dags and loops give ---


def outputs_of(turn: Turn, task: Task) -> dict[str, Any]:
    """The outputs of a dag or a loop that has ended, as far as there are any."""
    if task.kind == "loop":
        return _collected(turn, task)
    given = turn.component(task)["dag"].get("outputs") or {}
    made: dict[str, Any] = {"parameters": {}, "artifacts": {}}
    for which, key in (("parameters", "outputParameterKey"), ("artifacts", "outputArtifactKey")):
        for name, output in (given.get(which) or {}).items():
            for one in ir.selectors(output):
                source = turn.below(task.id, [one["producerSubtask"]])[one["producerSubtask"]]
                held = source.outputs.get(which) or {}
                if one[key] in held:
                    made[which][name] = held[one[key]]
                    break
    return made


def _collected(turn: Turn, loop: Task) -> dict[str, Any]:
    """What the iterations gave, in their order: lists of parameters; of artifacts one list."""
    definitions = turn.component(loop).get("outputDefinitions") or {}
    parameters: dict[str, list[Any]] = {name: [] for name in definitions.get("parameters") or {}}
    artifacts: dict[str, list[Any]] = {name: [] for name in definitions.get("artifacts") or {}}
    for child in turn.children(loop) if parameters or artifacts else ():
        for name, values in parameters.items():
            if name in (child.outputs.get("parameters") or {}):
                values.append(child.outputs["parameters"][name])
        for name, some in artifacts.items():
            some += (child.outputs.get("artifacts") or {}).get(name) or []
    return {"parameters": parameters, "artifacts": artifacts}


def items_of(task: Task) -> list[dict[str, Any]]:
    """What the iterations of a loop have for inputs beside those of the loop.

    Raises:
        FailedPrecondition: there is no list.
    """
    if iterator := task.spec.get("artifactIterator"):
        artifacts = task.inputs["artifacts"].get(iterator["items"]["inputArtifact"]) or []
        return [{"artifacts": {iterator["itemInput"]: [one]}} for one in artifacts]
    iterator = task.spec["parameterIterator"]
    source = iterator["items"]
    if "raw" in source:
        what, items = "items.raw", source["raw"]
    else:
        what = f"The input {source['inputParameter']!r}"
        items = task.inputs["parameters"].get(source["inputParameter"])
    if isinstance(items, str):
        try:
            items = json.loads(items)
        except ValueError:
            raise FailedPrecondition(
                f"{what}, over which the loop runs, is no list: {items[:100]!r}."
            ) from None
    if not isinstance(items, list):
        raise FailedPrecondition(f"{what}, over which the loop runs, is no list.")
    if len(items) > _MOST:
        raise FailedPrecondition(f"The loop has {len(items):,} iterations; at most {_MOST:,} are run.")
    return [{"parameters": {iterator["itemInput"]: one}} for one in items]
