"""Geographies of numbers, texts, bytes and other geographies, and their texts."""

from __future__ import annotations

import math
from typing import Any

from portico.errors import Unimplemented
from portico.warehouse.geography import sphere
from portico.warehouse.geography.shapes import as_s2, line_of, point_of, points_of, shape_bytes, with_lines
from portico.warehouse.geography.sphere import pair, vector
from portico.warehouse.geography.text import (
    COLLECTION,
    EMPTY,
    LINE,
    MULTIPOINT,
    NAMES,
    POINT,
    POLYGON,
    Shape,
    geohash,
    geojson,
    read_geohash,
    read_geojson,
    read_wkb,
    wkt,
    write_wkb,
)


def geogpoint(lon: float, lat: float) -> bytes:
    if not -90 <= lat <= 90:
        raise ValueError(f"Latitude must be between -90 and 90 degrees. Found: {lat}")
    if not math.isfinite(lon):
        raise ValueError(f"Longitude must be finite. Found: {lon}")
    return shape_bytes(POINT, pair(vector((lon, lat))))


def from_text(text: str, oriented: bool, planar: bool, make_valid: bool) -> bytes:
    import spherely

    try:
        data = (
            spherely.to_wkb(spherely.from_wkt(text, oriented=True)) if _is_collection(text) else _wkb_of(text)
        )
    except RuntimeError as error:
        raise ValueError(f"ST_GeogFromText failed: {error}") from None
    return _valid("ST_GeogFromText", data, oriented, planar, make_valid)


def _is_collection(text: str) -> bool:
    return text.strip().upper().startswith("GEOMETRYCOLLECTION")


def _wkb_of(text: str) -> bytes:
    """WKT's coordinates as they stand: spherely would turn rings around."""
    import re

    found = re.fullmatch(r"\s*([A-Za-z]+)\s*(EMPTY|\(.*\))\s*", text, re.DOTALL | re.IGNORECASE)
    names = {name.upper(): kind for kind, name in enumerate(NAMES) if name}
    if not found or found[1].upper() not in names:
        raise ValueError(f"ST_GeogFromText failed: Invalid WKT: {text}")
    if found[2].upper() == "EMPTY":
        return write_wkb(EMPTY)
    kind = names[found[1].upper()]
    body = re.sub(r"\(\s*([^(),]+?)\s*\)", r"\1", found[2]) if kind == MULTIPOINT else found[2]
    body = re.sub(r"([-+.\deE]+)\s+([-+.\deE]+)(?:\s+[-+.\deE]+)*", r"[\1,\2]", body)
    shown = body.replace("(", "[").replace(")", "]")
    shown = shown[1:-1] if kind == POINT else shown
    shown = re.sub(r"(?<=[\[,])([-+]?)\.(?=\d)", r"\g<1>0.", re.sub(r"\.(?=[,\]eE])", ".0", shown)).replace(
        "+", ""
    )
    try:
        return write_wkb(read_geojson(f'{{"type": "{NAMES[kind]}", "coordinates": {shown}}}'))
    except (ValueError, IndexError, TypeError):
        raise ValueError(f"ST_GeogFromText failed: Invalid WKT: {text}") from None


def _valid(name: str, data: bytes, oriented: bool, planar: bool, make_valid: bool) -> bytes:
    if make_valid:
        raise Unimplemented(f"make_valid of {name} is not built in Portico yet.")
    for lon, lat in points_of(read_wkb(data)):
        if not (-90 <= lat <= 90 and math.isfinite(lon)):
            raise ValueError(f"{name} failed: Latitude must be between -90 and 90 degrees. Found: {lat}")
    return as_s2(name, data, oriented, planar)


def from_wkb(data: bytes, oriented: bool, planar: bool, make_valid: bool) -> bytes:
    return _valid("ST_GeogFromWKB", data, oriented, planar, make_valid)


def from_wkb_text(text: str, oriented: bool, planar: bool, make_valid: bool) -> bytes:
    return from_wkb(bytes.fromhex(text), oriented, planar, make_valid)


def from_geojson(text: str, make_valid: bool) -> bytes:
    """GeoJSON's edges are straight on a map."""
    shape = read_geojson(text)
    return _valid("ST_GeogFromGeoJSON", write_wkb(shape), False, True, make_valid)


def geog_from(text: str) -> bytes:
    """Whichever of WKT, GeoJSON and WKB in hexadecimal digits a text is."""
    if text.lstrip().startswith("{"):
        return from_geojson(text, False)
    if all(character in "0123456789abcdefABCDEF" for character in text.strip()):
        return from_wkb_text(text, False, False, False)
    return from_text(text, False, False, False)


def point_from_geohash(text: str) -> bytes:
    return geogpoint(*read_geohash(text))


def makeline(shapes: list[bytes | None]) -> bytes:
    points: list[list[float]] = []
    for data in shapes:
        kind, inner = read_wkb(data) if data is not None else EMPTY
        if not inner:
            continue
        if kind not in (POINT, LINE):
            raise ValueError("ST_MakeLine works on points and linestrings")
        points += [inner] if kind == POINT else inner
    if not points:
        return write_wkb(EMPTY)
    return as_s2("ST_MakeLine", shape_bytes(LINE, points), False)


def makepolygon(shell: bytes, holes: list[bytes | None]) -> bytes:
    rings = [_closed(line_of("ST_MakePolygon", one)) for one in (shell, *holes) if one is not None]
    if not rings[0]:
        return write_wkb(EMPTY)
    return as_s2("ST_MakePolygon", shape_bytes(POLYGON, [one for one in rings if one]), False)


def makepolygon_oriented(lines: list[bytes | None]) -> bytes:
    rings = [_closed(line_of("ST_MakePolygonOriented", one)) for one in lines if one is not None]
    return as_s2("ST_MakePolygonOriented", shape_bytes(POLYGON, [one for one in rings if one]), True)


def _closed(ring: list[Any] | None) -> list[Any]:
    return [] if not ring else ring if ring[0] == ring[-1] else [*ring, ring[0]]


def as_text(data: bytes) -> str:
    return wkt(read_wkb(data))


def as_geojson(data: bytes, maxdecimaldigits: int) -> str:
    shape = with_lines(read_wkb(data), sphere.tessellated) if read_wkb(data)[1] else EMPTY
    if maxdecimaldigits < 15:
        shape = _rounded(shape, maxdecimaldigits)
    return geojson(shape)


def _rounded(shape: Shape, digits: int) -> Shape:
    def shown(one: Any) -> Any:
        return round(one, digits) if isinstance(one, float) else [shown(each) for each in one]

    kind, inner = shape
    return kind, [_rounded(one, digits) for one in inner] if kind == COLLECTION else shown(inner)


def as_binary(data: bytes) -> bytes:
    return data


def geohash_of(data: bytes, maxchars: int) -> str | None:
    point = point_of("ST_GeoHash", data)
    if not 1 <= maxchars <= 20:
        raise ValueError("ST_GeoHash's maxchars must be between 1 and 20")
    return geohash(point[0], point[1], maxchars) if point else None
