"""The experiment and the runs of ML Metadata that belong to a job's event files, as Google's uploader makes them:
`aiplatform.Experiment` and `ExperimentRun` find what the TensorBoard has."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.engine import Connection

from portico.services.aiplatform.metadata import things
from portico.services.registry import metadata
from portico.store import lineage, resources

_LONGEST = 128  # characters of an id


def add_experiment(connection: Connection, experiment: str, now: float) -> None:
    """For the TensorboardExperiment of that name."""
    board, _, own = experiment.partition("/experiments/")
    facts = {"experiment_deleted": False, "backing_tensorboard_resource": board}
    name = f"{metadata.store_of(experiment)}/contexts/{own}"
    metadata.add_context(connection, name, own, metadata.EXPERIMENT, facts, now)


def add_run(connection: Connection, run: str, now: float) -> None:
    """For the TensorboardRun of that name, with an artifact that stands for it."""
    store, own, above = metadata.store_of(run), _id(run), run.split("/")[7]
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
    name = f"{store}/contexts/{own}"
    metadata.add_context(connection, name, display, metadata.RUN, facts, now, parents=[experiment])
    lineage.add(connection, name, "member", [things.put(connection, store, artifact, now)], now)


def complete(connection: Connection, runs: Iterable[str], now: float) -> None:
    """When the job has ended."""
    for run in runs:
        context = resources.get(connection, f"{metadata.store_of(run)}/contexts/{_id(run)}")
        if context is not None:
            context.body.setdefault("metadata", {})["_state"] = "COMPLETE"
            resources.update(connection, context, now)


def _id(run: str) -> str:
    parts = run.split("/")
    return f"{parts[7]}-{parts[9]}"
