"""BigQueryWrite: write streams, and rows appended to them in Protocol Buffers or Arrow."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portico.errors import NUMBERS, InvalidArgument, NotFound, PorticoError
from portico.services.call import Call, implements
from portico.store import disk
from portico.warehouse.client import FOLDER, warehouse
from portico.warehouse.types import Field, canonical

if TYPE_CHECKING:
    import pyarrow as pa

_TABLE = re.compile(r"projects/([^/`]+)/datasets/([^/`]+)/tables/([^/`]+)")
_STREAM = re.compile(_TABLE.pattern + r"/(?:streams/)?([0-9a-f]{32}|_default)")
_TYPES = ("COMMITTED", "PENDING", "BUFFERED")
# Where BigQuery's two APIs name a type differently.
_SCHEMA_TYPES = {"INTEGER": "INT64", "FLOAT": "DOUBLE", "BOOLEAN": "BOOL", "RECORD": "STRUCT"}
_ERROR = "type.googleapis.com/google.cloud.bigquery.storage.v1.StorageError"
_ROWS = (
    "Errors found while processing rows. Please refer to the row_errors field for details. The list may not be "
    "complete because of the size limitations."
)


def _parts(name: Any, pattern: re.Pattern[str], field: str) -> dict[str, str]:
    found = pattern.fullmatch(str(name or ""))
    if found is None:
        form = "projects/PROJECT/datasets/DATASET/tables/TABLE" + (
            "/streams/STREAM" if pattern is _STREAM else ""
        )
        raise InvalidArgument(f"{field} must be {form}.", field=field)
    return dict(zip(("project", "dataset", "table", "stream"), found.groups(), strict=False))


def _name(parts: dict[str, str], stream: str) -> str:
    return f"projects/{parts['project']}/datasets/{parts['dataset']}/tables/{parts['table']}/streams/{stream}"


@implements("bigquerystorage", "BigQueryWrite.CreateWriteStream")
def create_write_stream(call: Call) -> dict[str, Any]:
    parts = _parts(call.body.get("parent"), _TABLE, "parent")
    kind = (call.body.get("writeStream") or {}).get("type", "TYPE_UNSPECIFIED")
    if kind not in _TYPES:
        raise InvalidArgument(
            f"write_stream.type must be one of {', '.join(_TYPES)}.", field="write_stream.type"
        )
    made = warehouse(call.rooms.home).ask("create_stream", **parts, type=kind)
    return _shown(parts, made, schema=True)


@implements("bigquerystorage", "BigQueryWrite.GetWriteStream")
def get_write_stream(call: Call) -> dict[str, Any]:
    parts = _parts(call.body.get("name"), _STREAM, "name")
    found = warehouse(call.rooms.home).ask("get_stream", **parts)
    return _shown(parts, found, schema=call.body.get("view") == "FULL")


def _shown(parts: dict[str, str], stream: dict[str, Any], *, schema: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": _name(parts, stream["id"]),
        "type": stream["type"],
        "createTime": _time(stream["created"]),
        "writeMode": "INSERT",
        "location": "us",
    }
    if stream["committed"]:
        shown["commitTime"] = _time(stream["committed"])
    if schema:
        shown["tableSchema"] = _schema(stream["fields"])
    return shown


def _time(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat().replace("+00:00", "Z")


def _schema(fields: list[Field]) -> dict[str, Any]:
    return {"fields": [_field(one) for one in fields]}


def _field(one: Field) -> dict[str, Any]:
    kind = canonical(one["type"])
    shown: dict[str, Any] = {
        "name": one["name"],
        "type": _SCHEMA_TYPES.get(kind, kind),
        "mode": str(one.get("mode") or "NULLABLE").upper(),
    }
    if kind == "RECORD":
        shown["fields"] = [_field(each) for each in one.get("fields") or ()]
    if "description" in one:
        shown["description"] = one["description"]
    return shown


@implements("bigquerystorage", "BigQueryWrite.AppendRows")
async def append_rows(call: Call) -> AsyncIterator[dict[str, Any]]:
    return _appended(call)


async def _appended(call: Call) -> AsyncIterator[dict[str, Any]]:
    """One answer to each request. What a request leaves out is as the one before it said for its stream."""
    writers: dict[str, _Writer] = {}
    name = ""
    async for request in call.body["requests"]:
        name = request.get("writeStream") or name
        if name not in writers:
            writers[name] = _Writer(call, name)
        yield await asyncio.to_thread(writers[name].append, request)


class _Writer:
    """A stream, as one connection writes to it."""

    def __init__(self, call: Call, name: str) -> None:
        self._call = call
        self._parts = _parts(name, _STREAM, "write_stream")
        self._rows: Any = None  # the class of the messages, or the schema in Arrow
        self._fields: list[Field] = []

    def append(self, request: dict[str, Any]) -> dict[str, Any]:
        """
        Raises:
            NotFound: there is no such stream, or its table is gone.
        """
        from portico.services.bigquerystorage.proto_rows import BadRows

        answer: dict[str, Any] = {"writeStream": _name(self._parts, self._parts["stream"])}
        try:
            disk.require_room(self._call.rooms.home)
            if not self._fields:
                self._fields = warehouse(self._call.rooms.home).ask("get_stream", **self._parts)["fields"]
            told = self._sent(request)
        except NotFound:
            raise
        except BadRows as bad:
            return answer | _refused(bad.errors)
        except PorticoError as error:
            return answer | {"error": _status(error, answer["writeStream"])}
        if told["fields"] != self._fields:
            self._fields = told["fields"]
            answer["updatedSchema"] = _schema(self._fields)
        if errors := told.get("errors"):
            return answer | _refused(errors)
        offset = told["offset"]
        return answer | {"appendResult": {} if offset is None else {"offset": offset}}

    def _sent(self, request: dict[str, Any]) -> dict[str, Any]:
        import pyarrow as pa

        rows = self._table(request)
        folder = self._call.rooms.home / FOLDER / "appends"
        folder.mkdir(mode=0o700, exist_ok=True)
        path: Path = folder / f"{uuid.uuid4().hex}.arrow"
        try:
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
                writer.write_table(rows)
            told: dict[str, Any] = warehouse(self._call.rooms.home).ask(
                "append",
                **self._parts,
                file=str(path),
                offset=request.get("offset"),
                defaults=_defaults(request),
            )
            return told
        finally:
            path.unlink(missing_ok=True)

    def _table(self, request: dict[str, Any]) -> pa.Table:
        if "protoRows" in request:
            return self._of_messages(request["protoRows"])
        if "arrowRows" in request:
            return self._of_arrow(request["arrowRows"])
        raise InvalidArgument("The request has no rows: give proto_rows or arrow_rows.")

    def _of_messages(self, given: dict[str, Any]) -> pa.Table:
        from portico.services.bigquerystorage import proto_rows

        described = (given.get("writerSchema") or {}).get("protoDescriptor")
        if described is not None:
            self._rows = proto_rows.row_class(described)
        if not hasattr(self._rows, "FromString"):
            raise InvalidArgument("The first request of a stream needs proto_rows.writer_schema.")
        rows = (given.get("rows") or {}).get("serializedRows") or []
        if not rows:
            raise InvalidArgument("proto_rows.rows has no rows.")
        try:
            return proto_rows.table(rows, self._rows, self._fields)
        except InvalidArgument as error:
            if error.reason != "SCHEMA_MISMATCH_EXTRA_FIELDS":
                raise
        # Columns may have come since this connection began.
        fields = warehouse(self._call.rooms.home).ask("get_stream", **self._parts)["fields"]
        return proto_rows.table(rows, self._rows, fields)

    def _of_arrow(self, given: dict[str, Any]) -> pa.Table:
        import pyarrow as pa

        from portico.warehouse import bignumeric

        schema = (given.get("writerSchema") or {}).get("serializedSchema")
        try:
            if schema is not None:
                self._rows = pa.ipc.read_schema(pa.py_buffer(schema))
            if not isinstance(self._rows, pa.Schema):
                raise InvalidArgument("The first request of a stream needs arrow_rows.writer_schema.")
            data = (given.get("rows") or {}).get("serializedRecordBatch") or b""
            batch = pa.ipc.read_record_batch(pa.py_buffer(data), self._rows)
            batch.validate(full=True)
        except (pa.ArrowException, OSError) as error:
            raise InvalidArgument(f"arrow_rows can't be read: {error}") from None
        return bignumeric.narrowed(pa.Table.from_batches([batch]))


_SAYING = ("NULL_VALUE", "DEFAULT_VALUE")


def _defaults(request: dict[str, Any]) -> dict[str, bool]:
    """By column in lower case, "" for the others: whether what is missing gets the column's default value."""
    chosen = {"": request.get("defaultMissingValueInterpretation")}
    chosen |= {
        name.lower(): value for name, value in (request.get("missingValueInterpretations") or {}).items()
    }
    return {name: value == "DEFAULT_VALUE" for name, value in chosen.items() if value in _SAYING}


def _refused(errors: list[dict[str, Any]]) -> dict[str, Any]:
    rows = [{"index": one["index"], "code": "FIELDS_ERROR", "message": one["message"]} for one in errors]
    return {"error": {"code": NUMBERS["INVALID_ARGUMENT"], "message": _ROWS}, "rowErrors": rows}


def _status(error: PorticoError, stream: str) -> dict[str, Any]:
    status: dict[str, Any] = {"code": NUMBERS[error.code], "message": error.message}
    if error.reason.isupper():
        detail = {"@type": _ERROR, "code": error.reason, "entity": stream, "errorMessage": error.message}
        status["details"] = [detail]
    return status


@implements("bigquerystorage", "BigQueryWrite.FinalizeWriteStream")
def finalize_write_stream(call: Call) -> dict[str, Any]:
    parts = _parts(call.body.get("name"), _STREAM, "name")
    return {"rowCount": warehouse(call.rooms.home).ask("finalize_stream", **parts)}


@implements("bigquerystorage", "BigQueryWrite.FlushRows")
def flush_rows(call: Call) -> dict[str, Any]:
    parts = _parts(call.body.get("writeStream"), _STREAM, "write_stream")
    offset = call.body.get("offset")
    if offset is None:
        raise InvalidArgument("offset is missing: the last row to show.", field="offset")
    return {"offset": warehouse(call.rooms.home).ask("flush_stream", **parts, offset=offset)}


@implements("bigquerystorage", "BigQueryWrite.BatchCommitWriteStreams")
def batch_commit_write_streams(call: Call) -> dict[str, Any]:
    parts = _parts(call.body.get("parent"), _TABLE, "parent")
    names = [str(name) for name in call.body.get("writeStreams") or ()]
    if not names:
        raise InvalidArgument("write_streams names no stream.", field="write_streams")
    streams = []
    for name in names:
        one = _parts(name, _STREAM, "write_streams")
        if {key: one[key] for key in parts} != parts:
            raise InvalidArgument(f"{name} is no stream of {call.body['parent']}.", field="write_streams")
        streams.append(one["stream"])
    told = warehouse(call.rooms.home).ask("commit_streams", **parts, streams=streams)
    if errors := told.get("errors"):
        return {
            "streamErrors": [
                {"code": one["code"], "entity": _name(parts, one["stream"]), "errorMessage": one["message"]}
                for one in errors
            ]
        }
    return {"commitTime": _time(told["time"])}
