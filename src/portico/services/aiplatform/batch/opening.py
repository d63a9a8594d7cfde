"""A registered model, opened by whoever has many rows for it: as what serves it, in this process or in replicas."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portico.jobs.worker import Context
from portico.prediction.models.lightgbm_model import model_file
from portico.prediction.models.native.files import check_digest
from portico.sandbox.isolation import in_words
from portico.services.aiplatform import images, machine_types
from portico.services.aiplatform.batch import models as batch_models
from portico.services.aiplatform.batch.forecasting import ForecastingModel
from portico.services.aiplatform.batch.models import BatchModel
from portico.services.aiplatform.custom import identity
from portico.services.aiplatform.model_files import serving_of_version
from portico.services.registry import model_store
from portico.services.registry.model_store import VersionPrivate
from portico.store import replicas
from portico.store.resources import Resource

_ROWS = 8_192  # of a chunk, for a model in this process
_REPLICA_ROWS = 1_000  # of a request to a replica, where the caller does not say otherwise
_REPLICA_START = 1800.0  # seconds that an environment may take to install, and its replicas to start


@dataclass(frozen=True, slots=True)
class Asked:
    """How a model is asked. `resources` are DedicatedResources, `rows` how many a replica gets at once (0: as usual);
    `explanation` and `parameters` those of the request."""

    resources: Mapping[str, Any] = field(default_factory=dict)
    rows: int = 0
    explanation: Mapping[str, Any] = field(default_factory=dict)
    parameters: Any = None


@contextmanager
def opened(context: Context, version: Resource, asked: Asked) -> Iterator[tuple[BatchModel, int, int]]:
    """The model, with how many threads may ask it, and for how many rows at once."""
    private = VersionPrivate.of(version)
    folder = model_store.folder(context.home, private.artifact)
    cores = context.cores
    check_digest(folder, private.digest)
    if private.format == "portico":
        yield batch_models.PorticoModel(folder), cores, _ROWS
    elif private.format == "forecast":
        yield ForecastingModel(folder, cores), cores, _ROWS
    elif private.format == "lightgbm":
        from portico.prediction.models.native.trees import (
            check_trees,
        )  # loads NumPy, and control imports this module

        check_trees(model_file(folder).read_bytes())
        yield batch_models.LightGBMModel(folder, asked.explanation), cores, _ROWS
    elif private.format == "replica":
        with _replicas(context, version, folder, asked) as sockets:
            yield (
                batch_models.ReplicaModel(sockets, asked.explanation),
                len(sockets),
                asked.rows or _REPLICA_ROWS,
            )
    else:
        model = batch_models.AnyPredictor(private.format, folder, asked.explanation, asked.parameters)
        yield model, cores, _REPLICA_ROWS


def replica_set_id(job_id: str) -> str:
    """What the replicas of a job are called; whoever follows it removes them, should it not come to that."""
    return f"batch-{job_id}"


@contextmanager
def _replicas(context: Context, version: Resource, folder: Path, asked: Asked) -> Iterator[list[str]]:
    """Replicas for as long as the job runs: as many as it asks for, but no more than there are cores."""
    from portico.prediction.replicas.container import limits
    from portico.prediction.replicas.places import said, socket_paths

    serving = images.explaining(serving_of_version(context.home, version), asked.explanation)
    count = asked.resources.get("startingReplicaCount") or 1
    wanted = serving.replica_set(
        replica_set_id(context.job.id),
        folder,
        max(1, min(int(count), os.cpu_count() or 1)),
        machine_types.memory(dict(asked.resources)),
    )
    wanted = identity.of_replicas(context.home, wanted, version.name.split("/")[1])
    context.say(in_words(limits(wanted)))
    if serving.note:
        context.say(serving.note)
    with context.database.write() as connection:
        replicas.put(connection, wanted, context.ids.token())
    try:
        context.progress(0.0, "starting replicas")
        replicas.wait_ready(context.database, wanted.id, _REPLICA_START, context.should_stop)
        for line in said(context.home, wanted.id):
            context.say(f"replica: {line}")
        yield socket_paths(context.home, wanted.id, wanted.count)
    finally:
        with context.database.write() as connection:
            replicas.remove(connection, wanted.id)
