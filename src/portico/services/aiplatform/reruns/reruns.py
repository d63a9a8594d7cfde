"""Repeating a training from its pins: a training pipeline, a custom job, or the custom job of a trial.

A rerun is a resource of its own, of the same kind, with its own job and its own record. What it writes goes beside what
the first wrote, never in its place; its model is a model of its own.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import FailedPrecondition, NotFound
from portico.services.aiplatform.custom import pipeline as custom
from portico.services.aiplatform.custom import spec
from portico.services.aiplatform.custom.custom_jobs import CUSTOM_JOBS
from portico.services.aiplatform.models import target_of
from portico.services.aiplatform.reruns import pins
from portico.services.aiplatform.training import backing
from portico.services.aiplatform.training.training_pipelines import CUSTOM, PIPELINES
from portico.services.call import Call, implements
from portico.services.standard.jobs import JobCollection, JobPrivate
from portico.services.standard.names import location_of
from portico.store import jobs
from portico.store.gcs import place_of
from portico.store.jobs import Job
from portico.store.objects import generations as objects
from portico.store.resources import Resource

_NAME = 118  # characters of a display name that are kept before " (rerun)"
# What the client may give of a model. The rest is what the registry makes of it.
_OF_A_MODEL = ("displayName", "description", "labels", "containerSpec", "explanationSpec", "predictSchemata",
               "metadataSchemaUri", "metadata", "versionDescription")  # fmt: skip
_EXPERIMENT = ("experiment", "experimentRun", "persistentResourceId")  # they are the first's


@implements("portico", CUSTOM_JOBS.method("rerun"))
def rerun_custom_job(call: Call) -> dict[str, Any]:
    first, job, record = _first(call, CUSTOM_JOBS)
    if job.resource != first.name:
        raise FailedPrecondition(f"{first.name} is of {job.resource}: repeat that.")
    name = f"{location_of(first.name)}/customJobs/{call.rooms.ids.number()}"
    asked = _moved(job.payload["spec"], name)
    payload = {
        "spec": asked,
        "job": name,
        "persistent": "",
        "data": {"CLOUD_ML_TRIAL_ID": job.payload["trial"]} if "trial" in job.payload else {},
        "rerun": {"first": first.name, "job": job.id, "record": record},
    }
    body = {
        "displayName": _named(first.body["displayName"]),
        **({"labels": first.body["labels"]} if first.body.get("labels") else {}),
        "jobSpec": spec.shown(asked),
    }
    return _start(call, CUSTOM_JOBS, name, "customJobs", body, payload, record)


@implements("portico", PIPELINES.method("rerun"))
def rerun_training_pipeline(call: Call) -> dict[str, Any]:
    first, job, record = _first(call, PIPELINES)
    parent = location_of(first.name)
    name = f"{parent}/trainingPipelines/{call.rooms.ids.number()}"
    body = {
        key: copy.deepcopy(first.body[key])
        for key in ("trainingTaskDefinition", "trainingTaskInputs", "inputDataConfig", "labels")
        if first.body.get(key)
    }
    model = first.body.get("modelToUpload") or {}
    if body["trainingTaskDefinition"] == custom.DEFINITION:
        found = custom.spec_of(body)
        _check_artifact(first, model, found)
        body["trainingTaskInputs"] = _moved(found, name)
    if model:
        body["modelToUpload"] = {key: model[key] for key in _OF_A_MODEL if model.get(key)}
        body["modelToUpload"]["displayName"] = _named(model["displayName"])
    payload = {
        **job.payload,
        "target": target_of(call, parent, "", ""),
        "aliases": [],
        "artifact": call.rooms.ids.token(),
        "evaluation": call.rooms.ids.number(),
        "slices": call.rooms.ids.number(),
        "persistent": "",
        "rerun": {"first": first.name, "job": job.id, "record": record},
    }
    body["displayName"] = _named(first.body["displayName"])
    return _start(call, PIPELINES, name, job.kind, body, payload, record)


@implements("portico", CUSTOM_JOBS.method("getRerun"), PIPELINES.method("getRerun"))
def get(call: Call) -> dict[str, Any]:
    collection = CUSTOM_JOBS if ".customJobs." in call.method else PIPELINES
    with call.rooms.database.read() as connection:
        resource = collection.require(connection, call.name)
        job = _job(connection, resource)
    if "rerun" not in job.payload:
        raise FailedPrecondition(f"{resource.name} repeats no other training.")
    return _shown(resource, job)


def _first(call: Call, collection: JobCollection) -> tuple[Resource, Job, dict[str, Any]]:
    """What is to be repeated, its job and its record.

    Raises:
        FailedPrecondition: it can't be repeated here, with the reasons.
    """
    with call.rooms.database.read() as connection:
        resource = collection.require(connection, call.name)
        job = _job(connection, resource)
    if job.state != "SUCCEEDED":
        raise FailedPrecondition(
            f"{resource.name} is {job.state}: only a training that has succeeded can be repeated."
        )
    record = (job.result or {}).get("record")
    if not record:
        raise FailedPrecondition(
            f"{resource.name} was trained by a Portico that did not record what repeats it. Train it again."
        )
    if reasons := pins.changed(record):
        raise FailedPrecondition(
            f"{resource.name} can't be repeated here, for it would not be the same: {'; '.join(reasons)}."
        )
    return resource, job, record


def _job(connection: Connection, resource: Resource) -> Job:
    found = jobs.get(connection, JobPrivate.of(resource).job)
    if found is None:
        raise NotFound(f"{resource.name} has no job.")
    return found


def _moved(asked: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A CustomJobSpec whose results go below those of the first, into a folder of the rerun `name`."""
    made = copy.deepcopy({key: value for key, value in asked.items() if key not in _EXPERIMENT})
    if prefix := (made.get("baseOutputDirectory") or {}).get("outputUriPrefix"):
        above = re.sub(r"/reruns/\d+$", "", prefix.rstrip("/"))  # of a rerun, beside it
        made["baseOutputDirectory"] = {"outputUriPrefix": f"{above}/{pins.folder_of(name)}"}
    return made


def _check_artifact(first: Resource, model: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    base = str((found.get("baseOutputDirectory") or {}).get("outputUriPrefix") or "").rstrip("/")
    uri = str(model.get("artifactUri") or "").rstrip("/")
    if uri and uri != f"{base}/model":
        raise FailedPrecondition(
            f"{first.name} can't be repeated: its model is taken from {uri}, which its code writes wherever it runs. "
            "Let the code save into AIP_MODEL_DIR, and train it again."
        )


def _named(display: str) -> str:
    return f"{display.removesuffix(' (rerun)')[:_NAME]} (rerun)"


def _start(
    call: Call,
    collection: JobCollection,
    name: str,
    kind: str,
    body: dict[str, Any],
    payload: dict[str, Any],
    record: Mapping[str, Any],
) -> dict[str, Any]:
    """Pins for the rerun what the first has pinned, and lets it begin."""
    with call.rooms.database.write() as connection:
        _repin(connection, name, payload["rerun"]["first"], record)
        asks = None
        if "spec" in payload:
            asks = spec.asks_of(call.rooms.home, payload["spec"], stays=bool(payload.get("persistent")))
        elif "workerPoolSpecs" in body["trainingTaskInputs"]:
            asks = custom.asks_of(call.rooms.home, body)
        job = call.rooms.queue.add(connection, kind, name, payload, asks=asks)
        private = JobPrivate(job=job)
        if kind == CUSTOM:
            backing.add(call, connection, name, body, private)
        shown = {**body, "state": collection.state("PENDING")}
        made = collection.insert(call, connection, name, location_of(name), shown, private)
        answer = _shown(made, _job(connection, made))
    call.rooms.queue.wake()
    return answer


def _repin(connection: Connection, holder: str, first: str, record: Mapping[str, Any]) -> None:
    gone = []
    for one in _generations(record):
        bucket, name = place_of(one["uri"])
        row = objects.find(connection, bucket, name, int(one["generation"]), pinned=True)
        if row is None:
            gone.append(f"{one['uri']}#{one['generation']}")
        else:
            objects.pin(connection, row, holder)
    if gone:
        more = f" and {len(gone) - 3} more" if len(gone) > 3 else ""
        raise FailedPrecondition(
            f"{first} can't be repeated: {', '.join(gone[:3])}{more} {'is' if len(gone) == 1 else 'are'} gone."
        )


def _generations(record: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    for key in ("data", "code", "inputs"):
        yield from record.get(key) or ()


def _shown(resource: Resource, job: Job) -> dict[str, Any]:
    found = (job.result or {}).get("rerun") or {}
    return {
        "name": resource.name,
        "first": job.payload["rerun"]["first"],
        "job": f"jobs/{job.id}",
        "state": job.state,
        **({"error": job.error} if job.error else {}),
        **({key: found[key] for key in ("identical", "files")} if found else {}),
    }
