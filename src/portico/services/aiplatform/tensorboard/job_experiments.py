"""The experiment and the runs of ML Metadata that belong to a job's event files, as Google's uploader makes them:
`aiplatform.Experiment` and `ExperimentRun` find what the TensorBoard has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy.engine import Connection

from portico.services.aiplatform.metadata import metadata_stores, things
from portico.services.aiplatform.metadata.contexts import CONTEXTS
from portico.store import lineage, resources

_LONGEST = 128  # characters of an id


def add_experiment(connection: Connection, experiment: str, now: float) -> None:
    """For the TensorboardExperiment of that name."""
    board, _, own = experiment.partition("/experiments/")
    store = things.store_of(experiment)
    metadata_stores.ensure(connection, store, now)
    facts = {"experiment_deleted": False, "backing_tensorboard_resource": board}
    _add(connection, store, own, own, "system.Experiment", facts, [], now)


def add_run(connection: Connection, run: str, now: float) -> None:
    """For the TensorboardRun of that name, with an artifact that stands for it."""
    store, own, above = things.store_of(run), _id(run), run.split("/")[7]
    artifact = things.Thing(
        f"{own}-tb-run",
        "google.VertexTensorboardRun",
        run.rpartition("/")[2],
        run,
        {"resourceName": run, "vertex_experiment_tracking": True},
    )
    if len(artifact.id) > _LONGEST:
        return
    facts = {"_params": {}, "_metrics": {}, "_state": "RUNNING"}
    experiment = f"{store}/contexts/{above}"
    display = run.rpartition("/")[2]
    name = _add(connection, store, own, display, "system.ExperimentRun", facts, [experiment], now)
    lineage.add(connection, experiment, "child", [name], now)
    lineage.add(connection, name, "member", [things.put(connection, store, artifact, now)], now)


def complete(connection: Connection, runs: Iterable[str], now: float) -> None:
    """When the job has ended."""
    for run in runs:
        context = resources.get(connection, f"{things.store_of(run)}/contexts/{_id(run)}")
        if context is not None:
            context.body.setdefault("metadata", {})["_state"] = "COMPLETE"
            resources.update(connection, context, now)


def _id(run: str) -> str:
    parts = run.split("/")
    return f"{parts[7]}-{parts[9]}"


def _add(
    connection: Connection,
    store: str,
    own: str,
    display: str,
    title: str,
    facts: dict[str, Any],
    parents: list[str],
    now: float,
) -> str:
    """The name of a context, made unless it is there."""
    name = f"{store}/contexts/{own}"
    body: dict[str, Any] = {
        "displayName": display,
        "schemaTitle": title,
        "schemaVersion": "0.0.1",
        "metadata": facts,
    }
    if parents:
        body["parentContexts"] = parents
    resources.insert(connection, name=name, kind=CONTEXTS.kind, parent=store, body=body, now=now)
    return name
