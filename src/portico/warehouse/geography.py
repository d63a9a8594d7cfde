"""GoogleSQL's functions of geographies. DuckDB holds a GEOGRAPHY as its GEOMETRY, in WKB; what is asked of one on the
sphere is S2's answer, by spherely, which is an extra of Portico's.

https://cloud.google.com/bigquery/docs/reference/standard-sql/geography_functions
"""

from __future__ import annotations

import importlib.util
import itertools
import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from portico.errors import Unimplemented
from portico.warehouse import sphere
from portico.warehouse.geometry_text import (
    COLLECTION,
    EMPTY,
    LINE,
    MULTILINE,
    MULTIPOINT,
    MULTIPOLYGON,
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
)  # fmt: skip
from portico.warehouse.sphere import EARTH, angle, pair, vector


def require_spherely(name: str) -> None:
    """
    Raises:
        Unimplemented: it is not installed.
    """
    if importlib.util.find_spec("spherely") is None:
        raise Unimplemented(f"{name} needs the package spherely: pip install 'portico[geography]'")


@lru_cache(maxsize=4096)
def _of(data: bytes) -> Any:
    import spherely

    shape = read_wkb(data)
    if not shape[1]:
        return spherely.from_wkt("GEOMETRYCOLLECTION EMPTY")
    return spherely.from_wkb(data, oriented=True)


def _bytes(geography: Any) -> bytes:
    import spherely

    return write_wkb(_plain(read_wkb(spherely.to_wkb(geography))))


def _plain(shape: Shape) -> Shape:
    """Without needless layers: a collection of one is that one, of like ones their multiple."""
    kind, inner = shape
    if kind in (MULTIPOINT, MULTILINE, MULTIPOLYGON) and len(inner) == 1:
        return kind - 3, inner[0]
    if kind == COLLECTION and inner:
        members = [_plain(one) for one in inner if one[1]]
        if len(members) == 1:
            return members[0]
        kinds = {one[0] for one in members}
        if len(kinds) == 1 and (only := kinds.pop()) <= POLYGON:
            return only + 3, [one[1] for one in members]
        return (COLLECTION, members) if members else EMPTY
    return shape


def _made(name: str, data: bytes, oriented: bool, planar: bool = False) -> bytes:
    """What was written, as S2 has it: polygons the smaller way round unless `oriented`, edges geodesics."""
    import spherely

    kind, inner = read_wkb(data)
    if not inner:
        return write_wkb(EMPTY)
    if planar:
        data = write_wkb(_lines_of((kind, inner), sphere.straightened))
    try:
        made = spherely.from_wkb(data, oriented=oriented)
    except RuntimeError as error:
        raise ValueError(f"{name} failed: {error}") from None
    found = read_wkb(spherely.to_wkb(made))
    return write_wkb(found if kind == COLLECTION else _plain(found))


def _lines_of(shape: Shape, change: Callable[[Any], list[list[float]]]) -> Shape:
    kind, inner = shape
    if kind == COLLECTION:
        return kind, [_lines_of(one, change) for one in inner]
    if kind in (POINT, MULTIPOINT):
        return shape

    def changed(lists: list[Any]) -> list[Any]:
        return change(lists) if isinstance(lists[0][0], float) else [changed(one) for one in lists]

    return kind, changed(inner)


def _points(shape: Shape) -> Iterator[list[float]]:
    kind, inner = shape
    if kind == COLLECTION:
        for one in inner:
            yield from _points(one)
        return
    waiting = [inner] if inner else []
    while waiting:
        one = waiting.pop()
        if isinstance(one[0], float):
            yield one
        else:
            waiting.extend(one[::-1])


def _parts(shape: Shape) -> list[Shape]:
    kind, inner = shape
    if kind == COLLECTION:
        return [part for one in inner for part in _parts(one)]
    return [(kind - 3, one) for one in inner] if kind > POLYGON else [shape]


def _edges(shape: Shape) -> Iterator[tuple[sphere.Vector, sphere.Vector]]:
    for kind, inner in _parts(shape):
        for chain in [inner] if kind == LINE else inner if kind == POLYGON else ():
            vectors = [vector(one) for one in chain]
            yield from itertools.pairwise(vectors)
        if kind == POINT:
            yield vector(inner), vector(inner)


def _line(name: str, data: bytes) -> list[Any] | None:
    """The points of a line; none of what is empty."""
    kind, inner = read_wkb(data)
    if not inner:
        return None
    if kind != LINE:
        raise ValueError(f"{name} works on a linestring, not on {NAMES[kind]}")
    return inner


def _point(name: str, data: bytes) -> list[float] | None:
    kind, inner = read_wkb(data)
    if not inner:
        return None
    if kind != POINT:
        raise ValueError(f"{name} works on a point, not on {NAMES[kind]}")
    return inner


def _shape_bytes(kind: int, inner: Any) -> bytes:
    return write_wkb((kind, inner))


# --- made of something else ---------------------------------------------------------------------------------


def geogpoint(lon: float, lat: float) -> bytes:
    if not -90 <= lat <= 90:
        raise ValueError(f"Latitude must be between -90 and 90 degrees. Found: {lat}")
    if not math.isfinite(lon):
        raise ValueError(f"Longitude must be finite. Found: {lon}")
    return _shape_bytes(POINT, pair(vector((lon, lat))))


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
    for lon, lat in _points(read_wkb(data)):
        if not (-90 <= lat <= 90 and math.isfinite(lon)):
            raise ValueError(f"{name} failed: Latitude must be between -90 and 90 degrees. Found: {lat}")
    return _made(name, data, oriented, planar)


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
    return _made("ST_MakeLine", _shape_bytes(LINE, points), False)


def makepolygon(shell: bytes, holes: list[bytes | None]) -> bytes:
    rings = [_closed(_line("ST_MakePolygon", one)) for one in (shell, *holes) if one is not None]
    if not rings[0]:
        return write_wkb(EMPTY)
    return _made("ST_MakePolygon", _shape_bytes(POLYGON, [one for one in rings if one]), False)


def makepolygon_oriented(lines: list[bytes | None]) -> bytes:
    rings = [_closed(_line("ST_MakePolygonOriented", one)) for one in lines if one is not None]
    return _made("ST_MakePolygonOriented", _shape_bytes(POLYGON, [one for one in rings if one]), True)


def _closed(ring: list[Any] | None) -> list[Any]:
    return [] if not ring else ring if ring[0] == ring[-1] else [*ring, ring[0]]


# --- texts --------------------------------------------------------------------------------------------------


def as_text(data: bytes) -> str:
    return wkt(read_wkb(data))


def as_geojson(data: bytes, maxdecimaldigits: int) -> str:
    shape = _lines_of(read_wkb(data), sphere.tessellated) if read_wkb(data)[1] else EMPTY
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
    point = _point("ST_GeoHash", data)
    if not 1 <= maxchars <= 20:
        raise ValueError("ST_GeoHash's maxchars must be between 1 and 20")
    return geohash(point[0], point[1], maxchars) if point else None


# --- what one is --------------------------------------------------------------------------------------------


def x_of(data: bytes) -> float | None:
    point = _point("ST_X", data)
    return point[0] if point else None


def y_of(data: bytes) -> float | None:
    point = _point("ST_Y", data)
    return point[1] if point else None


def dimension(data: bytes) -> int:
    kinds = [one[0] for one in _parts(read_wkb(data))]
    return max((POINT, LINE, POLYGON).index(kind) for kind in kinds) if kinds else -1


def geometry_type(data: bytes) -> str:
    return f"ST_{NAMES[read_wkb(data)[0]]}"


def is_empty(data: bytes) -> bool:
    return not read_wkb(data)[1]


def is_collection(data: bytes) -> bool:
    return len(_parts(read_wkb(data))) > 1


def is_closed(data: bytes) -> bool:
    parts = _parts(read_wkb(data))
    return bool(parts) and all(kind != LINE or inner[0] == inner[-1] for kind, inner in parts)


def is_ring(data: bytes) -> bool:
    kind, inner = read_wkb(data)
    return kind == LINE and inner[0] == inner[-1] and len({tuple(one) for one in inner}) == len(inner) - 1


def numpoints(data: bytes) -> int:
    return sum(1 for _ in _points(read_wkb(data)))


def numgeometries(data: bytes) -> int:
    return len(_parts(read_wkb(data)))


def pointn(data: bytes, index: int) -> bytes | None:
    line = _line("ST_PointN", data)
    if line is None or index == 0 or abs(index) > len(line):
        return None
    return _shape_bytes(POINT, line[index - 1 if index > 0 else index])


def startpoint(data: bytes) -> bytes | None:
    return pointn(data, 1)


def endpoint(data: bytes) -> bytes | None:
    return pointn(data, -1)


def dump(data: bytes, wanted: int) -> list[bytes]:
    parts = _parts(read_wkb(data))
    return [write_wkb(one) for one in parts if wanted < 0 or dimension(write_wkb(one)) == wanted]


def dumppoints(data: bytes) -> list[bytes]:
    return [_shape_bytes(POINT, one) for one in _points(read_wkb(data))]


def exterior_ring(data: bytes) -> bytes | None:
    kind, inner = read_wkb(data)
    if not inner:
        return None
    if kind != POLYGON:
        raise ValueError(f"ST_ExteriorRing works on a polygon, not on {NAMES[kind]}")
    return _shape_bytes(LINE, inner[0])


def interior_rings(data: bytes) -> list[bytes] | None:
    kind, inner = read_wkb(data)
    if inner and kind != POLYGON:
        raise ValueError(f"ST_InteriorRings works on a polygon, not on {NAMES[kind]}")
    return [_shape_bytes(LINE, one[::-1]) for one in inner[1:]]


def bounding_box(data: bytes) -> dict[str, float] | None:
    return extent([data])


def extent(shapes: list[bytes | None]) -> dict[str, float] | None:
    """The box of degrees around all; across the antimeridian its `xmax` is more than 180."""
    points = [one for data in shapes if data is not None for one in _points(_bulging(read_wkb(data)))]
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

    return _lines_of(shape, widened)


# --- measures, in metres ------------------------------------------------------------------------------------


def measure(name: str) -> Callable[..., float]:
    """spherely's `area`, `length` or `perimeter`."""

    def measured(data: bytes, use_spheroid: bool) -> float:
        import spherely

        _refuse_spheroid(use_spheroid)
        return float(getattr(spherely, name)(_of(data)))

    return measured


def _refuse_spheroid(use_spheroid: bool) -> None:
    if use_spheroid:
        raise ValueError("use_spheroid must be FALSE: distances on the spheroid are not supported")


def distance(a: bytes, b: bytes, use_spheroid: bool) -> float | None:
    import spherely

    _refuse_spheroid(use_spheroid)
    return None if is_empty(a) or is_empty(b) else float(spherely.distance(_of(a), _of(b)))


def dwithin(a: bytes, b: bytes, metres: float, use_spheroid: bool) -> bool:
    found = distance(a, b, use_spheroid)
    return found is not None and found <= metres


def maxdistance(a: bytes, b: bytes, use_spheroid: bool) -> float | None:
    _refuse_spheroid(use_spheroid)
    left, right = ([vector(one) for one in _points(read_wkb(each))] for each in (a, b))
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
    edges = list(_edges(other))
    return max(min(angle(p, sphere.closest(p, *edge)) for edge in edges) for p in map(vector, _points(one)))


def azimuth(a: bytes, b: bytes) -> float | None:
    start, end = _point("ST_Azimuth", a), _point("ST_Azimuth", b)
    if not start or not end or start == end:
        return None
    return sphere.azimuth(vector(start), vector(end))


def angle_of(a: bytes, b: bytes, c: bytes) -> float | None:
    points = [_point("ST_Angle", one) for one in (a, b, c)]
    if not all(points) or points[0] == points[1] or points[1] == points[2]:
        return None
    first, middle, last = (vector(one) for one in points if one)
    return (sphere.azimuth(middle, last) - sphere.azimuth(middle, first)) % (2 * math.pi)


def closestpoint(a: bytes, b: bytes, use_spheroid: bool) -> bytes | None:
    """The point of `a` that is closest to `b`."""
    _refuse_spheroid(use_spheroid)
    one, other = read_wkb(a), read_wkb(b)
    if not one[1] or not other[1]:
        return None
    if intersects := (relation("intersects")(a, b)):
        crossing = read_wkb(operation("intersection")(a, b))
        if intersects and crossing[1]:
            return _shape_bytes(POINT, next(_points(crossing)))
    found = []
    for start, end in _edges(one):
        for p in map(vector, _points(other)):
            near = sphere.closest(p, start, end)
            found.append((angle(p, near), near))
        for from_, to in _edges(other):
            for p in (start, end):
                found.append((angle(p, sphere.closest(p, from_, to)), p))
    return _shape_bytes(POINT, pair(min(found)[1]))


def linelocatepoint(line: bytes, point: bytes) -> float | None:
    chain, wanted = _line("ST_LineLocatePoint", line), _point("ST_LineLocatePoint", point)
    if chain is None or wanted is None:
        return None
    p, passed, best = vector(wanted), 0.0, (math.inf, 0.0)
    for start, end in _edges((LINE, chain)):
        near = sphere.closest(p, start, end)
        best = min(best, (angle(p, near), passed + angle(start, near)), key=lambda one: one[0])
        passed += angle(start, end)
    return best[1] / passed if passed else 0.0


def lineinterpolatepoint(line: bytes, share: float) -> bytes | None:
    chain = _line("ST_LineInterpolatePoint", line)
    if chain is None:
        return None
    if not 0 <= share <= 1:
        raise ValueError("ST_LineInterpolatePoint's fraction must be between 0 and 1")
    return _shape_bytes(POINT, _along(chain, share)[0])


def linesubstring(line: bytes, start: float, end: float) -> bytes | None:
    chain = _line("ST_LineSubstring", line)
    if chain is None:
        return None
    if not 0 <= start <= end <= 1:
        raise ValueError("ST_LineSubstring's fractions must be between 0 and 1, the first one not the larger")
    (first, before), (last, after) = _along(chain, start), _along(chain, end)
    if start == end:
        return _shape_bytes(POINT, first)
    points = [first, *chain[before + 1 : after + 1], last]
    kept = [one for place, one in enumerate(points) if not place or one != points[place - 1]]
    return _shape_bytes(LINE, kept)


def _along(chain: list[Any], share: float) -> tuple[list[float], int]:
    """The point at a share of a chain's length, and which of its points is the last before."""
    lengths = [angle(a, b) for a, b in _edges((LINE, chain))]
    left = share * sum(lengths)
    for place, length in enumerate(lengths):
        if left <= length or place == len(lengths) - 1:
            if length <= left:
                return list(chain[place + 1]), place
            return pair(sphere.between(vector(chain[place]), vector(chain[place + 1]), left / length)), place
        left -= length
    return list(chain[0]), 0


# --- relations and what comes of two ------------------------------------------------------------------------


def relation(name: str) -> Callable[[bytes, bytes], bool]:
    def related(a: bytes, b: bytes) -> bool:
        import spherely

        return bool(getattr(spherely, name)(_of(a), _of(b)))

    return related


def equals(a: bytes, b: bytes) -> bool:
    import spherely

    return is_empty(a) == is_empty(b) and (is_empty(a) or bool(spherely.equals(_of(a), _of(b))))


def intersects_box(data: bytes, west: float, south: float, east: float, north: float) -> bool:
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    box = _shape_bytes(POLYGON, [sphere.straightened(ring)])
    return relation("intersects")(data, _made("ST_IntersectsBox", box, False))


def operation(name: str) -> Callable[[bytes, bytes], bytes]:
    def operated(a: bytes, b: bytes) -> bytes:
        import spherely

        return _bytes(getattr(spherely, name)(_of(a), _of(b)))

    return operated


def union_all(shapes: list[bytes | None]) -> bytes | None:
    there = [one for one in shapes if one is not None]
    if not there:
        return None
    together = operation("union")
    while len(there) > 1:  # in pairs: each is then joined with few others
        there = [
            together(*there[i : i + 2]) if i + 1 < len(there) else there[i] for i in range(0, len(there), 2)
        ]
    return there[0]


def centroid(data: bytes) -> bytes:
    import spherely

    return write_wkb(EMPTY) if is_empty(data) else _bytes(spherely.centroid(_of(data)))


def centroid_all(shapes: list[bytes | None]) -> bytes | None:
    parts = [part for one in shapes if one is not None for part in _parts(read_wkb(one))]
    if not parts:
        return None
    largest = max(one[0] for one in parts)
    kept = [one for one in parts if one[0] == largest]
    return centroid(write_wkb(_plain((COLLECTION, kept))))


def one_to_one(name: str) -> Callable[[bytes], bytes]:
    def made(data: bytes) -> bytes:
        import spherely

        return write_wkb(EMPTY) if is_empty(data) else _bytes(getattr(spherely, name)(_of(data)))

    return made


def convexhull(data: bytes) -> bytes:
    points = {tuple(one) for one in _points(read_wkb(data))}
    if len(points) < 3:
        return write_wkb(_plain((LINE if len(points) == 2 else MULTIPOINT, [list(one) for one in points])))
    return one_to_one("convex_hull")(data)


def buffer(data: bytes, radius: float, segments: float, use_spheroid: bool, endcap: str, side: str) -> bytes:
    """The union of circles around its points and strips along its edges."""
    _refuse_spheroid(use_spheroid)
    if endcap.upper() != "ROUND" or side.upper() != "BOTH":
        raise Unimplemented("ST_BUFFER with a flat end cap or of one side is not built in Portico yet.")
    if radius < 0:
        raise Unimplemented("ST_BUFFER with a negative radius is not built in Portico yet.")
    shape = read_wkb(data)
    if not shape[1] or radius == 0:
        return data
    wide, corners = radius / EARTH, max(4, round(4 * segments))
    rings = [sphere.circle(vector(one), wide, corners) for one in dict.fromkeys(map(tuple, _points(shape)))]
    if len(rings) == 1:
        return _shape_bytes(POLYGON, rings)
    rings += [sphere.strip(a, b, wide) for a, b in _edges(shape) if angle(a, b) > 1e-15]
    pieces: list[bytes | None] = [_shape_bytes(POLYGON, [one]) for one in rings]
    found = union_all([*pieces, *(write_wkb(one) for one in _parts(shape) if one[0] == POLYGON)])
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
    made = _lines_of(shape, lambda chain: _simpler(chain, tolerance / EARTH))
    if any(len(ring) < 4 for kind, inner in _parts(made) if kind == POLYGON for ring in inner):
        return data
    return _made("ST_Simplify", write_wkb(made), False)


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
    return _made("ST_SnapToGrid", _shape_bytes(kind, snapped(inner)), False)


def cell_id(point: bytes, level: int) -> int | None:
    found = _point("S2_CellIdFromPoint", point)
    if not 0 <= level <= 30:
        raise ValueError("S2_CellIdFromPoint's level must be between 0 and 30")
    return None if found is None else sphere.cell(vector(found), level)


_G, _GS, _F, _B, _I, _T = "GEOMETRY", "GEOMETRY[]", "DOUBLE", "BOOLEAN", "BIGINT", "VARCHAR"
_BOX = "STRUCT(xmin DOUBLE, ymin DOUBLE, xmax DOUBLE, ymax DOUBLE)"

FUNCTIONS: dict[str, tuple[Callable[..., Any], list[str], str, dict[str, Any]]] = {
    "st_geogpoint": (geogpoint, [_F, _F], _G, {}),
    "st_geogfromtext": (
        from_text, [_T, _B, _B, _B], _G, {"oriented": False, "planar": False, "make_valid": False}),
    "st_geogfromwkb": (
        from_wkb, ["BLOB", _B, _B, _B], _G, {"oriented": False, "planar": False, "make_valid": False}),
    "st_geogfromgeojson": (from_geojson, [_T, _B], _G, {"make_valid": False}),
    "st_geogfrom": (geog_from, [_T], _G, {}),
    "st_geogpointfromgeohash": (point_from_geohash, [_T], _G, {}),
    "st_makeline": (makeline, [_GS], _G, {}),
    "st_makepolygon": (makepolygon, [_G, _GS], _G, {"holes": []}),
    "st_makepolygonoriented": (makepolygon_oriented, [_GS], _G, {}),
    "st_astext": (as_text, [_G], _T, {}),
    "st_asgeojson": (as_geojson, [_G, _I], _T, {"maxdecimaldigits": 15}),
    "st_asbinary": (as_binary, [_G], "BLOB", {}),
    "st_geohash": (geohash_of, [_G, _I], _T, {"maxchars": 20}),
    "st_x": (x_of, [_G], _F, {}),
    "st_y": (y_of, [_G], _F, {}),
    "st_dimension": (dimension, [_G], _I, {}),
    "st_geometrytype": (geometry_type, [_G], _T, {}),
    "st_isempty": (is_empty, [_G], _B, {}),
    "st_iscollection": (is_collection, [_G], _B, {}),
    "st_isclosed": (is_closed, [_G], _B, {}),
    "st_isring": (is_ring, [_G], _B, {}),
    "st_numpoints": (numpoints, [_G], _I, {}),
    "st_npoints": (numpoints, [_G], _I, {}),
    "st_numgeometries": (numgeometries, [_G], _I, {}),
    "st_pointn": (pointn, [_G, _I], _G, {}),
    "st_startpoint": (startpoint, [_G], _G, {}),
    "st_endpoint": (endpoint, [_G], _G, {}),
    "st_dump": (dump, [_G, _I], _GS, {"dimension": -1}),
    "st_dumppoints": (dumppoints, [_G], _GS, {}),
    "st_exteriorring": (exterior_ring, [_G], _G, {}),
    "st_interiorrings": (interior_rings, [_G], _GS, {}),
    "st_boundingbox": (bounding_box, [_G], _BOX, {}),
    "st_area": (measure("area"), [_G, _B], _F, {"use_spheroid": False}),
    "st_length": (measure("length"), [_G, _B], _F, {"use_spheroid": False}),
    "st_perimeter": (measure("perimeter"), [_G, _B], _F, {"use_spheroid": False}),
    "st_distance": (distance, [_G, _G, _B], _F, {"use_spheroid": False}),
    "st_maxdistance": (maxdistance, [_G, _G, _B], _F, {"use_spheroid": False}),
    "st_dwithin": (dwithin, [_G, _G, _F, _B], _B, {"use_spheroid": False}),
    "st_hausdorffdistance": (hausdorff, [_G, _G, _B], _F, {"directed": False}),
    "st_hausdorffdwithin": (hausdorff_within, [_G, _G, _F, _B], _B, {"directed": False}),
    "st_azimuth": (azimuth, [_G, _G], _F, {}),
    "st_angle": (angle_of, [_G, _G, _G], _F, {}),
    "st_closestpoint": (closestpoint, [_G, _G, _B], _G, {"use_spheroid": False}),
    "st_linelocatepoint": (linelocatepoint, [_G, _G], _F, {}),
    "st_lineinterpolatepoint": (lineinterpolatepoint, [_G, _F], _G, {}),
    "st_linesubstring": (linesubstring, [_G, _F, _F], _G, {}),
    "st_contains": (relation("contains"), [_G, _G], _B, {}),
    "st_within": (relation("within"), [_G, _G], _B, {}),
    "st_covers": (relation("covers"), [_G, _G], _B, {}),
    "st_coveredby": (relation("covered_by"), [_G, _G], _B, {}),
    "st_intersects": (relation("intersects"), [_G, _G], _B, {}),
    "st_disjoint": (relation("disjoint"), [_G, _G], _B, {}),
    "st_touches": (relation("touches"), [_G, _G], _B, {}),
    "st_equals": (equals, [_G, _G], _B, {}),
    "st_intersectsbox": (intersects_box, [_G, _F, _F, _F, _F], _B, {}),
    "st_intersection": (operation("intersection"), [_G, _G], _G, {}),
    "st_difference": (operation("difference"), [_G, _G], _G, {}),
    "st_union": (union_all, [_GS], _G, {}),
    "st_centroid": (centroid, [_G], _G, {}),
    "st_boundary": (one_to_one("boundary"), [_G], _G, {}),
    "st_convexhull": (convexhull, [_G], _G, {}),
    "st_buffer": (
        buffer, [_G, _F, _F, _B, _T, _T], _G,
        {"num_seg_quarter_circle": 8.0, "use_spheroid": False, "endcap": "ROUND", "side": "BOTH"}),
    "st_bufferwithtolerance": (
        buffer_tolerance, [_G, _F, _F, _B, _T, _T], _G, {"use_spheroid": False, "endcap": "ROUND", "side": "BOTH"}),
    "st_simplify": (simplify, [_G, _F], _G, {}),
    "st_snaptogrid": (snaptogrid, [_G, _F], _G, {}),
    "s2_cellidfrompoint": (cell_id, [_G, _I], _I, {"level": 30}),
    "st_union_agg": (union_all, [_GS], _G, {}),
    "st_centroid_agg": (centroid_all, [_GS], _G, {}),
    "st_extent": (extent, [_GS], _BOX, {}),
}  # fmt: skip
"""By name: what does it, DuckDB's types of what goes in and comes out, and by name what need not be given."""

AGGREGATES = ("st_union_agg", "st_centroid_agg", "st_extent")
