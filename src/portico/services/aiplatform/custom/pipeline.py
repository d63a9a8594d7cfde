"""A training pipeline of the user's own code: data exported, a custom job run, and what it saved made a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from portico.errors import InvalidArgument
from portico.jobs.kinds import Wait
from portico.jobs.worker import Context
from portico.services.aiplatform.custom import spec
from portico.services.standard import bq, messages
from portico.services.standard.fields import FieldTypes
from portico.services.standard.names import canonical
from portico.store.gcs import Gcs
from portico.store.jobs import Resources

DEFINITION = "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml"
_OF_A_SPEC = ("workerPoolSpecs", "baseOutputDirectory", "scheduling")


def spec_of(pipeline: dict[str, Any]) -> dict[str, Any]:
    """The CustomJobSpec in a pipeline's `trainingTaskInputs`.

    Raises:
        InvalidArgument: they are no object.
    """
    raw = pipeline.get("trainingTaskInputs")
    if not isinstance(raw, dict):
        raise InvalidArgument("trainingTaskInputs must be an object.", field="trainingTaskInputs")
    inputs = canonical(raw)
    return {**inputs, **{key: inputs[key] for key in _OF_A_SPEC if inputs.get(key)}}


def check(pipeline: dict[str, Any], gcs: Gcs, types: FieldTypes) -> None:
    """What can be said before anything runs; images that were built here are in `gcs`, `types` are those of a
    CustomJobSpec.

    Raises:
        InvalidArgument, Unimplemented: naming the field.
    """
    found = spec_of(pipeline)
    messages.check(found, types, "trainingTaskInputs")
    spec.check(found, "trainingTaskInputs", gcs)
    config = pipeline.get("inputDataConfig") or {}
    if config.get("bigqueryDestination"):
        if config.get("gcsDestination"):
            raise InvalidArgument(
                "Give gcsDestination or bigqueryDestination, not both.", field="inputDataConfig"
            )
        uri = str(config["bigqueryDestination"].get("outputUri", ""))
        bq.parse(uri, "inputDataConfig.bigqueryDestination.outputUri", (1,))
    elif config.get("datasetId") and not (config.get("gcsDestination") or {}).get("outputUriPrefix"):
        raise InvalidArgument(
            "A dataset for custom training is written to Cloud Storage or BigQuery: give "
            "inputDataConfig.gcsDestination or inputDataConfig.bigqueryDestination.",
            field="inputDataConfig.gcsDestination",
        )
    if pipeline.get("modelToUpload") and not _artifacts(pipeline, found):
        raise InvalidArgument(
            "A model is made of what the code saves in AIP_MODEL_DIR: give baseOutputDirectory.",
            field="trainingTaskInputs.baseOutputDirectory",
        )


def asks_of(home: Path, pipeline: dict[str, Any]) -> Resources:
    found = spec_of(pipeline)
    return spec.asks_of(home, found, stays=bool(found.get("persistentResourceId")))


def run(context: Context) -> dict[str, Any] | Wait:
    """Job: runs the pipeline's code; returns what `training_pipelines` registers."""
    from portico.services.aiplatform.custom import dataset_export
    from portico.services.aiplatform.custom.run import replica_of, run_spec
    from portico.services.aiplatform.model_files import custom_body, keep
    from portico.services.aiplatform.training.training_pipelines import PIPELINES

    payload = context.job.payload
    with context.database.read() as connection:
        pipeline = PIPELINES.require(connection, context.job.resource)
    body, found = pipeline.body, spec_of(pipeline.body)
    kept = replica_of(context, found)
    if isinstance(kept, Wait):
        return kept
    data: dict[str, str] = {}
    try:
        if "rerun" in payload:
            data = payload["rerun"]["record"]["variables"]  # what was exported then
        elif payload["dataset"]:
            data = dataset_export.export(context, body["inputDataConfig"], payload["dataset"], pipeline.name)
        result = {**run_spec(context, found, pipeline.name, data, kept), "metadata": {}}
    finally:
        if kept:
            kept.close()
    if not body.get("modelToUpload"):
        return result
    uri = _artifacts(body, found)
    files = keep(context, body["modelToUpload"], uri, payload["artifact"])
    shown = custom_body(bool(files.get("format")), True)
    return {**result, "private": files, "model": {**shown, "artifactUri": uri}}


def _artifacts(pipeline: dict[str, Any], found: dict[str, Any]) -> str:
    """Where the model's files are expected; "" where nothing says it."""
    given = str((pipeline.get("modelToUpload") or {}).get("artifactUri") or "")
    base = str((found.get("baseOutputDirectory") or {}).get("outputUriPrefix") or "").rstrip("/")
    return given or (f"{base}/model" if base else "")
