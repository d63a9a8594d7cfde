"""What one cell means: the same number, category, time or text whether JSON, CSV or Parquet wrote it.

Every encoder reads its cells through these functions, one distinct value at a time, so a value that came
as `1`, `1.0` or `"1"` is the same value online and in batch.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final

NAN: Final = math.nan
# A noncharacter of Unicode: a reader of CSV sets it before cells that stood in quotes, if asked to.
QUOTED: Final = "\ufdd0"
_NUMBER_WORDS: Final = {
    "": NAN,
    "nan": NAN,
    "null": NAN,
    "none": NAN,
    "na": NAN,
    "n/a": NAN,
    "true": 1.0,
    "false": 0.0,
}
_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]*)\Z")
_DECIMAL: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?\Z")
_WORD: Final = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_EPOCH_UNITS: Final = {
    "unix-seconds": 1.0,
    "unix-milliseconds": 1e3,
    "unix-microseconds": 1e6,
    "unix-nanoseconds": 1e9,
}


def is_missing(value: Any) -> bool:
    """Empty, null and NaN (also written out) are missing."""
    if value is None:
        return True
    if isinstance(value, str):
        return value == "" or value in ("NaN", "nan", "NAN")
    return isinstance(value, float) and value != value


def number(value: Any) -> float:
    """`value` as a float; missing is NaN. Booleans are 1 and 0.

    Raises:
        ValueError: it is not a number, or infinite.
    """
    if value is None:
        return NAN
    if isinstance(value, str):
        text = value.strip()
        known = _NUMBER_WORDS.get(text.lower())
        if known is not None:
            return known
        if "_" in text:
            raise ValueError(f"{value!r} is not a number")
        return _finite(float(text))
    if isinstance(value, (int, float, Decimal)):
        try:
            return _finite(float(value))
        except OverflowError:
            raise ValueError(f"{value!r} is too large a number") from None
    if isinstance(value, (date, datetime)):
        return timestamp(value)
    if hasattr(value, "item"):
        return number(value.item())
    raise ValueError(f"{value!r} is not a number")


def _finite(value: float) -> float:
    if math.isinf(value):
        raise ValueError(f"{value!r} is not a finite number")
    return value


def is_infinite(value: Any) -> bool:
    try:
        return math.isinf(float(value))
    except (TypeError, ValueError, OverflowError):
        return False


def category(value: Any) -> str | None:
    """The one spelling of a category: `1`, `1.0` and `"1"` are `1`; True and "true" are `true`; None is missing.

    Text that is not a plain JSON number stays as it is ("007" is not 7).

    Raises:
        ValueError: it is a list, an object or bytes.
    """
    if value is None:
        return None
    if isinstance(value, str):
        if value == "" or value in ("NaN", "nan", "NAN"):
            return None
        if _INTEGER.match(value):
            return "0" if value == "-0" else value
        if _DECIMAL.match(value):
            return _number_text(float(value)) or value
        lower = value.lower()
        return lower if lower in ("true", "false") else value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return None if value != value else _number_text(value) or str(value)
    if isinstance(value, Decimal):
        return category(str(value))
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, date):
        return value.isoformat()
    if hasattr(value, "item"):
        return category(value.item())
    raise ValueError(f"{value!r} is not a single value")


def _number_text(value: float) -> str:
    if not math.isfinite(value):
        return ""
    return str(int(value)) if value.is_integer() else repr(value)


def timestamp(value: Any, time_format: str = "") -> float:
    """Seconds since the epoch (UTC); missing is NaN.

    Without a `time_format`: RFC 3339, `YYYY-MM-DD HH:MM[:SS]`, dates, and Arrow's and Python's own times; a time
    without a zone is UTC. `time_format` is one of Google's `unix-*` units or strftime syntax.

    Raises:
        ValueError: it is not a time in that format.
    """
    if is_missing(value):
        return NAN
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    unit = _EPOCH_UNITS.get(time_format)
    if unit is not None:
        return number(value) / unit
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a time; numbers need a timeFormat such as unix-seconds")
    text = value.strip()
    try:
        parsed = datetime.strptime(text, time_format) if time_format else datetime.fromisoformat(text)
    except ValueError:
        wanted = f"the format {time_format}" if time_format else "RFC 3339 or YYYY-MM-DD HH:MM:SS"
        raise ValueError(f"{value!r} is not a time in {wanted}") from None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def text(value: Any) -> str | None:
    """`value` as text; None is missing.

    Raises:
        ValueError: it is a list, an object or bytes.
    """
    if isinstance(value, str):
        return None if is_missing(value) else value
    return category(value)


def words(value: str) -> list[str]:
    """The words of a text: runs of letters and digits of any script, lower case."""
    return _WORD.findall(value.lower())
