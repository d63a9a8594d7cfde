"""What a run leaves in ML Metadata, as Vertex AI records it: contexts of the pipeline and of the run, an execution a
task, its artifacts, and the events between them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import Connection

from portico.services.aiplatform.metadata import things
from portico.services.aiplatform.metadata.nodes import ARTIFACTS
from portico.services.aiplatform.pipelines import resolving
from portico.services.aiplatform.pipelines.turn import Turn
from portico.services.registry import metadata
from portico.store import lineage, resources
from portico.store.pipelines import Task

PIPELINE = "system.Pipeline"
RUN = "system.PipelineRun"
_STATES = {
    "RUNNING": "RUNNING", "SUCCEEDED": "COMPLETE", "SKIPPED": "CACHED", "FAILED": "FAILED", "CANCELLED": "CANCELLED",
}  # fmt: skip
_TITLES = {
    "dag": "system.DagExecution", "loop": "system.DagExecution", "container": "system.ContainerExecution",
    "importer": "system.ImporterExecution",
    "resolver": "system.ResolverExecution",
}  # fmt: skip
_METRICS = ("system.Metrics", "system.ClassificationMetrics", "system.SlicedClassificationMetrics")
_VALUE = 4096  # characters of a parameter that an execution shows
_ODD = re.compile(r"[^a-z0-9-]+")
_CUT = 128  # characters of a display name


def contexts_of(run: str, pipeline: str) -> tuple[str, str]:
    """The contexts of a pipeline and of one of its runs."""
    store, short = metadata.store_of(run), _ODD.sub("-", pipeline.lower())[:_CUT]
    return f"{store}/contexts/{short}", f"{store}/contexts/{run.rpartition('/')[2]}"


def add_contexts(connection: Connection, run: str, pipeline: str, now: float, why: Mapping[str, Any]) -> None:
    """`why` says what started the run."""
    above, own = contexts_of(run, pipeline)
    metadata.add_context(connection, above, pipeline, PIPELINE, {}, now)
    metadata.add_context(connection, own, own.rpartition("/")[2], RUN, why, now, parents=[above])


def execution_of(task: Task) -> str:
    return f"{metadata.store_of(task.run)}/executions/{task.id}"


def started(turn: Turn, task: Task) -> None:
    """An execution for a task that runs."""
    _record(turn, task, _parameters(task.inputs, "input"))


def ended(turn: Turn, task: Task) -> None:
    """What came of a task: its execution's state, its outputs as artifacts."""
    if task.state == "NOT_TRIGGERED":
        return
    facts = _parameters(task.outputs, "output")
    if task.error:
        facts["error"] = task.error["message"]
    if task.state == "SKIPPED":
        before = task.spec["cachedFrom"]
        execution = f"{metadata.store_of(before['run'])}/executions/{before['task']}"
        facts |= {
            **_parameters(task.inputs, "input"),
            "cached_run": before["run"],
            "cached_execution": execution,
        }
    _record(turn, task, facts)
    if task.kind not in ("container", "importer", "resolver"):
        return
    execution = execution_of(task)
    _join(turn, execution, "input", resolving.whole_inputs(turn, task)["artifacts"])
    made = task.outputs.get("artifacts") or {}
    for some in made.values():
        for artifact in some:
            _put(turn, artifact)
    _join(turn, execution, "output", made)
    names = [artifact["name"] for some in made.values() for artifact in some]
    if names:
        _gather(turn, task, names)
    measured = {
        key: [one for one in some if one["type"]["schemaTitle"] in _METRICS] for key, some in made.items()
    }
    _join(turn, execution_of(turn.root(task)), "output", measured)  # where clients look for a run's metrics


def _record(turn: Turn, task: Task, facts: Mapping[str, Any]) -> None:
    title = "system.Run" if task.parent is None else _TITLES[task.kind]
    name = turn.root(task).spec["job"] if task.parent is None else resolving.shown_name(task)
    new = resources.get(turn.connection, execution_of(task)) is None
    if new:
        facts = {**_parameters(task.inputs, "input"), **facts}
    made = things.execute(
        turn.connection,
        metadata.store_of(task.run),
        str(task.id),
        title,
        name,
        _STATES[task.state],
        facts,
        turn.now,
    )
    if new:
        _gather(turn, task, [made.name])


def _gather(turn: Turn, task: Task, members: list[str]) -> None:
    """Puts what a task left into the contexts of its run and its pipeline."""
    pipeline, run = contexts_of(task.run, turn.root(task).spec["pipeline"])
    for context in (run, pipeline):
        turn.members.setdefault(context, []).extend(members)


def _join(turn: Turn, execution: str, way: Any, artifacts: Mapping[str, list[dict[str, Any]]]) -> None:
    for key, some in artifacts.items():
        names = [artifact["name"] for artifact in some]
        lineage.add(turn.connection, execution, way, names, turn.now, {f"{way}:{way}_key": key})


def _put(turn: Turn, artifact: Mapping[str, Any]) -> None:
    store, _, _ = artifact["name"].partition("/artifacts/")
    body = {
        "displayName": artifact["uri"].rpartition("/")[2][:_CUT],
        "uri": artifact["uri"],
        "schemaTitle": artifact["type"]["schemaTitle"],
        "schemaVersion": artifact["type"]["schemaVersion"],
        "state": "LIVE",
        "metadata": artifact["metadata"],
    }
    resources.insert(
        turn.connection, name=artifact["name"], kind=ARTIFACTS.kind, parent=store, body=body, now=turn.now
    )


def _parameters(held: Mapping[str, Any], way: str) -> dict[str, Any]:
    """Parameters as an execution's metadata has them."""
    told = {}
    for name, value in (held.get("parameters") or {}).items():
        short = isinstance(value, int | float | bool) or len(json.dumps(value)) <= _VALUE
        told[f"{way}:{name}"] = value if short else f"{json.dumps(value)[:_VALUE]}…"
    return told
