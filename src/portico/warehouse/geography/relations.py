"""How two geographies lie to each other, and what comes of two."""

from __future__ import annotations

from collections.abc import Callable

from portico.warehouse.geography import sphere
from portico.warehouse.geography.shapes import as_s2, bytes_of, is_empty, opened, shape_bytes
from portico.warehouse.geography.text import POLYGON


def relation(name: str) -> Callable[[bytes, bytes], bool]:
    def related(a: bytes, b: bytes) -> bool:
        import spherely

        return bool(getattr(spherely, name)(opened(a), opened(b)))

    return related


def equals(a: bytes, b: bytes) -> bool:
    import spherely

    return is_empty(a) == is_empty(b) and (is_empty(a) or bool(spherely.equals(opened(a), opened(b))))


def intersects_box(data: bytes, west: float, south: float, east: float, north: float) -> bool:
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    box = shape_bytes(POLYGON, [sphere.straightened(ring)])
    return relation("intersects")(data, as_s2("ST_IntersectsBox", box, False))


def operation(name: str) -> Callable[[bytes, bytes], bytes]:
    def operated(a: bytes, b: bytes) -> bytes:
        import spherely

        return bytes_of(getattr(spherely, name)(opened(a), opened(b)))

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
