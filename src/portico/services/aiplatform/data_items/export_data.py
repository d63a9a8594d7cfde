"""datasets.export: a dataset's items with their annotations, as files in Cloud Storage that say the same: by annotation
schema, or in the splits that training code reads."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.errors import FailedPrecondition, InvalidArgument, NotFound
from portico.jobs.kinds import JobKind
from portico.jobs.kinds import register as register_kind
from portico.jobs.worker import Context
from portico.services.aiplatform.data_items import exporting
from portico.services.aiplatform.data_items.formats import kind_of, of_kind
from portico.services.call import Call, implements
from portico.services.registry.datasets import DATASETS
from portico.services.standard import operations, sources
from portico.services.standard.filters import compile_filter
from portico.store.gcs import parse_uri
from portico.store.jobs import Job
from portico.store.objects import buckets

_PLACE = "exportConfig.gcsDestination.outputUriPrefix"
_OF_TRAINING = ("fractionSplit", "filterSplit", "annotationSchemaUri", "savedQueryId")


@implements("aiplatform", DATASETS.method("export"))
def export_data(call: Call) -> dict[str, Any]:
    config = call.body["exportConfig"]
    prefix = str((config.get("gcsDestination") or {}).get("outputUriPrefix") or "")
    with call.rooms.database.read() as connection:
        dataset = DATASETS.require(connection, call.name)
        if not kind_of(dataset):
            raise FailedPrecondition(
                f"{call.name} is a table, whose data its metadata names: read them there. Datasets of images and texts "
                "are exported."
            )
        if _for_training(config):
            exporting.check(connection, config, dataset, "exportConfig")
        else:
            for key in _OF_TRAINING:
                if config.get(key):
                    raise InvalidArgument(
                        f"{key} is for exportUse CUSTOM_CODE_TRAINING.", field=f"exportConfig.{key}"
                    )
            compile_filter(config.get("annotationsFilter") or "")
        try:
            buckets.get(connection, parse_uri(prefix)[0])
        except (NotFound, InvalidArgument) as error:
            raise InvalidArgument(
                f"Nothing can be written to {prefix!r}: {error.message}", field=_PLACE
            ) from None
    shown = re.sub(r"[/\x00-\x1f#*?\[\]]", "_", dataset.body["displayName"])
    folder = f"{prefix.rstrip('/')}/export-data-{shown}-{rfc3339(call.rooms.clock.now())}"
    with call.rooms.database.write() as connection:
        payload = {"config": config, "folder": folder}
        job = call.rooms.queue.add(connection, "datasets.export", call.name, payload)
        operation = operations.start(
            call,
            connection,
            call.name,
            "ExportDataOperationMetadata",
            job=job,
            gcsOutputDirectory=f"{folder}/",
        )
    call.rooms.queue.wake()
    return operations.render(operation)


def _for_training(config: dict[str, Any]) -> bool:
    return bool(config.get("exportUse") == "CUSTOM_CODE_TRAINING")


def run(context: Context) -> dict[str, Any]:
    """Job: writes the files; an ExportDataResponse."""
    config, folder = context.job.payload["config"], context.job.payload["folder"]
    with context.database.read() as connection:
        dataset = DATASETS.require(connection, context.job.resource)
    if _for_training(config):
        written = exporting.write_parts(context, config, dataset, folder)
        stats: dict[str, str] = {}
        for name, part in written.items():
            stats |= {
                f"{name}DataItemsCount": str(part.items),
                f"{name}AnnotationsCount": str(part.annotations),
            }
        return {"exportedFiles": [part.uri for part in written.values()], "dataStats": stats}
    gcs = sources.gcs_of(context)
    for format in of_kind(kind_of(dataset)):
        place = f"{folder}/{format.annotation}"
        if exporting.write_all(context, config, dataset, format, f"{place}/data"):
            gcs.write(f"{place}/schema.yaml", format.output_schema().encode(), "application/yaml")
    files = [row.uri for row in gcs.under(f"{folder}/")]
    if not files:
        context.say("No item has an annotation that is asked for: nothing was written.")
    return {"exportedFiles": files}


def _follow(connection: Connection, job: Job, now: float) -> None:
    response = job.result if job.state == "SUCCEEDED" else None
    operations.follow(connection, job, now, "ExportDataResponse", response)


register_kind(JobKind("datasets.export", f"{__name__}:run", _follow))
