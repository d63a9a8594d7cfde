"""GoogleSQL's dates and times read from texts of their usual form, and shown by format elements: one row at a time in
Python. How texts are read by format elements is `time_parsing`.

https://cloud.google.com/bigquery/docs/reference/standard-sql/format-elements
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})")
_TIME = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2})(?:\.(\d{0,6}))?")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]


def zone_of(name: str) -> timezone | ZoneInfo:
    """
    Raises:
        ValueError: there is no such zone.
    """
    if found := re.fullmatch(r"(?:UTC)?([+-])(\d{1,2})(?::?(\d{2}))?", name):
        minutes = int(found[2]) * 60 + int(found[3] or 0)
        return timezone(timedelta(minutes=-minutes if found[1] == "-" else minutes))
    if name in ("UTC", "Z", "z"):
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"Invalid time zone: {name}") from None


def read_date(text: str) -> date:
    found = _DATE.match(text.strip())
    if not found or (found.end() < len(text.strip()) and not re.match(r"[ Tt]", text.strip()[found.end() :])):
        raise ValueError(f"Invalid date: '{text}'")
    try:
        return date(int(found[1]), int(found[2]), int(found[3]))
    except ValueError:
        raise ValueError(f"Invalid date: '{text}'") from None


def read_time(text: str) -> time:
    return _clock(text)[0]


def _clock(text: str) -> tuple[time, int]:
    """A time of day, and how many days later it is: second 60, a leap second, is the next minute's first."""
    found = _TIME.fullmatch(text.strip())
    try:
        if found:
            hour, minute, second = int(found[1]), int(found[2]), int(found[3])
            leaps = second == 60
            read = time(hour, minute, second - leaps, int((found[4] or "0").ljust(6, "0")))
            later = datetime.combine(date.min, read) + timedelta(seconds=leaps)
            return later.time(), (later.date() - date.min).days
    except ValueError:
        pass
    raise ValueError(f"Invalid time string '{text}'")


def read_datetime(text: str) -> datetime:
    shown = text.strip()
    found = _DATE.match(shown)
    try:
        if found:
            rest = shown[found.end() :]
            day = date(int(found[1]), int(found[2]), int(found[3]))
            if not rest:
                return datetime.combine(day, time())
            if rest[0] in " Tt":
                clock, later = _clock(rest[1:])
                return datetime.combine(day, clock) + timedelta(days=later)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"Invalid datetime string '{text}'")


def read_timestamp(text: str, zone: str) -> datetime:
    shown = text.strip()
    found = re.fullmatch(
        r"(\d{4}-\d{1,2}-\d{1,2}(?:[ Tt]\d{1,2}:\d{1,2}:\d{1,2}(?:\.\d{0,6})?)?)\s*"
        r"([Zz]|(?:UTC)?[+-]\d{1,2}(?::?\d{2})?|[A-Za-z_]+(?:/[A-Za-z_+-]+)*)?",
        shown,
    )
    if not found:
        raise ValueError(f"Invalid timestamp: '{text}'")
    try:
        local = read_datetime(found[1])
    except ValueError:
        raise ValueError(f"Invalid timestamp: '{text}'") from None
    return local.replace(tzinfo=zone_of(found[2] or zone)).astimezone(UTC)


def timestamp_in(text: str, zone: str) -> datetime:
    """TIMESTAMP(text, zone): the text may then have no zone of its own."""
    if re.search(r"(?:[Zz]|[+-]\d{1,2}(?::?\d{2})?|[A-Za-z_]+(?:/[A-Za-z_+-]+)*)$", text.strip()[10:]):
        raise ValueError(f'Timezone is not allowed in "{text}"')
    return read_timestamp(text, zone)


def timestamp_or_number(text: str) -> datetime:
    """As files give it: a text, or seconds since the epoch."""
    if re.fullmatch(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", text.strip()):
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=float(text))
    return read_timestamp(text, "UTC")


def _week(day: date, first: int) -> int:
    """The week of the year that begins on weekday `first` (Monday 0), 0 before the first such day."""
    return (day.timetuple().tm_yday + 6 - (day.weekday() - first) % 7) // 7


_ELEMENTS: dict[str, Callable[[datetime], str]] = {
    "A": lambda x: DAYS[x.weekday()],
    "a": lambda x: DAYS[x.weekday()][:3],
    "B": lambda x: MONTHS[x.month - 1],
    "b": lambda x: MONTHS[x.month - 1][:3],
    "h": lambda x: MONTHS[x.month - 1][:3],
    "C": lambda x: f"{x.year // 100:02d}",
    "c": lambda x: f"{DAYS[x.weekday()][:3]} {MONTHS[x.month - 1][:3]} {x.day:>2} {x:%H:%M:%S} {x.year}",
    "D": lambda x: f"{x.month:02d}/{x.day:02d}/{x.year % 100:02d}",
    "d": lambda x: f"{x.day:02d}",
    "e": lambda x: f"{x.day:>2}",
    "F": lambda x: f"{x.year}-{x.month:02d}-{x.day:02d}",
    "G": lambda x: str(x.isocalendar()[0]),
    "g": lambda x: f"{x.isocalendar()[0] % 100:02d}",
    "H": lambda x: f"{x.hour:02d}",
    "I": lambda x: f"{(x.hour + 11) % 12 + 1:02d}",
    "J": lambda x: f"{(x.isocalendar()[1] - 1) * 7 + x.isoweekday():03d}",
    "j": lambda x: f"{x.timetuple().tm_yday:03d}",
    "k": lambda x: f"{x.hour:>2}",
    "l": lambda x: f"{(x.hour + 11) % 12 + 1:>2}",
    "M": lambda x: f"{x.minute:02d}",
    "m": lambda x: f"{x.month:02d}",
    "n": lambda x: "\n",
    "P": lambda x: "am" if x.hour < 12 else "pm",
    "p": lambda x: "AM" if x.hour < 12 else "PM",
    "Q": lambda x: str((x.month + 2) // 3),
    "R": lambda x: f"{x:%H:%M}",
    "r": lambda x: f"{(x.hour + 11) % 12 + 1:02d}:{x:%M:%S} {'AM' if x.hour < 12 else 'PM'}",
    "S": lambda x: f"{x.second:02d}",
    "T": lambda x: f"{x:%H:%M:%S}",
    "t": lambda x: "\t",
    "U": lambda x: f"{_week(x.date(), 6):02d}",
    "u": lambda x: str(x.isoweekday()),
    "V": lambda x: f"{x.isocalendar()[1]:02d}",
    "W": lambda x: f"{_week(x.date(), 0):02d}",
    "w": lambda x: str(x.isoweekday() % 7),
    "X": lambda x: f"{x:%H:%M:%S}",
    "x": lambda x: f"{x.month:02d}/{x.day:02d}/{x.year % 100:02d}",
    "Y": lambda x: str(x.year),
    "y": lambda x: f"{x.year % 100:02d}",
    "%": lambda x: "%",
}
OF_TIME = frozenset("HIklMPpRrSTXcsZz")
OF_DATE = frozenset("AaBbhCcDdeFGgJjmQUuVWwxYyEs")


def strftime(pattern: str, x: datetime, offset: int, zone: str, kind: str) -> str:
    """`x` is local; `offset` its zone's minutes to UTC. Elements that a DATE or a TIME lacks stay as they are."""

    def shown(found: re.Match[str]) -> str:
        flag, extended, element = found[1], found[2], found[3]
        if (kind == "DATE" and element in OF_TIME) or (
            kind == "TIME" and element in OF_DATE and element != "s"
        ):
            return found[0]
        if kind == "DATETIME" and element in "Zz":
            return found[0]
        if extended:
            if element == "S":
                fraction = f"{x.microsecond:06d}"
                digits = fraction.rstrip("0") if extended == "E*" else fraction[: int(extended[1])]
                return f"{x.second:02d}" + (f".{digits}" if digits else "")
            if element == "Y":
                return f"{x.year:04d}"
            if element == "z" and kind != "DATETIME":
                return _offset(offset, ":")
        if element == "s":
            return str(int((x - timedelta(minutes=offset) - datetime(1970, 1, 1)).total_seconds() // 1))
        if element == "z":
            return _offset(offset, "")
        if element == "Z":
            return "UTC" if offset == 0 and zone == "UTC" else _zone_text(offset)
        made = _ELEMENTS.get(element)
        return _padded(flag, element, made(x)) if made else found[0]

    return re.sub(r"%([-_0]?)(E\*|E\d|E)?([A-Za-z%])", shown, pattern)


def _padded(flag: str, element: str, text: str) -> str:
    """A number as a flag wants it: `-` without what fills it up, `_` filled up by blanks, `0` by zeros."""
    if not flag or element not in _NUMBERS:
        return text
    bare = text.lstrip("0 ") or "0"
    return bare if flag == "-" else bare.rjust(len(text), " " if flag == "_" else "0")


_NUMBERS = frozenset("CdegGHIjklmMSUVWyY")


def _offset(minutes: int, colon: str) -> str:
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}{colon}{abs(minutes) % 60:02d}"


def _zone_text(minutes: int) -> str:
    """`UTC-4`, `UTC+0530`."""
    if not minutes:
        return "UTC"
    sign, hours = "-" if minutes < 0 else "+", abs(minutes) // 60
    return f"UTC{sign}{hours:02d}{abs(minutes) % 60:02d}" if minutes % 60 else f"UTC{sign}{hours}"


TIME_FUNCTIONS: dict[str, tuple[Callable[..., object], list[str], str]] = {
    "date": (read_date, ["VARCHAR"], "DATE"),
    "time": (read_time, ["VARCHAR"], "TIME"),
    "datetime": (read_datetime, ["VARCHAR"], "TIMESTAMP"),
    "timestamp": (read_timestamp, ["VARCHAR", "VARCHAR"], "TIMESTAMPTZ"),
    "timestamp_in": (timestamp_in, ["VARCHAR", "VARCHAR"], "TIMESTAMPTZ"),
    "timestamp_or_number": (timestamp_or_number, ["VARCHAR"], "TIMESTAMPTZ"),
    "strftime": (strftime, ["VARCHAR", "TIMESTAMP", "BIGINT", "VARCHAR", "VARCHAR"], "VARCHAR"),
}
"""By name: what does it, and DuckDB's types of what goes in and comes out."""
