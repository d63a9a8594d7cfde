"""Geometry on the unit sphere that spherely lacks. Points are unit vectors, distances radians.

Formulas follow Google's S2 (s2edge_tessellator.cc, s2buffer_operation.cc, s2pointutil.cc, s2cell_id.cc), whose results
BigQuery shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Vector = tuple[float, float, float]
Pair = Sequence[float]  # degrees of longitude and latitude

EARTH = 6_371_010.0  # metres
_TOLERANCE = 10.0 / EARTH  # how far BigQuery lets a straight line on a map be from a geodesic
_SCALE, _SHARE = (
    0.83829992569888509,
    0.31215691082248312,
)  # s2edge_tessellator.cc: kScaleFactor, kInterpolationFraction


def vector(pair: Pair) -> Vector:
    lon, lat = math.radians(pair[0]), math.radians(pair[1])
    return math.cos(lon) * math.cos(lat), math.sin(lon) * math.cos(lat), math.sin(lat)


def pair(v: Vector) -> list[float]:
    return [
        math.degrees(math.atan2(v[1], v[0])),
        math.degrees(math.atan2(v[2], math.sqrt(v[0] * v[0] + v[1] * v[1]))),
    ]


def _dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: Vector, b: Vector) -> Vector:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def _sum(a: Vector, x: float, b: Vector, y: float) -> Vector:
    return a[0] * x + b[0] * y, a[1] * x + b[1] * y, a[2] * x + b[2] * y


def _unit(a: Vector) -> Vector:
    by = 1 / (math.sqrt(_dot(a, a)) or 1.0)
    return a[0] * by, a[1] * by, a[2] * by


def angle(a: Vector, b: Vector) -> float:
    """Between two vectors, from 0 to pi."""
    crossed = _cross(a, b)
    return math.atan2(math.sqrt(_dot(crossed, crossed)), _dot(a, b))


def between(a: Vector, b: Vector, share: float) -> Vector:
    """The point at a share of the way from `a` to `b`."""
    whole = angle(a, b)
    if whole < 1e-15:
        return a
    direction = _unit(_cross(_cross(a, b), a))
    return _unit(_sum(a, math.cos(share * whole), direction, math.sin(share * whole)))


# --- lines: closest points, places along them --------------------------------------------------------------


def closest(p: Vector, a: Vector, b: Vector) -> Vector:
    """The point of the edge from `a` to `b` that is closest to `p`."""
    normal = _cross(a, b)
    if math.sqrt(_dot(normal, normal)) < 1e-15:
        return a
    normal = _unit(normal)
    foot = _unit(_sum(p, 1.0, normal, -_dot(p, normal)))
    if _dot(_cross(a, foot), normal) >= 0 and _dot(_cross(foot, b), normal) >= 0:
        return foot
    return a if angle(p, a) <= angle(p, b) else b


def azimuth(a: Vector, b: Vector) -> float:
    """The direction from `a` to `b`: radians from north, clockwise, from 0 to 2 pi."""
    east = _unit(_cross((0.0, 0.0, 1.0), a)) if abs(a[2]) < 1 else (0.0, 1.0, 0.0)
    north = _cross(a, east)
    return math.atan2(_dot(b, east), _dot(b, north)) % (2 * math.pi)


# --- straight lines of a map -------------------------------------------------------------------------------


def tessellated(pairs: Sequence[Pair]) -> list[list[float]]:
    """The points of a chain of geodesics, with more between them so that a map's straight lines come close."""
    found = [list(pairs[0])]
    for following in pairs[1:]:
        _split(found, found[-1], _wrapped(found[-1], following))
    return found


def _split(found: list[list[float]], pa: Pair, pb: Pair) -> None:
    a, b = vector(pa), vector(pb)
    if _strays(pa, a, pb, b) <= _SCALE * _TOLERANCE:
        found.append(list(pb))
        return
    middle = _wrapped(pa, pair(_unit(_sum(a, 1.0, b, 1.0))))
    _split(found, pa, middle)
    _split(found, middle, _wrapped(middle, pb))


def straightened(pairs: Sequence[Pair]) -> list[list[float]]:
    """The points of a chain of a map's straight lines, with more between them so that geodesics come close."""
    found = [list(pairs[0])]
    for following in pairs[1:]:
        _split_straight(found, found[-1], following)
    return found


def _split_straight(found: list[list[float]], pa: Pair, pb: Pair) -> None:
    if _strays(pa, vector(pa), pb, vector(pb)) <= _SCALE * _TOLERANCE:
        found.append(list(pb))
        return
    middle = [(pa[0] + pb[0]) / 2, (pa[1] + pb[1]) / 2]
    _split_straight(found, pa, middle)
    _split_straight(found, middle, pb)


def _strays(pa: Pair, a: Vector, pb: Pair, b: Vector) -> float:
    if _dot(a, b) < -1e-14:
        return math.inf
    farthest = 0.0
    for share in (_SHARE, 1 - _SHARE):
        straight = [pa[0] + share * (pb[0] - pa[0]), pa[1] + share * (pb[1] - pa[1])]
        farthest = max(farthest, angle(between(a, b, share), vector(straight)))
    return farthest


def _wrapped(start: Pair, end: Pair) -> list[float]:
    """`end` with the longitude that is closest to `start`'s."""
    return (
        [start[0] + math.remainder(end[0] - start[0], 360), end[1]]
        if abs(end[0] - start[0]) > 180
        else list(end)
    )


# --- buffers -----------------------------------------------------------------------------------------------


def ortho(v: Vector) -> Vector:
    """S2's unit vector at right angles to `v`."""
    largest = max(range(3), key=lambda k: abs(v[k]))
    chosen = [0.012, 0.0053, 0.00457]
    chosen[(largest - 1) % 3] = 1.0
    return _unit(_cross(v, (chosen[0], chosen[1], chosen[2])))


def circle(center: Vector, radius: float, segments: int) -> list[list[float]]:
    """A ring of so many corners around a point, closed, counterclockwise from S2's starting direction.

    Angles are squared chords, as S2BufferOperation::BufferPoint has them: its last digits are BigQuery's.
    """
    step = _chord(2 * math.pi / segments + 1e-15)
    start, turned, ring = ortho(center), 0.0, []
    for _ in range(4):
        side = _unit(_cross(center, start))
        while turned < 2.0:
            ring.append(pair(_ray(center, _ray(start, side, turned), _chord(radius))))
            x, y = turned * (1 - 0.25 * step), step * (1 - 0.25 * turned)
            turned = x + y + 2 * math.sqrt(x * y)
        turned = max(0.0, math.sqrt(turned * 0.5) - math.sqrt(2 * (1 - 0.25 * turned))) ** 2
        start = side
    return [*ring, ring[0]]


def _chord(radians: float) -> float:
    """The squared length of the chord of an angle."""
    length = 2 * math.sin(0.5 * radians)
    return length * length


def _ray(origin: Vector, direction: Vector, chord: float) -> Vector:
    """S2's GetPointOnRay: as far from the origin as a squared chord says."""
    return _unit(_sum(origin, 1 - 0.5 * chord, direction, math.sqrt(chord * (1 - 0.25 * chord))))


def strip(a: Vector, b: Vector, radius: float) -> list[list[float]]:
    """The ring around an edge, as wide as twice the radius and no longer than the edge."""
    normal = _unit(_cross(a, b))
    corners = [(a, -1.0), (b, -1.0), (b, 1.0), (a, 1.0)]
    ring = [pair(_unit(_sum(v, math.cos(radius), normal, sign * math.sin(radius)))) for v, sign in corners]
    return [*ring, ring[0]]


# --- S2 cells ----------------------------------------------------------------------------------------------

_POSITIONS = ((0, 1, 3, 2), (0, 3, 1, 2), (2, 3, 1, 0), (2, 1, 3, 0))  # by orientation and quadrant ij
_TURNS = (1, 0, 0, 3)


def cell(v: Vector, level: int) -> int:
    """The id of the cell of a level (0 to 30) that holds a point, as a signed number of 64 bits."""
    face = max(range(3), key=lambda k: abs(v[k]))
    face += 3 * (v[face] < 0)
    x, y, z = v
    u, w = {
        0: lambda: (y / x, z / x), 1: lambda: (-x / y, z / y), 2: lambda: (-x / z, -y / z),
        3: lambda: (z / x, y / x), 4: lambda: (z / y, -x / y), 5: lambda: (-y / z, -x / z),
    }[face]()  # fmt: skip
    i, j = (_leaf(one) for one in (u, w))
    orientation, position = face & 1, 0
    for bit in range(30)[::-1]:
        quadrant = (i >> bit & 1) * 2 + (j >> bit & 1)
        place = _POSITIONS[orientation][quadrant]
        position = position * 4 + place
        orientation ^= _TURNS[place]
    found = (face << 61) + (position << 1) + 1
    lowest = 1 << 2 * (30 - level)
    found = found & -lowest | lowest
    return found - (1 << 64) if found >> 63 else found


def _leaf(u: float) -> int:
    s = 0.5 * math.sqrt(1 + 3 * u) if u >= 0 else 1 - 0.5 * math.sqrt(1 - 3 * u)
    return max(0, min((1 << 30) - 1, math.floor(s * (1 << 30))))
