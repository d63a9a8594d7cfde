"""Datasets: tabular and time series data in Cloud Storage or BigQuery, with the schema and statistics read from it.
Those of images and texts begin empty (`data_items`)."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument, Unimplemented
from portico.jobs.kinds import JobKind
from portico.jobs.kinds import register as register_kind
from portico.jobs.worker import Context
from portico.services.aiplatform.data_items import formats
from portico.services.call import Call, implements
from portico.services.registry.datasets import DATASETS, PROFILE, DatasetPrivate
from portico.services.standard import bq, operations, sources
from portico.services.standard.collection import POLICIES, Made, register
from portico.services.standard.names import canonical, message
from portico.store import resources
from portico.store.jobs import Job
from portico.store.objects import generations as objects
from portico.store.resources import Resource

_SCHEMAS = "gs://google-cloud-aiplatform/schema/dataset/metadata/"
TABULAR = f"{_SCHEMAS}tabular_1.0.0.yaml"
TIME_SERIES = f"{_SCHEMAS}time_series_1.0.0.yaml"
_TABLES = f"{_SCHEMAS}tables_1.0.0.yaml"  # TABULAR as it was called first: samples still do


register(DATASETS, "get", "list", "patch", "delete", *POLICIES)


def uris_of(metadata: dict[str, Any]) -> list[str]:
    """The gs:// names of a dataset's metadata, or the bq:// name of its table, which then stands there alone.

    Raises:
        InvalidArgument: there are none, or both.
    """
    field = "dataset.metadata.inputConfig"
    config = message(metadata.get("inputConfig"), field)
    if config.get("bigquerySource") and config.get("gcsSource"):
        raise InvalidArgument("Give either gcsSource or bigquerySource, not both.", field=field)
    if config.get("bigquerySource"):
        source = message(config["bigquerySource"], f"{field}.bigquerySource")
        uri = source.get("uri")
        if isinstance(uri, list) and len(uri) == 1:  # as older samples give it; clients read one name
            uri = source["uri"] = uri[0]
        bq.parse(str(uri or ""), f"{field}.bigquerySource.uri")
        return [str(uri)]
    uris = message(config.get("gcsSource"), f"{field}.gcsSource").get("uri") or []
    uris = [uris] if isinstance(uris, str) else uris
    if not isinstance(uris, list) or not uris or not all(isinstance(uri, str) for uri in uris):
        raise InvalidArgument(
            "metadata.inputConfig.gcsSource.uri must list the gs:// names of the data.",
            field=f"{field}.gcsSource.uri",
        )
    return list(uris)


def _check(call: Call, uris: list[str]) -> None:
    """
    Raises:
        InvalidArgument: nothing is there that could be read.
    """
    if uris[0].startswith(bq.SCHEME):
        bq.require(call.rooms.home, uris[0], "dataset.metadata.inputConfig.bigquerySource.uri")
        return
    field = "dataset.metadata.inputConfig.gcsSource.uri"
    rows = sources.find(sources.gcs_of(call.rooms), uris, field)
    sources.format_of([row.name for row in rows], "", field)


def _making(call: Call, name: str) -> Made:
    """Of items: without any yet. Else of what its files or its table hold."""
    schema = call.body["metadataSchemaUri"]
    metadata = canonical(message(call.body.get("metadata"), "dataset.metadata"))
    if kind := formats.KINDS.get(schema):
        metadata["dataItemSchemaUri"] = formats.item_schema(kind)
        body = {**call.body, "metadata": metadata, "dataItemCount": "0"}
        return lambda connection: (_insert(call, connection, name, body, []), None)
    if schema not in (TABULAR, TIME_SERIES, _TABLES):
        raise Unimplemented(
            f"Datasets of the kind {schema} are not built in Portico yet; tabular, time series, image and text ones "
            "are."
        )
    uris = uris_of(metadata)
    _check(call, uris)
    body = {**call.body, "metadata": metadata}
    return lambda connection: (_insert(call, connection, name, body, uris), call.rooms.queue.wake)


def _insert(call: Call, connection: Connection, name: str, body: dict[str, Any], uris: list[str]) -> Resource:
    return DATASETS.insert(
        call, connection, name, str(call.params["parent"]), body, DatasetPrivate(uris=uris)
    )


@implements("aiplatform", DATASETS.method("create"))
def create(call: Call) -> dict[str, Any]:
    return DATASETS.created(call, _making)


def profile(context: Context) -> dict[str, Any]:
    """Job: reads the data of a new dataset; returns its row count, its columns and what the reader has to tell."""
    from portico.ml.errors import DataError
    from portico.ml.schema import describe

    with context.database.read() as connection:
        dataset = DATASETS.require(connection, context.job.resource)
    gcs = sources.gcs_of(context)
    pinned = sources.pin(gcs, DatasetPrivate.of(dataset).uris, f"job:{context.job.id}", "metadata")
    began = context.clock.monotonic()
    try:
        read = sources.read_table(context.home, pinned, "", "metadata")
        found = describe(read.table, context.progress)
        took = context.clock.monotonic() - began
        context.say(
            f"{read.table.num_rows:,} rows of {len(found):,} columns read and described in {took:.1f} s"
        )
    except DataError as error:
        raise InvalidArgument(f"The data can't be read: {error.message}.", field=error.field) from None
    finally:
        gcs.unpin(f"job:{context.job.id}")
    columns = [column.to_json() for column in found]
    return {"rows": read.table.num_rows, "columns": columns, **({"notes": read.notes} if read.notes else {})}


def _follow(connection: Connection, job: Job, now: float) -> None:
    response = None
    if job.state == "SUCCEEDED":
        dataset = DATASETS.require(connection, job.resource)
        dataset.body["metadata"]["statistics"] = job.result
        dataset.body["dataItemCount"] = str(job.result["rows"])
        response = DATASETS.render(resources.update(connection, dataset, now))
    elif job.state in ("FAILED", "CANCELLED"):
        objects.unpin(connection, f"job:{job.id}")  # where a crash kept the job from doing it
        resources.delete(connection, job.resource)
    operations.follow(connection, job, now, "Dataset", response)


register_kind(JobKind(PROFILE, f"{__name__}:profile", _follow))
