"""Labels from files in Cloud Storage: endpoints.importLabels.

An import pins what it reads. Each part of its rows is taken in one transaction together with the note of how far it
is, in the operation's metadata: whatever is killed when, every row is taken once. What is no label is counted.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

import orjson
from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.errors import InvalidArgument, PorticoError
from portico.jobs.kinds import JobKind
from portico.jobs.kinds import register as register_kind
from portico.jobs.worker import Context
from portico.ml.errors import DataError
from portico.ml.label_rows import Columns, label_of
from portico.services.call import Call, implements
from portico.services.portico.labels import read_label
from portico.services.portico.truths import truths_of
from portico.services.standard import operations, sources
from portico.services.standard.serving import ENDPOINTS
from portico.store import domain_clock, jobs, labels
from portico.store import operations as stored
from portico.store.jobs import Job
from portico.store.labels import Label
from portico.store.objects import generations as objects

if TYPE_CHECKING:
    from portico.ml.data_files import DataFile

_KIND = "endpoints.importLabels"
_PART = 2_000  # rows of one transaction
_NAMED = 10  # bad rows that are named

_NAMES = ("requestId", "index", "time", "observedTime", "influenced")  # of columns, beside truth and keys

_Row = tuple[int, dict[str, Any] | str]  # its number from 1, and its cells or why it is none


@implements("portico", "projects.locations.endpoints.importLabels")
def import_labels(call: Call) -> dict[str, Any]:
    endpoint, body = str(call.params["endpoint"]), call.body
    columns = _columns(body)
    uris = (body.get("gcsSource") or {}).get("uris") or []
    found = sources.find(sources.gcs_of(call.rooms), uris, "gcsSource.uris")
    form = sources.format_of(
        [row.name.removesuffix(".gz") for row in found], body.get("format", ""), "format"
    )
    with call.rooms.database.write() as connection:
        ENDPOINTS.require(connection, endpoint)
        pinned = [objects.get(connection, row.bucket, row.name, row.generation) for row in found]
        payload = {
            "pins": [sources.source_of(row).to_json() for row in pinned],
            "format": form,
            "columns": {name: getattr(columns, name) for name in Columns.__slots__},
            "time": domain_clock.now(connection, call.rooms.clock),
        }
        job = call.rooms.queue.add(connection, _KIND, endpoint, payload)
        for row in pinned:
            objects.pin(connection, row, _holder(job))
        operation = operations.start(
            call, connection, endpoint, "ImportLabelsOperationMetadata", job=job,
            rows=0, new=0, repeated=0, contradicted=0, badRows=0, errors=[],
        )  # fmt: skip
    call.rooms.queue.wake()
    return operations.render(operation)


def _columns(body: dict[str, Any]) -> Columns:
    """
    Raises:
        InvalidArgument: predictions are named by nothing, or by two things.
    """
    given = {name: body.get(f"{name}Column", "") for name in _NAMES}
    key = tuple(body.get("keyColumns") or ())
    if bool(given["requestId"]) == bool(key):
        raise InvalidArgument(
            "Name the predictions by requestIdColumn or by keyColumns, and not by both.",
            field="requestIdColumn",
        )
    for name, needed, there in (("index", "requestIdColumn", not key), ("time", "keyColumns", bool(key))):
        if given[name] and not there:
            raise InvalidArgument(f"{name}Column needs {needed}.", field=f"{name}Column")
    truth = body.get("truthColumn") or "truth"
    return Columns(
        truth,
        given["requestId"],
        given["index"],
        key,
        given["time"],
        given["observedTime"],
        given["influenced"],
    )


def _holder(job_id: str) -> str:
    return f"job:{job_id}"


def run(context: Context) -> dict[str, Any]:
    """Job: takes the labels of every row that it has not taken before.

    Raises:
        InvalidArgument: a file can't be read, or lacks a column.
    """
    asked = context.job.payload
    columns = Columns(**{**asked["columns"], "key": tuple(asked["columns"]["key"])})
    pinned = sources.from_json(asked["pins"])
    with context.database.read() as connection:
        told = _operation(connection, context).metadata
    taken, seen = told["rows"], 0
    for number, source in enumerate(pinned):
        rows = read_rows(source.data(context.home), asked["format"], columns)
        while part := list(islice(rows, _PART)):
            seen += len(part)
            if seen <= taken:  # by an attempt before this one: the parts are always the same
                continue
            told = _take(context, part, source.uri, columns)
            context.progress(number / len(pinned), f"{told['rows']:,} rows")
    return {name: told[name] for name in ("new", "repeated", "contradicted", "badRows", "errors")}


def _take(context: Context, part: list[_Row], uri: str, columns: Columns) -> dict[str, Any]:
    """One transaction: the labels of some rows, and how far the import is now."""
    endpoint, time = context.job.resource, context.job.payload["time"]
    with context.database.read() as connection:
        truths = truths_of(connection, ENDPOINTS.require(connection, endpoint))
    good: list[Label] = []
    bad: list[str] = []
    for number, cells in part:
        try:
            if isinstance(cells, str):
                raise ValueError(cells)
            good.append(read_label(label_of(cells, columns), "label", time, truths))
        except (ValueError, PorticoError) as error:
            bad.append(f"{uri}, row {number}: {error}")
    with context.database.write() as connection:
        ENDPOINTS.require(connection, endpoint)
        operation = _operation(connection, context)
        added = labels.add(connection, endpoint, good)
        told = operation.metadata
        told["rows"] += len(part)
        for name in ("new", "repeated", "contradicted"):
            told[name] += getattr(added, name)
        told["badRows"] += len(bad)
        told["errors"] += bad[: _NAMED - len(told["errors"])]
        operation.update_time = context.clock.now()
        told["genericMetadata"]["updateTime"] = rfc3339(operation.update_time)
        stored.update(connection, operation)
    return told


def _operation(connection: Connection, context: Context) -> stored.Operation:
    found = stored.of_job(connection, context.job.id)
    assert found is not None  # it is deleted only when it is done
    return found


def _follow(connection: Connection, job: Job, now: float) -> None:
    if job.state in jobs.ENDED:
        objects.unpin(connection, _holder(job.id))
    operations.follow(connection, job, now, "ImportLabelsResponse", job.result)


register_kind(JobKind(_KIND, f"{__name__}:run", _follow))


# --- rows ---


def read_rows(data: DataFile, format: str, columns: Columns) -> Iterator[_Row]:
    """The rows of a file, in the same order and with the same numbers each time; blank lines are none.

    Raises:
        InvalidArgument: it can't be read, or lacks one of the columns.
    """
    from portico.ml.data_files import opened

    try:
        with opened(data, format) as file:
            yield from _READERS[format](file, data.name, columns)
    except DataError as error:
        raise InvalidArgument(f"{error.message}.") from None
    except csv.Error as error:
        raise InvalidArgument(f"{data.name} cannot be read as {format}: {error}.") from None


def _csv(file: IO[bytes], uri: str, columns: Columns) -> Iterator[_Row]:
    rows = csv.reader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""))
    names = next(rows, [])
    _check(uri, columns, names)
    places = [(name, names.index(name)) for name in columns.names]
    for number, cells in enumerate((cells for cells in rows if cells), 1):
        if len(cells) != len(names):
            yield number, f"it has {len(cells)} cells, and the header has {len(names)}"
        else:
            yield number, {name: cells[place] for name, place in places}


def _jsonl(file: IO[bytes], uri: str, columns: Columns) -> Iterator[_Row]:
    from portico.ml.data_files import lines

    for number, (_, line) in enumerate(lines(file, uri), 1):
        try:
            row = orjson.loads(line)
        except ValueError as error:
            yield number, f"it is not JSON ({error})"
            continue
        if not isinstance(row, dict):
            yield number, "it is not a JSON object"
            continue
        if number == 1:
            needed = Columns(columns.truth, columns.request_id, key=columns.key)
            _check(uri, needed, list(row))
        yield number, row


def _parquet(file: IO[bytes], uri: str, columns: Columns) -> Iterator[_Row]:
    from portico.ml import parquet_files

    reader = parquet_files.open_parquet(file, uri)
    _check(uri, columns, reader.schema_arrow.names)
    number = 0
    for batch in parquet_files.batches(reader, uri, _PART, columns.names):
        for row in batch.to_pylist():
            number += 1
            yield number, row


_READERS = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}


def _check(uri: str, columns: Columns, names: list[str]) -> None:
    missing = [name for name in columns.names if name not in names]
    if missing:
        raise InvalidArgument(
            f"{uri} has no column {missing[0]!r}; it has {', '.join(names[:20]) or 'none'}."
        )
    repeated = [name for name in columns.names if names.count(name) > 1]
    if repeated:
        raise InvalidArgument(f"{uri} has the column {repeated[0]!r} twice.")
