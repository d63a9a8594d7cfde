"""What a component is told (ExecutorInput), and what comes of what it says (ExecutorOutput)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from portico.errors import FailedPrecondition, ResourceExhausted
from portico.services.aiplatform.pipelines import artifacts, older, resolving, values
from portico.services.aiplatform.pipelines.placeholders import path_of
from portico.services.aiplatform.pipelines.turn import Turn
from portico.store.pipelines import Task

_METADATA = 200 << 10  # bytes of an artifact's metadata: Google's 200 KB
_URI = 4096  # characters


def input_of(turn: Turn, task: Task) -> dict[str, Any]:
    """The ExecutorInput of a task, as JSON."""
    component, inputs = turn.component(task), resolving.whole_inputs(turn, task)
    wanted, made = component.get("inputDefinitions") or {}, component.get("outputDefinitions") or {}
    given = {
        which: {name: one for name, one in inputs[which].items() if name in (wanted.get(which) or {})}
        for which in ("parameters", "artifacts")
    }
    place = artifacts.place_of(turn.root(task), task)
    files = {name: {"outputFile": path_of(f"{place}/{name}")} for name in made.get("parameters") or {}}
    new = {name: [_new(task, name, one, place)] for name, one in (made.get("artifacts") or {}).items()}
    told: dict[str, Any] = {"inputs": {}, "outputs": {"outputFile": path_of(f"{place}/executor_output.json")}}
    if given["parameters"]:
        told["inputs"]["parameterValues"] = given["parameters"]
        if component.get("older"):
            told["inputs"]["parameters"] = dict(
                older.typed(given["parameters"], wanted.get("parameters") or {})
            )
    if given["artifacts"]:
        told["inputs"]["artifacts"] = resolving.as_lists(given["artifacts"])
    if files:
        told["outputs"]["parameters"] = files
    if new:
        told["outputs"]["artifacts"] = resolving.as_lists(new)
    return told


def _new(task: Task, output: str, definition: Mapping[str, Any], place: str) -> dict[str, Any]:
    title, version = artifacts.type_of(definition.get("artifactType") or {})
    uri = f"{place}/{output}"
    return {
        "name": artifacts.at(task, uri),
        "type": {"schemaTitle": title, "schemaVersion": version},
        "uri": uri,
        "metadata": definition.get("metadata") or {},
    }


def outputs_of(
    task: Task, definitions: Mapping[str, Any], executor_input: Mapping[str, Any], told: Mapping[str, Any]
) -> dict[str, Any]:
    """A task's outputs, of what its component said, each of its type. A parameter that it did not write is not there:
    as on Vertex AI that is for the task to say that needs it (`unwritten`).

    Raises:
        FailedPrecondition, ResourceExhausted: the component has written an output of another type.
    """
    found: dict[str, Any] = {"parameters": {}, "artifacts": {}}
    said = told.get("parameterValues") or {}
    for name, one in (definitions.get("parameters") or {}).items():
        what, wanted = f"The output {name!r}", one.get("parameterType", "")
        if name not in said:
            continue
        value = said[name]
        try:
            text = isinstance(value, str) and wanted != "STRING"
            value = values.from_text(value, wanted, what) if text else values.as_type(value, wanted, what)
        except ValueError as error:
            raise FailedPrecondition(f"The component wrote an output of another type. {error}") from None
        found["parameters"][name] = value
    for name, one in (definitions.get("artifacts") or {}).items():
        new = executor_input["outputs"]["artifacts"][name]["artifacts"][0]
        written = ((told.get("artifacts") or {}).get(name) or {}).get("artifacts") or [{}]
        some = written if one.get("isArtifactList") else written[:1]
        found["artifacts"][name] = [
            _artifact(task, name, number, new, said) for number, said in enumerate(some)
        ]
    return found


def unwritten(
    definitions: Mapping[str, Any], executor_input: Mapping[str, Any], outputs: Mapping[str, Any]
) -> list[str]:
    """What is to be said of the parameters that a component should have written, and has not."""
    return [
        f"The component ended without writing its output {name!r} ({one.get('parameterType', '')}): it writes its "
        f"value into {executor_input['outputs']['parameters'][name]['outputFile']}, or returns it."
        for name, one in (definitions.get("parameters") or {}).items()
        if name not in outputs["parameters"]
    ]


def _artifact(
    task: Task, output: str, number: int, new: Mapping[str, Any], said: Mapping[str, Any]
) -> dict[str, Any]:
    """An output artifact with what its component said of it: its place and metadata, not whose it is."""
    uri, metadata = said.get("uri") or new["uri"], {**new["metadata"], **(said.get("metadata") or {})}
    if len(uri) > _URI:
        raise ResourceExhausted(f"The URI of the output {output!r} is longer than {_URI:,} characters.")
    if len(json.dumps(metadata)) > _METADATA:
        raise ResourceExhausted(f"The metadata of the output {output!r} is larger than 200 KB.")
    name = f"{new['name']}-{number}" if number else new["name"]
    return {**new, "name": name, "uri": uri, "metadata": metadata}
