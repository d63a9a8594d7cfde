"""What a registered model answers to instances that lie in a file: for who needs its answers beside another's.

The job is `ASK`. Its payload names the `version` and the `file`, one instance as JSON a line; a row that the model
refuses is no reason to fail. What came of each is read by `registry.asking.answers`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy.engine import Connection

from portico.errors import FailedPrecondition
from portico.jobs.kinds import JobKind
from portico.jobs.kinds import register as register_kind
from portico.jobs.worker import Context
from portico.services.aiplatform.batch.instances import InstanceConfig, Lines
from portico.services.aiplatform.batch.models import BatchModel
from portico.services.aiplatform.batch.opening import Asked, opened, replica_set_id
from portico.services.aiplatform.batch.read import Chunk
from portico.services.registry import model_store
from portico.services.registry.asking import ASK, answers_path
from portico.store import jobs, replicas, resources
from portico.store.jobs import Job
from portico.store.sizes import size_of

_PROBES = 200  # single rows whose time is taken
_PROBED = 30.0  # seconds that they may take together: of a slow model fewer are asked


def run(context: Context) -> dict[str, Any]:
    """Job: asks for all rows, and with `probe` for some of them alone, whose time is taken.

    Raises:
        PorticoError: the model can't be opened, or gave no answer at all; the message says why.
    """
    asked = context.job.payload
    with context.database.read() as connection:
        version = resources.get(connection, asked["version"])
    if version is None:
        raise FailedPrecondition(f"The Model version {asked['version']} was deleted meanwhile.")
    lines = Path(asked["file"]).read_bytes().splitlines()
    made: list[bytes] = []
    result: dict[str, Any] = {}
    with opened(context, version, Asked()) as (model, _, most):
        for start in range(0, len(lines), most):
            context.progress(start / len(lines), f"{start:,} of {len(lines):,} rows")
            made += _answers(model, lines[start : start + most], start)
        if asked.get("probe"):
            result["latencySeconds"] = _latency(context, model, lines)
    context.folder.mkdir(parents=True, exist_ok=True)
    answers_path(context.home, context.job.id).write_bytes(b"\n".join(made))
    folder = model_store.folder(context.home, model_store.VersionPrivate.of(version).artifact)
    return {**result, "bytes": size_of(folder)}


def _answers(model: BatchModel, lines: list[bytes], start: int) -> list[bytes]:
    instances = Lines(Chunk("", start, 0, lines=lines), InstanceConfig())
    answers = model.answer(instances, False)
    return [
        orjson.dumps({"error": answers.bad[row]}) if row in answers.bad else b'{"prediction":%s}' % text
        for row, text in enumerate(answers.texts())
    ]


def _latency(context: Context, model: BatchModel, lines: list[bytes]) -> float:
    """How long one row takes, p99 over single rows, in seconds."""
    import numpy as np

    taken: list[float] = []
    begun = time.perf_counter()
    for number in range(_PROBES):
        context.check()
        started = time.perf_counter()
        if started - begun > _PROBED and taken:
            break
        _answers(model, [lines[-1 - number % len(lines)]], 0)
        taken.append(time.perf_counter() - started)
    return float(np.quantile(taken, 0.99))


def _follow(connection: Connection, job: Job, now: float) -> None:
    if job.state in jobs.ENDED:
        replicas.remove(connection, replica_set_id(job.id))


register_kind(JobKind(ASK, f"{__name__}:run", _follow, stays=lambda job: True))
