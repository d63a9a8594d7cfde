"""Cron: when the next run of a schedule is, as https://en.wikipedia.org/wiki/Cron says.

Five fields (minute, hour, day of the month, month, day of the week), each `*`, a number, a range or a list of these,
with steps; months and days also by their English names. `CRON_TZ=` or `TZ=` in front names a time zone, else it is UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_YEARS = 41  # 29 February on a given weekday comes at least that often


@dataclass(frozen=True, slots=True)
class Cron:
    """`either_day`: both day fields are restricted, so a day that fits one of them is enough. `any_hour`: the hour
    field begins with `*`, so an hour that a clock shows twice has runs twice."""

    zone: ZoneInfo
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    any_hour: bool

    def next_after(self, seconds: float) -> float | None:
        """The first run after `seconds` since the epoch; None where there is none until the year 9999.

        A time of day that the zone's clocks skip in spring is as much later as they are put forward.
        """
        try:
            first = datetime.fromtimestamp(seconds, self.zone).date()
            for day in self._days_from(first):
                later = [run for run in self._runs(day) if run > seconds]
                if later:
                    return min(later)
        except (OverflowError, ValueError):  # the calendar ends
            pass
        return None

    def _days_from(self, first: date) -> Iterator[date]:
        day, last = first, date(min(first.year + _YEARS, 9999), 12, 31)
        while day < last:
            if day.month not in self.months:
                day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
                continue
            of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
            if (of_month or of_week) if self.either_day else (of_month and of_week):
                yield day
            day += timedelta(days=1)

    def _runs(self, day: date) -> Iterator[float]:
        for hour in self.hours:
            for minute in self.minutes:
                for fold in (0, 1) if self.any_hour else (0,):
                    yield datetime.combine(day, time(hour, minute, fold=fold), self.zone).timestamp()


def parse(text: str) -> Cron:
    """
    Raises:
        ValueError: saying which field is wrong.
    """
    fields = text.split()
    zone = ZoneInfo("UTC")
    if fields and fields[0].startswith(("TZ=", "CRON_TZ=")):
        name = fields.pop(0).partition("=")[2]
        try:
            zone = ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"the time zone {name!r} is not in the IANA time zone database") from None
    if len(fields) != 5:
        raise ValueError(
            f"{text!r} has {len(fields)} fields; it needs 5: minute, hour, day of the month, month, day of the week"
        )
    minute, hour, day, month, weekday = fields
    found = Cron(
        zone,
        minutes=_field(minute, "minute", 0, 59),
        hours=_field(hour, "hour", 0, 23),
        days=_field(day, "day of the month", 1, 31),
        months=_field(month, "month", 1, 12, _MONTHS),
        weekdays=frozenset(n % 7 for n in _field(weekday, "day of the week", 0, 7, _WEEKDAYS)),
        either_day=not (day.startswith("*") or weekday.startswith("*")),
        any_hour=hour.startswith("*"),
    )
    if found.next_after(datetime(2000, 1, 1, tzinfo=UTC).timestamp()) is None:
        raise ValueError(f"{text!r} has no run: there is no such day")
    return found


def _field(text: str, what: str, low: int, high: int, names: tuple[str, ...] = ()) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        step = _number(step_text, what, 1, high, ()) if slash else 1
        if span == "*":
            first, last = low, high
        else:
            start, dash, end = span.partition("-")
            first = _number(start, what, low, high, names)
            # "5/15" is "5-59/15", as everywhere.
            last = _number(end, what, low, high, names) if dash else high if slash else first
        if last < first:
            raise ValueError(f"the {what} {part!r} ends before it begins")
        found.update(range(first, last + 1, step))
    return frozenset(found)


def _number(text: str, what: str, low: int, high: int, names: tuple[str, ...]) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + (low if len(names) == 12 else 0)
    if not (text.isascii() and text.isdigit()) or not low <= int(text) <= high:
        raise ValueError(f"the {what} {text!r} is not in {low} to {high}")
    return int(text)
