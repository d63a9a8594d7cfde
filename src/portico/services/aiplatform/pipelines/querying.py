"""Resolvers: artifacts that are there already, found by a filter."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from portico.services.aiplatform.metadata.nodes import ARTIFACTS
from portico.services.aiplatform.pipelines import resolving
from portico.services.aiplatform.pipelines.placeholders import Scope
from portico.services.aiplatform.pipelines.turn import Turn
from portico.services.aiplatform.pipelines.values import whole
from portico.services.registry import metadata
from portico.store.pipelines import Task


def outputs_of(turn: Turn, task: Task) -> dict[str, Any]:
    """The newest artifacts that each output's query finds, as many as its limit says, or one; an output for which there
    is none lacks.

    Raises:
        InvalidArgument: a filter is none. FailedPrecondition: nothing is known of a placeholder in it.
    """
    queries = turn.component(task)["executor"]["resolver"].get("outputArtifactQueries") or {}
    inputs = resolving.whole_inputs(turn, task)
    given = {"parameterValues": inputs["parameters"], "artifacts": resolving.as_lists(inputs["artifacts"])}
    executor = {"inputs": given, "outputs": {}}
    scope, found = Scope(executor, resolving.facts_of(turn, task)), {}
    for name, query in queries.items():
        matching = ARTIFACTS.matching(
            turn.connection, metadata.store_of(task.run), scope.fill(query.get("filter") or "")
        )
        if some := [_artifact(shown) for shown in islice(matching, int(query.get("limit") or 1))]:
            found[name] = some
    return {"parameters": {}, "artifacts": found}


def _artifact(shown: Mapping[str, Any]) -> dict[str, Any]:
    kind = {key: shown.get(key, "") for key in ("schemaTitle", "schemaVersion")}
    return {
        "name": shown["name"],
        "type": kind,
        "uri": shown.get("uri", ""),
        "metadata": whole(shown.get("metadata") or {}),
    }
