"""The rows of a table as series on an even grid of steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from portico.ml import arrays, values
from portico.ml.arrays import Column, Floats, Mask
from portico.ml.errors import DataError
from portico.ml.forecast.spec import ForecastSpec

Ints = NDArray[np.int64]
_SECONDS = {"minute": 60, "hour": 3600, "day": 86_400}
_SPARSE = 30  # so many steps a row are no series any more


@dataclass(slots=True)
class Panel:
    """Each series has a run of slots, one a step from its first row to its last.

    `row` (slots,) is the table's row that is there, -1 where there is none; `start` (slots,) the first slot of the
    slot's series, `series` (slots,) its number among `names`; `time` (slots,) seconds since the epoch, in gaps counted
    on from the row before. `slot` (rows,) is where each row of the table is, -1 for those in `bad` (why, by row) and
    those that a later row of the same step stands for (`replaced`).
    """

    row: Ints
    start: Ints
    series: Ints
    time: Floats
    names: list[str]
    slot: Ints
    bad: dict[int, str]
    replaced: int

    def of_slots(self, cells: Floats) -> Floats:
        """`cells` (rows,) as (slots,): NaN in gaps."""
        return np.where(self.row >= 0, cells[np.maximum(self.row, 0)], np.nan)


def read_panel(table: pa.Table, spec: ForecastSpec, strict: bool = False) -> Panel:
    """`strict` is for training: what can't be read is an error then, and no bad row.

    Raises:
        DataError: a column is absent; `strict`, and a row has no time or series, or stands for the same step as another
            and the spec is not lenient; the rows are too far apart for their granularity.
    """
    for name in (spec.time, spec.series):
        if name not in table.column_names:
            raise DataError(f"the data have no column {name!r}", field=name)
    times, wrong_time = _times(table[spec.time], spec, strict)
    codes, names, unnamed = _series(table[spec.series])
    bad = dict.fromkeys(np.flatnonzero(wrong_time).tolist(), f"the time column {spec.time!r} holds no time")
    for row in np.flatnonzero(unnamed).tolist():
        bad.setdefault(row, f"the column {spec.series!r}, which names the series, is empty")
    if strict and bad:
        row = min(bad)
        raise DataError(bad[row], field=spec.time if wrong_time[row] else spec.series, row=row)
    good = np.ones(len(codes), bool)
    good[list(bad)] = False
    rows = np.flatnonzero(good)
    steps = _steps(times[rows], codes[rows], spec)
    order = np.lexsort((rows, steps, codes[rows]))
    rows, steps = rows[order], steps[order]
    same = np.zeros(len(rows), bool)
    same[:-1] = (codes[rows][:-1] == codes[rows][1:]) & (steps[:-1] == steps[1:])
    if same.any() and not spec.lenient:
        _refuse_twice(table, spec, codes, rows, same, bad, strict)
        kept = ~np.isin(codes[rows], np.unique(codes[rows][same]))
        same[:] = False
        rows, steps = rows[kept], steps[kept]
        same = same[kept]
    replaced = int(same.sum())
    rows, steps = rows[~same], steps[~same]
    return _laid_out(rows, steps, codes, times, names, bad, replaced, len(codes), spec)


def _refuse_twice(
    table: pa.Table,
    spec: ForecastSpec,
    codes: Ints,
    rows: Ints,
    same: Mask,
    bad: dict[int, str],
    strict: bool,
) -> None:
    row = int(rows[np.flatnonzero(same)[0]])
    words = (
        f"the series {table[spec.series][row].as_py()!r} has several rows for the {spec.unit} of "
        f"{table[spec.time][row].as_py()}"
    )
    if strict:
        raise DataError(
            f"{words}; leave one of them, choose a finer granularity, or set validationOptions to ignore-validation "
            "to let the last count",
            field=spec.time,
            row=row,
        )
    twice = np.isin(codes, np.unique(codes[rows[same]]))
    for at in np.flatnonzero(twice).tolist():
        bad.setdefault(at, f"{words}: a series with duplicate times is not forecast")


def _laid_out(
    rows: Ints, steps: Ints, codes: Ints, times: Floats, names: list[str], bad: dict[int, str], replaced: int,
    total: int, spec: ForecastSpec,
) -> Panel:  # fmt: skip
    owners = codes[rows]
    first = np.flatnonzero(np.diff(owners, prepend=-1) != 0)
    last = np.append(first[1:], len(rows)) - 1 if len(first) else first
    lengths = steps[last] - steps[first] + 1
    slots = int(lengths.sum())
    if slots > _SPARSE * len(rows) + 10_000:
        raise DataError(
            f"the time column {spec.time!r} has {len(rows):,} rows for {slots:,} steps of {spec.count} {spec.unit}: "
            "check dataGranularity, and for times that are far from all others",
            field=spec.time,
        )
    begins = np.cumsum(lengths) - lengths
    counts = np.diff(np.append(first, len(rows)))
    slot = np.repeat(begins, counts) + steps - np.repeat(steps[first], counts)
    row = np.full(slots, -1, np.int64)
    row[slot] = rows
    back = np.full(total, -1, np.int64)
    back[rows] = slot
    time = np.zeros(slots)
    time[slot] = times[rows]
    before = np.maximum.accumulate(np.where(row >= 0, np.arange(slots), 0))
    gaps = np.flatnonzero(row < 0)
    time[gaps] = _later(time[before[gaps]], gaps - before[gaps], spec)
    start, series = np.repeat(begins, lengths), np.repeat(owners[first], lengths)
    return Panel(row, start, series, time, names, back, bad, replaced)


def _later(times: Floats, steps: Ints, spec: ForecastSpec) -> Floats:
    """What is so many steps later; of months and years on the same day, or the 28th."""
    if spec.unit in _SECONDS or spec.unit == "week":
        return times + steps * (_SECONDS.get(spec.unit, 7 * 86_400) * spec.count)
    months = np.floor(times / 86_400).astype(np.int64).astype("datetime64[D]").astype("datetime64[M]")
    began, later = (
        one.astype("datetime64[D]").astype(np.int64) * 86_400.0
        for one in (months, months + steps * (12 if spec.unit == "year" else 1))
    )
    return np.asarray(later + np.minimum(times - began, 27 * 86_400))


def _times(column: Column, spec: ForecastSpec, strict: bool) -> tuple[Floats, Mask]:
    pattern = spec.wish(spec.time).time_format
    times, errors, _ = arrays.distinct(column, lambda cell: _moment(cell, pattern, spec.unit), 1)
    if strict and errors:
        raise DataError(f"the time column {spec.time!r}: {errors[0]}", field=spec.time)
    return times, ~np.isfinite(times)


def _moment(cell: Any, pattern: str, unit: str) -> float:
    """As `values.timestamp`, and a bare year where the unit is one."""
    text = str(cell).strip()
    if unit == "year" and not pattern and len(text) == 4 and text.isdigit():
        cell = f"{text}-01-01"
    return values.timestamp(cell, pattern)


def _series(column: Column) -> tuple[Ints, list[str], Mask]:
    codes, cells = arrays.factorize(column)
    known: dict[str, int] = {}
    relabel = np.full(len(cells), -1, np.int64)
    for position, cell in enumerate(cells):
        try:
            name = values.category(cell)
        except ValueError:
            name = None
        if name is not None:
            relabel[position] = known.setdefault(name, len(known))
    found = relabel[codes]
    return found, list(known), found < 0


def _steps(times: Floats, codes: Ints, spec: ForecastSpec) -> Ints:
    """The step of each time; of weeks they are counted from the first of the series, whatever its day of the week."""
    if spec.unit in _SECONDS:
        return np.floor(times / (_SECONDS[spec.unit] * spec.count) + 1e-9).astype(np.int64)
    days = np.floor(times / 86_400).astype(np.int64)
    if spec.unit == "week":
        first = np.full(int(codes.max(initial=-1)) + 1, np.iinfo(np.int64).max)
        np.minimum.at(first, codes, days)
        return np.asarray(np.rint((days - first[codes]) / 7), np.int64)
    dated = days.astype("datetime64[D]")
    form = "datetime64[M]" if spec.unit == "month" else "datetime64[Y]"
    return dated.astype(form).astype(np.int64)
