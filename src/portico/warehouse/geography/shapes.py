"""Geographies as S2 has them, by spherely, and what their shapes are made of: points, edges, parts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from portico.warehouse.geography import sphere
from portico.warehouse.geography.sphere import vector
from portico.warehouse.geography.text import (
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
    read_wkb,
    write_wkb,
)


@lru_cache(maxsize=4096)
def opened(data: bytes) -> Any:
    import spherely

    shape = read_wkb(data)
    if not shape[1]:
        return spherely.from_wkt("GEOMETRYCOLLECTION EMPTY")
    return spherely.from_wkb(data, oriented=True)


def bytes_of(geography: Any) -> bytes:
    import spherely

    return write_wkb(plain(read_wkb(spherely.to_wkb(geography))))


def plain(shape: Shape) -> Shape:
    """Without needless layers: a collection of one is that one, of like ones their multiple."""
    kind, inner = shape
    if kind in (MULTIPOINT, MULTILINE, MULTIPOLYGON) and len(inner) == 1:
        return kind - 3, inner[0]
    if kind == COLLECTION and inner:
        members = [plain(one) for one in inner if one[1]]
        if len(members) == 1:
            return members[0]
        kinds = {one[0] for one in members}
        if len(kinds) == 1 and (only := kinds.pop()) <= POLYGON:
            return only + 3, [one[1] for one in members]
        return (COLLECTION, members) if members else EMPTY
    return shape


def as_s2(name: str, data: bytes, oriented: bool, planar: bool = False) -> bytes:
    """What was written, as S2 has it: polygons the smaller way round unless `oriented`, edges geodesics."""
    import spherely

    kind, inner = read_wkb(data)
    if not inner:
        return write_wkb(EMPTY)
    if planar:
        data = write_wkb(with_lines((kind, inner), sphere.straightened))
    try:
        made = spherely.from_wkb(data, oriented=oriented)
    except RuntimeError as error:
        raise ValueError(f"{name} failed: {error}") from None
    found = read_wkb(spherely.to_wkb(made))
    return write_wkb(found if kind == COLLECTION else plain(found))


def with_lines(shape: Shape, change: Callable[[Any], list[list[float]]]) -> Shape:
    kind, inner = shape
    if kind == COLLECTION:
        return kind, [with_lines(one, change) for one in inner]
    if kind in (POINT, MULTIPOINT):
        return shape

    def changed(lists: list[Any]) -> list[Any]:
        return change(lists) if isinstance(lists[0][0], float) else [changed(one) for one in lists]

    return kind, changed(inner)


def points_of(shape: Shape) -> Iterator[list[float]]:
    kind, inner = shape
    if kind == COLLECTION:
        for one in inner:
            yield from points_of(one)
        return
    waiting = [inner] if inner else []
    while waiting:
        one = waiting.pop()
        if isinstance(one[0], float):
            yield one
        else:
            waiting.extend(one[::-1])


def parts_of(shape: Shape) -> list[Shape]:
    kind, inner = shape
    if kind == COLLECTION:
        return [part for one in inner for part in parts_of(one)]
    return [(kind - 3, one) for one in inner] if kind > POLYGON else [shape]


def edges_of(shape: Shape) -> Iterator[tuple[sphere.Vector, sphere.Vector]]:
    for kind, inner in parts_of(shape):
        for chain in [inner] if kind == LINE else inner if kind == POLYGON else ():
            vectors = [vector(one) for one in chain]
            yield from itertools.pairwise(vectors)
        if kind == POINT:
            yield vector(inner), vector(inner)


def line_of(name: str, data: bytes) -> list[Any] | None:
    """The points of a line; none of what is empty."""
    kind, inner = read_wkb(data)
    if not inner:
        return None
    if kind != LINE:
        raise ValueError(f"{name} works on a linestring, not on {NAMES[kind]}")
    return inner


def point_of(name: str, data: bytes) -> list[float] | None:
    kind, inner = read_wkb(data)
    if not inner:
        return None
    if kind != POINT:
        raise ValueError(f"{name} works on a point, not on {NAMES[kind]}")
    return inner


def shape_bytes(kind: int, inner: Any) -> bytes:
    return write_wkb((kind, inner))


def is_empty(data: bytes) -> bool:
    return not read_wkb(data)[1]
