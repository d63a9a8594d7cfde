"""PARSE_DATE and its like: what a text says by GoogleSQL's format elements, one row at a time in Python.

https://cloud.google.com/bigquery/docs/reference/standard-sql/format-elements. Elements count in their order: of two
that say the same the later one holds, and a month or a day behind a week is one of its date's. As in Google's
evaluator, ISO years hold only where nothing else of a date is said, and a weekday chooses none of a week's days.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from portico.warehouse.time_functions import DAYS, MONTHS, OF_DATE, OF_TIME, zone_of

_WHOLE = {
    "F": "%Y-%m-%d", "T": "%H:%M:%S", "R": "%H:%M", "D": "%m/%d/%y", "x": "%m/%d/%y", "X": "%H:%M:%S",
    "r": "%I:%M:%S %p", "c": "%a %b %e %H:%M:%S %Y", "n": " ", "t": " ",
}  # fmt: skip
_NUMBERS = {  # digits, least and greatest
    "Y": (4, 0, 9999), "m": (2, 1, 12), "d": (2, 1, 31), "e": (2, 1, 31), "H": (2, 0, 23), "k": (2, 0, 23),
    "I": (2, 1, 12), "l": (2, 1, 12), "M": (2, 0, 59), "S": (2, 0, 60), "y": (2, 0, 99), "j": (3, 1, 366),
    "C": (2, 0, 99), "U": (2, 0, 53), "W": (2, 0, 53), "V": (2, 1, 53), "w": (1, 0, 6), "Q": (1, 1, 4),
    "G": (4, 0, 9999), "g": (2, 0, 99), "J": (3, 1, 371), "s": (12, -(10**12), 10**12),
}  # fmt: skip
_ZONE = re.compile(r"[Zz](?![A-Za-z])|(?:UTC)?[+-]\d{1,2}(?::?\d{2})?|[A-Za-z_]+(?:/[A-Za-z_]+)*")
_PIECES = re.compile(r"%(E\*|E\d|E)?([A-Za-z%])|(\s+|.)", re.DOTALL)

Said = list[tuple[str, int]]
"""Elements and what they say, in their order."""


@functools.lru_cache(256)
def _pieces(pattern: str, kind: str) -> list[tuple[str, str, str]]:
    """
    Raises:
        ValueError: the pattern is none for this type.
    """
    unfit = {"DATE": OF_TIME | {"s"}, "TIME": OF_DATE, "DATETIME": frozenset("zZ")}.get(kind, frozenset())
    shown = pattern.replace("%%", "")
    if shown.endswith("%"):
        raise ValueError("Format string cannot end with a single '%'")
    for wrong in re.finditer(r"%(?:E\*|E\d|E)?([A-Za-z])", shown):
        if wrong[1] in unfit:
            raise ValueError(f"Invalid format: {wrong[0]} is not allowed for the {kind} type.")
    plain = re.sub(r"%([%FTRDxXrcnt])", lambda found: _WHOLE.get(found[1], found[0]), pattern)
    return _PIECES.findall(plain)


def strptime(pattern: str, text: str, kind: str, zone: str) -> datetime:
    """What `text` says by `pattern`, in UTC for a TIMESTAMP.

    Raises:
        ValueError: it says something else.
    """
    said: Said = []
    where: timezone | ZoneInfo | None = None
    rest = text.strip()
    failure = ValueError(f'Failed to parse input string "{text}"')
    for extended, element, literal in _pieces(pattern, kind):
        if literal.isspace():
            rest = rest.lstrip()
            continue
        if literal or element == "%":
            if not rest.startswith(literal or "%"):
                raise failure
            rest = rest[1:]
        elif element in "zZ":
            if not (zoned := _ZONE.match(rest)):
                raise failure
            where, rest = zone_of(zoned[0]), rest[zoned.end() :]
        elif (found := _read(rest, extended, element)) is not None:
            value, length = found
            said.append((element, value))
            rest = rest[length:]
            if element == "S" and extended and (fraction := _fraction(rest, extended)):
                said.append(("f", int(fraction[1][:6].ljust(6, "0"))))
                rest = rest[fraction.end() :]
        elif element in _NUMBERS or element in "aAbBhpP":
            raise failure
        else:
            raise ValueError(f"Unsupported format element: %{extended}{element}")
    if rest.strip():
        raise ValueError(f"Illegal non-space trailing data '{rest}' in string \"{text}\"")
    return _made(said, where or zone_of(zone), kind, failure)


def _read(rest: str, extended: str, element: str) -> tuple[int, int] | None:
    """What an element says at the beginning of a text, and how long it is there."""
    if element in "aAbBh":
        names = DAYS if element in "aA" else MONTHS
        for number, name in enumerate(names, 1):
            for shown in (name, name[:3]):
                if rest.lower().startswith(shown.lower()):
                    return number, len(shown)
        return None
    if element in "pP":
        return (int(rest[:2].lower() == "pm"), 2) if rest[:2].lower() in ("am", "pm") else None
    if element not in _NUMBERS:
        return None
    digits, least, greatest = _NUMBERS[element]
    pattern = r"[+-]?\d{1,12}" if element == "s" else rf"\d{{{4 if extended == 'E4' else 1},{digits}}}"
    if not (found := re.match(pattern, rest)) or not least <= int(found[0]) <= greatest:
        return None
    return int(found[0]), found.end()


def _fraction(rest: str, extended: str) -> re.Match[str] | None:
    digits = extended[1]
    if digits == "0":
        return None
    return re.match(r"\.(\d{1,9})" if digits == "*" else rf"\.(\d{{1,{digits}}})", rest)


def _made(said: Said, where: timezone | ZoneInfo, kind: str, failure: ValueError) -> datetime:
    last = dict(said)
    if "s" in last:
        return datetime(1970, 1, 1) + timedelta(seconds=last["s"])
    try:
        year, month, day = _date(said)
        leaps = last.get("S") == 60  # the next minute's first second
        found = datetime(
            year, month, day, _hour(said), last.get("M", 0), 59 if leaps else last.get("S", 0), 0
        ) + timedelta(seconds=leaps, microseconds=0 if leaps else last.get("f", 0))
    except OverflowError:
        raise failure from None
    if kind == "TIMESTAMP":
        return found.replace(tzinfo=where).astimezone(UTC).replace(tzinfo=None)
    return found


def _hour(said: Said) -> int:
    hour, half, of_half = 0, False, 0
    for element, value in said:
        if element in "HkIl":
            hour, half = value, element in "Il"
        elif element in "pP":
            of_half = value
    return hour % 12 + 12 * of_half if half else hour


def _year(said: Said) -> int:
    year, century, of_century = 1970, None, None
    for element, value in said:
        if element == "Y":
            year = value
        elif element == "y":
            of_century = value
            year = value + (century * 100 if century is not None else 1900 if value >= 69 else 2000)
        elif element == "C":
            century = value
            year = value * 100 + (of_century or 0)
    return year


def _date(said: Said) -> tuple[int, int, int]:
    """
    Raises:
        ValueError: there is no such date.
    """
    names = {element for element, _ in said}
    if names & set("Gg") and not names & set("YyCmdebBhjUWQ"):
        first = _iso(said)
        return first.year, first.month, first.day
    year, month, day = _year(said), 1, 1
    weeks = names & set("UW") and "j" not in names
    if weeks and names & set("aAw"):
        raise ValueError("Weekday parse elements are not supported yet")
    for element, value in said:
        if element in "mbBh":
            month = value
        elif element in "de":
            day = value
        elif element == "Q":
            month, day = value * 3 - 2, 1
        elif element == "j" or (element in "UW" and weeks):
            found = _day(year, value) if element == "j" else _week(year, value, element)
            year, month, day = found.year, found.month, found.day
    try:
        date(year, month, day)
    except ValueError:
        raise ValueError("Out-of-range datetime field in parsing function") from None
    return year, month, day


def _day(year: int, number: int) -> date:
    days = (date(year, 12, 31) - date(year, 1, 1)).days + 1
    if number > days:
        raise ValueError(f"Year {year} has {days} days, but the specified day of year was {number}")
    return date(year, 1, 1) + timedelta(days=number - 1)


def _week(year: int, number: int, element: str) -> date:
    """The first day of a week: Sunday of %U, Monday of %W; week 1 is the first that begins within the year."""
    first = date(year, 1, 1)
    begins = first + timedelta(days=((6 if element == "U" else 0) - first.weekday()) % 7 + 7 * (number - 1))
    if begins > date(year, 12, 31) or begins + timedelta(days=6) < first:
        raise ValueError(f"Week number {number} is invalid for year {year}")
    return begins


def _iso(said: Said) -> date:
    last = dict(said)
    if "V" in last:
        raise ValueError("ISO parse elements are not supported yet")
    year = last["G"] if "G" in last else last["g"] + (1900 if last["g"] >= 69 else 2000)
    first, number = date.fromisocalendar(year, 1, 1), last.get("J", 1)
    days = (date.fromisocalendar(year + 1, 1, 1) - first).days
    if number > days:
        raise ValueError(f"ISO Year {year} has {days} days, but the specified day of year was {number}")
    return first + timedelta(days=number - 1)


PARSING_FUNCTIONS: dict[str, tuple[Callable[..., object], list[str], str]] = {
    "strptime": (strptime, ["VARCHAR", "VARCHAR", "VARCHAR", "VARCHAR"], "TIMESTAMP"),
}
"""By name: what does it, and DuckDB's types of what goes in and comes out."""
