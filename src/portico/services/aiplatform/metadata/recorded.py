"""What is recorded without being asked: every training, retraining, upload, deployment, batch prediction and custom job
is an execution with its inputs and outputs, in the transactions in which its job moves; and so is every evaluation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from portico.clock import rfc3339
from portico.errors import InvalidArgument
from portico.jobs import kinds
from portico.services.aiplatform.custom.contract import account_of
from portico.services.aiplatform.metadata import metadata_runs, things
from portico.services.aiplatform.metadata.things import Thing
from portico.services.registry import evaluations, metadata
from portico.services.standard.names import canonical
from portico.store import jobs, lineage, resources
from portico.store.gcs import parse_uri
from portico.store.jobs import Job
from portico.store.objects import generations as objects
from portico.store.resources import Resource

log = logging.getLogger(__name__)

_STATES = {"RUNNING": "RUNNING", "SUCCEEDED": "COMPLETE", "FAILED": "FAILED", "CANCELLED": "CANCELLED"}
_FACTS = ("seed", "versions", "iterations", "rows", "cutShort", "nodeSeconds")  # of an AutoML training
_SMALL = 40  # metrics of an evaluation that are numbers


@dataclass(slots=True)
class Told:
    """What a job says of what it did. `facts` become the execution's metadata; `known` are artifacts that are there
    already, further inputs."""

    display: str
    title: str = "system.Run"
    inputs: list[Thing] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    outputs: list[Thing] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def _training(connection: Connection, job: Job, pipeline: Resource) -> Told:
    body, payload = pipeline.body, job.payload
    inputs = canonical(body.get("trainingTaskInputs") or {})
    told = Told(f"train {body['displayName']}", facts={
        "trainingPipeline": pipeline.name, "definition": body["trainingTaskDefinition"], "parameters": inputs,
        "inputDataConfig": body.get("inputDataConfig") or {},
    })  # fmt: skip
    if payload["dataset"]:
        told.inputs.append(things.resource(connection, payload["dataset"]))
        told.inputs += [
            things.generation(row.uri, row.generation) for row in objects.pinned(connection, pipeline.name)
        ]
    if "workerPoolSpecs" in inputs:
        told.title = "system.CustomJobExecution"
        _of_code(connection, job, inputs, told)
    _of_rerun(connection, job, told)
    if job.state == "SUCCEEDED":
        known = job.result.get("metadata") or {}
        told.facts |= _some(known, *_FACTS)
        if version := (body.get("modelToUpload") or {}).get("versionId"):
            told.outputs.append(things.resource(connection, f"{body['modelToUpload']['name']}@{version}"))
    return told


def _custom_job(connection: Connection, job: Job, resource: Resource) -> Told:
    told = Told(resource.body["displayName"], "system.CustomJobExecution", facts={"customJob": resource.name})
    _of_code(connection, job, job.payload["spec"], told)
    _of_rerun(connection, job, told)
    metadata_runs.follow(connection, job, resource)
    return told


def _trial(connection: Connection, job: Job, resource: Resource) -> Told:
    told, payload = _custom_job(connection, job, resource), job.payload
    told.facts |= {"hyperparameterTuningJob": payload["tuning"], "trial": payload["trial"]}
    tuning = resources.get(connection, payload["tuning"])
    for trial in tuning.body["trials"] if tuning else ():
        if trial["id"] == payload["trial"]:
            told.facts["parameters"] = {one["parameterId"]: one["value"] for one in trial["parameters"]}
            measured = trial.get("finalMeasurement", {}).get("metrics", [])
            told.facts |= {one["metricId"]: one["value"] for one in measured}
    return told


def _of_rerun(connection: Connection, job: Job, told: Told) -> None:
    """What the first training has made is what one that repeats it compares itself with."""
    if not (again := job.payload.get("rerun")):
        return
    told.facts["rerunOf"] = again["first"]
    execution = f"{metadata.store_of(again['first'])}/executions/job-{again['job']}"
    told.known += connection.execute(lineage.other(execution, "output")).scalars()
    if job.state == "SUCCEEDED":
        told.facts["identical"] = job.result["rerun"]["identical"]


def _of_code(connection: Connection, job: Job, spec: Mapping[str, Any], told: Told) -> None:
    """A user's own code: its packages as they are when it starts, what it was given, and where it leaves its model."""
    told.facts |= {
        "workerPoolSpecs": spec["workerPoolSpecs"],
        "serviceAccount": account_of(spec, job.resource),
    }
    again = (job.payload.get("rerun") or {}).get("record") or {}
    told.inputs += [things.generation(one["uri"], one["generation"]) for one in again.get("code") or ()]
    for pool in spec["workerPoolSpecs"] if not again else ():
        for uri in ((pool or {}).get("pythonPackageSpec") or {}).get("packageUris") or []:
            if job.state == "RUNNING" and (row := _live(connection, uri)):
                told.inputs.append(things.generation(uri, row.generation))
    base = str((spec.get("baseOutputDirectory") or {}).get("outputUriPrefix") or "").rstrip("/")
    if job.state != "SUCCEEDED":
        return
    record = job.result.get("record") or {}
    told.inputs += [things.generation(one["uri"], one["generation"]) for one in record.get("inputs") or ()]
    told.facts |= _some(record, "environments", "seeds", "machine")
    if base:
        told.outputs.append(things.files(f"{base}/model", "system.Model"))


def _some(held: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: held[name] for name in names if held.get(name) not in (None, "", {})}


def _live(connection: Connection, uri: str) -> objects.ObjectRow | None:
    try:
        return objects.find(connection, *parse_uri(uri))
    except InvalidArgument:
        return None


def _batch(connection: Connection, job: Job, batch: Resource) -> Told:
    kept = resources.private_json(batch)
    told = Told(batch.body["displayName"], facts={
        "batchPredictionJob": batch.name,
        **_some(batch.body, "instanceConfig", "modelParameters", "explanationSpec"),
    })  # fmt: skip
    told.inputs.append(things.resource(connection, kept["version"]))
    told.inputs += [things.generation(pin["uri"], pin["generation"]) for pin in kept.get("pins", [])]
    if job.state == "SUCCEEDED":
        told.outputs = [
            things.resource(connection, batch.name),
            things.files(kept["directory"], "system.Dataset"),
        ]
    return told


def _deployment(connection: Connection, job: Job, endpoint: Resource) -> Told:
    """`why` is the episode of a steward that deploys, with who approved it."""
    target, payload = things.resource(connection, endpoint.name), job.payload
    facts = {"deployedModelId": payload["deployed"]["id"], **payload.get("why", {})}
    told = Told(f"deploy to {target.name}", facts=facts)
    told.inputs.append(things.resource(connection, payload["version"]))
    if job.state == "SUCCEEDED":
        told.outputs.append(target)
    return told


def _upload(connection: Connection, job: Job, model: Resource | None) -> Told:
    asked = job.payload["model"]
    told = Told(f"upload {asked['displayName']}", facts={"containerSpec": asked.get("containerSpec") or {}})
    if asked.get("artifactUri"):
        told.inputs.append(things.files(asked["artifactUri"], "system.Model"))
    if job.state == "SUCCEEDED" and model is not None:
        version = resources.private_json(model)["last"]
        told.outputs.append(things.resource(connection, f"{model.name}@{version}"))
    return told


def _fetched(connection: Connection, job: Job, model: Resource) -> Told:
    """A version whose files were registered where they are, by MLflow's client, maybe those of a run."""
    told = Told(f"register {model.body['displayName']}")
    told.inputs.append(things.files(job.payload["uri"], "system.Model"))
    if run := job.payload["run"]:
        told.facts["experimentRun"] = run
        execution = f"{metadata.store_of(run)}/executions/job-{job.id}"
        lineage.add(connection, run, "member", [execution], job.start_time or job.create_time)
    if job.state == "SUCCEEDED":
        told.outputs.append(things.resource(connection, job.payload["version"]))
    return told


def _challenger(connection: Connection, job: Job, episode: Resource) -> Told:
    """A steward's retraining, or its adjusting of the champion."""
    payload = job.payload
    what, by_pipeline = job.kind.partition(".")[2], job.kind == "stewards.retrainByPipeline"
    told = Told(f"{what} for {episode.parent.rpartition('/')[2]}", facts={
        "episode": episode.name, "endpoint": payload["endpoint"],
        **_some(payload, "adjustment", "target", "budget", "objective"),
        **_some(episode.body if by_pipeline else payload, "pipelineJob" if by_pipeline else "pipeline"),
    })  # fmt: skip
    if "cutoff" in payload:
        told.facts["labelsBefore"] = rfc3339(payload["cutoff"])
    told.inputs.append(things.resource(connection, payload["champion"]))
    if payload.get("dataset"):
        told.inputs.append(things.resource(connection, payload["dataset"]))
    if job.state == "SUCCEEDED" and "challenger" in episode.body:
        made = episode.body["challenger"]
        told.inputs += [
            things.generation(one["uri"], one["generation"]) for one in job.result.get("data", [])
        ]
        told.outputs.append(things.resource(connection, f"{made['model']}@{made['modelVersionId']}"))
        told.facts |= {"facts": job.result["facts"]}
    return told


_TELLERS: dict[str, Callable[[Connection, Job, Any], Told]] = {
    "trainingPipelines": _training,
    "trainingPipelines.custom": _training,
    "trainingPipelines.forecasting": _training,
    "customJobs": _custom_job,
    "hyperparameterTuningJobs.trials": _trial,
    "batchPredictionJobs.run": _batch,
    "batchPredictionJobs.runMonitored": _batch,
    "endpoints.deployModel": _deployment,
    "models.upload": _upload,
    "models.fetch": _fetched,
    "stewards.retrain": _challenger,
    "stewards.retrainByPipeline": _challenger,
    "stewards.adjust": _challenger,
}


def _follow(connection: Connection, job: Job, now: float) -> None:
    teller = _TELLERS.get(job.kind)
    if teller is None:
        return
    connection.exec_driver_sql("SAVEPOINT lineage")
    try:
        _record(connection, job, teller, now)
    except (LookupError, TypeError, ValueError, AttributeError, IntegrityError):
        # A job's end does not hang on what is told of it.
        log.exception("the lineage of the job %s is not recorded", job.id)
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT lineage")
    connection.exec_driver_sql("RELEASE SAVEPOINT lineage")


def _record(connection: Connection, job: Job, teller: Callable[..., Told], now: float) -> None:
    resource = resources.get(connection, job.resource)
    if resource is None and job.kind != "models.upload":
        return  # deleted meanwhile
    told = teller(connection, job, resource)
    if job.state in jobs.ENDED and job.error:
        told.facts["error"] = job.error["message"]
    store = metadata.store_of(job.resource)
    made = things.execute(
        connection, store, f"job-{job.id}", told.title, told.display, _STATES[job.state], told.facts, now
    )
    _connect(connection, made, told, now)


def _connect(connection: Connection, made: Resource, told: Told, now: float) -> None:
    inputs = [things.put(connection, made.parent, thing, now) for thing in told.inputs] + told.known
    outputs = [things.put(connection, made.parent, thing, now) for thing in told.outputs]
    lineage.add(connection, made.name, "input", inputs, now)
    lineage.add(connection, made.name, "output", outputs, now)


kinds.watch(_follow)


def evaluated(connection: Connection, version: Resource, evaluation: Resource, now: float) -> None:
    """Records an evaluation of a model's version, with those of its metrics that are numbers."""
    body, short = evaluation.body, evaluation.name.rpartition("/")[2]
    metrics = body.get("metrics")
    numbers = {
        key: value
        for key, value in (metrics.items() if isinstance(metrics, dict) else ())
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    kind = next(
        (k for k in ("classification", "regression", "forecasting") if k in body.get("metricsSchemaUri", "")),
        "",
    )
    title = f"google.{kind.capitalize()}Metrics" if kind else "system.Metrics"
    model = things.resource(connection, version.name)
    uri = model.uri.replace(version.name, evaluation.name)
    shown = dict(list(numbers.items())[:_SMALL])
    measured = Thing(f"evaluation-{short}", title, "metrics", uri, {"resourceName": evaluation.name, **shown})
    told = Told(f"evaluate {model.name}", inputs=[model], outputs=[measured])
    store = metadata.store_of(version.name)
    facts = {"evaluation": evaluation.name}
    made = things.execute(
        connection, store, f"evaluation-{short}", told.title, told.display, "COMPLETE", facts, now
    )
    _connect(connection, made, told, now)


evaluations.watch(evaluated)
