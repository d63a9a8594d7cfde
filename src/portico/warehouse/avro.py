"""Avro files: https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-avro#avro_conversions."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from portico.errors import InvalidArgument
from portico.warehouse import arrow, decimal_targets
from portico.warehouse.types import Field, canonical

_KINDS = {"int": "INTEGER", "long": "INTEGER", "float": "FLOAT", "double": "FLOAT", "boolean": "BOOLEAN",
          "string": "STRING", "bytes": "BYTES", "enum": "STRING", "fixed": "BYTES"}  # fmt: skip
_LOGICAL = {"date": "DATE", "time-millis": "TIME", "time-micros": "TIME", "timestamp-millis": "TIMESTAMP",
            "timestamp-micros": "TIMESTAMP", "local-timestamp-millis": "DATETIME",
            "local-timestamp-micros": "DATETIME"}  # fmt: skip
_CODECS = {"NONE": "null", "DEFLATE": "deflate", "SNAPPY": "snappy"}
_ROWS = 20_000  # of a batch


def fields(path: Path, options: Mapping[str, Any]) -> list[Field]:
    """The schema of a file; with useAvroLogicalTypes dates and times are such, else the numbers they are stored as.

    Raises:
        InvalidArgument: it is no Avro file, or has a type that BigQuery has not.
    """
    with path.open("rb") as stream:
        schema = _reader(stream).writer_schema
    how = {**options, "decimalTargetTypes": decimal_targets.wanted("AVRO", options)}
    return [_field(str(one["name"]), one["type"], how) for one in schema["fields"]]


def _reader(stream: Any) -> Any:
    import fastavro

    try:
        return fastavro.reader(stream)
    except ValueError as error:
        raise InvalidArgument(f"The file is no Avro file: {error}", reason="invalid") from None


def _field(name: str, kind: Any, options: Mapping[str, Any]) -> Field:
    if isinstance(kind, list):
        inner = [one for one in kind if one != "null"]
        if len(inner) != 1:
            raise InvalidArgument(f"The union of the Avro field {name} has several types", reason="invalid")
        return _field(name, inner[0], options)
    told = kind if isinstance(kind, dict) else {"type": kind}
    shown = told["type"]
    found: Field = {"name": name, "mode": "NULLABLE"}
    if isinstance(shown, dict | list):
        return _field(name, shown, options)
    if shown == "array":
        return {**_field(name, told["items"], options), "mode": "REPEATED"}
    if shown == "record":
        inner = [_field(str(one["name"]), one["type"], options) for one in told["fields"]]
        return {**found, "type": "RECORD", "fields": inner}
    if shown == "map":
        pair = [_field("key", "string", options), _field("value", told["values"], options)]
        return {**found, "type": "RECORD", "mode": "REPEATED", "fields": pair}
    said = str(told.get("logicalType") or "")
    if said == "decimal":
        digits = int(told["precision"]), int(told.get("scale") or 0)
        return {**found, "type": decimal_targets.target(*digits, options["decimalTargetTypes"])}
    if options.get("useAvroLogicalTypes") and said in _LOGICAL:
        return {**found, "type": _LOGICAL[said]}
    if told.get("sqlType") in ("DATETIME", "JSON", "GEOGRAPHY", "INTERVAL"):
        return {**found, "type": told["sqlType"]}
    if shown not in _KINDS:
        raise InvalidArgument(
            f"The Avro field {name} has the type {shown}, which BigQuery has not", reason="invalid"
        )
    return {**found, "type": _KINDS[shown]}


def batches(path: Path, wanted: list[Field]) -> Iterator[pa.Table]:
    """The rows of a file as tables of the columns' own types."""
    types = {one["name"].lower(): (one, arrow.field(one).type) for one in wanted}
    with path.open("rb") as stream:
        rows = _reader(stream)
        units = {str(one["name"]): _unit(one["type"]) for one in rows.writer_schema["fields"]}
        while chunk := list(itertools.islice(rows, _ROWS)):
            columns = {}
            for name, unit in units.items():
                known = types.get(name.lower())
                if known is not None:
                    cells = [_cell(known[0], row[name], unit) for row in chunk]
                    columns[name] = _column(known[0], cells, known[1])
            yield pa.table(columns)


def _column(one: Field, cells: list[Any], kind: pa.DataType) -> pa.Array:
    is_text = canonical(one["type"]) == "STRING" and any(isinstance(cell, Decimal) for cell in cells)
    if canonical(one["type"]) == "BIGNUMERIC" or is_text:
        return pa.array([None if cell is None else str(cell) for cell in cells], pa.string())
    try:
        return pa.array(cells, kind)
    except pa.ArrowInvalid:
        if not _has_decimals(cells):
            raise
        raise decimal_targets.unfit(str(one["name"])) from None


def _has_decimals(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_decimals, value.values()))
    return any(map(_has_decimals, value)) if isinstance(value, list) else isinstance(value, Decimal)


def _unit(kind: Any) -> str:
    """The unit in which a date or time is stored."""
    told = next((one for one in kind if one != "null"), {}) if isinstance(kind, list) else kind
    return str(told.get("logicalType") or "") if isinstance(told, dict) else ""


def _cell(one: Field, value: Any, unit: str) -> Any:
    """A value as its column's type has it; a date or time as its number where the column is a whole number."""
    if value is None:
        return [] if str(one.get("mode", "")).upper() == "REPEATED" else None
    if isinstance(value, dict) and str(one.get("mode", "")).upper() == "REPEATED":
        return [{"key": key, "value": each} for key, each in value.items()]
    if canonical(one["type"]) == "INTEGER" and not isinstance(value, int | list):
        return _number(value, unit)
    return value


def _number(value: Any, unit: str) -> int:
    import datetime as dt

    if isinstance(value, dt.datetime):
        epoch = dt.datetime(1970, 1, 1, tzinfo=value.tzinfo)
        micros = (value - epoch) // dt.timedelta(microseconds=1)
    elif isinstance(value, dt.date):
        return (value - dt.date(1970, 1, 1)).days
    else:
        micros = ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
    return micros // 1000 if unit.endswith("millis") else micros


def written(table: pa.Table, fields: list[Field], options: Mapping[str, Any]) -> bytes:
    """
    Raises:
        InvalidArgument: there is no such compression.
    """
    import fastavro

    codec = _CODECS.get(str(options.get("compression") or "NONE").upper())
    if codec is None:
        raise InvalidArgument(f"Avro files are compressed by {', '.join(_CODECS)}", reason="invalid")
    schema = arrow.avro_schema(fields)
    sink = io.BytesIO()
    fastavro.writer(sink, fastavro.parse_schema(schema), arrow.avro_rows(table, fields), codec=codec)
    return sink.getvalue()
