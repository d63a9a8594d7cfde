"""Rows in Arrow as BigQuery's Storage API writes them, out of what DuckDB gives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from portico.warehouse import bignumeric
from portico.warehouse.geography.text import read_wkb, wkt
from portico.warehouse.types import RANGE_ENDS, Field, canonical, plain_name, range_element

_KINDS: dict[str, pa.DataType] = {
    "INTEGER": pa.int64(), "FLOAT": pa.float64(), "NUMERIC": pa.decimal128(38, 9),
    "BIGNUMERIC": pa.decimal256(76, 38), "BOOLEAN": pa.bool_(), "STRING": pa.string(), "BYTES": pa.binary(),
    "DATE": pa.date32(), "TIME": pa.time64("us"), "DATETIME": pa.timestamp("us"),
    "TIMESTAMP": pa.timestamp("us", "UTC"), "INTERVAL": pa.month_day_nano_interval(), "JSON": pa.string(),
}  # fmt: skip
# As Google's answers name what Arrow has no type for: ARROW:extension:name.
_NAMES = {"DATETIME": "google:sqlType:datetime", "GEOGRAPHY": "google:sqlType:geography",
          "JSON": "google:sqlType:json", "INTERVAL": "google:sqlType:interval"}  # fmt: skip
_ENDS = dict(zip(RANGE_ENDS, ("start", "end"), strict=True))
_FIELDS = b"portico:fields"
CODECS = {"COMPRESSION_UNSPECIFIED": None, "LZ4_FRAME": "lz4", "ZSTD": "zstd"}
"""By Google's names."""
_MESSAGE = 4_000_000  # bytes of a batch, about


def field(one: Field) -> pa.Field:
    kind = canonical(one["type"])
    if kind == "RECORD":
        inner: pa.DataType = pa.struct([field(each) for each in one.get("fields") or ()])
    elif kind == "RANGE":
        inner = pa.struct([(end, _KINDS[range_element(one)]) for end in ("start", "end")])
    else:
        inner = _KINDS.get(kind, pa.string())
    mode = str(one.get("mode", "")).upper()
    if mode == "REPEATED":
        return pa.field(one["name"], pa.list_(pa.field("item", inner)), nullable=False)
    metadata = {"ARROW:extension:name": _NAMES[kind]} if kind in _NAMES else None
    return pa.field(one["name"], inner, nullable=mode != "REQUIRED", metadata=metadata)


def schema(fields: list[Field]) -> pa.Schema:
    return pa.schema([field(one) for one in fields])


def converted(table: pa.Table, fields: list[Field]) -> pa.Table:
    """Rows of DuckDB's, in the types and names of `schema(fields)`; no copy of columns that have them."""
    wanted = schema(fields)
    table = bignumeric.widened(table, fields)
    columns = []
    for column, one, told in zip(table.columns, wanted, fields, strict=True):
        if _has_geography(told):
            cells = [_with_texts(told, value) for value in column.to_pylist()]
            columns.append(pa.chunked_array([pa.array(cells, one.type)]))
            continue
        if isinstance(column.type, pa.BaseExtensionType):
            column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
        if column.type != one.type:
            column = _shown(column).cast(one.type)
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=wanted)


def _has_geography(one: Field) -> bool:
    return canonical(one["type"]) == "GEOGRAPHY" or any(map(_has_geography, one.get("fields") or ()))


def _with_texts(one: Field, value: Any) -> Any:
    """A value whose geographies are WKT, as Google's answers have them."""
    if str(one.get("mode", "")).upper() == "REPEATED":
        return [_with_texts({**one, "mode": "NULLABLE"}, each) for each in value or ()]
    kind = canonical(one["type"])
    if value is None or kind not in ("GEOGRAPHY", "RECORD", "RANGE"):
        return value
    if kind == "GEOGRAPHY":
        return wkt(read_wkb(value))
    if kind == "RANGE":
        return dict(zip(_ENDS.values(), value.values(), strict=True))
    cells = zip(one.get("fields") or (), value.values(), strict=True)
    return {each["name"]: _with_texts(each, cell) for each, cell in cells}


def _shown(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column whose structs have the names that they show, of which two may be one."""
    kind = _shown_type(column.type)
    return (
        column
        if kind == column.type
        else pa.chunked_array([chunk.view(kind) for chunk in column.chunks], kind)
    )


def _shown_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct([
            pa.field(_ENDS.get(one.name, plain_name(one.name)), _shown_type(one.type)) for one in kind
        ])  # fmt: skip
    return pa.list_(_shown_type(kind.value_type)) if pa.types.is_list(kind) else kind


def write(path: Path, table: pa.Table, fields: list[Field]) -> None:
    """Keeps rows and what they are in a file that is mapped where they are read."""
    kept = table.replace_schema_metadata({_FIELDS: json.dumps(fields)})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, kept.schema) as writer:
        writer.write_table(kept)


def read(path: Path) -> tuple[pa.Table, list[Field]]:
    """What `write` kept.

    Raises:
        FileNotFoundError: it is not there any more.
    """
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    return table, json.loads(table.schema.metadata[_FIELDS])


def pieces(table: pa.Table, start: int, stop: int) -> Iterator[tuple[int, pa.Table]]:
    """Where rows of `table` begin that fit into a message together, and they."""
    wide = max(1, table.nbytes // max(1, table.num_rows))
    step = max(1, _MESSAGE // wide)
    for at in range(start, stop, step):
        yield at, table.slice(at, min(step, stop - at))


def batch_bytes(table: pa.Table, compression: str | None) -> bytes:
    """One record batch of all rows, as IPC writes it without its schema. compression: None, "lz4" or "zstd"."""
    [batch] = table.combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]
    if compression is None:
        return bytes(batch.serialize().to_pybytes())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(
        sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)
    ) as writer:
        writer.write_batch(batch)
    stream = memoryview(sink.getvalue())
    start = 8 + int.from_bytes(stream[4:8], "little")  # behind the schema's message, which has no body
    return bytes(stream[start:-8])  # before the mark of the end


# --- Avro ------------------------------------------------------------------------------------------------

_AVRO: dict[str, Any] = {
    "INTEGER": "long", "FLOAT": "double", "BOOLEAN": "boolean", "STRING": "string", "BYTES": "bytes",
    "NUMERIC": {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 9},
    "BIGNUMERIC": {"type": "bytes", "logicalType": "decimal", "precision": 77, "scale": 38},
    "DATE": {"type": "int", "logicalType": "date"}, "TIME": {"type": "long", "logicalType": "time-micros"},
    "TIMESTAMP": {"type": "long", "logicalType": "timestamp-micros"},
}  # fmt: skip


def avro_schema(fields: list[Field], name: str = "__root__") -> dict[str, Any]:
    """https://cloud.google.com/bigquery/docs/reference/storage#avro_schema_details"""
    return {"type": "record", "name": name, "fields": [_avro_field(one, name) for one in fields]}


def _avro_field(one: Field, within: str) -> dict[str, Any]:
    kind, mode = canonical(one["type"]), str(one.get("mode", "")).upper()
    if kind == "RECORD":
        shown: Any = avro_schema(one.get("fields") or [], f"{within.strip('_')}__{one['name']}")
    elif kind == "RANGE":
        shown = avro_schema(_range_ends(one), f"{within.strip('_')}__{one['name']}")
    else:
        shown = _AVRO.get(kind, {"type": "string", "sqlType": kind})
    if mode == "REPEATED":
        return {"name": one["name"], "type": {"type": "array", "items": shown}}
    return {"name": one["name"], "type": shown if mode == "REQUIRED" else ["null", shown]}


def _range_ends(one: Field) -> list[Field]:
    return [{"name": end, "type": range_element(one)} for end in ("start", "end")]


def avro_bytes(table: pa.Table, fields: list[Field]) -> bytes:
    """All rows, one behind the other."""
    import io

    import fastavro

    written = fastavro.parse_schema(avro_schema(fields))
    sink = io.BytesIO()
    for row in avro_rows(table, fields):
        fastavro.schemaless_writer(sink, written, row)
    return sink.getvalue()


def avro_rows(table: pa.Table, fields: list[Field]) -> Iterator[dict[str, Any]]:
    """Rows as fastavro takes them."""
    table = bignumeric.widened(table, fields)
    columns = [
        [_avro(one, value) for value in column.to_pylist()]
        for one, column in zip(fields, table.columns, strict=True)
    ]
    names = [one["name"] for one in fields]
    for row in zip(*columns, strict=True):
        yield dict(zip(names, row, strict=True))


def _avro(one: Field, value: Any) -> Any:
    if str(one.get("mode", "")).upper() == "REPEATED":
        inner = {**one, "mode": "NULLABLE"}
        return [_avro(inner, each) for each in value or ()]
    if value is None:
        return None
    kind = canonical(one["type"])
    if kind in ("RECORD", "RANGE"):
        parts = one.get("fields") or () if kind == "RECORD" else _range_ends(one)
        cells = zip(parts, value.values(), strict=True)
        return {each["name"]: _avro(each, cell) for each, cell in cells}
    if kind in _AVRO:
        return value
    if kind == "GEOGRAPHY" and isinstance(value, bytes):  # not `converted`, on its way into a file
        return wkt(read_wkb(value))
    return value.isoformat() if kind == "DATETIME" else str(value)
