"""Batch prediction jobs: create, get, list, cancel, delete. Their work is in `run`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument, NotFound, Unimplemented
from portico.jobs.engines import machine
from portico.jobs.kinds import JobKind
from portico.jobs.kinds import register as register_kind
from portico.services.aiplatform import images, machine_types
from portico.services.aiplatform.batch import log as batch_log
from portico.services.aiplatform.batch import monitored, tables
from portico.services.aiplatform.batch.instances import InstanceConfig
from portico.services.aiplatform.batch.opening import replica_set_id
from portico.services.aiplatform.batch.run import BatchPrivate
from portico.services.call import Call
from portico.services.registry import model_store
from portico.services.standard import bq, sources
from portico.services.standard.collection import register
from portico.services.standard.jobs import JobCollection, Queued
from portico.services.standard.names import check_same_location
from portico.store import replicas
from portico.store.gcs import parse_uri
from portico.store.jobs import Job, Resources
from portico.store.objects import buckets as objects_buckets
from portico.store.objects import generations as objects
from portico.store.resources import Resource


class BatchPredictionJobs(JobCollection):
    """A job's output stays when the job is deleted."""

    def asked(self, call: Call, name: str) -> Queued:
        body = call.body
        _check_model_name(body, str(call.params["parent"]))
        uris, prefix = _source(body["inputConfig"]), _destination(body["outputConfig"])
        fields = _fields(call.rooms.home, uris)
        _check_dataset(call.rooms.home, prefix)
        config = InstanceConfig.from_json(body.get("instanceConfig") or {})
        _check_not_built(body)
        found = [] if fields else sources.find(sources.gcs_of(call.rooms), uris, "inputConfig.gcsSource.uris")

        def queued(connection: Connection, body: dict[str, Any]) -> BatchPrivate:
            version = model_store.version_row(connection, body["model"])
            images.require_served(body["model"], version)
            format = model_store.VersionPrivate.of(version).format
            if format in ("portico", "forecast") and config.instance_type == "array":
                raise InvalidArgument(
                    "The model takes objects with named features; instanceType can't be array.",
                    field="instanceConfig.instanceType",
                )
            if format == "forecast":
                _check_forecast(body, config)
            explanation = _explanation(body, version)
            asks = None if format == "replica" else _asks(call.rooms.home, body)
            if not prefix.startswith(bq.SCHEME):
                _check_bucket(connection, prefix)
            pinned = [objects.get(connection, row.bucket, row.name, row.generation) for row in found]
            for row in pinned:
                objects.pin(connection, row, name)
            body |= {"model": version.parent, "modelVersionId": version.body["versionId"]}
            return BatchPrivate(
                version=version.name,
                pins=[sources.source_of(row) for row in pinned],
                directory=_directory(prefix, version.body["displayName"], call.rooms.clock.now()),
                fields=fields,
                explanation=explanation,
                log=batch_log.plan(connection, call.rooms.clock, version),
                job=call.rooms.queue.add(
                    connection,
                    _MONITORED if "modelMonitoringConfig" in body else _KIND,
                    name,
                    {"format": format},
                    asks=asks,
                ),
            )

        return queued

    def release(self, connection: Connection, job: Job) -> None:
        # The files of inputs that were overwritten meanwhile go with the next sweep.
        objects.unpin(connection, job.resource)
        replicas.remove(connection, replica_set_id(job.id))


BATCH_PREDICTION_JOBS = BatchPredictionJobs(
    "projects.locations.batchPredictionJobs",
    "BatchPredictionJob",
    output_only=frozenset({"state", "modelVersionId", "modelMonitoringStatus"}),
    has_etag=False,
    private=BatchPrivate,
    waiting="QUEUED",
    late_cancel_fails=True,
)
register(BATCH_PREDICTION_JOBS, "create", "get", "list", "cancel", "delete")
_KIND, _MONITORED = (
    register_kind(
        JobKind(
            f"batchPredictionJobs.{name}", f"portico.services.aiplatform.{work}:run", BATCH_PREDICTION_JOBS.follow,
            stays=lambda job: job.payload.get("format") == "replica",
        )
    ).name
    for name, work in (("run", "batch.run"), ("runMonitored", "monitoring.batch_run"))
)  # fmt: skip

_FORMATS = ("jsonl", "csv", "parquet")
_GOOGLES = ("tf-record", "tf-record-gzip", "file-list")  # that Google has and Portico has not yet
_OUTPUT_URI = "outputConfig.bigqueryDestination.outputUri"
_EXPLAINED = ("portico", "forecast", "lightgbm", "replica")


def _asks(home: Path, body: dict[str, Any]) -> Resources | None:
    """What a machine of a cluster gives: all that the machine type has; None where the job runs on this machine."""
    asked = body.get("dedicatedResources") or {}
    cores, memory = float(machine_types.cores(asked)), machine_types.memory(asked)
    return machine.fitted(home, Resources(cores, memory))


def _check_model_name(body: dict[str, Any], parent: str) -> None:
    given = [key for key in ("model", "unmanagedContainerModel", "endpoint") if body.get(key)]
    if len(given) != 1:
        raise InvalidArgument(
            "Exactly one of model, unmanagedContainerModel and endpoint must be given; "
            f"{' and '.join(given) or 'none'} is.",
            field="model",
        )
    if given != ["model"]:
        raise Unimplemented(f"Batch prediction with {given[0]} is not built in Portico yet; give model.")
    if "/publishers/" in f"/{body['model']}":
        raise Unimplemented("Publisher models are not built in Portico yet; give a model of the registry.")
    check_same_location(parent, body["model"], "model")


def _check_not_built(body: dict[str, Any]) -> None:
    if body.get("encryptionSpec"):
        raise Unimplemented(
            "Customer keys for batch prediction jobs are not built in Portico yet; leave encryptionSpec out."
        )
    if "modelMonitoringConfig" in body:
        monitored.check(body["modelMonitoringConfig"])
    resources_asked = body.get("dedicatedResources") or {}
    machine_types.check(resources_asked, "dedicatedResources")
    for key in ("startingReplicaCount", "maxReplicaCount"):
        if resources_asked.get(key, 0) < 0:
            raise InvalidArgument(f"{key} is negative.", field=f"dedicatedResources.{key}")
    if (body.get("manualBatchTuningParameters") or {}).get("batchSize", 0) < 0:
        raise InvalidArgument("batchSize is negative.", field="manualBatchTuningParameters.batchSize")


def _check_forecast(body: dict[str, Any], config: InstanceConfig) -> None:
    """A forecast is of all rows together, by the columns that the model was trained with."""
    if config.included or config.excluded:
        raise InvalidArgument(
            "includedFields and excludedFields are not for forecasting models, which read the columns that they were "
            "trained with; leave them out.",
            field="instanceConfig.excludedFields" if config.excluded else "instanceConfig.includedFields",
        )
    if body.get("modelMonitoringConfig"):
        raise Unimplemented(
            "Monitoring of forecasts is not built in Portico yet; leave modelMonitoringConfig out."
        )


def _check_format(format: str, field: str) -> None:
    if not format:
        raise InvalidArgument(f"{field} is missing: jsonl, csv or parquet.", field=field)
    if format in _GOOGLES:
        raise Unimplemented(
            f"The format {format} is not built in Portico's batch prediction yet; use jsonl, csv or parquet."
        )
    if format not in _FORMATS:
        where = "; bigquery is for tables of BigQuery" if format == "bigquery" else ""
        raise InvalidArgument(
            f"The format {format!r} is not supported; use jsonl, csv or parquet{where}.", field=field
        )


def _source(config: dict[str, Any]) -> list[str]:
    if config.get("vertexMultimodalDatasetSource"):
        raise Unimplemented("Multimodal datasets are not built in Portico yet; use gcsSource.")
    if config.get("bigquerySource"):
        _check_table_format(config, "instancesFormat", "inputConfig", "gcsSource")
        uri = str(config["bigquerySource"].get("inputUri", ""))
        bq.parse(uri, "inputConfig.bigquerySource.inputUri")
        return [uri]
    _check_format(config.get("instancesFormat", ""), "inputConfig.instancesFormat")
    uris = (config.get("gcsSource") or {}).get("uris") or []
    if not uris:
        raise InvalidArgument(
            "inputConfig.gcsSource.uris must list the gs:// names of the input.",
            field="inputConfig.gcsSource.uris",
        )
    return list(uris)


def _destination(config: dict[str, Any]) -> str:
    if config.get("vertexMultimodalDatasetDestination"):
        raise Unimplemented("Multimodal datasets are not built in Portico yet; use gcsDestination.")
    if config.get("bigqueryDestination"):
        _check_table_format(config, "predictionsFormat", "outputConfig", "gcsDestination")
        uri = str(config["bigqueryDestination"].get("outputUri", ""))
        bq.parse(uri, _OUTPUT_URI, tables.PARTS)
        return uri
    _check_format(config.get("predictionsFormat", ""), "outputConfig.predictionsFormat")
    prefix = str((config.get("gcsDestination") or {}).get("outputUriPrefix", ""))
    if not prefix.startswith("gs://"):
        raise InvalidArgument(
            "outputConfig.gcsDestination.outputUriPrefix must be a gs:// name.",
            field="outputConfig.gcsDestination.outputUriPrefix",
        )
    return prefix.rstrip("/")


def _check_table_format(config: dict[str, Any], key: str, part: str, other: str) -> None:
    if config.get(other):
        raise InvalidArgument(f"{part} has both {other} and BigQuery; give one.", field=part)
    if config.get(key) != "bigquery":
        raise InvalidArgument(
            f"With BigQuery {key} must be bigquery, not {config.get(key)!r}.", field=f"{part}.{key}"
        )


def _fields(home: Path, uris: list[str]) -> list[dict[str, Any]]:
    """The columns of the table that is read; none where files are."""
    if not uris[0].startswith(bq.SCHEME):
        return []
    found = bq.require(home, uris[0], "inputConfig.bigquerySource.inputUri")
    return list(found["schema"]["fields"])


def _check_dataset(home: Path, prefix: str) -> None:
    if not prefix.startswith(bq.SCHEME):
        return
    name = bq.parse(prefix, _OUTPUT_URI, tables.PARTS)
    if name.dataset:
        bq.require(home, f"{bq.SCHEME}{name.project}.{name.dataset}", _OUTPUT_URI, (2,))
    if name.table and bq.exists(home, name):
        raise InvalidArgument(
            f"The table {name.path} is there already: give one that is not, or only its dataset.",
            field=_OUTPUT_URI,
        )


def _check_bucket(connection: Connection, prefix: str) -> None:
    try:
        objects_buckets.get(connection, parse_uri(prefix)[0])
    except (NotFound, InvalidArgument) as error:
        raise InvalidArgument(
            f"Nothing can be written to {prefix}: {error.message}",
            field="outputConfig.gcsDestination.outputUriPrefix",
        ) from None


def _explanation(body: dict[str, Any], version: Resource) -> dict[str, Any]:
    """The explanation spec in force: the job's, and where it leaves a part open the model's."""
    own, format = body.get("explanationSpec") or {}, model_store.VersionPrivate.of(version).format
    if not body.get("generateExplanation"):
        if own:
            raise InvalidArgument(
                "explanationSpec is only for jobs with generateExplanation.", field="explanationSpec"
            )
        return {}
    if body["outputConfig"]["predictionsFormat"] == "csv":
        raise InvalidArgument(
            "Explanations can't be written as CSV; use predictionsFormat jsonl or parquet.",
            field="generateExplanation",
        )
    if format not in _EXPLAINED:
        raise Unimplemented(f"Models of the format {format} can't be explained in Portico yet.")
    of_model = version.body.get("explanationSpec") or {}
    spec = {
        part: {**(of_model.get(part) or {}), **(own.get(part) or {})}
        for part in ("parameters", "metadata")
        if of_model.get(part) or own.get(part)
    }
    if not spec and format not in ("portico", "forecast"):
        raise InvalidArgument(
            "generateExplanation needs an explanationSpec, of the model or of the job.",
            field="generateExplanation",
        )
    if format == "replica":
        from portico.prediction.replicas.shapley import Sampling

        Sampling.from_spec(spec)
    return spec


def _directory(prefix: str, display_name: str, now: float) -> str:
    """Google's `prediction-<model-display-name>-<job-create-time>`; in BigQuery the table of the predictions."""
    if prefix.startswith(bq.SCHEME):
        return bq.SCHEME + tables.place(prefix, _OUTPUT_URI, display_name, now).path
    name = re.sub(r"[/\x00-\x1f#*?\[\]]", "_", display_name)
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y_%m_%dT%H_%M_%S_%f")[:-3]
    return f"{prefix}/prediction-{name}-{stamp}Z"
