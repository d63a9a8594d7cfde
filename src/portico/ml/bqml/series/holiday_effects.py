"""What each day of a holiday's window adds, where it is significant; and that effect on any other dates."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np

from portico.ml.arrays import Floats
from portico.ml.bqml.series.calendar import DAY, Grid, Times, dates
from portico.ml.bqml.series.holidays import Holiday

_SIGNIFICANT = 3.0  # standard errors
_EPOCH = date(1970, 1, 1).toordinal()

Effects = dict[str, dict[int, float]]  # by holiday, by the offset in time points from its primary date


def applies(grid: Grid, count: int) -> bool:
    """Google models holidays of daily and weekly series that are longer than a year."""
    span = int(grid.at(np.array([count - 1]))[0]) - grid.start
    return grid.frequency in ("DAILY", "WEEKLY") and span > 365 * DAY


def estimate(left: Floats, grid: Grid, holidays: Sequence[Holiday]) -> Effects:
    """Mean effects of what is `left` of the history without trend and seasons, by holiday and day of its window."""
    times = grid.at(np.arange(len(left)))
    scale = 1.4826 * float(np.median(np.abs(left - np.median(left))))
    centre = float(np.median(left))
    effects: Effects = {}
    for name, placed in _placed(holidays, grid, times).items():
        effects[name] = {}
        for offset in sorted(set(placed.values())):
            there = np.array([row for row, place in placed.items() if place == offset])
            mean = float(left[there].mean()) - centre
            if abs(mean) > max(_SIGNIFICANT * scale / np.sqrt(len(there)), 1e-12):
                effects[name][offset] = mean
    return effects


def on(effects: Effects, grid: Grid, holidays: Sequence[Holiday], positions: Times) -> dict[str, Floats]:
    """Each holiday's effect at the grid's positions. Where two of one sign meet, the stronger alone counts, so that
    the sum is Google's: the largest positive and the smallest negative effect."""
    times = grid.at(positions)
    names = list(effects)
    table = np.zeros((len(names), len(times)))
    for number, (name, placed) in enumerate(_placed(holidays, grid, times, names).items()):
        for row, offset in placed.items():
            table[number, row] = effects[name].get(offset, 0.0)
    if names:
        rows = np.arange(len(times))
        kept = np.zeros_like(table)
        for chosen in (table.argmax(0), table.argmin(0)):
            kept[chosen, rows] = table[chosen, rows]
        table = kept
    return dict(zip(names, table, strict=True))


def _placed(
    holidays: Sequence[Holiday], grid: Grid, times: Times, names: Sequence[str] | None = None
) -> dict[str, dict[int, int]]:
    """For each holiday's name the rows inside its windows, and how many time points from the primary date they are.

    A weekly series has the week of the date alone.
    """
    found: dict[str, dict[int, int]] = {name: {} for name in names or ()}
    if not len(times):
        return found
    first, last = dates(times[[0, -1]]).tolist()
    rows = {day: row for row, day in enumerate(dates(times).tolist())}
    weekly = grid.frequency == "WEEKLY"
    for holiday in holidays:
        if names is not None and holiday.name not in found:
            continue
        placed = found.setdefault(holiday.name, {})
        for day in (one.toordinal() - _EPOCH for one in holiday.days):
            if weekly:
                week = day - (day - first) % 7
                if week in rows:
                    placed[rows[week]] = 0
                continue
            if day + holiday.after < first or day - holiday.before > last:
                continue
            for offset in range(-holiday.before, holiday.after + 1):
                if day + offset in rows:
                    placed[rows[day + offset]] = offset
    return found
