"""CAST(… FORMAT …): dates and times, numbers and bytes as texts, and back.

https://cloud.google.com/bigquery/docs/reference/standard-sql/format-elements#formatting_syntax
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache

from portico.warehouse.time_functions import DAYS, MONTHS, zone_of

_ELEMENT = re.compile(
    r'"((?:[^"\\]|\\.)*)"|(YYYY|YYY|YY|Y|RRRR|RR|MONTH|MON|MM|DAY|DY|DDD|DD|D|HH24|HH12|HH|MI|SSSSS|SS|FF[1-9]|'
    r"A\.M\.|P\.M\.|AM|PM|TZH|TZM)|([-./,';: ])",
    re.IGNORECASE,
)
_DATE_PARTS = frozenset(
    ["YYYY", "YYY", "YY", "Y", "RRRR", "RR", "MONTH", "MON", "MM", "DAY", "DY", "DDD", "DD", "D"]
)
_WIDTHS = {
    "YYYY": 4, "YYY": 3, "YY": 2, "Y": 1, "RRRR": 4, "RR": 2, "MM": 2, "DD": 2, "HH": 2, "HH12": 2, "HH24": 2,
    "MI": 2, "SS": 2, "SSSSS": 5, "TZM": 2,
}  # fmt: skip
_READ = {
    **{element: re.compile(rf"\d{{1,{width}}}") for element, width in _WIDTHS.items()},
    **{f"FF{digits}": re.compile(rf"\d{{1,{digits}}}") for digits in range(1, 10)},
    **dict.fromkeys(("AM", "PM"), re.compile("[AP]M", re.IGNORECASE)),
    **dict.fromkeys(("A.M.", "P.M."), re.compile(r"[AP]\.M\.", re.IGNORECASE)),
    "TZH": re.compile(r"\s*[+-]?\d{1,2}"),
}


@lru_cache(maxsize=256)
def _elements(pattern: str) -> tuple[tuple[str, str], ...]:
    """Each element in upper case and as it was written; a text that stands for itself has no element."""
    found, place = [], 0
    while place < len(pattern):
        one = _ELEMENT.match(pattern, place)
        if one is None:
            raise ValueError(f"Cannot find matched format element at {place}")
        literal = re.sub(r"\\(.)", r"\1", one[1]) if one[1] is not None else one[3]
        found.append(("", literal) if one[2] is None else (one[2].upper(), one[2]))
        place = one.end()
    return tuple(found)


def _cased(word: str, written: str) -> str:
    """In the case of the element's first two letters."""
    if written[0].islower():
        return word.lower()
    return word.capitalize() if written[1].islower() else word.upper()


def format_time(pattern: str, x: datetime, offset: int, kind: str) -> str:
    """A local time by a pattern; `offset` its zone's minutes to UTC."""
    shown = []
    for element, written in _elements(pattern):
        if element in _DATE_PARTS and kind == "TIME":
            raise ValueError(f"TIME does not support {element}")
        if element and element not in _DATE_PARTS and kind == "DATE":
            raise ValueError(f"DATE does not support {element}")
        if element.startswith("TZ") and kind != "TIMESTAMP":
            raise ValueError(f"{kind} does not support {element}")
        if not element:
            shown.append(written)
        elif element[0] in "YR":
            shown.append(f"{x.year % 10 ** len(element):0{len(element)}d}")
        elif element in ("MONTH", "MON"):
            name = MONTHS[x.month - 1]
            shown.append(_cased(name if element == "MONTH" else name[:3], written))
        elif element in ("DAY", "DY"):
            name = DAYS[x.weekday()]
            shown.append(_cased(name if element == "DAY" else name[:3], written))
        elif element.startswith("FF"):
            shown.append(f"{x.microsecond:06d}000"[: int(element[2])])
        elif element in ("AM", "PM", "A.M.", "P.M."):
            half = "AM" if x.hour < 12 else "PM"
            shown.append(
                _cased(f"{half[0]}.{half[1]}." if "." in element else half, written.replace(".", ""))
            )
        else:
            hour = (x.hour + 11) % 12 + 1
            values = {
                "MM": f"{x.month:02d}", "DDD": f"{x:%j}", "DD": f"{x.day:02d}", "D": str(x.isoweekday() % 7 + 1),
                "HH": f"{hour:02d}", "HH12": f"{hour:02d}", "HH24": f"{x.hour:02d}", "MI": f"{x.minute:02d}",
                "SS": f"{x.second:02d}", "SSSSS": f"{x.hour * 3600 + x.minute * 60 + x.second:05d}",
                "TZH": f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02d}", "TZM": f"{abs(offset) % 60:02d}",
            }  # fmt: skip
            shown.append(values[element])
    return "".join(shown)


def parse_time(pattern: str, text: str, kind: str, zone: str) -> datetime:
    """What a text says by a pattern, in UTC for a TIMESTAMP; the year and month of now and the first day where it says
    none.

    Raises:
        ValueError: it says something else.
    """
    place, said, half, minutes = 0, {}, "", None
    for element, written in _elements(pattern):
        if element in ("DAY", "DY", "DDD", "D"):
            raise ValueError(f"Format element '{element}' is not supported for parsing")
        failure = ValueError(
            f"Failed to parse input timestamp string at {place} with format element '{written}'"
        )
        if not element:
            space = re.match(r"\s*", text[place:])
            if written.isspace() and space:
                place += space.end()
            elif text.startswith(written, place):
                place += len(written)
            else:
                raise failure
            continue
        if element in ("MONTH", "MON"):
            names = [name if element == "MONTH" else name[:3] for name in MONTHS]
            number = next(
                (i for i, name in enumerate(names, 1) if text[place:].lower().startswith(name.lower())), 0
            )
            if not number:
                raise failure
            said["MM"], place = number, place + len(names[number - 1])
            continue
        found = _READ[element].match(text, place)
        if not found:
            raise failure
        place = found.end()
        if element[-1] in "M." and element[0] in "AP":
            half = found[0][0].upper()
        elif element == "TZH":
            minutes = int(found[0]) * 60
            said["TZS"] = -1 if "-" in found[0] else 1
        elif element == "TZM":
            minutes = (minutes or 0) + said.get("TZS", 1) * int(found[0])
        elif element.startswith("FF"):
            said["FF"] = int(found[0].ljust(6, "0")[:6])
        else:
            said[element] = int(found[0])
    if text[place:].strip():
        raise ValueError(f"Illegal non-space trailing data '{text[place:].strip()}' in timestamp string")
    return _moment(said, half, minutes, kind, zone)


def _moment(said: dict[str, int], half: str, minutes: int | None, kind: str, zone: str) -> datetime:
    now = datetime.now(UTC)
    year = said.get("YYYY", said.get("RRRR", now.year))
    for element, base in (("YYY", 1000), ("YY", 100), ("Y", 10)):
        if element in said:
            year = now.year // base * base + said[element]
    if "RR" in said:
        year = 1900 + said["RR"] if said["RR"] >= 50 else 2000 + said["RR"]
    hour = said.get("HH24", said.get("HH", said.get("HH12", 0)))
    if half:
        hour = hour % 12 + (12 if half == "P" else 0)
    try:
        made = datetime(
            year, said.get("MM", now.month), said.get("DD", 1), hour, said.get("MI", 0), said.get("SS", 0),
            said.get("FF", 0),
        )  # fmt: skip
    except ValueError as error:
        raise ValueError(f"Failed to parse input timestamp string: {error}") from None
    if "SSSSS" in said:
        made = made.replace(hour=0, minute=0, second=0) + timedelta(seconds=said["SSSSS"])
    if kind != "TIMESTAMP":
        return made
    where = zone_of(zone) if minutes is None else timezone(timedelta(minutes=minutes))
    return made.replace(tzinfo=where).astimezone(UTC).replace(tzinfo=None)


# --- numbers ---------------------------------------------------------------------------------------------

_NUMBER = re.compile(r"(FM)?(B)?(S)?([$CL])?([09X,.DG]*)([$CL])?(EEEE)?(S|MI|PR)?", re.IGNORECASE)


def format_number(pattern: str, text: str) -> str:
    """A number by a pattern such as `9,999.99`; `#` for each digit where it has not enough of them."""
    found = _NUMBER.fullmatch(pattern.strip())
    if not found or not found[5]:
        raise ValueError(f"Format string {pattern!r} is not supported for numbers in Portico")
    compact, blank, lead, currency, digits, behind, power, trail = found.groups()
    currency = {"C": "USD"}.get((currency or behind or "").upper(), "$" if currency or behind else "")
    upper, value = digits.upper(), Decimal(text)
    sign = "-" if value < 0 else "+" if (lead or (trail or "").upper() == "S") else ""
    value = abs(value)
    width = len(digits) + len(currency) + (trail is None or trail.upper() == "PR" or lead is not None)
    if "X" in upper:
        shown = f"{int(value.quantize(Decimal(1), ROUND_HALF_UP)):x}"
        shown = shown if "x" in digits else shown.upper()
        body = shown.rjust(len(digits)) if len(shown) <= len(digits) else "#" * len(digits)
    elif power:
        body = _scientific(value, upper)
    else:
        body = _placed(value, upper)
    if blank and value == 0:
        return "" if compact else " " * width
    number = currency + body.lstrip()
    style = (trail or "").upper()
    if style == "PR":
        number = f"<{number}>" if sign == "-" else f" {number} "
    elif style in ("S", "MI"):
        number += sign or " "
    else:
        number = sign + number
    if compact:
        return number.strip()
    return number.rjust(width + (4 if power else 0) + {"S": 1, "MI": 1, "PR": 1}.get(style, 0))


def _placed(value: Decimal, digits: str) -> str:
    whole, _, part = re.sub("D", ".", digits).partition(".")
    places = sum(one in "09" for one in part)
    shown = format(value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP), "f")
    left, _, right = shown.partition(".")
    wanted = [one for one in whole if one in "09"]
    zeros = len(wanted) - wanted.index("0") if "0" in wanted else 0
    left = "" if left == "0" and (part or "." in digits) and not zeros else left
    if len(left) > len(wanted):
        return re.sub("[09]", "#", digits.replace("D", ".").replace("G", ","))
    filled = list(left.rjust(zeros, "0"))[::-1]
    made, used = "", 0
    for one in whole[::-1]:
        if one in "09":
            made, used = (filled[used] + made, used + 1) if used < len(filled) else (made, used)
        elif used < len(filled):
            made = "," + made
    return made + ("." + right if part or "." in digits or "D" in digits else "")


def _scientific(value: Decimal, digits: str) -> str:
    places = len(re.sub("D", ".", digits).partition(".")[2])
    mantissa, _, power = f"{value:.{places}E}".partition("E")
    return f"{mantissa}E{power[0]}{power[1:].rjust(2, '0')}"


# --- bytes -----------------------------------------------------------------------------------------------

_BITS = {"BASE2": 1, "BASE8": 3}


def format_bytes(pattern: str, data: bytes) -> str:
    kind = pattern.upper().replace("-", "")
    if kind in _BITS:
        bits = "".join(f"{one:08b}" for one in data)
        bits = bits.ljust(-(-len(bits) // _BITS[kind]) * _BITS[kind], "0") if bits else bits
        return "".join(str(int(bits[i : i + _BITS[kind]], 2)) for i in range(0, len(bits), _BITS[kind]))
    try:
        made: Callable[[], str] = {
            "HEX": lambda: data.hex(), "BASE16": lambda: data.hex(), "BASE32": lambda: base64.b32encode(data).decode(),
            "BASE64": lambda: base64.b64encode(data).decode(), "BASE64M": lambda: base64.b64encode(data).decode(),
            "ASCII": lambda: data.decode("ascii"), "UTF8": lambda: data.decode("utf-8"),
        }[kind]  # fmt: skip
        return made()
    except KeyError:
        raise ValueError(f"Invalid format string for BYTES: '{pattern}'") from None
    except UnicodeDecodeError:
        raise ValueError("A string is not valid UTF-8.") from None


def parse_bytes(pattern: str, text: str) -> bytes:
    kind = pattern.upper().replace("-", "")
    try:
        if kind in _BITS:
            bits = "".join(f"{int(one, 2 ** _BITS[kind]):0{_BITS[kind]}b}" for one in text)
            return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits) // 8 * 8, 8))
        made: Callable[[], bytes] = {
            "HEX": lambda: bytes.fromhex(text), "BASE16": lambda: bytes.fromhex(text),
            "BASE32": lambda: base64.b32decode(text), "BASE64": lambda: base64.b64decode(text, validate=True),
            "BASE64M": lambda: base64.b64decode(text), "ASCII": lambda: text.encode("ascii"),
            "UTF8": lambda: text.encode(),
        }[kind]  # fmt: skip
        return made()
    except KeyError:
        raise ValueError(f"Invalid format string for BYTES: '{pattern}'") from None
    except ValueError:
        raise ValueError(f"Failed to decode invalid {kind} string: {text!r}") from None


CAST_FUNCTIONS: dict[str, tuple[Callable[..., object], list[str], str]] = {
    "format_time": (format_time, ["VARCHAR", "TIMESTAMP", "BIGINT", "VARCHAR"], "VARCHAR"),
    "parse_time": (parse_time, ["VARCHAR", "VARCHAR", "VARCHAR", "VARCHAR"], "TIMESTAMP"),
    "format_number": (format_number, ["VARCHAR", "VARCHAR"], "VARCHAR"),
    "format_bytes": (format_bytes, ["VARCHAR", "BLOB"], "VARCHAR"),
    "parse_bytes": (parse_bytes, ["VARCHAR", "VARCHAR"], "BLOB"),
}
"""By name: what does it, and DuckDB's types of what goes in and comes out."""
