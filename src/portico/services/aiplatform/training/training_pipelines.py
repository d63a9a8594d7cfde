"""Training pipelines: the durable job that turns a dataset into a registered, evaluated model."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument, Unimplemented
from portico.jobs.kinds import JobKind
from portico.jobs.kinds import register as register_kind
from portico.services.aiplatform.custom import pipeline as custom
from portico.services.aiplatform.models import target_of
from portico.services.aiplatform.tensorboard import event_logs
from portico.services.call import Call, implements
from portico.services.registry import evaluations, training_inputs
from portico.services.registry.datasets import DATASETS
from portico.services.registry.model_store import VersionPrivate, register_version
from portico.services.registry.training_inputs import AUTOML
from portico.services.standard.collection import check_common, register
from portico.services.standard.jobs import JobCollection, JobPrivate
from portico.services.standard.names import check_aliases
from portico.store.jobs import Job
from portico.store.resources import Resource


class TrainingPipelines(JobCollection):
    def succeeded(self, connection: Connection, resource: Resource, job: Job, now: float) -> None:
        resource.body["trainingTaskMetadata"] = job.result["metadata"]
        if "model" in job.result:
            _register(connection, resource, job, now)


PIPELINES = TrainingPipelines(
    "projects.locations.trainingPipelines",
    "TrainingPipeline",
    has_etag=False,
    states="PIPELINE_STATE",
)
register(PIPELINES, "get", "list", "cancel", "delete")

_AUTOML_TABULAR = "gs://google-cloud-aiplatform/schema/trainingjob/definition/automl_tabular_1.0.0.yaml"
# Definition -> the kind of job that does it.
_KINDS = {_AUTOML_TABULAR: "trainingPipelines", custom.DEFINITION: "trainingPipelines.custom"}


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
        event_logs.check(call.rooms, parent, custom.spec_of(body), "trainingTaskInputs")
        asks = custom.asks_of(call.rooms.home, body)
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
        made = PIPELINES.insert(
            call, connection, name, parent, {**body, "state": PIPELINES.state("PENDING")}, JobPrivate(job=job)
        )
        answer = PIPELINES.render(made)
    call.rooms.queue.wake()
    return answer


def _register(connection: Connection, pipeline: Resource, job: Job, now: float) -> None:
    body, result = pipeline.body, job.result
    model = {**(body.get("modelToUpload") or {}), **result["model"], "trainingPipeline": pipeline.name}
    model.setdefault("displayName", body["displayName"])
    model.pop("versionAliases", None)
    private = VersionPrivate(
        **{"artifact": job.payload["artifact"], **result.get("private", {"format": "portico"})}
    )
    version = register_version(connection, job.payload["target"], model, private, now, job.payload["aliases"])
    if "evaluation" in result:
        evaluations.add(connection, version, job.payload["evaluation"], result["evaluation"], now)
        evaluations.add_slices(
            connection, version, job.payload["evaluation"], job.payload["slices"], result["slices"], now
        )
    body["modelToUpload"] = {**version.body, "name": version.parent}


register_kind(
    JobKind(
        "trainingPipelines",
        "portico.services.aiplatform.training.automl:run",
        PIPELINES.follow,
        elsewhere=AUTOML,
    )
)
register_kind(
    JobKind(
        "trainingPipelines.custom",
        "portico.services.aiplatform.custom.pipeline:run",
        PIPELINES.follow,
        prepares=True,
    )
)
