"""Filters of subscriptions, over the attributes of messages: `attributes.kind = "a" AND NOT attributes:old`.

https://cloud.google.com/pubsub/docs/subscription-message-filter
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping

from portico.errors import InvalidArgument

Filter = Callable[[Mapping[str, str]], bool]
_LONGEST = 256  # bytes
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*")|(?P<sign>!=|=|:|\(|\)|,|\.)|(?P<word>[A-Za-z0-9_][\w-]*)|(?P<minus>-))""",
    re.ASCII,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


@functools.lru_cache(1024)
def compiled(text: str) -> Filter:
    """What says of a message's attributes whether they pass.

    Raises:
        InvalidArgument: the filter can't be read; says where.
    """
    if len(text.encode()) > _LONGEST:
        raise InvalidArgument(f"filter is longer than {_LONGEST} bytes.", field="filter")
    return _Reader(text).whole()


class _Reader:
    """any: all ("OR" all)* | all; all: one ("AND" one)*; both in one need parentheses."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        self._at = 0
        place, text = 0, text.strip()
        while place < len(text):
            found = _TOKEN.match(text, place)
            if found is None:
                raise self._wrong(repr(text[place:]))
            kind = str(found.lastgroup)
            self._tokens.append((kind, found[kind]))
            place = found.end()

    def whole(self) -> Filter:
        made = self._several()
        if self._at < len(self._tokens):
            raise self._wrong(repr(self._tokens[self._at][1]))
        return made

    def _several(self) -> Filter:
        parts = [self._one()]
        joined = ""
        while self._next() in (("word", "AND"), ("word", "OR")):
            word = self._take()
            if joined and word != joined:
                raise InvalidArgument(
                    "filter: AND and OR beside each other need parentheses that say what belongs together.",
                    field="filter",
                )
            joined = word
            parts.append(self._one())
        if not joined:
            return parts[0]
        of = all if joined == "AND" else any
        return lambda attributes: of(part(attributes) for part in parts)

    def _one(self) -> Filter:
        if self._next() in (("word", "NOT"), ("minus", "-")):
            self._take()
            inner = self._one()
            return lambda attributes: not inner(attributes)
        if self._next() == ("sign", "("):
            self._take()
            inner = self._several()
            self._expect(")")
            return inner
        if self._next() == ("word", "hasPrefix"):
            self._take()
            self._expect("(")
            self._expect("attributes")
            self._expect(".")
            key = self._key()
            self._expect(",")
            prefix = self._text()
            self._expect(")")
            return lambda attributes: attributes.get(key, "").startswith(prefix) and key in attributes
        self._expect("attributes")
        sign = self._take()
        if sign == ":":
            key = self._key()
            return lambda attributes: key in attributes
        if sign != ".":
            raise self._wrong(repr(sign))
        key = self._key()
        sign = self._take()
        if sign not in ("=", "!="):
            raise self._wrong(repr(sign))
        value = self._text()
        if sign == "=":
            return lambda attributes: attributes.get(key) == value
        return lambda attributes: attributes.get(key) != value

    def _next(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("", "")

    def _take(self) -> str:
        _, token = self._next()
        self._at += 1
        return token

    def _expect(self, wanted: str) -> None:
        if (found := self._take()) != wanted:
            raise self._wrong(
                f"{found!r} where {wanted!r} is expected" if found else f"its end, before {wanted!r}"
            )

    def _key(self) -> str:
        kind, token = self._next()
        if kind == "text":
            return self._text()
        if kind != "word":
            raise self._wrong(f"{token!r} where the key of an attribute is expected")
        return self._take()

    def _text(self) -> str:
        kind, token = self._next()
        if kind != "text":
            raise self._wrong(f"{token!r} where a text in double quotes is expected")
        self._at += 1
        return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), token[1:-1])

    def _wrong(self, what: str) -> InvalidArgument:
        return InvalidArgument(
            f'filter can\'t be read at {what}. It is made of attributes:KEY, attributes.KEY = "VALUE", '
            'attributes.KEY != "VALUE" and hasPrefix(attributes.KEY, "VALUE"), with AND, OR, NOT and parentheses.',
            field="filter",
        )
