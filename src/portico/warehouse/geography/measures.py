"""Lengths, areas and distances of geographies, in metres; angles, and places along lines."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from portico.warehouse.geography import sphere
from portico.warehouse.geography.relations import operation, relation
from portico.warehouse.geography.shapes import (
    edges_of,
    is_empty,
    line_of,
    opened,
    point_of,
    points_of,
    shape_bytes,
)
from portico.warehouse.geography.sphere import EARTH, angle, pair, vector
from portico.warehouse.geography.text import LINE, POINT, Shape, read_wkb


def measure(name: str) -> Callable[..., float]:
    """spherely's `area`, `length` or `perimeter`."""

    def measured(data: bytes, use_spheroid: bool) -> float:
        import spherely

        refuse_spheroid(use_spheroid)
        return float(getattr(spherely, name)(opened(data)))

    return measured


def refuse_spheroid(use_spheroid: bool) -> None:
    if use_spheroid:
        raise ValueError("use_spheroid must be FALSE: distances on the spheroid are not supported")


def distance(a: bytes, b: bytes, use_spheroid: bool) -> float | None:
    import spherely

    refuse_spheroid(use_spheroid)
    return None if is_empty(a) or is_empty(b) else float(spherely.distance(opened(a), opened(b)))


def dwithin(a: bytes, b: bytes, metres: float, use_spheroid: bool) -> bool:
    found = distance(a, b, use_spheroid)
    return found is not None and found <= metres


def maxdistance(a: bytes, b: bytes, use_spheroid: bool) -> float | None:
    refuse_spheroid(use_spheroid)
    left, right = ([vector(one) for one in points_of(read_wkb(each))] for each in (a, b))
    if not left or not right:
        return None
    return max(angle(one, other) for one in left for other in right) * EARTH


def hausdorff(a: bytes, b: bytes, directed: bool) -> float | None:
    left, right = read_wkb(a), read_wkb(b)
    if not left[1] or not right[1]:
        return None
    found = _farthest(left, right)
    return EARTH * (found if directed else max(found, _farthest(right, left)))


def hausdorff_within(a: bytes, b: bytes, metres: float, directed: bool) -> bool:
    found = hausdorff(a, b, directed)
    return found is not None and found <= metres


def _farthest(one: Shape, other: Shape) -> float:
    edges = list(edges_of(other))
    return max(min(angle(p, sphere.closest(p, *edge)) for edge in edges) for p in map(vector, points_of(one)))


def _are_opposite(a: Sequence[float] | None, b: Sequence[float] | None) -> bool:
    """Whether any way between two points is a shortest one."""
    return bool(a and b) and angle(vector(a), vector(b)) > math.pi - 1e-12  # type: ignore[arg-type]


def azimuth(a: bytes, b: bytes) -> float | None:
    start, end = point_of("ST_Azimuth", a), point_of("ST_Azimuth", b)
    if not start or not end or start == end or _are_opposite(start, end):
        return None
    return sphere.azimuth(vector(start), vector(end))


def angle_of(a: bytes, b: bytes, c: bytes) -> float | None:
    points = [point_of("ST_Angle", one) for one in (a, b, c)]
    if not all(points) or points[0] == points[1] or points[1] == points[2]:
        return None
    if _are_opposite(points[0], points[1]) or _are_opposite(points[1], points[2]):
        return None
    first, middle, last = (vector(one) for one in points if one)
    return (sphere.azimuth(middle, last) - sphere.azimuth(middle, first)) % (2 * math.pi)


def closestpoint(a: bytes, b: bytes, use_spheroid: bool) -> bytes | None:
    """The point of `a` that is closest to `b`."""
    refuse_spheroid(use_spheroid)
    one, other = read_wkb(a), read_wkb(b)
    if not one[1] or not other[1]:
        return None
    if intersects := (relation("intersects")(a, b)):
        crossing = read_wkb(operation("intersection")(a, b))
        if intersects and crossing[1]:
            return shape_bytes(POINT, next(points_of(crossing)))
    found = []
    for start, end in edges_of(one):
        for p in map(vector, points_of(other)):
            near = sphere.closest(p, start, end)
            found.append((angle(p, near), near))
        for from_, to in edges_of(other):
            for p in (start, end):
                found.append((angle(p, sphere.closest(p, from_, to)), p))
    return shape_bytes(POINT, pair(min(found)[1]))


def linelocatepoint(line: bytes, point: bytes) -> float | None:
    chain, wanted = line_of("ST_LineLocatePoint", line), point_of("ST_LineLocatePoint", point)
    if chain is None or wanted is None:
        return None
    p, passed, best = vector(wanted), 0.0, (math.inf, 0.0)
    for start, end in edges_of((LINE, chain)):
        near = sphere.closest(p, start, end)
        best = min(best, (angle(p, near), passed + angle(start, near)), key=lambda one: one[0])
        passed += angle(start, end)
    return best[1] / passed if passed else 0.0


def lineinterpolatepoint(line: bytes, share: float) -> bytes | None:
    chain = line_of("ST_LineInterpolatePoint", line)
    if chain is None:
        return None
    if not 0 <= share <= 1:
        raise ValueError("ST_LineInterpolatePoint's fraction must be between 0 and 1")
    return shape_bytes(POINT, _along(chain, share)[0])


def linesubstring(line: bytes, start: float, end: float) -> bytes | None:
    chain = line_of("ST_LineSubstring", line)
    if chain is None:
        return None
    if not 0 <= start <= end <= 1:
        raise ValueError("ST_LineSubstring's fractions must be between 0 and 1, the first one not the larger")
    (first, before), (last, after) = _along(chain, start), _along(chain, end)
    if start == end:
        return shape_bytes(POINT, first)
    points = [first, *chain[before + 1 : after + 1], last]
    kept = [one for place, one in enumerate(points) if not place or one != points[place - 1]]
    return shape_bytes(LINE, kept)


def _along(chain: list[Any], share: float) -> tuple[list[float], int]:
    """The point at a share of a chain's length, and which of its points is the last before."""
    lengths = [angle(a, b) for a, b in edges_of((LINE, chain))]
    left = share * sum(lengths)
    for place, length in enumerate(lengths):
        if left <= length or place == len(lengths) - 1:
            if length <= left:
                return list(chain[place + 1]), place
            return pair(sphere.between(vector(chain[place]), vector(chain[place + 1]), left / length)), place
        left -= length
    return list(chain[0]), 0


def cell_id(point: bytes, level: int) -> int | None:
    found = point_of("S2_CellIdFromPoint", point)
    if not 0 <= level <= 30:
        raise ValueError("S2_CellIdFromPoint's level must be between 0 and 30")
    return None if found is None else sphere.cell(vector(found), level)
