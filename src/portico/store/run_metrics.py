"""The values of runs' metrics, all that were ever logged. A metric may have several of a step; the same one that came
twice, as MLflow's client sends those that belong to a model again, is one.

They are rows of a table, so that a write of a thousand is one commit. A run is a number here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.store.tables.metrics import values as _values

_v = _values.c
_insert = sa.insert(_values)
_of_key = (
    sa.select(_v.key, _v.step, _v.time, _v.value)
    .where(_v.run == sa.bindparam("of"), _v.key == sa.bindparam("named"))
    .distinct()
)
_by_time = _of_key.order_by(_v.time, _v.step, _v.value)


@dataclass(frozen=True, slots=True)
class Logged:
    """A value of a metric; `time` in milliseconds since the epoch."""

    key: str
    value: float
    time: int
    step: int


def add(connection: Connection, run: int, first: int, logged: Iterable[Logged]) -> None:
    """Adds values, numbered from `first`, which no value of the run has had yet."""
    rows = [
        {
            "run": run,
            "key": one.key,
            "number": number,
            "step": one.step,
            "time": one.time,
            "value": struct.pack("<d", one.value),
        }
        for number, one in enumerate(logged, first)
    ]
    if rows:
        connection.execute(_insert, rows)


def history(
    connection: Connection, run: int, key: str, *, limit: int | None = None, offset: int = 0
) -> list[Logged]:
    """The values of a run's metric by time and step."""
    chosen = _by_time.offset(offset) if offset else _by_time
    if limit is not None:
        chosen = chosen.limit(limit)
    return [_logged(row) for row in connection.execute(chosen, {"of": run, "named": key})]


def steps(connection: Connection, runs: Sequence[int], key: str, start: int, end: int) -> list[int]:
    """The steps, from `start` to `end`, at which any of these runs has a value."""
    chosen = sa.select(_v.step).where(_v.run.in_(runs), _v.key == key, _v.step.between(start, end))
    return list(connection.execute(chosen.distinct().order_by(_v.step)).scalars())


def at_steps(connection: Connection, run: int, key: str, wanted: Sequence[int]) -> list[Logged]:
    """The values of a run's metric at some steps, by step and time."""
    chosen = _of_key.where(_v.step.in_(wanted)).order_by(_v.step, _v.time, _v.value)
    return [_logged(row) for row in connection.execute(chosen, {"of": run, "named": key})]


def greatest_step(connection: Connection, runs: Sequence[int], key: str) -> Mapping[int, int]:
    """The greatest step of each run that has the metric."""
    chosen = sa.select(_v.run, sa.func.max(_v.step)).where(_v.run.in_(runs), _v.key == key).group_by(_v.run)
    return {int(row[0]): int(row[1]) for row in connection.execute(chosen)}


def forget(connection: Connection, run: int) -> None:
    """Removes all values of a run."""
    connection.execute(sa.delete(_values).where(_v.run == run))


def _logged(row: Any) -> Logged:
    key, step, time, value = row
    return Logged(key, struct.unpack("<d", value)[0], time, step)
