"""BigQueryRead: CreateReadSession, ReadRows, SplitReadStream.

A stream is a range of its session's rows, which its name says: projects/P/locations/L/sessions/S/streams/FIRST-LAST.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from portico.errors import InvalidArgument, NotFound, OutOfRange
from portico.services.call import Call, implements
from portico.warehouse import sessions
from portico.warehouse.client import FOLDER, OWNER, job_name, result_file, warehouse

if TYPE_CHECKING:
    import pyarrow as pa

    from portico.warehouse.types import Field

_TABLE = re.compile(r"projects/([^/`]+)/datasets/([^/`]+)/tables/([^/`]+)")
_STREAM = re.compile(r"projects/[^/]+/locations/[^/]+/sessions/([0-9a-f]{32})/streams/(\d{1,18})-(\d{1,18})")
_JOB = re.compile(r"projects/([^/]+)/locations/[^/]+/jobs/([^/]+)/streams/_default")
_SPLITS = 100_000  # rows for which a stream of their own is worth while


@implements("bigquerystorage", "BigQueryRead.CreateReadSession")
def create_read_session(call: Call) -> dict[str, Any]:
    asked = call.body.get("readSession") or {}
    table = _TABLE.fullmatch(str(asked.get("table", "")))
    project = re.fullmatch(r"projects/([^/]+)", str(call.body.get("parent", "")))
    if project is None:
        raise InvalidArgument("parent must be projects/PROJECT.", field="parent")
    if table is None:
        raise InvalidArgument(
            "read_session.table must be projects/PROJECT/datasets/DATASET/tables/TABLE.",
            field="read_session.table",
        )
    form = asked.get("dataFormat", "DATA_FORMAT_UNSPECIFIED")
    if form not in ("ARROW", "AVRO"):
        raise InvalidArgument(
            "read_session.data_format must be ARROW or AVRO.", field="read_session.data_format"
        )
    options = asked.get("readOptions") or {}
    settings = {"format": form, "compression": _codec(options), "packed": _packed(options)}
    made = warehouse(call.rooms.home).ask(
        "read_session",
        project=table[1],
        dataset=table[2],
        table=table[3],
        columns=options.get("selectedFields") or [],
        restriction=options.get("rowRestriction", ""),
        snapshot=(asked.get("tableModifiers") or {}).get("snapshotTime", ""),
        sample=options.get("samplePercentage"),
        caller=call.caller.email or OWNER,
    )
    sessions.keep(call.rooms.home, made["id"], settings)
    name = f"projects/{project[1]}/locations/us/sessions/{made['id']}"
    count = _count(
        made["rows"],
        int(call.body.get("maxStreamCount", 0)),
        int(call.body.get("preferredMinStreamCount", 0)),
    )
    expires = dt.datetime.fromtimestamp(call.rooms.clock.now() + sessions.LIFETIME, dt.UTC)
    answer = {
        "name": name,
        "expireTime": expires.isoformat().replace("+00:00", "Z"),
        "dataFormat": form,
        "table": asked["table"],
        "streams": [{"name": f"{name}/streams/{one}"} for one in _ranges(0, made["rows"], count)],
        "estimatedTotalBytesScanned": made["bytes"],
        "estimatedRowCount": made["rows"],
        **_schema(_Rows(call, made["id"]).fields, form),
    }
    if "traceId" in asked:
        answer["traceId"] = asked["traceId"]
    return answer


def _codec(options: dict[str, Any]) -> str | None:
    from portico.warehouse.arrow import CODECS

    written = options.get("arrowSerializationOptions") or {}
    return CODECS[written.get("bufferCompression", "COMPRESSION_UNSPECIFIED")]


def _packed(options: dict[str, Any]) -> bool:
    """Whether answers are compressed as a whole."""
    packed = options.get("responseCompressionCodec") == "RESPONSE_COMPRESSION_CODEC_LZ4"
    if packed and _codec(options):
        raise InvalidArgument(
            "Choose one of response_compression_codec and arrow_serialization_options.buffer_compression.",
            field="read_session.read_options.response_compression_codec",
        )
    return packed


def _count(rows: int, most: int, least: int) -> int:
    """How many streams: one where nothing is said, since it keeps the rows in their order and the sender is one."""
    wanted = max(1, least)
    return min(wanted, most or wanted, max(1, rows // _SPLITS))


def _ranges(start: int, stop: int, count: int) -> Iterator[str]:
    for i in range(count):
        first, last = (start + (stop - start) * each // count for each in (i, i + 1))
        if first < last:
            yield f"{first}-{last}"


def _schema(fields: list[Field], form: str) -> dict[str, Any]:
    from portico.warehouse import arrow

    if form == "AVRO":
        return {"avroSchema": {"schema": json.dumps(arrow.avro_schema(fields))}}
    return {"arrowSchema": {"serializedSchema": arrow.schema(fields).serialize().to_pybytes()}}


class _Rows:
    """The rows of a session."""

    def __init__(self, call: Call, session: str) -> None:
        from portico.warehouse import arrow

        settings, path = sessions.settings_of(call.rooms.home, session)
        self.table, self.fields = arrow.read(path)
        self.form: str = settings["format"]
        self.compression: str | None = settings["compression"]
        self.packed: bool = settings["packed"]


@implements("bigquerystorage", "BigQueryRead.ReadRows")
async def read_rows(call: Call) -> AsyncIterator[dict[str, Any]]:
    rows, start, stop = await asyncio.to_thread(_asked, call)
    return _answers(rows, start, stop)


def _asked(call: Call) -> tuple[_Rows | _Result, int, int]:
    name, offset = str(call.body.get("readStream", "")), int(call.body.get("offset", 0))
    rows: _Rows | _Result
    if job := _JOB.fullmatch(name):
        rows = _Result(call, job[1], job[2])
        start, stop = 0, rows.table.num_rows
    elif stream := _STREAM.fullmatch(name):
        if "arrowSerializationOptions" in call.body:
            raise InvalidArgument(
                "Only a job's stream takes arrow_serialization_options; a session has its own."
            )
        rows = _Rows(call, stream[1])
        start, stop = int(stream[2]), int(stream[3])
    else:
        raise InvalidArgument(
            f"read_stream is no name of a stream: {name[:200]!r}. CreateReadSession gives some.",
            field="read_stream",
        )
    if stop > rows.table.num_rows or start > stop:
        raise NotFound(f"The session has no stream {name}.")
    if not 0 <= offset <= stop - start:
        raise OutOfRange(
            f"The stream has {stop - start} rows; it can't be read from row {offset}.", field="offset"
        )
    return rows, start + offset, stop


class _Result:
    """The rows that a query gave, as its job's stream shows them."""

    form = "ARROW"
    packed = False

    def __init__(self, call: Call, project: str, job: str) -> None:
        from portico.warehouse import arrow

        try:
            path = result_file(call.rooms.home / FOLDER, job_name(project, job))
            self.table, self.fields = arrow.read(path)
        except FileNotFoundError:
            raise NotFound(f"Not found: job {project}:{job} has no result that is kept.") from None
        self.compression = _codec(call.body)


async def _answers(rows: _Rows | _Result, start: int, stop: int) -> AsyncIterator[dict[str, Any]]:
    """Each answer is made while the one before is sent."""
    from portico.warehouse import arrow

    total = max(1, rows.table.num_rows)
    pieces = arrow.pieces(rows.table, start, stop)
    following = asyncio.ensure_future(asyncio.to_thread(_answer, rows, next(pieces, None)))
    first = True
    try:
        while answer := await following:
            following = asyncio.ensure_future(asyncio.to_thread(_answer, rows, next(pieces, None)))
            at, count = answer.pop("at"), answer["rowCount"]
            progress = {"atResponseStart": at / total, "atResponseEnd": (at + count) / total}
            answer["stats"] = {"progress": progress}
            yield answer | (_schema(rows.fields, rows.form) if first else {})
            first = False
    finally:
        following.cancel()


def _answer(rows: _Rows | _Result, piece: tuple[int, pa.Table] | None) -> dict[str, Any] | None:
    import pyarrow as pa

    from portico.warehouse import arrow

    if piece is None:
        return None
    at, table = piece
    answer: dict[str, Any] = {"at": at, "rowCount": table.num_rows}
    shown = arrow.converted(table, rows.fields)
    if rows.form == "AVRO":
        data = arrow.avro_bytes(shown, rows.fields)
    else:
        data = arrow.batch_bytes(shown, rows.compression)
    if rows.packed:
        answer["uncompressedByteSize"] = len(data)
        data = pa.compress(data, codec="lz4_raw", asbytes=True)
    key, field = (
        ("avroRows", "serializedBinaryRows")
        if rows.form == "AVRO"
        else ("arrowRecordBatch", "serializedRecordBatch")
    )
    answer[key] = {field: data, "rowCount": table.num_rows}
    return answer


@implements("bigquerystorage", "BigQueryRead.SplitReadStream")
def split_read_stream(call: Call) -> dict[str, Any]:
    """Two streams that follow each other; none where there is nothing to split."""
    name = str(call.body.get("name", ""))
    stream = _STREAM.fullmatch(name)
    if stream is None:
        raise InvalidArgument("name must be that of a stream of a session.", field="name")
    sessions.settings_of(call.rooms.home, stream[1])
    fraction = float(call.body.get("fraction") or 0.5)
    if not 0 < fraction < 1:
        raise InvalidArgument("fraction must be between 0 and 1.", field="fraction")
    start, stop = int(stream[2]), int(stream[3])
    middle = start + int((stop - start) * fraction)
    if not start < middle < stop:
        return {}
    before = name.rpartition("/")[0]
    return {
        "primaryStream": {"name": f"{before}/{start}-{middle}"},
        "remainderStream": {"name": f"{before}/{middle}-{stop}"},
    }
