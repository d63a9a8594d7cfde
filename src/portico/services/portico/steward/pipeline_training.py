"""A retraining by a pipeline of the user's: it gets the training data, and a model that its run made is the challenger.

The job's first turn writes the data and starts the run, which is its child; the others look whether it has ended, and
which model came out. What the run does is not ours: it may hang, fail, or come with another model than was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import Connection

from portico.clock import duration_seconds
from portico.errors import FailedPrecondition, InvalidArgument
from portico.jobs.kinds import JobKind, Wait
from portico.jobs.kinds import register as register_kind
from portico.jobs.worker import Context
from portico.services.call import rooms_of
from portico.services.portico.steward.train import measured
from portico.services.portico.steward.training_data import gathered
from portico.services.portico.stewards import EpisodePrivate
from portico.services.registry import model_store, pipeline_runs
from portico.services.registry.pipeline_runs import EPISODE_FACTS, Origin
from portico.services.standard.names import location_of
from portico.services.standard.sources import gcs_of
from portico.store import domain_clock, pipelines, resources
from portico.store.jobs import Job
from portico.store.resources import Resource

if TYPE_CHECKING:
    import pyarrow as pa

RETRAIN_BY_PIPELINE = "stewards.retrainByPipeline"
_LABEL = "portico-steward"
_MODEL_NAME = re.compile(r"projects/[^/]+/locations/[^/]+/models/[^/@]+(@\d+)?")


def _pipeline_job(pipeline: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    given = pipeline.get("episodeParameters") or {}
    return pipeline_runs.job_of(pipeline, {name: facts[fact] for name, fact in given.items()})


def run(context: Context) -> dict[str, Any] | Wait:
    """Job: a turn.

    Raises:
        PorticoError: no run can start, or it ended without the model that was asked for; the message says why.
    """
    with context.database.read() as connection:
        episode = resources.get(connection, context.job.resource)
        if episode is None:
            raise FailedPrecondition(f"{context.job.resource} is gone.")
        name = episode.body.get("pipelineJob", "")
        made = resources.get(connection, name) if name else None
    if not name:
        return _wait(context, _begin(context, episode))
    if made is None:
        raise FailedPrecondition(f"The pipeline run {name} was deleted.")
    state = str(made.body["state"]).removeprefix("PIPELINE_STATE_")
    if state not in ("SUCCEEDED", "FAILED", "CANCELLED"):
        return _wait(context, made)
    short = name.rpartition("/")[2]
    if state == "FAILED":
        words = (made.body.get("error") or {}).get("message", "")
        raise FailedPrecondition(f"The pipeline run {short} failed: {words}")
    if state == "CANCELLED":
        raise FailedPrecondition(f"The pipeline run {short} was cancelled.")
    given = EpisodePrivate.of(episode).given
    with context.database.read() as connection:
        version = _version_of(connection, context.job.payload, made)
        spent = sum(
            (task.end_time or 0.0) - (task.start_time or 0.0)
            for task in pipelines.of_run(connection, name)
            if task.kind == "container" and task.end_time and task.state != "SKIPPED"
        )
        private = model_store.VersionPrivate.of(version)
    facts = {**given["facts"], "milliNodeHours": max(1, round(spent / 3.6))}
    if private.format == "portico":
        facts |= measured(context, private.artifact, [])
    return {"version": version.name, "data": given["data"], "facts": facts, "pipelineJob": name}


def _wait(context: Context, made: Resource) -> Wait:
    """
    Raises:
        FailedPrecondition: it has taken too long; the run ends with this job.
    """
    timeout = context.job.payload["pipeline"].get("timeout") or "86400s"
    until = made.create_time + duration_seconds(timeout)
    short = made.name.rpartition("/")[2]
    if context.clock.now() >= until:
        raise FailedPrecondition(
            f"The pipeline run {short} had not ended after {timeout} (training.pipeline.timeout), and was cancelled."
        )
    return Wait(limit=until, why=f"waits for the pipeline run {short}")


def _begin(context: Context, episode: Resource) -> Resource:
    """Writes the training data, and starts the run; once, as the episode says which it is."""
    from portico.ml.errors import DataError

    asked, rooms = context.job.payload, rooms_of(context)
    parent = location_of(episode.name)
    try:
        data = gathered(context, asked, regression=asked["predictionType"] == "regression")
    except DataError as error:
        raise InvalidArgument(f"{error.message}.", field=error.field) from None
    if not data.table.num_rows:
        raise FailedPrecondition(
            "There is no row that it may learn from: the newest labels are for the gates."
        )
    context.say(f"{data.table.num_rows:,} rows to learn from, {len(data.known):,} of them predicted before")
    facts = {
        **{key: asked[key] for key in ("predictionType", "classes", "champion", "endpoint", "reason")},
        "targetColumn": asked["target"], "timeColumn": asked["timeColumn"], "rows": data.table.num_rows,
        "championModel": model_store.split(asked["champion"])[0],
        "steward": episode.parent, "episode": episode.name,
    }  # fmt: skip
    ask = pipeline_runs.pipelines().ask
    with context.database.read() as connection:
        root = ask(
            rooms, connection, parent, _pipeline_job(asked["pipeline"], {**EPISODE_FACTS, **facts})
        ).root
    uri = "/".join([root.rstrip("/"), *episode.name.split("/")[4:], "training.csv"])
    file = context.folder / "training.csv"
    context.folder.mkdir(parents=True, exist_ok=True)
    _write_csv(data.table, file)
    written = gcs_of(context).write(uri, file, "text/csv")
    file.unlink()
    with context.database.read() as connection:
        job = ask(rooms, connection, parent, _pipeline_job(asked["pipeline"], {**facts, "trainingData": uri}))
        now = domain_clock.now(connection, context.clock)
    given = {
        "data": [*data.generations, {"uri": uri, "generation": str(written.generation)}],
        "facts": data.facts,
    }
    steward, number = episode.parent.rpartition("/")[2], episode.name.rpartition("/")[2]
    origin = Origin(
        episode.name, now, {_LABEL: steward}, {"steward": episode.parent, "reason": asked["reason"]}
    )
    with context.database.write() as connection:
        current = resources.get(connection, episode.name)
        if current is None:
            raise FailedPrecondition(f"{episode.name} is gone.")
        made = pipeline_runs.pipelines().start(
            rooms, connection, job, f"{steward}-{number}", origin, parent=context.job.id
        )
        current.body["pipelineJob"] = made.name
        EpisodePrivate.of(current).given = given
        resources.update(connection, current, context.clock.now())
    rooms.queue.wake()
    context.say(f"started {made.name}")
    return made


def _write_csv(table: pa.Table, path: Path) -> None:
    """
    Raises:
        InvalidArgument: a column holds lists or structs, which CSV has no cells for.
    """
    import pyarrow as pa
    from pyarrow import csv

    try:
        csv.write_csv(table, path)
    except pa.ArrowInvalid as error:
        raise InvalidArgument(f"The training data can't be written as CSV: {error}.") from None


# --- what came out ---


def _version_of(connection: Connection, asked: Mapping[str, Any], run: Resource) -> Resource:
    """The version of a model that a run registered.

    Raises:
        FailedPrecondition: it made none, several, or one that is no challenger.
    """
    short, wanted = run.name.rpartition("/")[2], asked["pipeline"].get("modelOutput") or ""
    told = sorted({*_models_of(connection, run.name, wanted)})
    which = f"the pipeline's output {wanted}" if wanted else "none of its tasks' outputs"
    if not told:
        words = "is no registered model" if wanted else "is a registered model"
        raise FailedPrecondition(
            f"The pipeline run {short} ended without a model: {which} {words} (a google.VertexModel, or its resource "
            "name as a text)."
        )
    found = {version.name: version for name in told if (version := _newest(connection, name, run))}
    made = [version for version in found.values() if version.create_time >= run.create_time]
    if not made:
        raise FailedPrecondition(
            f"The pipeline run {short} made no model: {', '.join(told)} "
            + ("was registered before it began." if found else "does not exist.")
        )
    if len(made) > 1:
        raise FailedPrecondition(
            f"The pipeline run {short} made {len(made)} models ({', '.join(one.name for one in made)}): say in "
            "training.pipeline.modelOutput which output of the pipeline is the challenger."
        )
    [version] = made
    if not version.name.startswith(f"{location_of(run.name)}/"):
        raise FailedPrecondition(f"The pipeline run {short} made {version.name}, which is in another place.")
    if not model_store.VersionPrivate.of(version).format:
        raise FailedPrecondition(
            f"The pipeline run {short} made {version.name}, which nothing here serves: it lacks an image or "
            "files."
        )
    return version


def _models_of(connection: Connection, run: str, wanted: str) -> Iterator[str]:
    """The resource names of models that are told by the outputs of a run's tasks; by that of the pipeline which is
    `wanted`, where one is."""
    for task in pipelines.of_run(connection, run):
        outputs = task.outputs or {}
        if (task.parent is None) if wanted else (task.kind == "container"):
            for name, some in (outputs.get("artifacts") or {}).items():
                if wanted in ("", name):
                    yield from (one["metadata"]["resourceName"] for one in some if _names_model(one))
            for name, value in (outputs.get("parameters") or {}).items():
                if wanted in ("", name) and isinstance(value, str) and _MODEL_NAME.fullmatch(value):
                    yield value


def _names_model(artifact: Mapping[str, Any]) -> bool:
    name = artifact["metadata"].get("resourceName")
    return isinstance(name, str) and bool(_MODEL_NAME.fullmatch(name))


def _newest(connection: Connection, name: str, run: Resource) -> Resource | None:
    """The version that a name means: without a number, the newest of those that came since the run began."""
    model, number = model_store.split(name)
    if number:
        return resources.get(connection, name)
    versions = list(resources.listed(connection, model_store.VERSION_KIND, model))
    return max(versions, key=lambda one: (one.create_time, int(one.body["versionId"])), default=None)


def _follow(connection: Connection, job: Job, now: float) -> None:
    """The model that the run made is the challenger; it is not registered again."""
    episode = resources.get(connection, job.resource)
    if job.state != "SUCCEEDED" or episode is None:
        return
    model, number = model_store.split(job.result["version"])
    episode.body["challenger"] = {"model": model, "modelVersionId": number}
    resources.update(connection, episode, now)


register_kind(JobKind(RETRAIN_BY_PIPELINE, f"{__name__}:run", _follow))
