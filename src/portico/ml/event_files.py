"""TensorBoard's event files: read without TensorFlow, and written.

A file is records, each framed by masked CRC-32C sums; a record is an Event in protocol buffers' wire format:
https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/lib/io/record_writer.h, .../util/event.proto,
.../framework/summary.proto. What summaries of older kinds mean is as in TensorBoard's data_compat.py and
dataclass_compat.py.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Final, Literal

import google_crc32c

from portico.ml import wire

Kind = Literal["SCALAR", "TENSOR", "BLOB_SEQUENCE"]
LARGEST: Final = 64 << 20  # bytes of a record
_LENGTH = 12  # bytes before a record's data; 4 come after it
_CLASSES: dict[int, Kind] = {1: "SCALAR", 2: "TENSOR", 3: "BLOB_SEQUENCE"}  # DataClass
_NUMBERS = {kind: number for number, kind in _CLASSES.items()}
# What a plugin's summaries are where their metadata does not say it.
_PLUGINS: dict[str, Kind] = {
    "scalars": "SCALAR",
    "histograms": "TENSOR",
    "text": "TENSOR",
    "hparams": "TENSOR",
    "pr_curves": "TENSOR",
    "images": "BLOB_SEQUENCE",
    "audio": "BLOB_SEQUENCE",
    "graphs": "BLOB_SEQUENCE",
}
# Of a TensorProto: the struct format of a number by its DataType, and the field that has such numbers.
_DTYPES = {1: ("f", 5), 2: ("d", 6), 3: ("i", 7), 9: ("q", 10), 19: ("e", 13)}
_STRING = 7  # DataType
_GRAPH = "__run_graph__"


class Damaged(Exception):
    """A file is no event file, or a record of it is not what was written."""


@dataclass(frozen=True, slots=True)
class Value:
    """One summary's value: `scalar`, `tensor` (a TensorProto) or `blobs`, whichever `kind` says."""

    tag: str
    step: int
    wall_time: float  # seconds since the epoch
    kind: Kind
    plugin: str
    plugin_data: bytes
    scalar: float = 0.0
    tensor: bytes = b""
    blobs: list[bytes] = field(default_factory=list)


def read(file: IO[bytes]) -> Iterator[tuple[int, Value]]:
    """The values of all whole records, each with where its record ends: a file that grows ends within a record.

    Raises:
        Damaged: a checksum is wrong, or what a record has is no Event.
    """
    known: dict[str, tuple[Kind, str, bytes]] = {}  # a tag's metadata stand with its first value only
    for end, record in _records(file):
        try:
            for value in _values(record, known):
                yield end, value
        except (struct.error, LookupError, OverflowError, ValueError) as error:
            raise Damaged(f"the record before byte {end} is no Event ({error})") from None


def _records(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    end = 0
    while len(head := file.read(_LENGTH)) == _LENGTH:
        length, check = struct.unpack("<QI", head)
        if _masked(head[:8]) != check or length > LARGEST:
            raise Damaged(f"at byte {end} there is no record of at most {LARGEST >> 20} MiB")
        body = file.read(length + 4)
        if len(body) < length + 4:
            return
        record = body[:length]
        if _masked(record) != int.from_bytes(body[length:], "little"):
            raise Damaged(f"the record at byte {end} has another checksum")
        end += _LENGTH + length + 4
        yield end, record


def _masked(data: bytes) -> int:
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _values(record: bytes, known: dict[str, tuple[Kind, str, bytes]]) -> Iterator[Value]:
    step, wall_time, summaries = 0, 0.0, []
    for number, content in wire.fields(record):
        if number == 1 and isinstance(content, bytes):
            (wall_time,) = struct.unpack("<d", content)
        elif number == 2 and isinstance(content, int):
            step = wire.signed(content)
        elif number == 4 and isinstance(content, bytes):
            yield Value(_GRAPH, step, wall_time, "BLOB_SEQUENCE", "graphs", b"", blobs=[content])
        elif number == 5 and isinstance(content, bytes):
            summaries += [one for n, one in wire.fields(content) if n == 1 and isinstance(one, bytes)]
    for summary in summaries:
        value = _value(summary, step, wall_time, known)
        if value is not None:
            yield value


def _value(
    summary: bytes, step: int, wall_time: float, known: dict[str, tuple[Kind, str, bytes]]
) -> Value | None:
    """None where nothing is known of what it is."""
    found = dict(wire.fields(summary))
    tag = wire.content(found.get(1)).decode()
    scalar, tensor, blobs = 0.0, b"", list[bytes]()
    meta: tuple[Kind, str, bytes] | None = None
    if isinstance(metadata := found.get(9), bytes):
        meta = _metadata(metadata)
    if isinstance(simple := found.get(2), bytes):
        (scalar,) = struct.unpack("<f", simple)
        meta = ("SCALAR", "scalars", meta[2] if meta else b"")
    elif isinstance(image := found.get(4), bytes):
        parts = dict(wire.fields(image))
        sizes = [str(parts.get(number, 0)).encode() for number in (2, 1)]
        blobs, meta = [*sizes, wire.content(parts.get(4))], ("BLOB_SEQUENCE", "images", b"")
    elif isinstance(histogram := found.get(5), bytes):
        tensor, meta = _buckets(histogram), ("TENSOR", "histograms", b"")
    meta = known.setdefault(tag, meta) if meta else known.get(tag)
    if meta is None:
        return None
    if isinstance(given := found.get(8), bytes):
        tensor = given
        if meta[0] == "SCALAR":
            scalar, tensor = _number(given), b""
        elif meta[0] == "BLOB_SEQUENCE":
            blobs, tensor = [one for n, one in wire.fields(given) if n == 8 and isinstance(one, bytes)], b""
    return Value(tag, step, wall_time, *meta, scalar, tensor, blobs)


def _metadata(data: bytes) -> tuple[Kind, str, bytes] | None:
    found = dict(wire.fields(data))
    plugin = dict(wire.fields(wire.content(found.get(1))))
    name = wire.content(plugin.get(1)).decode()
    said = found.get(4)
    kind = _CLASSES.get(said) if isinstance(said, int) else None
    kind = kind or _PLUGINS.get(name)
    return (kind, name, wire.content(plugin.get(2))) if kind else None


def _number(tensor: bytes) -> float:
    """The one number of a TensorProto."""
    found = dict(wire.fields(tensor))
    form, place = _DTYPES[int(found.get(1, 0))]
    if content := wire.content(found.get(4)):
        return float(struct.unpack_from(f"<{form}", content)[0])
    given = found.get(place, 0)
    if form in "fd":
        return float(struct.unpack_from(f"<{form}", wire.content(given))[0])
    number = wire.varint(given, 0)[0] if isinstance(given, bytes) else given  # packed, or not
    if form == "e":
        return float(struct.unpack("<e", number.to_bytes(2, "little"))[0])
    return float(wire.signed(number))


def _buckets(histogram: bytes) -> bytes:
    """A HistogramProto as the tensor that the plugin takes: left edge, right edge and count of each bucket."""
    found = dict(wire.fields(histogram))
    low, high = (struct.unpack("<d", wire.content(found.get(n)) or bytes(8))[0] for n in (1, 2))
    limits, counts = (
        struct.unpack(f"<{len(packed) // 8}d", packed)
        for packed in (wire.content(found.get(6)), wire.content(found.get(7)))
    )
    lefts, rights = (low, *limits[:-1]), (*limits[:-1], high)
    rows = [number for row in zip(lefts, rights, counts, strict=False) for number in row]
    sides = b"".join(wire.of_bytes(2, wire.of_int(1, size)) for size in (len(rows) // 3, 3))
    return (
        wire.of_int(1, 2) + wire.of_bytes(2, sides) + wire.of_bytes(4, struct.pack(f"<{len(rows)}d", *rows))
    )


# --- writing ---


def record(values: list[Value]) -> bytes:
    """An event with values of one step and wall time."""
    summaries = b"".join(wire.of_bytes(1, _summary(value)) for value in values)
    first = values[0]
    return _framed(
        wire.of_double(1, first.wall_time) + wire.of_int(2, first.step) + wire.of_bytes(5, summaries)
    )


def header(wall_time: float) -> bytes:
    """What a file begins with."""
    return _framed(wire.of_double(1, wall_time) + wire.of_bytes(3, b"brain.Event:2"))


def _summary(value: Value) -> bytes:
    plugin = wire.of_bytes(1, value.plugin.encode()) + wire.of_bytes(2, value.plugin_data)
    metadata = wire.of_bytes(1, plugin) + wire.of_int(4, _NUMBERS[value.kind])
    if value.kind == "SCALAR":
        tensor = wire.of_int(1, 2) + wire.of_bytes(2, b"") + wire.of_bytes(4, struct.pack("<d", value.scalar))
    elif value.kind == "BLOB_SEQUENCE":
        shape = wire.of_bytes(2, wire.of_bytes(2, wire.of_int(1, len(value.blobs))))
        tensor = wire.of_int(1, _STRING) + shape + b"".join(wire.of_bytes(8, blob) for blob in value.blobs)
    else:
        tensor = value.tensor
    return (
        wire.of_bytes(1, value.tag.encode())
        + (wire.of_bytes(8, tensor) if tensor else b"")
        + wire.of_bytes(9, metadata)
    )


def _framed(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", _masked(length)) + data + struct.pack("<I", _masked(data))
