"""The points of TensorBoards' time series.

They are rows of a table: a write of many points is one commit, so what was acknowledged survives as everything else in
the database does, on both of its kinds, and goes into a backup with it; a point is replaced by its step, and a series
is read in the order of its steps along the primary key. What a point's value means its service knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.store.resources import batched
from portico.store.tables.tensorboard import points as _points
from portico.store.tables.tensorboard import series as _series
from portico.store.tables.tensorboard import views as _views

_p, _s, _v = _points.c, _series.c, _views.c
_PER_POINT = 24  # bytes beside the value
_named = sa.select(_series).where(_s.name.in_(sa.bindparam("of", expanding=True)))
_insert = sa.insert(_points)
_replace = sa.delete(_points).where(_p.series == sa.bindparam("of"), _p.step == sa.bindparam("at"))
_note = (
    sa.update(_series)
    .where(_s.name == sa.bindparam("of"))
    .values(
        max_step=sa.bindparam("step"),
        max_wall_time=sa.bindparam("wall_time"),
        max_blobs=sa.bindparam("blobs"),
    )
)


@dataclass(frozen=True, slots=True)
class Point:
    """`wall_time` in nanoseconds since the epoch; `value` as `services.aiplatform.tensorboard.points` packs it."""

    step: int
    wall_time: int
    value: bytes


@dataclass(frozen=True, slots=True)
class Series:
    """What is known of a time series; the three greatest values are None before its first point."""

    name: str
    number: int
    value_type: str
    max_step: int | None = None
    max_wall_time: int | None = None
    max_blobs: int | None = None


def add_series(connection: Connection, name: str, number: int, value_type: str) -> Series:
    connection.execute(sa.insert(_series).values(name=name, number=number, value_type=value_type))
    return Series(name, number, value_type)


def find(connection: Connection, names: Iterable[str]) -> dict[str, Series]:
    """Those of `names` that there are."""
    rows = (row for some in batched(set(names)) for row in connection.execute(_named, {"of": some}))
    return {row[0]: Series(*row) for row in rows}


def put(connection: Connection, written: Mapping[str, tuple[Series, Sequence[Point], int]]) -> None:
    """Stores points by series, each with the most blobs that one of the points has. A point takes the place of one
    that has its step, and of several of a step the last holds."""
    rows, replaced, notes = [], [], []
    for series, points, blobs in written.values():
        if not points:
            continue
        by_step = {point.step: point for point in points}
        last = series.max_step
        for point in by_step.values():
            if last is not None and point.step <= last:
                replaced.append({"of": series.number, "at": point.step})
            rows.append(
                {
                    "series": series.number,
                    "step": point.step,
                    "wall_time": point.wall_time,
                    "value": point.value,
                }
            )
        greatest = max(by_step), max(point.wall_time for point in by_step.values()), blobs
        before = series.max_step, series.max_wall_time, series.max_blobs
        step, wall_time, most = (
            new if old is None else max(new, old) for new, old in zip(greatest, before, strict=True)
        )
        notes.append({"of": series.name, "step": step, "wall_time": wall_time, "blobs": most})
    if replaced:
        connection.execute(_replace, replaced)
    if rows:
        connection.execute(_insert, rows)
        connection.execute(_note, notes)


def count(connection: Connection, number: int) -> int:
    chosen = sa.select(sa.func.count()).select_from(_points).where(_p.series == number)
    return int(connection.execute(chosen).scalar() or 0)


def spread(connection: Connection, number: int, most: int) -> list[Point]:
    """At most so many points of a series, by step: evenly spread, with the first and the last; of one, the last."""
    there = count(connection, number)
    chosen = sa.select(_p.step, _p.wall_time, _p.value).where(_p.series == number)
    if there > most:
        place = sa.func.row_number().over(order_by=_p.step) - 1
        ranked = chosen.add_columns(place.label("place")).subquery()
        chosen = sa.select(ranked.c.step, ranked.c.wall_time, ranked.c.value)
        if most == 1:
            chosen = chosen.where(ranked.c.place == there - 1)
        else:
            chosen = chosen.where(ranked.c.place * (most - 1) % (there - 1) < most - 1)
        chosen = chosen.order_by(ranked.c.step)
    else:
        chosen = chosen.order_by(_p.step)
    return [Point(row.step, row.wall_time, bytes(row.value)) for row in connection.execute(chosen)]


def walk(
    connection: Connection,
    number: int,
    *,
    by_time: bool = False,
    descending: bool = False,
    after: Sequence[int] | None = None,
) -> Iterator[Point]:
    """The points of a series by step, or by wall time and step, from behind `after`, the same of a point."""
    order = (_p.wall_time, _p.step) if by_time else (_p.step,)
    chosen = sa.select(_p.step, _p.wall_time, _p.value).where(_p.series == number)
    if after is not None:
        place = sa.tuple_(*order)
        chosen = chosen.where(place < tuple(after) if descending else place > tuple(after))
    chosen = chosen.order_by(*(column.desc() if descending else column for column in order))
    for row in connection.execute(chosen):
        yield Point(row.step, row.wall_time, bytes(row.value))


def delete(connection: Connection, name: str) -> None:
    """Removes a series with its points."""
    numbers = sa.select(_s.number).where(_s.name == name)
    connection.execute(sa.delete(_points).where(_p.series.in_(numbers)))
    connection.execute(sa.delete(_series).where(_s.name == name))


def size(connection: Connection, tensorboard: str) -> int:
    """The bytes of all points of a TensorBoard."""
    total = sa.func.sum(sa.func.length(_p.value) + _PER_POINT)
    chosen = sa.select(total).join_from(_points, _series, _p.series == _s.number)
    # "0" comes right behind "/".
    chosen = chosen.where(_s.name > f"{tensorboard}/", _s.name < f"{tensorboard}0")
    return int(connection.execute(chosen).scalar() or 0)


def add_views(connection: Connection, tensorboard: str, month: str, user: str, count: int) -> None:
    where = (_v.tensorboard == tensorboard, _v.month == month, _v.user == user)
    counted = sa.update(_views).where(*where).values(count=_v["count"] + count)
    if not connection.execute(counted).rowcount:
        values = {"tensorboard": tensorboard, "month": month, "user": user, "count": count}
        connection.execute(sa.insert(_views).values(values))


def views_of(connection: Connection, tensorboard: str) -> list[tuple[str, str, int]]:
    """Month (YYYYMM), user and how often that user read."""
    chosen = sa.select(_v.month, _v.user, _v["count"]).where(_v.tensorboard == tensorboard)
    return [(row[0], row[1], int(row[2])) for row in connection.execute(chosen.order_by(_v.month, _v.user))]


def forget_views(connection: Connection, tensorboard: str) -> None:
    connection.execute(sa.delete(_views).where(_v.tensorboard == tensorboard))
