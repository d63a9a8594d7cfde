"""What `gcloud`'s `--filter`, `--flatten`, `--sort-by` and `--limit` make of a list.

https://cloud.google.com/sdk/gcloud/reference/topic/filters. It runs in the caller's own Python, as
`portico_gcloud_command` does: the standard library alone.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

_TERM = re.compile(r"""\s*([\w.\-\[\]]+)\s*(!=|!~|<=|>=|=|:|~|<|>)\s*("[^"]*"|'[^']*'|[^\s]+)""")
_WORD = re.compile(r"\s*(\(|\)|(?:AND|OR|NOT)(?=[\s(]|$))")


def chosen(found: list[dict[str, Any]], options: dict[str, str]) -> list[dict[str, Any]]:
    """Those that the options of a list take, in the order that they ask for.

    Raises:
        ValueError: one of the options is not built, or no number.
    """
    if options.get("--flatten"):
        for key in options["--flatten"].split(","):
            found = [one for each in found for one in _flattened(each, key.replace("[]", "").split("."))]
    found = matching(found, options.get("--filter", ""))
    for key in reversed(list(filter(None, options.get("--sort-by", "").split(",")))):
        path = key.lstrip("~").split(".")
        found = sorted(
            found, key=lambda one: [_order(two) for two in values(one, path)], reverse=key[0] == "~"
        )
    limit = options.get("--limit", "")
    if limit and (not limit.isdigit() or limit == "0"):
        raise ValueError(f"argument --limit: Value must be greater than or equal to 1; received: {limit}")
    return found[: int(limit)] if limit else found


def matching(found: list[dict[str, Any]], told: str) -> list[dict[str, Any]]:
    """Those that a filter takes: `KEY=VALUE`, `!=`, `<`, `>`, `:` (has the word; `VALUE*`: that begins so), `~` (a
    regular expression), `!~`; several with AND, OR, NOT, parentheses, or a blank between.

    Raises:
        ValueError: it is another expression.
    """
    return [one for one in found if _Read(told).whole()(one)] if told.strip() else found


class _Read:
    """A filter, read from the left."""

    def __init__(self, told: str):
        self._told, self._at = told, 0
        self._several = False  # what was read last has AND in it

    def whole(self) -> Callable[[Any], bool]:
        told = self._either()
        if self._told[self._at :].strip():
            raise self._wrong()
        return told

    def _either(self) -> Callable[[Any], bool]:
        parts, several = [self._both()], self._several
        while self._take("OR"):
            parts.append(self._both())
            several = several or self._several
            if several:  # gcloud asks for parentheses, too, rather than to guess which of the two binds more
                raise self._wrong()
        return lambda one: any(part(one) for part in parts)

    def _both(self) -> Callable[[Any], bool]:
        parts = [self._one()]
        while self._take("AND") or (self._told[self._at :].strip() and self._next() not in (")", "OR")):
            parts.append(self._one())
        self._several = len(parts) > 1
        return lambda one: all(part(one) for part in parts)

    def _one(self) -> Callable[[Any], bool]:
        if self._take("NOT"):
            told = self._one()
            return lambda one: not told(one)
        if self._take("("):
            inside = self._either()
            if not self._take(")"):
                raise self._wrong()
            return inside
        term = _TERM.match(self._told, self._at)
        if term is None or self._next():
            raise self._wrong()
        key, operator, value = term.groups()
        self._at = term.end()
        if value[0] in "\"'":
            value = value[1:-1]
        else:
            while value.endswith(")") and value.count(")") > value.count("("):  # it ends a group
                value, self._at = value[:-1], self._at - 1
        if value.startswith("(") and "~" not in operator:
            raise self._wrong()
        return lambda one: _holds(one, key, operator, value)

    def _next(self) -> str:
        found = _WORD.match(self._told, self._at)
        return found[1] if found else ""

    def _take(self, word: str) -> bool:
        found = _WORD.match(self._told, self._at)
        if found is None or found[1] != word:
            return False
        self._at = found.end()
        return True

    def _wrong(self) -> ValueError:
        return ValueError(
            f"--filter {self._told} is not built in Portico; KEY=VALUE, !=, <, >, :, ~ and !~ with AND, OR, NOT and "
            "parentheses around them are."
        )


def _holds(one: dict[str, Any], key: str, operator: str, wanted: str) -> bool:
    found = [told if isinstance(told, str) else json.dumps(told) for told in values(one, key.split("."))]
    if operator in ("~", "!~"):
        return any(re.search(wanted, told) for told in found) == (operator == "~")
    if operator == ":":
        begins = wanted.endswith("*")
        word = r"(?<!\w)" + re.escape(wanted.rstrip("*")) + ("" if begins else r"(?!\w)")
        return any(re.search(word, told, re.IGNORECASE) for told in found)
    if operator in ("=", "!="):
        return (wanted.lower() in [told.lower() for told in found]) == (operator == "=")
    sides = [(_order(told), _order(wanted)) for told in found]
    order = {
        "<": any(a < b for a, b in sides), ">": any(a > b for a, b in sides),
        "<=": any(a <= b for a, b in sides), ">=": any(a >= b for a, b in sides),
    }  # fmt: skip
    return order[operator]


def _order(told: Any) -> tuple[float, str]:
    """Numbers stand by their size before all else."""
    try:
        return float(told), ""
    except (TypeError, ValueError):
        return float("inf"), told if isinstance(told, str) else json.dumps(told)


def values(told: Any, path: list[str]) -> Iterator[Any]:
    """What stands at a key, of every element where there are several; a key may be written as in Python, and may
    say which element (`deployedModels[0].id`)."""
    if isinstance(told, list):
        for one in told:
            yield from values(one, path)
    elif not path:
        yield told
    elif isinstance(told, dict):
        name, _, place = path[0].partition("[")
        for key in [name] if name in told else told:
            if _plain(key) == _plain(name):
                within, number = told[key], place.rstrip("]")
                if number and isinstance(within, list):
                    within = within[int(number) :][:1]
                yield from values(within, path[1:])


def value(told: Any, path: list[str]) -> Any:
    """What stands at a key, as it is; None where nothing does."""
    if not path:
        return told
    if isinstance(told, list):
        return [value(one, path) for one in told]
    if not isinstance(told, dict):
        return None
    name, _, place = path[0].partition("[")
    for key in [name] if name in told else told:
        if _plain(key) == _plain(name):
            within, number = told[key], place.rstrip("]")
            if number and isinstance(within, list):
                within = dict(enumerate(within)).get(int(number))
            return value(within, path[1:])
    return None


def _plain(key: str) -> str:
    return key.replace("_", "").lower()


def _flattened(told: dict[str, Any], path: list[str]) -> Iterator[dict[str, Any]]:
    """One for each element of what stands at the key, with that element in its place."""
    inside = told.get(path[0])
    if isinstance(inside, list):
        for one in inside:
            yield from _flattened({**told, path[0]: one}, path)
    elif len(path) > 1 and isinstance(inside, dict):
        for one in _flattened(inside, path[1:]):
            yield {**told, path[0]: one}
    else:
        yield told
