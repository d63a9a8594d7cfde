"""Which holidays there are: those of a region by rule, and the user's own.

Names and windows are those of Google's published table of the US (2022 to 2023); the dates follow from the rules by
which they are kept. GLOBAL has those of them that are kept in most countries on the same day. Other regions of
Google's have no table here, and are refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

import pyarrow as pa

from portico.ml.bqml.options import NotBuilt
from portico.ml.bqml.series.columns import is_text
from portico.ml.errors import DataError

MONDAY, THURSDAY, SUNDAY = 0, 3, 6
_CODES = (  # Google's
    "GLOBAL NA JAPAC EMEA LAC AE AR AT AU BE BR CA CH CL CN CO CZ DE DK DZ EC EE EG ES FI FR GB GR HK HU "
    "ID IE IL IN IR IT JP KR LV MA MX MY NG NL NO NZ PE PH PK PL PT RO RS RU SA SE SG SI SK TH TR TW UA "
    "US VE VN ZA "
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,280}")
_MOST_ROWS, _MOST_NAMES, _WIDEST = 50_000, 500, 30


@dataclass(frozen=True)
class Holiday:
    """A holiday's days (each its primary date) in a span of years, and the window around each that may feel it."""

    region: str
    name: str
    days: tuple[date, ...]
    before: int
    after: int


def check_regions(regions: Sequence[str]) -> tuple[str, ...]:
    """The regions, if all are known here.

    Raises:
        DataError: a region that Google does not have. NotBuilt: one that has no table here.
    """
    for region in regions:
        if region not in _CODES.split():
            raise DataError(
                f"HOLIDAY_REGION {region!r} is no holiday region; US or GLOBAL are.", field="HOLIDAY_REGION"
            )
        if region not in _TABLES:
            raise NotBuilt(
                f"HOLIDAY_REGION {region!r} is not built: holidays are known for {' and '.join(sorted(_TABLES))}. "
                "Give this region's as a custom_holiday query instead.",
                field="HOLIDAY_REGION",
            )
    return tuple(regions)


def built_in(regions: Sequence[str], years: range) -> list[Holiday]:
    """The regions' holidays with their dates in `years`."""
    return [
        Holiday(region, name, tuple(day for year in years if (day := rule(year)) is not None), before, after)
        for region in regions
        for name, (rule, before, after) in _TABLES[region].items()
    ]


def custom(table: pa.Table) -> list[Holiday]:
    """The user's own, from a query's rows: region, holiday_name, primary_date, and the optional window's two ends.

    Raises:
        DataError: a column that is missing or of another type, a window that is too wide or differs, an overlap.
    """
    if table.num_rows > _MOST_ROWS:
        raise DataError(f"custom_holiday has {table.num_rows} rows; it may have {_MOST_ROWS}.")
    found: dict[tuple[str, str], tuple[list[date], int, int]] = {}
    for region, name, day, before, after in _rows(table):
        days, *window = found.setdefault((region, name), ([], before, after))
        if window != [before, after]:
            raise DataError(f"custom_holiday has different windows for the holiday {name!r}; give it one.")
        days.append(day)
    if len({name for _, name in found}) > _MOST_NAMES:
        raise DataError(f"custom_holiday has more than {_MOST_NAMES} different holidays.")
    holidays = []
    for (region, name), (days, before, after) in found.items():
        days = sorted(set(days))
        for one, next_one in pairwise(days):
            if (next_one - one).days <= before + after:
                raise DataError(
                    f"custom_holiday: two occurrences of {name!r}, {one} and {next_one}, overlap within its window."
                )
        holidays.append(Holiday(region, name, tuple(days), before, after))
    return holidays


def merged(regular: Sequence[Holiday], own: Sequence[Holiday]) -> list[Holiday]:
    """A custom holiday takes the place of the region's of the same name, in the years for which it has dates."""
    by_key = {(holiday.region, holiday.name): holiday for holiday in own}
    kept = []
    for holiday in regular:
        other = by_key.pop((holiday.region, holiday.name), None)
        if other is not None:
            years = {day.year for day in other.days}
            days = [*other.days, *(day for day in holiday.days if day.year not in years)]
            holiday = Holiday(other.region, other.name, tuple(sorted(days)), other.before, other.after)
        kept.append(holiday)
    return kept + list(by_key.values())


def _rows(table: pa.Table) -> Iterator[tuple[str, str, date, int, int]]:
    columns = {name.lower(): table.column(position) for position, name in enumerate(table.column_names)}
    kinds = {
        "region": (is_text, "STRING"),
        "holiday_name": (is_text, "STRING"),
        "primary_date": (pa.types.is_date, "DATE"),
        "preholiday_days": (pa.types.is_integer, "INT64"),
        "postholiday_days": (pa.types.is_integer, "INT64"),
    }
    for name, (is_kind, word) in kinds.items():
        if name not in columns:
            if not name.endswith("holiday_days"):
                raise DataError(f"custom_holiday must have a column {name} of type {word}.", field=name)
            continue
        if not is_kind(columns[name].type):
            raise DataError(f"custom_holiday's {name} must be {word}.", field=name)
    count = table.num_rows
    for region, name, day, before, after in zip(
        *(columns[key].to_pylist() if key in columns else [None] * count for key in kinds), strict=True
    ):
        if region is None or name is None or day is None:
            raise DataError("custom_holiday has a row whose region, holiday_name or primary_date is NULL.")
        if not _NAME.fullmatch(name):
            raise DataError(
                f"custom_holiday's holiday_name {name!r} is no column name: letters, digits and _ only."
            )
        before, after = (1 if end is None else end for end in (before, after))
        if before < 1 or after < 1 or before + after > _WIDEST:
            raise DataError(
                f"custom_holiday's window for {name!r} must be 1 day or more on each side, and {_WIDEST} in all."
            )
        yield region, name, day, before, after


def easter(year: int) -> date:
    """Easter Sunday of the western churches (Meeus, Jones and Butcher)."""
    a, b, c = year % 19, year // 100, year % 100
    d, e = divmod(b, 4)
    g = (b - (b + 8) // 25 + 1) // 3
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    shift = (32 + 2 * e + 2 * i - h - k) % 7
    m = (a + 11 * h + 22 * shift) // 451
    month, day = divmod(h + shift - 7 * m + 114, 31)
    return date(year, month, day + 1)


def _on(month: int, day: int, since: int = 0) -> _Rule:
    return lambda year: date(year, month, day) if year >= since else None


def _nth(month: int, weekday: int, n: int) -> _Rule:
    """The n-th weekday of a month; -1 is the last."""

    def rule(year: int) -> date:
        if n < 0:
            last = date(year + month // 12, month % 12 + 1, 1) - timedelta(1)
            return last - timedelta((last.weekday() - weekday) % 7)
        first = date(year, month, 1)
        return first + timedelta((weekday - first.weekday()) % 7 + 7 * (n - 1))

    return rule


def _saving_starts(year: int) -> date | None:
    return (_nth(3, SUNDAY, 2) if year >= 2007 else _nth(4, SUNDAY, 1))(year)  # Energy Policy Act of 2005


def _saving_ends(year: int) -> date | None:
    return (_nth(11, SUNDAY, 1) if year >= 2007 else _nth(10, SUNDAY, -1))(year)


def _superbowl(year: int) -> date | None:
    if year >= 2022:
        return _nth(2, SUNDAY, 2)(year)  # since the season has 17 games
    return (_nth(2, SUNDAY, 1) if year >= 2004 or year == 2002 else _nth(1, SUNDAY, -1))(year)


_Rule = Callable[[int], "date | None"]
_US: dict[str, tuple[_Rule, int, int]] = {
    "Christmas": (_on(12, 25), 10, 1),
    "MothersDay": (_nth(5, SUNDAY, 2), 6, 1),
    "NewYear": (_on(1, 1), 5, 3),
    "DaylightSavingEnd": (_saving_ends, 1, 1),
    "DaylightSavingStart": (_saving_starts, 1, 1),
    "Thanksgiving": (_nth(11, THURSDAY, 4), 3, 5),
    "Valentine": (_on(2, 14), 3, 1),
    "EasterMonday": (lambda year: easter(year) + timedelta(1), 8, 1),
    "Halloween": (_on(10, 31), 1, 1),
    "StPatrickDay": (_on(3, 17), 1, 1),
    "ColumbusDay": (_nth(10, MONDAY, 2), 1, 1),
    "IndependenceDay": (_on(7, 4), 1, 1),
    "Juneteenth": (_on(6, 19, since=2021), 1, 1),
    "LaborDay": (_nth(9, MONDAY, 1), 1, 1),
    "MemorialDay": (_nth(5, MONDAY, -1), 1, 1),
    "MLKDay": (_nth(1, MONDAY, 3), 1, 1),
    "PresidentDay": (_nth(2, MONDAY, 3), 1, 1),
    "Superbowl": (_superbowl, 1, 1),
    "VeteranDay": (_on(11, 11), 1, 1),
}
_TABLES: dict[str, dict[str, tuple[_Rule, int, int]]] = {
    "US": _US,
    "GLOBAL": {
        name: _US[name] for name in ("Christmas", "NewYear", "Valentine", "EasterMonday", "Halloween")
    },
}
