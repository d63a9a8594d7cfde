"""Reads what monitoring looks at: training data, and for a model monitoring job tables of features and outputs, a few
thousand rows at a time.

Files come from Cloud Storage, a dataset or a batch prediction job's output; predictions from the endpoints' log. An
instance that is a list is named by the schema's order; a prediction becomes the schema's outputs as `outputs_of` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from portico.clock import rfc3339
from portico.errors import FailedPrecondition, NotFound
from portico.jobs.worker import Context
from portico.ml import arrays, values
from portico.ml.errors import DataError
from portico.ml.tables import rows_to_batch
from portico.prediction.prediction_log import stream_of
from portico.services.aiplatform.batch import read as batch_read
from portico.services.aiplatform.batch.read import Chunk
from portico.services.aiplatform.monitoring import inputs as data
from portico.services.aiplatform.monitoring import monitor_spec as spec
from portico.services.aiplatform.monitoring.model_monitoring_jobs import holder_of
from portico.services.call import Rooms
from portico.services.registry.datasets import DATASETS, data_of
from portico.services.standard import bq, sources
from portico.services.standard.sources import Source
from portico.store import resources
from portico.store.resources import Resource
from portico.store.segments import Segments

_ROWS = 50_000  # of a table


def _pinned(
    rooms: Rooms | Context, dataset: str, uris: Sequence[str], holder: str, field: str
) -> list[Source]:
    """The files of a managed dataset, or else of names in Cloud Storage, pinned."""
    if not dataset:
        return sources.pin(sources.gcs_of(rooms), uris, holder, field)
    with rooms.database.read() as connection:
        found = DATASETS.require(connection, dataset)
    return data_of(rooms, found, holder)


def training(rooms: Rooms, told: Mapping[str, Any], holder: str) -> pa.Table:
    """All rows of a v1 trainingDataset, in their order.

    Raises:
        FailedPrecondition: they can't be read. InvalidArgument, NotFound
    """
    try:
        uris = (told.get("gcsSource") or {}).get("uris") or []
        if table := (told.get("bigquerySource") or {}).get("inputUri"):
            uris = [table]
        pinned = _pinned(rooms, told.get("dataset", ""), uris, holder, "trainingDataset")
        declared = told.get("dataFormat", "")
        return sources.read_table(rooms.home, pinned, declared, "trainingDataset.dataFormat").table
    except DataError as error:
        raise FailedPrecondition(f"The training data can't be read: {error.message}.") from None
    finally:
        sources.gcs_of(rooms).unpin(holder)


def logged(
    segments: Segments, endpoint: str, of: Mapping[str, str], start: float | None, end: float
) -> Iterator[tuple[list[Any], list[Any]]]:
    """The requests at an endpoint in [start, end) whose columns are as `of` says: the instances of each, and as many
    answers, or none where they are not known. An answer that is no JSON is None."""
    time = pc.field("logging_time")
    wanted = time < _moment(end)
    if start is not None:
        wanted &= time >= _moment(start)
    for name, value in of.items():
        wanted &= pc.field(name) == value
    payloads = ["request_payload", "response_payload"]
    for table in segments.scan(stream_of(endpoint), start, end, (*of, "logging_time", *payloads)):
        chosen = table.filter(wanted)
        for texts, answers in zip(*(chosen[name].to_pylist() for name in payloads), strict=True):
            known = answers is not None and len(answers) == len(texts)
            yield list(map(orjson.loads, texts)), list(map(_json, answers)) if known else []


def named(instance: Any, names: Sequence[str]) -> dict[str, Any]:
    """An instance as named features: an object's own names, a list's by position."""
    if isinstance(instance, dict):
        return instance
    cells = instance if isinstance(instance, list) else [instance]
    return {(names[i] if i < len(names) else f"feature_{i}"): cell for i, cell in enumerate(cells)}


@dataclass(slots=True)
class Data:
    """`what` is "baseline" or "target". `tables` yields its rows of [start, end); a column that a table lacks is empty
    there. `columns` are those that were seen so far."""

    what: str
    locations: list[str]
    start: float | None
    end: float | None
    tables: Callable[[], Iterator[pa.Table | pa.RecordBatch]]
    columns: dict[str, None] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Where and when, in words."""
        times = [
            f" {word} {rfc3339(at)}"
            for word, at in (("from", self.start), ("to", self.end))
            if at is not None
        ]
        return f"the {self.what} ({', '.join(self.locations)}{''.join(times)})"

    def read(self) -> Iterator[pa.Table | pa.RecordBatch]:
        for table in self.tables():
            self.columns |= dict.fromkeys(table.schema.names)
            yield table

    def to_json(self) -> list[dict[str, Any]]:
        """As `ModelMonitoringJobExecutionDetail.ProcessedDataset`s."""
        times = {"startTime": self.start, "endTime": self.end}
        shown = {key: rfc3339(at) for key, at in times.items() if at is not None}
        return [{"location": each, **({"timeRange": shown} if shown else {})} for each in self.locations]


@dataclass(frozen=True, slots=True)
class Reader:
    """Opens the data of one job: of the model version `version`, in the columns of `schema`."""

    context: Context
    version: Resource
    schema: Mapping[str, Any]
    cutoff: float

    def open(self, told: Mapping[str, Any], what: str) -> Data:
        """
        Raises:
            PorticoError: there are no such data.
        """
        start, end = data.window_of(told, self.cutoff) if data.span(told) else (None, None)
        if "columnizedDataset" in told:
            return self._columns(told["columnizedDataset"], what, start, end)
        if "batchPredictionOutput" in told:
            return self._batch(told["batchPredictionOutput"]["batchPredictionJob"], what)
        return self._logs(
            told["vertexEndpointLogs"]["endpoints"], what, start, self.cutoff if end is None else end
        )

    # --- files ---

    def _columns(self, told: Mapping[str, Any], what: str, start: float | None, end: float | None) -> Data:
        dataset, source = told.get("vertexDataset", ""), told.get("gcsSource") or {}
        held = told.get("bigquerySource") or {}
        table, query = held.get("tableUri", ""), held.get("query", "")
        location, declared = dataset or table or query or source["gcsUri"], data.format_of(source)
        holder = holder_of(self.context.job)
        if query:
            pinned = [self._queried(query, holder, f"{what}Dataset.bigquerySource.query")]
        else:
            pinned = _pinned(self.context, dataset, [location], holder, f"{what}Dataset")
        form = sources.format_of([source.uri for source in pinned], declared, f"{what}Dataset.format")
        times = told.get("timestampField", "")

        def tables() -> Iterator[pa.Table | pa.RecordBatch]:
            for chunk in self._chunks(pinned, form):
                table = _table(chunk, lambda value: value)
                if start is not None or end is not None:
                    table = _between(table, times, start, end, location)
                yield self._with_outputs(table)

        return Data(what, [location], start, end, tables)

    def _queried(self, query: str, holder: str, field: str) -> Source:
        """What a query yields now, or when the job asked it first."""
        project = self.version.name.split("/")[1]
        return sources.source_of(bq.pin_asked(sources.gcs_of(self.context), query, project, holder, field))

    def _batch(self, name: str, what: str) -> Data:
        with self.context.database.read() as connection:
            job = resources.get(connection, name)
        if job is None or job.kind != "aiplatform:batchPredictionJobs":
            raise NotFound(f"The BatchPredictionJob {name!r} does not exist.")
        if job.body["state"] != "JOB_STATE_SUCCEEDED":
            raise FailedPrecondition(f"{name} has not succeeded: its state is {job.body['state']}.")
        of = f"{job.body['model']}@{job.body['modelVersionId']}"
        if of != self.version.name:
            raise FailedPrecondition(f"{name} predicted with {of}; the monitor watches {self.version.name}.")
        if not (directory := job.body["outputInfo"].get("gcsOutputDirectory")):
            raise FailedPrecondition(
                f"{name} wrote to BigQuery, from where its output is not monitored yet; write to Cloud Storage."
            )
        kind = "explanation" if job.body.get("generateExplanation") else "prediction"
        pinned = sources.pin(
            sources.gcs_of(self.context), [f"{directory}/{kind}.results-*"], holder_of(self.context.job),
            f"{what}Dataset.batchPredictionOutput",
        )  # fmt: skip

        def tables() -> Iterator[pa.Table | pa.RecordBatch]:
            for chunk in self._chunks(pinned, job.body["outputConfig"]["predictionsFormat"]):
                yield self._with_outputs(_table(chunk, self._predicted))

        return Data(what, [directory], None, None, tables)

    def _chunks(self, pinned: Sequence[Source], form: str) -> Iterator[Chunk]:
        for chunk in batch_read.read(pinned, self.context.home, form, _ROWS):
            self.context.check()
            if chunk.failure:
                raise FailedPrecondition(f"{chunk.failure}.")
            yield chunk

    def _predicted(self, line: Any) -> Any:
        """A line of a batch prediction job's output, or of the log, as one row."""
        if not isinstance(line, dict) or "prediction" not in line:
            return line
        return self._row(line.get("instance"), line["prediction"])

    def _row(self, instance: Any, prediction: Any) -> dict[str, Any]:
        names = [one.name for one in spec.fields_of(self.schema, "featureFields")]
        return {**named(instance, names), **outputs_of(prediction, self._outputs)}

    @property
    def _outputs(self) -> list[str]:
        return [one.name for one in spec.fields_of(self.schema, "predictionFields")]

    def _with_outputs(self, table: pa.Table | pa.RecordBatch) -> pa.Table | pa.RecordBatch:
        """`table` with the outputs that its columns tell in the way of a batch prediction job's tables."""
        missing = [name for name in self._outputs if name not in table.schema.names]
        for name in missing:
            prefix = name.removeprefix("predicted_") + "_"
            scores = [c for c in table.schema.names if c.startswith(prefix) and c.endswith("_scores")]
            if scores:
                labels = [column.removeprefix(prefix).removesuffix("_scores") for column in scores]
                table = table.append_column(name, pa.array(_best(table, scores, labels), pa.string()))
            elif len(missing) == 1 and "prediction" in table.schema.names:
                cells = [
                    outputs_of(_parsed(cell), [name])[name] for cell in table.column("prediction").to_pylist()
                ]
                table = table.append_column(name, pa.array(cells))
        return table

    # --- the log ---

    def _logs(self, endpoints: Sequence[str], what: str, start: float | None, end: float) -> Data:
        context, version = self.context, self.version
        segments = Segments(context.home, context.database, context.clock, context.ids)
        of = {"model": version.parent, "model_version": version.body["versionId"]}

        def tables() -> Iterator[pa.Table | pa.RecordBatch]:
            rows: list[dict[str, Any]] = []
            for endpoint in endpoints:
                for instances, answers in logged(segments, endpoint, of, start, end):
                    rows += map(self._row, instances, answers or [None] * len(instances))
                    if len(rows) >= _ROWS:
                        self.context.check()
                        yield rows_to_batch(rows)
                        rows = []
            if rows:
                yield rows_to_batch(rows)

        return Data(what, list(endpoints), start, end, tables)


def outputs_of(prediction: Any, names: Sequence[str]) -> dict[str, Any]:
    """A prediction as named outputs: an object's own, else its likeliest class or its value; a list's by position."""
    if not names:
        return {}
    made: dict[str, Any] = dict.fromkeys(names)
    if isinstance(prediction, dict):
        named = {name: prediction[name] for name in names if name in prediction}
        if named:
            return made | named
        scores, classes = prediction.get("scores"), prediction.get("classes")
        if isinstance(scores, list) and isinstance(classes, list) and scores and len(scores) == len(classes):
            made[names[0]] = classes[max(range(len(scores)), key=scores.__getitem__)]
        else:
            made[names[0]] = prediction.get("value")
    elif isinstance(prediction, list):
        made |= dict(zip(names, prediction, strict=False))
    else:
        made[names[0]] = prediction
    return made


def _parsed(cell: Any) -> Any:
    """A cell of the column `prediction`, which CSV writes as JSON text where it is a list or an object."""
    told = _json(cell) if isinstance(cell, str) and cell[:1] in ("[", "{") else None
    return cell if told is None else told


def _json(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None  # the answer to a raw prediction, which is text


def _best(table: pa.Table | pa.RecordBatch, scores: list[str], labels: list[str]) -> list[str]:
    matrix = np.column_stack([arrays.numbers(table.column(name))[0] for name in scores])
    return [labels[position] for position in np.nan_to_num(matrix, nan=-1.0).argmax(axis=1).tolist()]


def _table(chunk: Chunk, row_of: Callable[[Any], Any]) -> pa.RecordBatch:
    """
    Raises:
        FailedPrecondition: a line is no row.
    """
    if chunk.batch is not None:
        return chunk.batch
    batch_read.parse(chunk)
    rows = []
    for position, value in enumerate(chunk.values):
        row = None if position in chunk.bad else row_of(value)
        if not isinstance(row, dict):
            reason = chunk.bad.get(position, "It is no object with named fields.")
            raise FailedPrecondition(f"{chunk.source}, row {chunk.start + position + 1}: {reason}")
        rows.append(row)
    return rows_to_batch(rows)


def _between(
    table: pa.Table | pa.RecordBatch, column: str, start: float | None, end: float | None, location: str
) -> Any:
    """The rows whose time is in [start, end); a row without a time is in no window.

    Raises:
        FailedPrecondition: there is no such column, or it holds something else than times.
    """
    if column not in table.schema.names:
        raise FailedPrecondition(
            f"{location} has no column {column!r}, which is its timestampField; it has "
            f"{', '.join(table.schema.names[:30])}."
        )
    seconds, errors, _ = arrays.distinct(table.column(column), values.timestamp, 1)
    if errors:
        raise FailedPrecondition(f"{location}, timestampField {column!r}: {errors[0]}.")
    kept: np.ndarray = seconds == seconds
    if start is not None:
        kept &= seconds >= start
    if end is not None:
        kept &= seconds < end
    return table.filter(pa.array(kept))


def _moment(seconds: float) -> Any:
    return pa.scalar(round(seconds * 1e6), pa.timestamp("us", tz="UTC"))
