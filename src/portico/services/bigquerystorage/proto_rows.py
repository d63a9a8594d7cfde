"""Rows in Protocol Buffers, whose descriptor came along, as columns in Arrow.

https://cloud.google.com/bigquery/docs/supported-data-types says which types of a message a column takes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    message_factory,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError

from portico.errors import InvalidArgument
from portico.warehouse.types import Field, canonical

if TYPE_CHECKING:
    import pyarrow as pa

_EPOCH = dt.date(1970, 1, 1)
_KNOWN = (duration_pb2, timestamp_pb2, wrappers_pb2)
_NUMBERS = (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT32,
            FieldDescriptor.CPPTYPE_UINT64)  # fmt: skip
_FLOATS = (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)

Convert = Callable[[Any], Any]


class BadRows(Exception):
    """Rows whose values are none of their columns; `errors` by row."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__()
        self.errors = errors


def row_class(description: bytes) -> Any:
    """The class of messages that a serialized DescriptorProto describes.

    Raises:
        InvalidArgument: it describes none.
    """
    try:
        described = descriptor_pb2.DescriptorProto.FromString(description)
    except DecodeError:
        raise InvalidArgument("proto_rows.writer_schema.proto_descriptor can't be read.") from None
    _plain(described)
    file = descriptor_pb2.FileDescriptorProto(
        name="rows.proto", package=_package(described), message_type=[described]
    )
    pool = descriptor_pool.DescriptorPool()
    for known in _KNOWN:
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
        file.dependency.append(known.DESCRIPTOR.name)
    try:
        pool.Add(file)
        found = pool.FindMessageTypeByName(".".join(filter(None, (file.package, described.name))))
    except (TypeError, KeyError) as error:
        raise InvalidArgument(
            f"Invalid proto schema: {error}. It must describe every message that it names."
        ) from None
    return message_factory.GetMessageClass(found)


def _plain(described: descriptor_pb2.DescriptorProto) -> None:
    """Drops what only a file of proto3 may say: presence is what proto2 has anyway."""
    for field in described.field:
        if field.proto3_optional:
            field.ClearField("proto3_optional")
            field.ClearField("oneof_index")
    used = {field.oneof_index for field in described.field if field.HasField("oneof_index")}
    if len(used) < len(described.oneof_decl):
        for field in described.field:
            field.ClearField("oneof_index")
        described.ClearField("oneof_decl")
    for nested in described.nested_type:
        _plain(nested)


def _package(described: descriptor_pb2.DescriptorProto) -> str:
    """The package of the file that a descriptor was taken from: its names of nested types begin with it."""
    for field in described.field:
        before, inside, _ = field.type_name.partition(f".{described.name}.")
        if inside and before:
            return str(before.lstrip("."))
    return ""


def table(rows: list[bytes], cls: Any, fields: list[Field]) -> pa.Table:
    """Serialized rows as columns, those that their messages have.

    Raises:
        InvalidArgument: a row is none, or messages have fields that the table lacks. BadRows: values are wrong.
    """
    import pyarrow as pa

    try:
        messages = [cls.FromString(row) for row in rows]
    except DecodeError:
        raise InvalidArgument(
            "A row can't be read as the message that the writer schema describes."
        ) from None
    columns = _columns(cls.DESCRIPTOR, fields, "")
    errors: list[dict[str, Any]] = []
    arrays = {}
    for name, (part, kind, read) in columns.items():
        values = []
        for index, message in enumerate(messages):
            try:
                values.append(_value(message, part, read))
            except (ValueError, OverflowError) as error:
                errors.append({"index": index, "message": f"Field {name}: {error}"})
                values.append(None)
        arrays[name] = pa.array(values, kind)
    if errors:
        raise BadRows(sorted(errors, key=lambda one: one["index"]))
    return pa.table(arrays) if arrays else pa.table({fields[0]["name"]: pa.nulls(len(rows), pa.string())})


def _columns(
    descriptor: Any, fields: list[Field], within: str
) -> dict[str, tuple[Any, pa.DataType, Convert]]:
    """By column: the message's field, the type in Arrow, and what makes a value of one."""
    import pyarrow as pa

    known = {one["name"].lower(): one for one in fields}
    extra = [part.name for part in descriptor.fields if part.name.lower() not in known]
    if extra:
        names = ",".join(within + name for name in extra)
        raise InvalidArgument(
            f"Input schema has more fields than BigQuery schema, extra fields: '{names}'",
            reason="SCHEMA_MISMATCH_EXTRA_FIELDS",
        )
    found = {}
    for part in descriptor.fields:
        one = known[part.name.lower()]
        kind, read = _reader(part, one, within)
        repeated = str(one.get("mode", "")).upper() == "REPEATED"
        if repeated != part.is_repeated:
            raise InvalidArgument(
                f"Proto field {within}{part.name} and BigQuery field {within}{one['name']} differ: one of them is "
                "repeated."
            )
        if repeated:
            found[one["name"]] = part, pa.list_(kind), _each(read)
        else:
            found[one["name"]] = part, kind, read
    return found


def _each(read: Convert) -> Convert:
    return lambda values: [read(value) for value in values]


def _value(message: Any, part: Any, read: Convert) -> Any:
    if part.is_repeated or message.HasField(part.name):
        return read(getattr(message, part.name))
    return None


def _reader(part: Any, one: Field, within: str) -> tuple[pa.DataType, Convert]:
    """The type in Arrow of a field of a message that goes into the column `one`, and what makes a value of it."""
    import pyarrow as pa

    kind = canonical(one["type"])
    if part.message_type is not None:
        return _message_reader(part, one, within, kind)
    if part.enum_type is not None:
        if kind == "STRING":
            names = part.enum_type.values_by_number
            return pa.string(), lambda value: names[value].name
        if kind == "INTEGER":
            return pa.int64(), int
        raise _mismatch(part, one, within)
    if part.type == FieldDescriptor.TYPE_BYTES:
        if kind == "BYTES":
            return pa.binary(), bytes
        if kind in ("NUMERIC", "BIGNUMERIC"):
            return pa.string(), _decimal(9 if kind == "NUMERIC" else 38)
        raise _mismatch(part, one, within)
    if part.type == FieldDescriptor.TYPE_STRING:
        return (pa.binary(), str.encode) if kind == "BYTES" else (pa.string(), str)
    return _number_reader(part, one, within, kind)


def _number_reader(part: Any, one: Field, within: str, kind: str) -> tuple[pa.DataType, Convert]:
    import pyarrow as pa

    is_bool, is_float = part.cpp_type == FieldDescriptor.CPPTYPE_BOOL, part.cpp_type in _FLOATS
    is_whole = part.cpp_type in _NUMBERS
    if kind == "BOOLEAN" and (is_bool or is_whole):
        return pa.bool_(), bool
    if kind == "FLOAT" and (is_float or is_whole):
        return pa.float64(), float
    if kind in ("NUMERIC", "BIGNUMERIC") and (is_float or is_whole):
        return pa.string(), str
    if is_whole:
        readers: dict[str, tuple[pa.DataType, Convert]] = {
            "INTEGER": (pa.int64(), int),
            "DATE": (pa.date32(), lambda days: _EPOCH + dt.timedelta(days)),
            "TIMESTAMP": (pa.timestamp("us", "UTC"), int),
            "TIME": (pa.time64("us"), _time),
            "DATETIME": (pa.timestamp("us"), _datetime),
        }
        if kind in readers:
            return readers[kind]
    raise _mismatch(part, one, within)


def _message_reader(part: Any, one: Field, within: str, kind: str) -> tuple[pa.DataType, Convert]:
    import pyarrow as pa

    name = part.message_type.full_name
    if name == "google.protobuf.Timestamp" and kind == "TIMESTAMP":
        return pa.timestamp("us", "UTC"), lambda value: value.ToMicroseconds()
    if name.startswith("google.protobuf.") and name.endswith("Value"):
        inner, read = _reader(part.message_type.fields_by_name["value"], one, within)
        return inner, lambda value: read(value.value)
    if kind != "RECORD":
        raise _mismatch(part, one, within)
    members = _columns(part.message_type, one.get("fields") or [], f"{within}{part.name}.")
    shown = pa.struct([(key, inner) for key, (_, inner, _) in members.items()])

    def struct(value: Any) -> dict[str, Any]:
        return {key: _value(value, member, read) for key, (member, _, read) in members.items()}

    return shown, struct


def _mismatch(part: Any, one: Field, within: str) -> InvalidArgument:
    place, kind = f"{within}{part.name}", descriptor_pb2.FieldDescriptorProto.Type.Name(part.type)
    return InvalidArgument(
        f"The proto field mismatched with BigQuery field at {place}, the proto field type "
        f"{kind.removeprefix('TYPE_').lower()}, BigQuery field type {one['type']}"
    )


def _time(packed: int) -> dt.time:
    """Hours, minutes, seconds and microseconds as ZetaSQL packs a civil time: 5, 6, 6 and 20 bits."""
    return dt.time(packed >> 32 & 31, packed >> 26 & 63, packed >> 20 & 63, packed & 0xFFFFF)


def _datetime(packed: int) -> dt.datetime:
    """The same, after year, month and day in 14, 4 and 5 bits."""
    date = dt.date(packed >> 46, packed >> 42 & 15, packed >> 37 & 31)
    return dt.datetime.combine(date, _time(packed & (1 << 37) - 1))


def _decimal(scale: int) -> Convert:
    """A number that is sent as little-endian bytes, 10**scale times as large."""
    import decimal

    def text(value: bytes) -> str:
        exact = decimal.Context(prec=80)
        whole = decimal.Decimal(int.from_bytes(value, "little", signed=True))
        return format(whole.scaleb(-scale, exact), "f")

    return text
