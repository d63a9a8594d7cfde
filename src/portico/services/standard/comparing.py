"""One comparison of a filter: a literal against the values of a field, by the field's type."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from portico.services.standard.fields import Kind

# Takes a field's values, None where the field is absent.
Comparison = Callable[[list[Any] | None], bool]

_DURATION = re.compile(r"[+-]?\d+(\.\d+)?s")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_TIME = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d:\d\d.*)?")
_ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def comparison(
    operator: str, literal: str, kind: Kind | None, names: frozenset[str], *, quoted: bool
) -> Comparison:
    """`operator literal` for a field of `kind` (None: by its values). `names` are an enum's values.

    Raises:
        ValueError: the literal is not of that type, or the operator means nothing for it.
    """
    if operator == ":" and literal == "*" and not quoted:
        return lambda values: bool(values) and values != [""]
    if operator == "!=":
        equal = comparison("=", literal, kind, names, quoted=quoted)
        needs_value = kind in (Kind.TIME, Kind.DURATION)
        return lambda values: values != [] and not (needs_value and values is None) and not equal(values)
    if operator in ("=", ":"):
        return _any_of(_equals(literal, kind, names), _default(literal, kind))
    if kind in (Kind.BOOL, Kind.ENUM, Kind.MAP, Kind.MESSAGE):
        raise ValueError(f"{operator} means nothing for {kind.value}")
    ordered = _ORDERED[operator]
    if kind not in (None, Kind.ANY):
        other = parse(literal, kind)
        return _any_of(lambda value: ordered(parse(value, kind), other), _default(literal, kind))
    return _any_of(lambda value: _ordered_as_seen(ordered, value, literal), None)


def parse(value: Any, kind: Kind | None) -> Any:
    """`value` as something that orders: times and durations in seconds, numbers as numbers.

    Raises:
        ValueError: it is not of that kind.
    """
    if kind is Kind.TIME:
        return seconds(str(value))
    if kind is Kind.NUMBER:
        return number(value)
    if kind is Kind.DURATION:
        if not _DURATION.fullmatch(str(value)):
            raise ValueError(f"{value!r} is not {Kind.DURATION.value}")
        return float(str(value)[:-1])
    return str(value)


def is_time(text: str) -> bool:
    """Whether it has the form of a time or a date."""
    return _TIME.fullmatch(text) is not None


def seconds(text: str) -> float:
    """An RFC 3339 time, or a date (midnight UTC), in seconds since the epoch.

    Raises:
        ValueError: it is neither.
    """
    if not _TIME.fullmatch(text):
        raise ValueError(f"{text!r} is not {Kind.TIME.value}")
    try:
        # fromisoformat takes at most microseconds; RFC 3339 and Google's clients go to nanoseconds.
        parsed = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text.upper()))
    except ValueError:
        raise ValueError(f"{text!r} is not {Kind.TIME.value}") from None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def number(value: Any) -> int | float:
    """A number, or a string that holds one (proto3 JSON writes 64-bit integers so).

    Raises:
        ValueError: it is not one.
    """
    if isinstance(value, (int, float)):
        return value
    text = str(value)
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{value!r} is not {Kind.NUMBER.value}")
    return int(text) if text.lstrip("+-").isdigit() and len(text) < 40 else float(text)


def matches(pattern: str, text: str) -> bool:
    """Whether `text` is `pattern`, whose `*` stand for any run of characters; linear in the text a part."""
    first, *rest = pattern.split("*")
    if not rest:
        return text == pattern
    last = rest.pop()
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in rest:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


def _any_of(test: Callable[[Any], bool], default: Any) -> Comparison:
    """`test` on any of the values; on `default` where the field is absent."""

    def compare(values: list[Any] | None) -> bool:
        if values is None:
            return default is not None and _holds(test, default)
        return any(_holds(test, value) for value in values)

    return compare


def _holds(test: Callable[[Any], bool], value: Any) -> bool:
    try:
        return test(value)
    except (ValueError, TypeError, OverflowError):
        return False  # a stored value of another type than the declared one matches nothing


def _equals(literal: str, kind: Kind | None, names: frozenset[str]) -> Callable[[Any], bool]:
    if kind in (Kind.TIME, Kind.NUMBER, Kind.DURATION):
        other = parse(literal, kind)
        return lambda value: bool(parse(value, kind) == other)
    if kind is Kind.BOOL:
        if literal.lower() not in ("true", "false"):
            raise ValueError(f"{literal!r} is not {kind.value}")
        return lambda value: value is (literal.lower() == "true")
    if kind is Kind.ENUM and "*" not in literal and literal not in names:
        raise ValueError(f"{literal!r} is not one of {', '.join(sorted(names))}")
    if kind in (Kind.MAP, Kind.MESSAGE):
        raise ValueError(f"{kind.value} is compared by its fields")
    return lambda value: _equals_as_seen(value, literal)


def _equals_as_seen(value: Any, literal: str) -> bool:
    if isinstance(value, bool):
        return literal.lower() == str(value).lower()
    if isinstance(value, (int, float)):
        return bool(number(literal) == value)
    if isinstance(value, Mapping):
        return False
    if matches(literal, str(value)):
        return True
    return _TIME.fullmatch(str(value)) is not None and seconds(str(value)) == seconds(literal)


def _ordered_as_seen(ordered: Callable[[Any, Any], bool], value: Any, literal: str) -> bool:
    for kind in (Kind.NUMBER, Kind.TIME, Kind.DURATION):
        try:
            return ordered(parse(value, kind), parse(literal, kind))
        except ValueError:
            continue
    return isinstance(value, str) and ordered(value, literal)


def _default(literal: str, kind: Kind | None) -> Any:
    """What an absent field compares as; None where that matches nothing."""
    if kind in (Kind.TIME, Kind.DURATION, Kind.MAP, Kind.MESSAGE):
        return None
    if kind is Kind.NUMBER:
        return 0
    if kind is Kind.BOOL or (kind is None and literal in ("true", "false")):
        return False
    if kind is None and _NUMBER.fullmatch(literal):
        return 0
    return ""
