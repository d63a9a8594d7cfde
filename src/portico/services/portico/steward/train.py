"""How a challenger is made: trained again on what is known now, or the champion with one thing adjusted."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import Cancelled, FailedPrecondition, InvalidArgument, NotFound
from portico.jobs.kinds import JobKind
from portico.jobs.kinds import register as register_kind
from portico.jobs.worker import Context
from portico.services.portico.joining import Outcome
from portico.services.portico.steward.training_data import gathered
from portico.services.registry import model_store, training_inputs
from portico.services.registry.model_store import register_version
from portico.store import resources
from portico.store.jobs import Job
from portico.store.sizes import size_of

RETRAIN, ADJUST = "stewards.retrain", "stewards.adjust"
_PROBES = 200  # single rows whose time is taken


def run_retrain(context: Context) -> dict[str, Any]:
    """Job: trains on the first model's data and every prediction that has a label and was made before the cut-off."""
    from dataclasses import replace

    from portico.ml.errors import DataError, TrainingStopped
    from portico.ml.learn.split import SplitSpec
    from portico.ml.learn.train import train
    from portico.services.registry.trained import model_body, save_artifact

    asked = context.job.payload
    spec = training_inputs.spec_of(asked["pipeline"], context.cores)
    if asked.get("objective"):
        spec = replace(spec, optimization_objective=asked["objective"])
    if asked["budget"]:
        spec = replace(spec, budget_seconds=asked["budget"] * 3.6)
    if asked["timeColumn"]:
        split = SplitSpec("timestamp", asked["timeColumn"], 0.9, 0.1, 0.0, spec.split.time_format)
    else:
        split = SplitSpec("fraction", "", 0.9, 0.1, 0.0)
    spec = replace(spec, split=split, target=asked["target"])
    try:
        data = gathered(
            context, asked, regression=spec.prediction_type == "regression", weight=spec.weight_column
        )
        words = f"{data.table.num_rows:,} rows read, {len(data.known):,} of them predicted before"
        context.progress(0.01, words)
        trained = train(data.table, spec, progress=context.progress, should_stop=context.should_stop)
    except DataError as error:
        raise InvalidArgument(f"{error.message}.", field=error.field) from None
    except TrainingStopped:
        raise Cancelled("The training was cancelled.") from None
    save_artifact(context, trained, asked["artifact"])
    model = model_body(trained)
    return {
        "model": model,
        "data": data.generations,
        "facts": {
            **data.facts,
            "cutShort": model["metadata"].get("cutShortReason", ""),
            "milliNodeHours": max(1, round(trained.seconds / 3.6)),
            **measured(context, asked["artifact"], data.known),
        },
    }


def run_adjust(context: Context) -> dict[str, Any]:
    """Job: a copy of the champion with what `adjustment` names changed.

    `factor`: every answer and its bounds are multiplied by it. `scale` and `shift`: scores are recalibrated (see
    `ml.recalibrate`). `threshold`: the score from which on it decides for the second class.
    """
    asked = context.job.payload
    with context.database.read() as connection:
        version = resources.get(connection, asked["champion"])
    if version is None:
        raise NotFound(f"The Model version {asked['champion']!r} was deleted meanwhile.")
    source = model_store.folder(context.home, model_store.VersionPrivate.of(version).artifact)
    target = model_store.folder(context.home, asked["artifact"])
    beside = target.with_name(target.name + ".part")
    for old in (beside, target):
        shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(source, beside)
    (beside / "model.json").write_text(_adjusted(beside / "model.json", asked["adjustment"]))
    beside.rename(target)
    body = {key: value for key, value in version.body.items() if key in _OF_THE_MODEL}
    if "threshold" in asked["adjustment"]:
        body["metadata"] = {
            **(body.get("metadata") or {}), "decisionThreshold": asked["adjustment"]["threshold"],
        }  # fmt: skip
    facts = {**asked["adjustment"], "trainedUntil": asked["fittedUntil"], "milliNodeHours": 0}
    return {"model": body, "facts": {**facts, **measured(context, asked["artifact"], [])}}


_OF_THE_MODEL = ("metadataSchemaUri", "metadata", "predictSchemata", "explanationSpec", "supportedExportFormats",
                 "supportedDeploymentResourcesTypes", "supportedInputStorageFormats", "supportedOutputStorageFormats",
                 "modelSourceInfo")  # fmt: skip


def _adjusted(path: Path, adjustment: dict[str, Any]) -> str:
    from portico.ml.learn.links import Link, recalibrated

    body = json.loads(path.read_text())
    if "factor" in adjustment:
        if body["link"]["kind"] != "mixture":
            raise FailedPrecondition("Only a regression can be rescaled.")
        body["link"]["weights"] = [weight * adjustment["factor"] for weight in body["link"]["weights"]]
        for part in ("edges", "lower", "upper"):
            body["bounds"][part] = [value * adjustment["factor"] for value in body["bounds"][part]]
    if "scale" in adjustment:
        link = recalibrated(Link(**body["link"]), adjustment["scale"], adjustment["shift"])
        body["link"] = asdict(link)
    if "threshold" in adjustment:
        body["threshold"] = adjustment["threshold"]
    return json.dumps(body, allow_nan=False)


def measured(context: Context, artifact: str, known: list[Outcome]) -> dict[str, Any]:
    """How large its files are, and how long one row takes, p99 over single rows."""
    import numpy as np

    from portico.ml.learn.model import Model

    folder = model_store.folder(context.home, artifact)
    model = Model.load(folder)
    taken = []
    for number in range(_PROBES):
        instance = known[-1 - number % min(len(known), _PROBES)].instance if known else {}
        started = time.perf_counter()
        model.predict_instances([instance])
        taken.append(time.perf_counter() - started)
    return {"bytes": size_of(folder), "latencySeconds": float(np.quantile(taken, 0.99))}


def _follow(connection: Connection, job: Job, now: float) -> None:
    """Registers the challenger as a version of the champion's model; the default alias stays where it is."""
    if job.state != "SUCCEEDED" or resources.get(connection, job.resource) is None:
        return
    champion = resources.get(connection, job.payload["champion"])
    if champion is None:
        return
    kept = ("displayName", "description", "labels", "trainingPipeline")
    body = {
        **{key: champion.body[key] for key in kept if key in champion.body},
        **job.result["model"],
        "versionDescription": job.payload["description"],
    }
    made = model_store.VersionPrivate(artifact=job.payload["artifact"], format="portico")
    parent, _, model_id = champion.parent.rpartition("/models/")
    version = register_version(
        connection, {"parent": parent, "modelId": model_id, "new": False}, body, made, now, []
    )
    episode = resources.get(connection, job.resource)
    assert episode is not None
    episode.body["challenger"] = {"model": version.parent, "modelVersionId": version.body["versionId"]}
    resources.update(connection, episode, now)


register_kind(JobKind(RETRAIN, f"{__name__}:run_retrain", _follow, elsewhere=training_inputs.AUTOML))
register_kind(JobKind(ADJUST, f"{__name__}:run_adjust", _follow))
