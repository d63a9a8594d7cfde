"""A time series' points, as they go over the wire and as they are stored."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from portico.errors import InvalidArgument
from portico.store.tensorboard import Point

_NANOSECONDS = 10**9
_MOST = 2**63
_TIME = re.compile(r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:?\d\d)")
_BLOB_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
# Which field of a point its series' type means.
_FIELDS = {"SCALAR": "scalar", "TENSOR": "tensor", "BLOB_SEQUENCE": "blobs"}


def parse(point: Mapping[str, Any], value_type: str, now: float, field: str) -> Point:
    """A TimeSeriesDataPoint of a series of `value_type`, which stands at `field` of the request.

    Raises:
        InvalidArgument: it has another value than that, or one that can't be kept.
    """
    wanted = _FIELDS[value_type]
    given = [name for name in _FIELDS.values() if name in point]
    if given != [wanted]:
        raise InvalidArgument(
            f"{field} has {' and '.join(given) or 'no value'}; a point of a {value_type} time series has {wanted}.",
            field=field,
        )
    value = point[wanted]
    if wanted == "scalar":
        packed = scalar(float(value.get("value", 0.0)))
    elif wanted == "tensor":
        packed = tensor(_bytes(value.get("value", "")), int(value.get("versionNumber", 0)))
    else:
        ids = [str(blob.get("id", "")) for blob in value.get("values") or []]
        for blob_id in ids:
            if not _BLOB_ID.fullmatch(blob_id):
                raise InvalidArgument(
                    f"{blob_id!r} is no id of a blob. Upload the bytes below the TensorBoard's blobStoragePathPrefix "
                    "first, as tensorboard-TENSORBOARD/EXPERIMENT/RUN/TIME_SERIES/ID, and give that ID.",
                    field=f"{field}.blobs.values",
                )
        packed = blobs(ids)
    when = point.get("wallTime")
    wall_time = int(now * 1e6) * 1000 if when is None else nanoseconds(str(when), f"{field}.wallTime")
    return Point(int(point.get("step", 0)), wall_time, packed)


# A scalar is eight bytes, since SQLite has no NaN among its numbers.


def scalar(value: float) -> bytes:
    return struct.pack("<d", value)


def tensor(value: bytes, version: int = 0) -> bytes:
    """`value` is a TensorProto."""
    return struct.pack("<i", version) + value


def blobs(ids: list[str]) -> bytes:
    return orjson.dumps(ids)


def blob_ids(value: bytes) -> list[str]:
    return list(orjson.loads(value))


def render(point: Point, value_type: str) -> dict[str, Any]:
    """A TimeSeriesDataPoint as JSON."""
    shown: dict[str, Any] = {"step": str(point.step), "wallTime": time_of(point.wall_time)}
    if value_type == "SCALAR":
        (number,) = struct.unpack("<d", point.value)
        shown["scalar"] = {"value": _json_number(number)}
    elif value_type == "TENSOR":
        (version,) = struct.unpack_from("<i", point.value)
        shown["tensor"] = {"value": base64.b64encode(point.value[4:]).decode()}
        if version:
            shown["tensor"]["versionNumber"] = version
    else:
        shown["blobs"] = {"values": [{"id": blob_id} for blob_id in blob_ids(point.value)]}
    return shown


def nanoseconds(text: str, field: str) -> int:
    """An RFC 3339 time, since the epoch.

    Raises:
        InvalidArgument: it is before 1678 or after 2261.
    """
    found = _TIME.fullmatch(text)
    if found is None:  # another of ISO 8601's ways to write it, which the door takes too
        whole, fraction = datetime.fromisoformat(text), "0"
    else:
        whole, fraction = datetime.fromisoformat(found[1] + found[3]), found[2] or "0"
    made = int(whole.timestamp()) * _NANOSECONDS + int(fraction.ljust(9, "0"))
    if not -_MOST <= made < _MOST:
        raise InvalidArgument(f"{text} is too far away for a wall time.", field=field)
    return made


def time_of(wall_time: int) -> str:
    """RFC 3339, with six digits of a second or nine."""
    seconds, fraction = divmod(wall_time, _NANOSECONDS)
    digits = f"{fraction:09d}"
    whole = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{digits[:6] if digits.endswith('000') else digits}Z"


def _json_number(value: float) -> float | str:
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _bytes(text: str) -> bytes:
    return base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4))
