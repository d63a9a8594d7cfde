"""Training pipelines: the durable job that turns a dataset into a registered, evaluated model."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument, Unimplemented
from portico.jobs.kinds import JobKind
from portico.jobs.kinds import register as register_kind
from portico.services.aiplatform.custom import persistent_resources
from portico.services.aiplatform.custom import pipeline as custom
from portico.services.aiplatform.data_items import exporting, formats
from portico.services.aiplatform.models import target_of
from portico.services.aiplatform.tensorboard import event_logs
from portico.services.aiplatform.training import backing, forecast_inputs
from portico.services.call import Call
from portico.services.registry import evaluations, training_inputs
from portico.services.registry.datasets import DATASETS
from portico.services.registry.model_store import VersionPrivate, register_version
from portico.services.registry.training_inputs import AUTOML
from portico.services.standard import sources
from portico.services.standard.collection import check_common, register
from portico.services.standard.jobs import JobCollection, JobPrivate, Queued
from portico.services.standard.names import check_aliases
from portico.store.jobs import Job
from portico.store.resources import Resource

_DEFINITIONS = "gs://google-cloud-aiplatform/schema/trainingjob/definition/"
_AUTOML_TABULAR = f"{_DEFINITIONS}automl_tabular_1.0.0.yaml"
_AUTOML_TABLES = f"{_DEFINITIONS}automl_tables_1.0.0.yaml"  # as it was called first: samples still do
CUSTOM = "trainingPipelines.custom"  # the kind of job of a pipeline of own code
FORECASTING = "trainingPipelines.forecasting"
# Definition -> the kind of job that does it.
_KINDS = {
    _AUTOML_TABULAR: "trainingPipelines",
    custom.DEFINITION: CUSTOM,
    _AUTOML_TABLES: "trainingPipelines",
    **dict.fromkeys(forecast_inputs.DEFINITIONS, FORECASTING),
}


class TrainingPipelines(JobCollection):
    def asked(self, call: Call, name: str) -> Queued:
        parent, body = str(call.params["parent"]), call.body
        definition = body["trainingTaskDefinition"]
        if definition not in _KINDS:
            raise Unimplemented(
                f"Training of the kind {definition} is not built in Portico yet; "
                f"{', '.join(definition for definition in _KINDS if definition != _AUTOML_TABLES)} are."
            )
        if not body.get("trainingTaskInputs"):  # of other kinds an empty one is whole
            raise InvalidArgument(
                "Required fields are missing: trainingTaskInputs.", field="trainingTaskInputs"
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
        dataset = None
        if dataset_id:
            with call.rooms.database.read() as connection:
                dataset = DATASETS.require(connection, f"{parent}/datasets/{dataset_id.rpartition('/')[2]}")
        asks, persistent = None, ""
        if own_code:
            custom.check(body, sources.gcs_of(call.rooms), backing.spec_fields(call.rooms))
            event_logs.check(call.rooms, parent, custom.spec_of(body), "trainingTaskInputs")
            asks = custom.asks_of(call.rooms.home, body)
            persistent = persistent_resources.name_of(parent, custom.spec_of(body))
        if dataset and definition in forecast_inputs.DEFINITIONS:
            forecast_inputs.check(body, dataset)
        elif dataset and not own_code:
            training_inputs.check(body, dataset)
        elif dataset and formats.kind_of(dataset):
            with call.rooms.database.read() as connection:
                exporting.check(connection, body["inputDataConfig"], dataset)
        payload = {
            "dataset": dataset.name if dataset else "",
            "target": target,
            "aliases": aliases,
            "artifact": call.rooms.ids.token(),
            "evaluation": call.rooms.ids.number(),
            "slices": call.rooms.ids.number(),
            "persistent": persistent,
        }

        def queued(connection: Connection, body: dict[str, Any]) -> JobPrivate:
            persistent_resources.require(connection, persistent, "trainingTaskInputs.persistentResourceId")
            private = JobPrivate(
                job=call.rooms.queue.add(connection, _KINDS[definition], name, payload, asks=asks)
            )
            if own_code:
                backing.add(call, connection, name, body, private)
            return private

        return queued

    def succeeded(self, connection: Connection, resource: Resource, job: Job, now: float) -> None:
        resource.body["trainingTaskMetadata"] = {
            **(resource.body.get("trainingTaskMetadata") or {}),
            **job.result["metadata"],
        }
        if "model" in job.result:
            _register(connection, resource, job, now)


PIPELINES = TrainingPipelines(
    "projects.locations.trainingPipelines",
    "TrainingPipeline",
    has_etag=False,
    states="PIPELINE_STATE",
)
register(PIPELINES, "create", "get", "list", "cancel", "delete")


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


def _follow_custom(connection: Connection, job: Job, now: float) -> None:
    PIPELINES.follow(connection, job, now)
    backing.follow(connection, job, now)


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
        FORECASTING,
        "portico.services.aiplatform.training.forecasting:run",
        PIPELINES.follow,
        elsewhere=AUTOML,
    )
)
register_kind(
    JobKind(
        CUSTOM,
        "portico.services.aiplatform.custom.pipeline:run",
        _follow_custom,
        prepares=True,
        stays=lambda job: bool(job.payload.get("persistent")),
    )
)
