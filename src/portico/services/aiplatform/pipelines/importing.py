"""Importers: an artifact of what lies somewhere already."""

from __future__ import annotations

from typing import Any

from portico.errors import FailedPrecondition
from portico.services.aiplatform.metadata.nodes import ARTIFACTS
from portico.services.aiplatform.pipelines import artifacts, resolving
from portico.services.aiplatform.pipelines.placeholders import Scope
from portico.services.aiplatform.pipelines.turn import Turn
from portico.services.aiplatform.pipelines.values import whole
from portico.services.registry import metadata
from portico.store import resources
from portico.store.pipelines import Task


def outputs_of(turn: Turn, task: Task) -> dict[str, Any]:
    """
    Raises:
        FailedPrecondition: it has no URI, or metadata that can't be made.
    """
    component = turn.component(task)
    importer = component["executor"]["importer"]
    inputs = resolving.whole_inputs(turn, task)
    executor = {"inputs": {"parameterValues": inputs["parameters"]}, "outputs": {}}
    scope = Scope(executor, resolving.facts_of(turn, task))
    asked = importer.get("artifactUri") or {}
    uri = asked.get("constant")
    if parameter := asked.get("runtimeParameter"):
        uri = inputs["parameters"].get(parameter)
    if not isinstance(uri, str) or not (uri := scope.fill(uri)):
        raise FailedPrecondition("The importer has no URI: its artifactUri is empty.")
    told = whole(scope.fill_all(importer.get("metadata") or {}))
    title, version = artifacts.type_of(importer.get("typeSchema") or {})
    name = next(iter((component.get("outputDefinitions") or {}).get("artifacts") or {}), "artifact")
    made = {
        "name": artifacts.name_of(task, name),
        "type": {"schemaTitle": title, "schemaVersion": version},
        "uri": uri,
        "metadata": told,
    }
    if not importer.get("reimport"):
        made["name"] = _known(turn, made, metadata.store_of(task.run)) or made["name"]
    return {"parameters": {}, "artifacts": {name: [made]}}


def _known(turn: Turn, made: dict[str, Any], store: str) -> str | None:
    """The first artifact that was made of the same thing, where there is one."""
    wanted = {"uri": made["uri"], "schemaTitle": made["type"]["schemaTitle"]}
    same = [
        found.name
        for found in resources.listed(turn.connection, ARTIFACTS.kind, store, wanted=wanted)
        if found.body.get("uri") == wanted["uri"]
        and found.body.get("schemaTitle") == wanted["schemaTitle"]
        and (found.body.get("metadata") or {}) == made["metadata"]
    ]
    return same[-1] if same else None
