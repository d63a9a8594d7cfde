"""A dataset's items as JSON lines, in their splits: what custom training reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.errors import InvalidArgument
from portico.jobs.worker import Context
from portico.services.aiplatform.data_items.formats import (
    ML_USE,
    SET,
    Format,
    kind_of,
    of_annotation,
    of_problem,
)
from portico.services.aiplatform.data_items.kept import ANNOTATIONS, DATA_ITEMS, SAVED_QUERIES
from portico.services.registry import training_inputs
from portico.services.standard import sources
from portico.services.standard.filters import Predicate, compile_filter
from portico.store import resources
from portico.store.resources import Resource

_LINES = 10_000  # of one file
_PARTS = ("training", "validation", "test")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the split as it was written: files whose names `uri` (with a *) stands for."""

    uri: str
    items: int
    annotations: int


def check(
    connection: Connection, config: dict[str, Any], dataset: Resource, field: str = "inputDataConfig"
) -> None:
    """What can be said of an InputDataConfig, or an ExportDataConfig, for a dataset of items before anything runs.

    Raises:
        InvalidArgument, NotFound: naming the field.
    """
    _format(connection, config, dataset, field)
    for key in ("predefinedSplit", "timestampSplit", "stratifiedSplit", "bigqueryDestination"):
        if config.get(key):
            raise InvalidArgument(f"{key} is for datasets of tables.", field=f"{field}.{key}")
    if not config.get("filterSplit"):
        training_inputs.split_of(config)
    for text in (config.get("annotationsFilter") or "", *_filters(config).values()):
        compile_filter(text)


def export(context: Context, config: dict[str, Any], dataset: Resource) -> dict[str, str]:
    """Writes the annotated items below `gcsDestination`; the `AIP_*` variables that tell where."""
    with context.database.read() as connection:
        format = _format(connection, config, dataset)
    number, stamp = dataset.name.rpartition("/")[2], rfc3339(context.clock.now())
    prefix = config["gcsDestination"]["outputUriPrefix"].rstrip("/")
    written = write_parts(context, config, dataset, f"{prefix}/dataset-{number}-{format.annotation}-{stamp}")
    places = {f"AIP_{name.upper()}_DATA_URI": part.uri for name, part in written.items()}
    return {"AIP_DATA_FORMAT": "jsonl", **places}


def write_parts(context: Context, config: dict[str, Any], dataset: Resource, folder: str) -> dict[str, Part]:
    """Writes the annotated items that `config` asks for below `folder`, those of each part into files of its own."""
    with context.database.read() as connection:
        format = _format(connection, config, dataset)
        items, told = _annotated(connection, config, dataset, format)
    found: dict[str, list[int]] = {part: [] for part in _PARTS}
    for part, at in _assigned(config, items):
        found[part].append(at)
    made = {}
    for part, chosen in found.items():
        uri = write_lines(context, f"{folder}/{part}", [_line(items[at], told[at], format) for at in chosen])
        made[part] = Part(uri, len(chosen), sum(len(told[at]) for at in chosen))
        context.say(f"{len(chosen):,} {part} items in {uri}")
    return made


def write_all(context: Context, config: dict[str, Any], dataset: Resource, format: Format, name: str) -> str:
    """Writes the items that have annotations of `format` as files that begin with `name`; what stands for these, ""
    where there is none."""
    with context.database.read() as connection:
        items, told = _annotated(connection, config, dataset, format)
    if not items:
        return ""
    return write_lines(
        context, name, [_line(item, own, format) for item, own in zip(items, told, strict=True)]
    )


def write_lines(context: Context, name: str, lines: list[str]) -> str:
    """Writes lines into files of a bounded size; the name with a * that stands for them."""
    gcs, count = sources.gcs_of(context), max(1, -(-len(lines) // _LINES))
    for at in range(count):
        context.check()
        data = "".join(f"{line}\n" for line in lines[at * _LINES : (at + 1) * _LINES]).encode()
        gcs.write(f"{name}-{at:05d}-of-{count:05d}.jsonl", data, "application/json")
    return f"{name}-*.jsonl"


def _format(
    connection: Connection, config: dict[str, Any], dataset: Resource, place: str = "inputDataConfig"
) -> Format:
    uri, chosen = str(config.get("annotationSchemaUri") or ""), str(config.get("savedQueryId") or "")
    if uri:
        return of_annotation(uri, kind_of(dataset), f"{place}.annotationSchemaUri")
    if chosen:
        found = SAVED_QUERIES.require(connection, f"{dataset.name}/savedQueries/{chosen}")
        return of_problem(found.body["problemType"])
    raise InvalidArgument(
        f"The dataset is of {kind_of(dataset)} items: give annotationSchemaUri, which says what annotations are "
        "trained on.",
        field=f"{place}.annotationSchemaUri",
    )


def _annotated(
    connection: Connection, config: dict[str, Any], dataset: Resource, format: Format
) -> tuple[list[Resource], list[list[dict[str, Any]]]]:
    """The items, each with its annotations that are asked for. Items without one are left out, as on Vertex AI."""
    wanted = compile_filter(config.get("annotationsFilter") or "")
    chosen = str(config.get("savedQueryId") or "")
    items, told = [], []
    for item in resources.listed(connection, DATA_ITEMS.kind, dataset.name):
        annotations = [
            one.body
            for one in resources.listed(connection, ANNOTATIONS.kind, item.name)
            if one.body["payloadSchemaUri"] == format.schema
            and wanted({"name": one.name, **one.body})
            and (not chosen or one.body["labels"].get(SET) == chosen)
        ]
        if annotations:
            items.append(item)
            told.append(annotations)
    return items, told


def _line(item: Resource, annotations: list[dict[str, Any]], format: Format) -> str:
    place = "textContent" if format.kind == "text" else f"{format.kind}GcsUri"
    shown = [
        {
            **{key: value for key, value in one["payload"].items() if key != "annotationSpecId"},
            "annotationResourceLabels": one["labels"],
        }
        for one in annotations
    ]
    return json.dumps(
        {
            place: item.body["payload"]["gcsUri"],
            f"{format.key}s": shown,
            "dataItemResourceLabels": item.body.get("labels") or {},
        },
        ensure_ascii=False,
    )


def _filters(config: dict[str, Any]) -> dict[str, str]:
    told = config.get("filterSplit") or {}
    return {part: text for part in _PARTS if (text := told.get(f"{part}Filter") or "-") != "-"}


def _assigned(config: dict[str, Any], items: list[Resource]) -> Iterator[tuple[str, int]]:
    """Which item is in which part: by filters, else by fractions; items whose ml_use says it keep that part where no
    split is asked for."""
    import pyarrow as pa

    from portico.ml.errors import DataError
    from portico.ml.learn.split import split_rows

    if config.get("filterSplit"):
        tests: dict[str, Predicate] = {part: compile_filter(text) for part, text in _filters(config).items()}
        for at, item in enumerate(items):  # the first filter that an item matches counts
            shown = {"name": item.name, **item.body}
            if part := next((part for part, test in tests.items() if test(shown)), ""):
                yield part, at
        return
    uses = [(item.body.get("labels") or {}).get(ML_USE, "") for item in items]
    free = list(range(len(items)))
    if not config.get("fractionSplit"):
        yield from ((use, at) for at, use in enumerate(uses) if use in _PARTS)
        free = [at for at in free if uses[at] not in _PARTS]
    try:
        split = split_rows(pa.table({"at": free}), training_inputs.split_of(config))
    except DataError as error:
        raise InvalidArgument(f"{error.message}.", field=error.field) from None
    for part in _PARTS:
        yield from ((part, free[row]) for row in getattr(split, part))
