"""Training pipelines: the durable job that turns a dataset into a registered, evaluated model."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.errors import FailedPrecondition, InvalidArgument, Unimplemented
from portico.jobs.kinds import JobKind
from portico.jobs.kinds import register as register_kind
from portico.services.aiplatform import evaluations
from portico.services.aiplatform.custom import pipeline as custom
from portico.services.aiplatform.datasets import DATASETS
from portico.services.aiplatform.model_store import VersionPrivate
from portico.services.aiplatform.models import register_version, target_of
from portico.services.aiplatform.training import inputs as training_inputs
from portico.services.call import Call, implements
from portico.services.standard import operations
from portico.services.standard.collection import Collection, check_common, register
from portico.services.standard.jobs import JobPrivate
from portico.services.standard.names import check_aliases
from portico.store import jobs, objects, resources
from portico.store.jobs import Job

PIPELINES = Collection(
    "projects.locations.trainingPipelines",
    "TrainingPipeline",
    has_etag=False,
)
register(PIPELINES, "get", "list")

_AUTOML_TABULAR = "gs://google-cloud-aiplatform/schema/trainingjob/definition/automl_tabular_1.0.0.yaml"
# Definition -> the kind of job that does it.
_KINDS = {_AUTOML_TABULAR: "trainingPipelines", custom.DEFINITION: "trainingPipelines.custom"}
ENDED = frozenset({"PIPELINE_STATE_SUCCEEDED", "PIPELINE_STATE_FAILED", "PIPELINE_STATE_CANCELLED"})


@implements("aiplatform", PIPELINES.method("create"))
def create(call: Call) -> dict[str, Any]:
    parent, body = str(call.params["parent"]), call.body
    definition = body["trainingTaskDefinition"]
    if definition not in _KINDS:
        raise Unimplemented(
            f"Training of the kind {definition} is not built in Portico yet; {' and '.join(_KINDS)} are."
        )
    own_code = definition == custom.DEFINITION
    model = dict(body.get("modelToUpload") or {})
    check_common(model)
    aliases = list(model.pop("versionAliases", []))
    check_aliases([alias for alias in aliases if alias != "default"])
    target = target_of(call, parent, body.get("modelId", ""), body.get("parentModel", ""))
    dataset_id = (body.get("inputDataConfig") or {}).get("datasetId", "")
    if not dataset_id and not own_code:
        raise InvalidArgument(
            "inputDataConfig.datasetId is missing: the id of the dataset to train on.",
            field="inputDataConfig.datasetId",
        )
    name = f"{parent}/trainingPipelines/{call.rooms.ids.number()}"
    dataset = None
    if dataset_id:
        with call.rooms.database.read() as connection:
            dataset = DATASETS.require(connection, f"{parent}/datasets/{dataset_id.rpartition('/')[2]}")
    asks = None
    if own_code:
        custom.check(body)
        asks = custom.asks_of(body)
    elif dataset:
        training_inputs.check(body, dataset)
    with call.rooms.database.write() as connection:
        payload = {
            "dataset": dataset.name if dataset else "",
            "target": target,
            "aliases": aliases,
            "artifact": call.rooms.ids.token(),
            "evaluation": call.rooms.ids.number(),
            "slices": call.rooms.ids.number(),
        }
        job = call.rooms.queue.add(connection, _KINDS[definition], name, payload, asks=asks)
        shown = {**body, "state": "PIPELINE_STATE_PENDING"}
        made = PIPELINES.create(call, connection, name, parent, shown, JobPrivate(job=job))
        answer = PIPELINES.render(made)
    call.rooms.queue.wake()
    return answer


@implements("aiplatform", PIPELINES.method("cancel"))
def cancel(call: Call) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        pipeline = PIPELINES.require(connection, call.name)
        if pipeline.body["state"] not in ENDED:
            call.rooms.queue.cancel(connection, JobPrivate.of(pipeline).job)
            pipeline.body["state"] = "PIPELINE_STATE_CANCELLING"
            resources.update(connection, pipeline, call.rooms.clock.now())
    call.rooms.queue.wake()
    return {}


@implements("aiplatform", PIPELINES.method("delete"))
def delete(call: Call) -> dict[str, Any]:
    with call.rooms.database.write() as connection:
        pipeline = PIPELINES.require(connection, call.name)
        if pipeline.body["state"] not in ENDED:
            raise FailedPrecondition(f"{pipeline.name} is still running; cancel it first.")
        dropped = objects.unpin(connection, pipeline.name)
        resources.delete(connection, pipeline.name)
        answer = operations.done(call, connection, pipeline.name, "DeleteOperationMetadata", None)
    from portico.store.objects_files import remove

    remove(call.rooms.home, dropped)
    return answer


_STATES: dict[jobs.State, str] = {
    "QUEUED": "PIPELINE_STATE_PENDING",
    "RUNNING": "PIPELINE_STATE_RUNNING",
    "SUCCEEDED": "PIPELINE_STATE_SUCCEEDED",
    "FAILED": "PIPELINE_STATE_FAILED",
    "CANCELLED": "PIPELINE_STATE_CANCELLED",
}


def _follow(connection: Connection, job: Job, now: float) -> None:
    pipeline = resources.get(connection, job.resource)
    if pipeline is None:
        return
    body = pipeline.body
    body["state"] = _STATES[job.state]
    if job.state == "RUNNING":
        body.setdefault("startTime", rfc3339(now))
    else:
        body["endTime"] = rfc3339(now)
    if job.state == "FAILED":
        body["error"] = job.error
    if job.state == "SUCCEEDED":
        body["trainingTaskMetadata"] = job.result["metadata"]
        if "model" in job.result:
            _register(connection, pipeline, job, now)
    resources.update(connection, pipeline, now)


def _register(connection: Connection, pipeline: resources.Resource, job: Job, now: float) -> None:
    body, result = pipeline.body, job.result
    model = {**(body.get("modelToUpload") or {}), **result["model"], "trainingPipeline": pipeline.name}
    model.setdefault("displayName", body["displayName"])
    model.pop("versionAliases", None)
    private = VersionPrivate(artifact=job.payload["artifact"], **result.get("private", {"format": "portico"}))
    version = register_version(connection, job.payload["target"], model, private, now, job.payload["aliases"])
    if "evaluation" in result:
        evaluations.add(connection, version, job.payload["evaluation"], result["evaluation"], now)
        evaluations.add_slices(
            connection, version, job.payload["evaluation"], job.payload["slices"], result["slices"], now
        )
    body["modelToUpload"] = {**version.body, "name": version.parent}


register_kind(JobKind("trainingPipelines", "portico.services.aiplatform.training.automl:run", _follow))
register_kind(JobKind("trainingPipelines.custom", "portico.services.aiplatform.custom.pipeline:run", _follow))
