"""A compiled pipeline (PipelineSpec) read, validated, and taken to the pieces that its run works with.

The messages are those of the package kfp-pipeline-spec. What they can't say (names that must exist, cycles, conditions
that can't be parsed) is checked here too, before anything runs.
"""

from __future__ import annotations

import functools
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from portico.errors import InvalidArgument
from portico.services.aiplatform.pipelines import conditions, custom_job, older, platforms, tfx_specs
from portico.services.registry.templates import PLATFORMS

ROOT = "root"
_PLACE = re.compile(r'at "?(?:PipelineSpec|PipelineDeploymentConfig)[^ "]*"?')
_CAUSE = re.compile(r"(?:Failed to parse [\w/]+ field: )+")
_UNKNOWN = re.compile(r'Message type "[\w.]+\.(\w+)" has no field named "([^"]+)"')
_VERSIONS = re.compile(r"2\.\d+\.\d+")
_NAME = re.compile(r"[^/\x00-\x1f]{1,200}")
COMPLETED = "ALL_UPSTREAM_TASKS_COMPLETED"
_ANY = "google.protobuf.Value"  # of which null is one


def read(spec: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The components of a compiled pipeline by name, the pipeline itself as `ROOT`.

    What kfp before 2.0 has compiled becomes what kfp 2 would have; each of its components is marked "older". One with
    tasks has a list "tasks", each with its "name", "kind", "component", "upstream" and "dependents" beside
    what the spec says of it; any other has its "executor". Where a document for Kubernetes came with the spec, under
    "platforms", the seconds that they may take are their "timeout".

    Raises:
        InvalidArgument, Unimplemented: naming the field.
    """
    deadline, limits = platforms.timeouts(spec.get(PLATFORMS))
    spec = _parse(
        "PipelineSpec",
        {key: one for key, one in spec.items() if key != PLATFORMS},
        "pipelineSpec",
    )
    version = str(spec.get("schemaVersion") or "")
    if not _VERSIONS.fullmatch(version):
        raise InvalidArgument(
            f"schemaVersion {version!r} is not supported: compile the pipeline with TFX or kfp 1.8, which write "
            "2.0.0, or a newer kfp, which writes 2.1.0.",
            field="pipelineSpec.schemaVersion",
        )
    deployment = _parse(
        "PipelineDeploymentConfig", spec.get("deploymentSpec") or {}, "pipelineSpec.deploymentSpec"
    )
    if older.is_one(spec):
        older.rewrite(spec, deployment)
        for component in (spec.get("components") or {}).values():
            component["older"] = True
    executors = {
        label: {"container": custom_job.container_of(one["customJob"])} if "customJob" in one else one
        for label, one in (deployment.get("executors") or {}).items()
    }
    tfx_specs.mend(spec, executors)
    if not (spec.get("pipelineInfo") or {}).get("name"):
        raise InvalidArgument("pipelineInfo.name is missing.", field="pipelineSpec.pipelineInfo.name")
    named: dict[str, Any] = {**(spec.get("components") or {}), ROOT: spec.get("root") or {}}
    found = {}
    for name, component in named.items():
        field = "pipelineSpec.root" if name == ROOT else f"pipelineSpec.components[{name}]"
        _check_names(component, field)
        if "dag" in component:
            found[name] = {**component, "tasks": _tasks(component, named, executors, field)}
        elif "executorLabel" in component:
            label = component["executorLabel"]
            found[name] = {**component, "executor": _executor(label, executors, field)}
            if label in limits:
                found[name]["timeout"] = limits[label]
        else:
            raise InvalidArgument(f"{field} has neither a dag nor an executorLabel.", field=field)
    if "tasks" not in found[ROOT]:
        raise InvalidArgument("The root must be a dag.", field="pipelineSpec.root")
    _check_nesting(found)
    if deadline is not None:
        found[ROOT]["timeout"] = deadline
    return found


def _parse(message: str, value: Any, field: str) -> dict[str, Any]:
    """`value`, which is such a message, as `_shaped` has it."""
    from google.protobuf import json_format

    kind = getattr(_messages(), message)
    try:
        value = _shaped(kind.DESCRIPTOR, value, field)
        json_format.ParseDict(value, kind())
        return dict(value)
    except RecursionError:
        raise InvalidArgument(f"{field} is nested too deeply.", field=field) from None
    except (json_format.ParseError, TypeError, ValueError, AttributeError) as error:
        at = _where(kind, value, field)
        text = _CAUSE.sub("", " ".join(str(error).split()))
        unknown = _UNKNOWN.search(text)
        words = f"{unknown[1]} has no such field" if unknown else _PLACE.sub("", text).strip(" .,")
        raise InvalidArgument(f"{at}: {words[:500]}.", field=at) from None


def _shaped(kind: Any, value: Any, place: str) -> Any:
    """A message with its fields by their JSON names and without nulls, which say that there is no such field.

    Raises:
        InvalidArgument: there is something else where an object or a list belongs. ParseDict takes an empty list for an
        empty object, and any number for one of an enum's.
    """
    if kind.full_name.startswith("google.protobuf."):  # a form of its own
        return value
    _require(dict, value, place)
    known = {name: one for one in kind.fields for name in (one.name, one.json_name)}
    made = {}
    for key, one in value.items():
        field = known.get(key)
        if field is None:
            made[key] = one
        elif one is not None or (field.message_type and field.message_type.full_name == _ANY):
            made[field.json_name] = _shaped_field(field, one, f"{place}.{key}")
    return made


def _shaped_field(field: Any, value: Any, place: str) -> Any:
    message = field.message_type
    if message and message.GetOptions().map_entry:
        _require(dict, value, place)
        inside = message.fields_by_name["value"]
        return {name: _shaped_one(inside, one, f"{place}[{name}]") for name, one in value.items()}
    if field.is_repeated:
        _require(list, value, place)
        return [_shaped_one(field, one, f"{place}[{number}]") for number, one in enumerate(value)]
    return _shaped_one(field, value, place)


def _shaped_one(field: Any, value: Any, place: str) -> Any:
    if field.message_type:
        return _shaped(field.message_type, value, place)
    if field.type == field.TYPE_STRING or (field.enum_type and not isinstance(value, int)):
        _require(str, value, place)
    elif field.enum_type:
        if value not in field.enum_type.values_by_number:
            raise InvalidArgument(
                f"{place} is {value}; it must be one of {', '.join(field.enum_type.values_by_name)}.",
                field=place,
            )
        return field.enum_type.values_by_number[value].name
    return value


def _require(kind: type, value: Any, place: str) -> None:
    if not isinstance(value, kind):
        belongs = {"dict": "an object", "list": "a list", "str": "a string"}[kind.__name__]
        raise InvalidArgument(f"{place} must be {belongs}, not {json.dumps(value)[:200]}.", field=place)


def _where(kind: Any, value: Any, place: str) -> str:
    """The innermost field of a message of the class `kind` that can't be read."""
    from google.protobuf import json_format

    if not isinstance(value, dict):
        return place
    for key, inside in value.items():
        made = kind()
        try:
            json_format.ParseDict({key: inside}, made)
        except (json_format.ParseError, TypeError, ValueError, AttributeError):
            break
    else:
        return place
    place = f"{place}.{key}"
    known = next((one for one in kind.DESCRIPTOR.fields if key in (one.name, one.json_name)), None)
    if known is None or known.message_type is None:
        return place
    if known.message_type.GetOptions().map_entry:
        of_value = known.message_type.fields_by_name["value"].message_type
        for name, one in inside.items() if isinstance(inside, dict) and of_value else ():
            found = _where(of_value._concrete_class, one, f"{place}[{name}]")
            if found != f"{place}[{name}]" or not isinstance(one, dict):
                return found
        return place
    return place if known.is_repeated else _where(known.message_type._concrete_class, inside, place)


@functools.cache
def _messages() -> Any:
    with warnings.catch_warnings():  # that it was made for the protobuf before ours
        warnings.filterwarnings("ignore", message="Protobuf gencode version", category=UserWarning)
        from kfp.pipeline_spec import pipeline_spec_pb2
    return pipeline_spec_pb2


def _check_names(component: Mapping[str, Any], field: str) -> None:
    """Of tasks and outputs, which become names of files."""
    outputs = component.get("outputDefinitions") or {}
    for key, names in (
        ("dag.tasks", (component.get("dag") or {}).get("tasks") or ()),
        ("outputDefinitions.parameters", outputs.get("parameters") or ()),
        ("outputDefinitions.artifacts", outputs.get("artifacts") or ()),
    ):
        for name in names:
            if not _NAME.fullmatch(name) or not name.strip("."):
                at = f"{field}.{key}"
                raise InvalidArgument(f"{at}: {name!r} is no name: it would be that of a path.", field=at)


def _executor(label: str, executors: Mapping[str, Any], field: str) -> dict[str, Any]:
    found = executors.get(label)
    if found is None:
        raise InvalidArgument(
            f"{field}.executorLabel names {label!r}, which deploymentSpec.executors lacks.",
            field=f"{field}.executorLabel",
        )
    kind = next(iter(found), "")
    at = f"pipelineSpec.deploymentSpec.executors[{label}]"
    if not kind:
        raise InvalidArgument(f"{at} is empty: it needs a container, an importer or a resolver.", field=at)
    if kind == "container" and not found[kind].get("image"):
        raise InvalidArgument(f"{at}.container.image is missing.", field=f"{at}.container.image")
    return dict(found)


def _tasks(
    component: Mapping[str, Any], named: Mapping[str, Any], executors: Mapping[str, Any], field: str
) -> list[dict[str, Any]]:
    specs = component["dag"].get("tasks") or {}
    waits: dict[str, list[str]] = {name: [] for name in specs}
    made = []
    for name, spec in specs.items():
        at = f"{field}.dag.tasks[{name}]"
        upstream = list(dict.fromkeys([*(spec.get("dependentTasks") or []), *_producers(spec)]))
        for one in upstream:
            if one not in specs:
                raise InvalidArgument(f"{at} depends on {one!r}, which is no task beside it.", field=at)
            waits[one].append(name)
        made.append({**spec, "name": name, "upstream": upstream, **_kind(spec, named, executors, at)})
        _check_inputs(spec, component, named, specs, at)
        _check_trigger(spec, at)
    for task in made:
        task["dependents"] = waits[task["name"]]
    _check_order(made, field)
    _check_outputs(component, named, specs, field)
    return made


def _producers(spec: Mapping[str, Any]) -> Iterator[str]:
    inputs = spec.get("inputs") or {}
    for one in (inputs.get("parameters") or {}).values():
        for key in ("taskOutputParameter", "taskFinalStatus"):
            if key in one:
                yield one[key].get("producerTask", "")
    for one in (inputs.get("artifacts") or {}).values():
        if "taskOutputArtifact" in one:
            yield one["taskOutputArtifact"].get("producerTask", "")


def _kind(
    spec: Mapping[str, Any], named: Mapping[str, Any], executors: Mapping[str, Any], at: str
) -> dict[str, str]:
    """What a task's component is, or a loop over it ("inner" is what each iteration is)."""
    name = (spec.get("componentRef") or {}).get("name", "")
    if name not in named or name == ROOT:
        raise InvalidArgument(
            f"{at}.componentRef names {name!r}, which components lacks.", field=f"{at}.componentRef.name"
        )
    component = named[name]
    label = component.get("executorLabel", "")
    kind = "dag" if "dag" in component else next(iter(executors.get(label) or {}), "")
    if "parameterIterator" in spec or "artifactIterator" in spec:
        return {"component": name, "kind": "loop", "inner": kind}
    return {"component": name, "kind": kind}


def _check_inputs(
    spec: Mapping[str, Any],
    component: Mapping[str, Any],
    named: Mapping[str, Any],
    beside: Mapping[str, Any],
    at: str,
) -> None:
    own = component.get("inputDefinitions") or {}
    needs = named[spec["componentRef"]["name"]].get("inputDefinitions") or {}
    given = spec.get("inputs") or {}
    for which, from_parent, from_task, key in (
        ("parameters", "componentInputParameter", "taskOutputParameter", "outputParameterKey"),
        ("artifacts", "componentInputArtifact", "taskOutputArtifact", "outputArtifactKey"),
    ):
        for name, one in (given.get(which) or {}).items():
            place = f"{at}.inputs.{which}[{name}]"
            if (
                from_parent in one
                and one[from_parent] not in (own.get(which) or {})
                and not is_stray(one[from_parent])
            ):
                raise InvalidArgument(
                    f"{place} takes {one[from_parent]!r}, which is no input of the component around it.",
                    field=place,
                )
            if from_task in one:
                producer, output = one[from_task].get("producerTask", ""), one[from_task].get(key, "")
                made = named.get((beside[producer].get("componentRef") or {}).get("name", "")) or {}
                if output not in ((made.get("outputDefinitions") or {}).get(which) or {}):
                    raise InvalidArgument(
                        f"{place}: the task {producer!r} has no output {output!r}.", field=place
                    )
            if selector := one.get("parameterExpressionSelector"):
                conditions.check_selector(selector, f"{place}.parameterExpressionSelector")
        items = {
            (spec.get(f"{which[:-1]}Iterator") or {}).get("itemInput"),
        }
        for name, one in (needs.get(which) or {}).items():
            optional = one.get("isOptional") or "defaultValue" in one
            if not (optional or name in (given.get(which) or {}) or name in items or is_stray(name)):
                raise InvalidArgument(
                    f"{at} lacks the input {name!r}, which its component needs.", field=f"{at}.inputs.{which}"
                )


def is_stray(name: str) -> bool:
    """Whether kfp may have written this input where nothing gives it: the item of an inner loop over a list in the
    source that a text in it names, which then also the loops around it seem to need."""
    return "loop-item-param-" in name


def _check_trigger(spec: Mapping[str, Any], at: str) -> None:
    trigger = spec.get("triggerPolicy") or {}
    if trigger.get("condition"):
        conditions.check(trigger["condition"], f"{at}.triggerPolicy.condition")


def _check_order(tasks: list[dict[str, Any]], field: str) -> None:
    """
    Raises:
        InvalidArgument: tasks wait for each other.
    """
    left = {task["name"]: len(task["upstream"]) for task in tasks}
    dependents = {task["name"]: task["dependents"] for task in tasks}
    free = [name for name, count in left.items() if not count]
    while free:
        name = free.pop()
        del left[name]
        for other in dependents[name]:
            left[other] -= 1
            if not left[other]:
                free.append(other)
    if left:
        raise InvalidArgument(
            f"{field}.dag.tasks wait for each other: {', '.join(sorted(left))}.", field=f"{field}.dag.tasks"
        )


def selectors(output: Mapping[str, Any]) -> list[dict[str, Any]]:
    """From which of a dag's tasks one of its outputs comes: the first of these that has it."""
    if "valueFromParameter" in output:
        return [output["valueFromParameter"]]
    if "valueFromOneof" in output:
        return list(output["valueFromOneof"].get("parameterSelectors") or [])
    return list(output.get("artifactSelectors") or [])


def _check_outputs(
    component: Mapping[str, Any], named: Mapping[str, Any], specs: Mapping[str, Any], field: str
) -> None:
    for which, outputs in (component["dag"].get("outputs") or {}).items():
        for name, output in outputs.items():
            at = f"{field}.dag.outputs.{which}[{name}]"
            for one in selectors(output):
                task = one.get("producerSubtask", "")
                if task not in specs:
                    raise InvalidArgument(
                        f"{at} comes from {task!r}, which is no task of this dag.", field=at
                    )
                made = named[specs[task]["componentRef"]["name"]].get("outputDefinitions") or {}
                key = one.get("outputParameterKey") or one.get("outputArtifactKey") or ""
                if key not in (made.get(which) or {}):
                    raise InvalidArgument(f"{at}: the task {task!r} has no output {key!r}.", field=at)


def _check_nesting(found: Mapping[str, dict[str, Any]]) -> None:
    """
    Raises:
        InvalidArgument: a component is inside itself.
    """
    inside = {name: {task["component"] for task in one.get("tasks") or ()} for name, one in found.items()}
    users: dict[str, list[str]] = {name: [] for name in found}
    for name, needs in inside.items():
        for one in needs:
            users[one].append(name)
    left = {name: len(needs) for name, needs in inside.items()}
    free = [name for name, count in left.items() if not count]
    while free:
        done = free.pop()
        del left[done]
        for name in users[done]:
            left[name] -= 1
            if not left[name]:
                free.append(name)
    if left:
        raise InvalidArgument(
            f"pipelineSpec.components are inside themselves: {', '.join(sorted(left))}.",
            field="pipelineSpec.components",
        )
