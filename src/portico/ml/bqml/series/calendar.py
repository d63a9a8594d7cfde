"""Time points: the frequency of a series, its even grid, and the calendar's cycles on it. All times are µs, UTC."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from portico.ml.arrays import Floats, Mask
from portico.ml.errors import DataError

Times = NDArray[np.int64]

MINUTE = 60 * 1_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
FIXED = {"PER_MINUTE": MINUTE, "HOURLY": HOUR, "DAILY": DAY, "WEEKLY": 7 * DAY}
MONTHS = {"MONTHLY": 1, "QUARTERLY": 3, "YEARLY": 12}
FREQUENCIES = (*FIXED, *MONTHS)
CYCLES = ("DAILY", "WEEKLY", "MONTHLY", "QUARTERLY", "YEARLY")
LONGEST = 500_000  # time points of a series; Google's limit
_NEARLY = 0.95  # of a unit is taken for the unit: clocks are not exact
_LARGEST = 1e100  # whose squares can still be summed


@dataclass(frozen=True)
class Grid:
    """Time point k is `start` + k steps; a step is `every` units of `frequency`.

    Months keep `day` of the month (or the month's last, where it has no such day) and the time of the day of `start`.
    """

    frequency: str
    start: int
    every: int = 1
    day: int = 1

    def at(self, positions: Times) -> Times:
        if self.frequency in FIXED:
            return self.start + positions * (FIXED[self.frequency] * self.every)
        months = _month(np.array([self.start]))[0] + positions * MONTHS[self.frequency] * self.every
        first = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
        length = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) - first
        return np.asarray((first + np.minimum(self.day, length) - 1) * DAY + self.start % DAY)

    def positions(self, times: Times) -> Times:
        """The time point nearest to each time; of months, the one at or before it."""
        if self.frequency in FIXED:
            return np.asarray((times - self.start + self.step // 2) // self.step)
        months = _month(times) - _month(np.array([self.start]))[0]
        return np.asarray(months // (MONTHS[self.frequency] * self.every))

    @property
    def step(self) -> int:
        """A step in µs; 0 where months make it uneven."""
        return FIXED.get(self.frequency, 0) * self.every


def even(times: Times, data: Floats, frequency: str) -> tuple[Grid, Floats]:
    """The series on its grid: several values at a time point are averaged, missing ones are NaN.

    `times` in any order; values that are no finite numbers count as missing.

    Raises:
        DataError: fewer than 3 time points with data, points finer than `frequency` or a minute, too many points, or
            values that are too large.
    """
    known = np.isfinite(data)
    times, data = times[known], data[known]
    distinct = np.unique(times)
    if len(distinct) < 3:
        raise DataError(
            f"Invalid time series: it has {len(distinct)} time points with data; at least 3 are needed."
        )
    if np.abs(data).max() > _LARGEST:
        raise DataError(f"Invalid time series: it has values beyond ±{_LARGEST:g}. Use a larger unit.")
    grid = _grid(distinct, frequency)
    positions = grid.positions(times)
    count = int(positions.max()) + 1
    if count > LONGEST:
        raise DataError(
            f"Invalid time series: from its first to its last time point it has {count} points at the frequency "
            f"{grid.frequency}; the limit is {LONGEST}. Use fewer years, or a coarser DATA_FREQUENCY."
        )
    sums = np.bincount(positions, data, count)
    hits = np.bincount(positions, minlength=count)
    with np.errstate(invalid="ignore"):
        return grid, np.where(hits > 0, sums / hits, np.nan)


def filled(data: Floats) -> Floats:
    """Missing values between known ones by linear interpolation, at the ends by the nearest known one."""
    missing = ~np.isfinite(data)
    if not missing.any():
        return data
    where = np.arange(len(data))
    full = data.copy()
    full[missing] = np.interp(where[missing], where[~missing], data[~missing])
    return full


def dates(times: Times) -> NDArray[np.int64]:
    """Days since 1970-01-01."""
    return times // DAY


def cycle(name: str, grid: Grid, times: Times) -> tuple[Times, Mask, int] | None:
    """Where each time stands in a calendar cycle: slots, which of them are regular, and how many slots a cycle has.

    Regular slots follow each other without a gap, cycle after cycle. What a longer month or year has more than that
    (29 to 31 in a month, 29 February) is irregular, and goes with the regular slot before it. None: this cycle is
    not longer than a step of the grid, or does not consist of whole steps.
    """
    if grid.frequency in ("PER_MINUTE", "HOURLY"):
        length = {"DAILY": DAY, "WEEKLY": 7 * DAY}.get(name, 0)
        return None if not length or length % grid.step else _clockwork(times, grid.step, length)
    if grid.every > 1 and grid.frequency == "DAILY":
        return None
    if grid.frequency == "DAILY" and name == "WEEKLY":
        return _clockwork(times, DAY, 7 * DAY)
    if grid.frequency in ("DAILY", "WEEKLY"):
        return _in_days(name, 1 if grid.frequency == "DAILY" else 7, times)
    return _in_months(name, MONTHS[grid.frequency] * grid.every, times)


def _clockwork(times: Times, step: int, length: int) -> tuple[Times, Mask, int]:
    return (times % length) // step, np.ones(len(times), bool), length // step


def _in_days(name: str, days: int, times: Times) -> tuple[Times, Mask, int] | None:
    """Slots of a month, quarter or year in days or weeks; leap days are no slots of their own."""
    day = dates(times).astype("datetime64[D]")
    if name == "YEARLY":
        first = day.astype("datetime64[Y]").astype("datetime64[D]")
        offset = (day - first).astype(np.int64)
        if days == 1:
            year = day.astype("datetime64[Y]")
            leap = ((year + 1).astype("datetime64[D]") - year.astype("datetime64[D]")).astype(np.int64) == 366
            extra = leap & (offset == 59)
            slot = offset - (leap & (offset >= 59))
            return np.where(extra, 58, slot), ~extra, 365
        slot = offset // 7
        return np.minimum(slot, 51), slot < 52, 52
    month = day.astype("datetime64[M]")
    if name == "QUARTERLY":
        number = month.astype(np.int64)
        first = (number - number % 3).astype("datetime64[M]").astype("datetime64[D]")
        length = 90 // days
    elif name == "MONTHLY" and days == 1:
        first, length = month.astype("datetime64[D]"), 28
    else:
        return None
    slot = (day - first).astype(np.int64) // days
    return np.minimum(slot, length - 1), slot < length, length


def _in_months(name: str, step: int, times: Times) -> tuple[Times, Mask, int] | None:
    months = {"QUARTERLY": 3, "YEARLY": 12}.get(name, 0)
    if months <= step or months % step:
        return None
    slot = (_month(times) % months) // step
    return slot, np.ones(len(times), bool), months // step


def _grid(times: Times, frequency: str) -> Grid:
    """The grid of sorted, distinct times. AUTO_FREQUENCY goes by the median interval, and by its smallest multiple."""
    gaps = np.diff(times)
    asked = frequency
    typical = int(np.median(gaps))
    if frequency == "AUTO_FREQUENCY":
        if typical < _NEARLY * MINUTE:
            raise DataError(
                "Invalid time series: its time points are less than a minute apart; the finest supported frequency "
                "is PER_MINUTE. Aggregate the data by minute or longer."
            )
        frequency = _inferred(typical)
    start = int(times[0])
    if frequency in MONTHS:
        day = dates(times).astype("datetime64[D]")
        grid = Grid(
            frequency,
            start,
            day=int((day - day.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64).max()) + 1,
        )
    else:
        every = 1
        if asked == "AUTO_FREQUENCY" and frequency in ("PER_MINUTE", "HOURLY"):
            units = gaps // FIXED[frequency]
            every = int(np.gcd.reduce(units)) if not (gaps % FIXED[frequency]).any() else 1
        grid = Grid(frequency, start, every)
    if asked != "AUTO_FREQUENCY" and len(np.unique(grid.positions(times))) < len(times):
        raise DataError(
            "Invalid time series: All input time intervals must be no less than the interval unit specified by "
            f"data_frequency ({frequency})."
        )
    return grid


def _inferred(typical: int) -> str:
    bounds = {
        "PER_MINUTE": HOUR,
        "HOURLY": DAY,
        "DAILY": 7 * DAY,
        "WEEKLY": 28 * DAY,
        "MONTHLY": 89 * DAY,
        "QUARTERLY": 365 * DAY,
    }
    return next((name for name, below in bounds.items() if typical < _NEARLY * below), "YEARLY")


def _month(times: Times) -> Times:
    return dates(times).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
