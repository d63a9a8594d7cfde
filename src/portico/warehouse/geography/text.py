"""Geographies as texts and bytes: WKB, WKT, GeoJSON, geohashes.

A shape here is a pair of its kind (WKT's number, `POINT` 1 to `GEOMETRYCOLLECTION` 7) and its coordinates, nested as
GeoJSON nests them, degrees of longitude and latitude; of a collection its shapes. What is empty is an empty collection,
as BigQuery has it.
"""

from __future__ import annotations

import json
import struct
from typing import Any

Shape = tuple[int, list[Any]]

POINT, LINE, POLYGON, MULTIPOINT, MULTILINE, MULTIPOLYGON, COLLECTION = range(1, 8)
NAMES = (
    "",
    "Point",
    "LineString",
    "Polygon",
    "MultiPoint",
    "MultiLineString",
    "MultiPolygon",
    "GeometryCollection",
)
EMPTY: Shape = (COLLECTION, [])
_DEPTH = {POINT: 0, LINE: 1, POLYGON: 2, MULTIPOINT: 1, MULTILINE: 2, MULTIPOLYGON: 3}  # lists around a point


def read_wkb(data: bytes) -> Shape:
    """
    Raises:
        ValueError: it is no WKB of two dimensions.
    """
    try:
        return _read(data, 0)[0]
    except (struct.error, IndexError):
        raise ValueError("Invalid WKB: it ends too early") from None


def _read(data: bytes, at: int) -> tuple[Shape, int]:
    order = "<" if data[at] else ">"
    (kind,) = struct.unpack_from(f"{order}I", data, at + 1)
    if not POINT <= kind <= COLLECTION:
        raise ValueError(f"Invalid WKB: geometry type {kind} is not supported")
    at += 5
    if kind == POINT:
        x, y = struct.unpack_from(f"{order}2d", data, at)
        return (EMPTY if x != x else (POINT, [x, y])), at + 16
    if kind in (LINE, POLYGON):
        coordinates, at = _lists(data, at, order, _DEPTH[kind])
        return ((kind, coordinates) if coordinates else EMPTY), at
    (count,) = struct.unpack_from(f"{order}I", data, at)
    at, members = at + 4, []
    for _ in range(count):
        member, at = _read(data, at)
        if kind == COLLECTION or member[0] == kind - 3:
            members.append(member if kind == COLLECTION else member[1])
    return ((kind, members) if members else EMPTY), at


def _lists(data: bytes, at: int, order: str, depth: int) -> tuple[list[Any], int]:
    (count,) = struct.unpack_from(f"{order}I", data, at)
    at += 4
    if depth == 1:
        flat = struct.unpack_from(f"{order}{2 * count}d", data, at)
        return [list(pair) for pair in zip(flat[::2], flat[1::2], strict=True)], at + 16 * count
    found = []
    for _ in range(count):
        inner, at = _lists(data, at, order, depth - 1)
        found.append(inner)
    return found, at


def write_wkb(shape: Shape) -> bytes:
    kind, inner = shape
    head = struct.pack("<BI", 1, kind)
    if kind == POINT:
        return head + struct.pack("<2d", *inner)
    if kind in (LINE, POLYGON):
        return head + _packed(inner, _DEPTH[kind])
    members = inner if kind == COLLECTION else [(kind - 3, one) for one in inner]
    return head + struct.pack("<I", len(members)) + b"".join(write_wkb(one) for one in members)


def _packed(inner: list[Any], depth: int) -> bytes:
    shown = struct.pack("<I", len(inner))
    for one in inner:
        shown += struct.pack("<2d", *one) if depth == 1 else _packed(one, depth - 1)
    return shown


# --- texts -----------------------------------------------------------------------------------------------


def number(value: float) -> str:
    """15 digits, as BigQuery shows coordinates."""
    return f"{value + 0.0:.15g}"


def wkt(shape: Shape) -> str:
    kind, inner = shape
    name = NAMES[kind].upper()
    if not inner:
        return f"{name} EMPTY"
    if kind == COLLECTION:
        return f"{name}({', '.join(wkt(one) for one in inner)})"
    return f"{name}{_wkt(inner) if kind != POINT else '(' + _pair(inner) + ')'}"


def _pair(pair: list[float]) -> str:
    return f"{number(pair[0])} {number(pair[1])}"


def _wkt(inner: list[Any]) -> str:
    return f"({', '.join(_pair(one) if isinstance(one[0], float) else _wkt(one) for one in inner)})"


def geojson(shape: Shape) -> str:
    """As BigQuery spaces it; a text of its own ends with a space."""
    kind, inner = shape
    if kind == COLLECTION:
        members = ", ".join(geojson(one).rstrip() for one in inner)
        return f'{{ "type": "GeometryCollection", "geometries": [ {members}{" " if members else ""}] }} '
    return f'{{ "type": "{NAMES[kind]}", "coordinates": {_json(inner)} }} '


def _json(inner: list[Any]) -> str:
    if isinstance(inner[0], float):
        return f"[{number(inner[0])}, {number(inner[1])}]"
    return f"[ {', '.join(_json(one) for one in inner)} ]"


def read_geojson(text: str) -> Shape:
    """
    Raises:
        ValueError: it is no geometry of GeoJSON.
    """
    try:
        return _shape(json.loads(text))
    except (TypeError, KeyError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"Invalid GeoJSON: {error}") from None


def _shape(value: dict[str, Any]) -> Shape:
    name = value.get("type")
    if name not in NAMES[1:]:
        raise ValueError(f"Invalid GeoJSON: unknown type {name!r}")
    kind = NAMES.index(name)
    if kind == COLLECTION:
        return kind, [_shape(one) for one in value["geometries"]]
    inner = _floats(value["coordinates"], _DEPTH[kind])
    return (kind, inner) if inner else EMPTY


def _floats(inner: list[Any], depth: int) -> list[Any]:
    if depth:
        return [_floats(one, depth - 1) for one in inner]
    return [float(inner[0]), float(inner[1])] if inner else []


# --- geohashes: https://en.wikipedia.org/wiki/Geohash ------------------------------------------------------

_BASE32 = "0123456789bcdefghjkmnpqrstuvwxyz"


def geohash(lon: float, lat: float, length: int) -> str:
    bounds = [[-180.0, 180.0], [-90.0, 90.0]]
    bits = 0
    for place in range(length * 5):
        low, high = bounds[place % 2]
        middle = (low + high) / 2
        up = (lon, lat)[place % 2] >= middle
        bits = bits * 2 + up
        bounds[place % 2] = [middle, high] if up else [low, middle]
    return "".join(_BASE32[bits >> 5 * place & 31] for place in range(length)[::-1])


def read_geohash(text: str) -> tuple[float, float]:
    """The middle of its box.

    Raises:
        ValueError: it is none.
    """
    bounds = [[-180.0, 180.0], [-90.0, 90.0]]
    place = 0
    for character in text.lower():
        if character not in _BASE32:
            raise ValueError(f"Invalid geohash: {text}")
        for bit in range(5)[::-1]:
            low, high = bounds[place % 2]
            middle = (low + high) / 2
            bounds[place % 2] = [middle, high] if _BASE32.index(character) >> bit & 1 else [low, middle]
            place += 1
    (west, east), (south, north) = bounds
    return (west + east) / 2, (south + north) / 2
