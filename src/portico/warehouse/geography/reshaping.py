"""What is made of a geography's shape: its middle, hull, surroundings, and a simpler one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from portico.errors import Unimplemented
from portico.warehouse.geography import sphere
from portico.warehouse.geography.measures import refuse_spheroid
from portico.warehouse.geography.relations import union_all
from portico.warehouse.geography.shapes import (
    as_s2,
    bytes_of,
    edges_of,
    is_empty,
    opened,
    parts_of,
    plain,
    points_of,
    shape_bytes,
    with_lines,
)
from portico.warehouse.geography.sphere import EARTH, angle, vector
from portico.warehouse.geography.text import (
    COLLECTION,
    EMPTY,
    LINE,
    MULTIPOINT,
    POINT,
    POLYGON,
    read_wkb,
    write_wkb,
)


def centroid(data: bytes) -> bytes:
    import spherely

    return write_wkb(EMPTY) if is_empty(data) else bytes_of(spherely.centroid(opened(data)))


def centroid_all(shapes: list[bytes | None]) -> bytes | None:
    parts = [part for one in shapes if one is not None for part in parts_of(read_wkb(one))]
    if not parts:
        return None
    largest = max(one[0] for one in parts)
    kept = [one for one in parts if one[0] == largest]
    return centroid(write_wkb(plain((COLLECTION, kept))))


def one_to_one(name: str) -> Callable[[bytes], bytes]:
    def made(data: bytes) -> bytes:
        import spherely

        return write_wkb(EMPTY) if is_empty(data) else bytes_of(getattr(spherely, name)(opened(data)))

    return made


def convexhull(data: bytes) -> bytes:
    points = {tuple(one) for one in points_of(read_wkb(data))}
    if len(points) < 3:
        return write_wkb(plain((LINE if len(points) == 2 else MULTIPOINT, [list(one) for one in points])))
    return one_to_one("convex_hull")(data)


def buffer(data: bytes, radius: float, segments: float, use_spheroid: bool, endcap: str, side: str) -> bytes:
    """The union of circles around its points and strips along its edges."""
    refuse_spheroid(use_spheroid)
    if endcap.upper() != "ROUND" or side.upper() != "BOTH":
        raise Unimplemented("ST_BUFFER with a flat end cap or of one side is not built in Portico yet.")
    if radius < 0:
        raise Unimplemented("ST_BUFFER with a negative radius is not built in Portico yet.")
    shape = read_wkb(data)
    if not shape[1] or radius == 0:
        return data
    wide, corners = radius / EARTH, max(4, round(4 * segments))
    rings = [sphere.circle(vector(one), wide, corners) for one in dict.fromkeys(map(tuple, points_of(shape)))]
    if len(rings) == 1:
        return shape_bytes(POLYGON, rings)
    rings += [sphere.strip(a, b, wide) for a, b in edges_of(shape) if angle(a, b) > 1e-15]
    pieces: list[bytes | None] = [shape_bytes(POLYGON, [one]) for one in rings]
    found = union_all([*pieces, *(write_wkb(one) for one in parts_of(shape) if one[0] == POLYGON)])
    return found or write_wkb(EMPTY)


def buffer_tolerance(
    data: bytes, radius: float, tolerance: float, use_spheroid: bool, endcap: str, side: str
) -> bytes:
    share = max(1e-6, 1 - tolerance / abs(radius)) if radius else 1.0
    return buffer(
        data, radius, max(1, math.ceil(math.pi / 4 / math.acos(max(0.1, share)))), use_spheroid, endcap, side
    )


def simplify(data: bytes, tolerance: float) -> bytes:
    shape = read_wkb(data)
    if not shape[1] or shape[0] in (POINT, MULTIPOINT):
        return data
    made = with_lines(shape, lambda chain: _simpler(chain, tolerance / EARTH))
    if any(len(ring) < 4 for kind, inner in parts_of(made) if kind == POLYGON for ring in inner):
        return data
    return as_s2("ST_Simplify", write_wkb(made), False)


def _simpler(chain: list[Any], tolerance: float) -> list[list[float]]:
    """Douglas and Peucker's."""
    if len(chain) < 3:
        return list(chain)
    a, b = vector(chain[0]), vector(chain[-1])
    strays = [angle(p, sphere.closest(p, a, b)) for p in map(vector, chain[1:-1])]
    place = max(range(len(strays)), key=strays.__getitem__)
    if strays[place] <= tolerance:
        return [chain[0], chain[-1]]
    return [*_simpler(chain[: place + 2], tolerance)[:-1], *_simpler(chain[place + 1 :], tolerance)]


def snaptogrid(data: bytes, size: float) -> bytes:
    digits = round(-math.log10(size)) if size > 0 else 0

    def snapped(one: Any) -> Any:
        if isinstance(one, float):
            return round(round(one / size) * size, max(0, digits))
        found = [snapped(each) for each in one]
        if isinstance(found[0], float) or len(found) < 2:
            return found
        return [each for place, each in enumerate(found) if not place or each != found[place - 1]]

    shape = read_wkb(data)
    if not shape[1]:
        return data
    kind, inner = shape
    if kind == COLLECTION:
        return write_wkb((kind, [read_wkb(snaptogrid(write_wkb(one), size)) for one in inner]))
    return as_s2("ST_SnapToGrid", shape_bytes(kind, snapped(inner)), False)
