"""What a geography is, and the points, lines, rings and shapes in it."""

from __future__ import annotations

import itertools
from typing import Any

from portico.warehouse.geography import sphere
from portico.warehouse.geography.shapes import line_of, parts_of, point_of, points_of, shape_bytes, with_lines
from portico.warehouse.geography.sphere import pair, vector
from portico.warehouse.geography.text import (
    LINE,
    MULTIPOINT,
    NAMES,
    POINT,
    POLYGON,
    Shape,
    read_wkb,
    write_wkb,
)


def x_of(data: bytes) -> float | None:
    point = point_of("ST_X", data)
    return point[0] if point else None


def y_of(data: bytes) -> float | None:
    point = point_of("ST_Y", data)
    return point[1] if point else None


def dimension(data: bytes) -> int:
    kinds = [one[0] for one in parts_of(read_wkb(data))]
    return max((POINT, LINE, POLYGON).index(kind) for kind in kinds) if kinds else -1


def geometry_type(data: bytes) -> str:
    return f"ST_{NAMES[read_wkb(data)[0]]}"


def is_collection(data: bytes) -> bool:
    return len(parts_of(read_wkb(data))) > 1


def is_closed(data: bytes) -> bool:
    parts = parts_of(read_wkb(data))
    return bool(parts) and all(
        kind == POINT or (kind == LINE and inner[0] == inner[-1]) for kind, inner in parts
    )  # a polygon has a boundary: only the full globe, which is not built, has none


def is_ring(data: bytes) -> bool:
    kind, inner = read_wkb(data)
    return kind == LINE and inner[0] == inner[-1] and len({tuple(one) for one in inner}) == len(inner) - 1


def numpoints(data: bytes) -> int:
    return sum(1 for _ in points_of(read_wkb(data)))


def numgeometries(data: bytes) -> int:
    return len(parts_of(read_wkb(data)))


def pointn(data: bytes, index: int) -> bytes | None:
    line = line_of("ST_PointN", data)
    if line is None or index == 0 or abs(index) > len(line):
        return None
    return shape_bytes(POINT, line[index - 1 if index > 0 else index])


def startpoint(data: bytes) -> bytes | None:
    return pointn(data, 1)


def endpoint(data: bytes) -> bytes | None:
    return pointn(data, -1)


def dump(data: bytes, wanted: int) -> list[bytes]:
    parts = parts_of(read_wkb(data))
    return [write_wkb(one) for one in parts if wanted < 0 or dimension(write_wkb(one)) == wanted]


def dumppoints(data: bytes) -> list[bytes]:
    return [shape_bytes(POINT, one) for one in points_of(read_wkb(data))]


def exterior_ring(data: bytes) -> bytes | None:
    kind, inner = read_wkb(data)
    if not inner:
        return None
    if kind != POLYGON:
        raise ValueError(f"ST_ExteriorRing works on a polygon, not on {NAMES[kind]}")
    return shape_bytes(LINE, inner[0])


def interior_rings(data: bytes) -> list[bytes] | None:
    kind, inner = read_wkb(data)
    if inner and kind != POLYGON:
        raise ValueError(f"ST_InteriorRings works on a polygon, not on {NAMES[kind]}")
    return [shape_bytes(LINE, one[::-1]) for one in inner[1:]]


def bounding_box(data: bytes) -> dict[str, float] | None:
    return extent([data])


def extent(shapes: list[bytes | None]) -> dict[str, float] | None:
    """The box of degrees around all; across the antimeridian its `xmax` is more than 180."""
    points = [one for data in shapes if data is not None for one in points_of(_bulging(read_wkb(data)))]
    if not points:
        return None
    lons = sorted({one[0] for one in points})
    gaps = [(b - a, a, b) for a, b in zip(lons, [*lons[1:], lons[0] + 360], strict=True)]
    _, before, after = max(gaps)
    west = after - 360 if after > 180 else after
    east = before if before >= west else before + 360
    lats = [one[1] for one in points]
    return {"xmin": west, "ymin": min(lats), "xmax": east, "ymax": max(lats)}


def _bulging(shape: Shape) -> Shape:
    """With points where its edges are closest to a pole."""
    if shape[0] in (POINT, MULTIPOINT) or not shape[1]:
        return shape

    def widened(chain: list[Any]) -> list[list[float]]:
        found = list(chain)
        for one, other in itertools.pairwise(chain):
            a, b = vector(one), vector(other)
            for pole in ((0.0, 0.0, 1.0), (0.0, 0.0, -1.0)):
                found.append(pair(sphere.closest(pole, a, b)))
        return found

    return with_lines(shape, widened)
