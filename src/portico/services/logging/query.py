"""The Logging query language, compiled to a predicate over an entry's JSON.

https://cloud.google.com/logging/docs/view/logging-query-language. What it has beyond AIP-160's filters: text that is
looked for everywhere, regular expressions, severities in their order, a list of values in parentheses, comments.
Words are compared whatever their case, as there, but by regular expressions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import quote

from portico.clock import parse_rfc3339
from portico.errors import InvalidArgument
from portico.services.standard.fields import FieldTypes, Kind, key_of

Entry = Mapping[str, Any]
Predicate = Callable[[Entry], bool]

SEVERITIES = ("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY")
_MOST = 20_000  # characters of a filter
_DEPTH = 20
_SPACE = re.compile(r"(?:\s|--[^\n]*)*")
_KEYWORD = re.compile(r"(AND|OR|NOT)(?=[\s(\"'-]|$)")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\.)*)\'', re.DOTALL)
_SEGMENT = re.compile(r"[^\s()\"'.,:=<>!~]+")
_BARE = re.compile(r"[^\s()\"',=<>!~]+")
_COMPARATOR = re.compile(r"=~|!~|<=|>=|!=|=|<|>|:")
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a == b,  # of which the opposite is asked
    ":": lambda a, b: a == b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


@dataclass(slots=True)
class Query:
    """`passes` says whether an entry is wanted. `since` and `until` (seconds since the epoch) and `equal` (a dotted
    field -> its one value) hold for all that pass: whoever reads may look at these entries alone. So does each of
    `parts`: what a predicate reads (dotted fields), and itself."""

    passes: Predicate = lambda entry: True
    since: float = 0.0
    until: float = float("inf")
    equal: dict[str, str] = field(default_factory=dict)
    parts: list[tuple[frozenset[str], Predicate]] = field(default_factory=list)

    def may_want(self, known: Mapping[str, str], log: str = "") -> bool:
        """Whether entries may pass that have these values at these dotted fields, and, where one is given, are all of
        one log ("projects/P/logs/L")."""
        told = {**known, **({"logName": log} if log else {})}
        entry: dict[str, Any] = {}
        for path, value in told.items():
            *folders, last = path.split(".")
            inner = entry
            for name in folders:
                inner = inner.setdefault(name, {})
            inner[last] = value
        return all(passes(entry) for paths, passes in self.parts if paths <= told.keys())


def compile_query(text: str, fields: FieldTypes) -> Query:
    """
    Raises:
        InvalidArgument: on `filter`, with the position of what is wrong, counted from 1.
    """
    if len(text) > _MOST:
        raise InvalidArgument(f"The filter is longer than {_MOST:,} characters.", field="filter")
    return _Parser(text, fields).parse()


@dataclass(slots=True)
class _Parser:
    text: str
    fields: FieldTypes
    at: int = 0
    depth: int = 0
    query: Query = field(default_factory=Query)
    alone: tuple[str, str, str] | None = None  # what was compared last: field, operator, value
    read: set[str] = field(default_factory=set)  # the fields that a factor looks at; "" is any

    def parse(self) -> Query:
        self.space()
        if self.at < len(self.text):
            self.query.passes = self.expression()
        if self.at < len(self.text):
            self.fail(f"unexpected {self.text[self.at]!r}")
        return self.query

    def expression(self) -> Predicate:
        """Factors joined by AND, or by nothing."""
        parts = [self.factor()]
        while self.at < len(self.text) and self.text[self.at] != ")":
            self.keyword("AND")
            parts.append(self.factor())
        return parts[0] if len(parts) == 1 else lambda entry: all(part(entry) for part in parts)

    def factor(self) -> Predicate:
        """Terms joined by OR."""
        self.alone = None
        if not self.depth:
            self.read = set()
        parts = [self.term()]
        while self.keyword("OR"):
            parts.append(self.term())
        if self.alone and len(parts) == 1 and not self.depth:
            self.narrow(*self.alone)
        passes = parts[0] if len(parts) == 1 else lambda entry: any(part(entry) for part in parts)
        if not self.depth:
            self.query.parts.append((frozenset(self.read), passes))
        return passes

    def term(self) -> Predicate:
        negated = self.keyword("NOT") or self.take("-")
        if self.take("("):
            inner = self.nested(self.expression)
            self.alone = None
        else:
            inner = self.restriction()
        if negated:
            self.alone = None
            return lambda entry: not inner(entry)
        return inner

    def nested(self, read: Callable[[], Predicate]) -> Predicate:
        self.depth += 1
        if self.depth > _DEPTH:
            self.fail(f"parentheses nest deeper than {_DEPTH}")
        inner = read()
        self.depth -= 1
        if not self.take(")"):
            self.fail("a parenthesis is not closed")
        return inner

    def restriction(self) -> Predicate:
        start = self.at
        path = self.path()
        if path and self.text.startswith("(", self.at):
            return self.call(".".join(path), start)
        self.space()
        found = _COMPARATOR.match(self.text, self.at)
        if not path or not found:
            self.at = start
            self.read.add("")
            return _anywhere(self.value()[0])
        self.at = found.end()
        self.space()
        kind = self.kind_of(path, start)
        self.read.add(".".join(path))
        if self.take("("):
            several = self.nested(lambda: self.values(path, found[0], kind))
            self.alone = None
            return several
        return self.compared(path, found[0], kind)

    def values(self, path: list[str], operator: str, kind: Kind | None) -> Predicate:
        """severity=(ERROR OR WARNING)"""
        every = [[self.one(path, operator, kind)]]
        while not self.text.startswith(")", self.at) and self.at < len(self.text):
            if self.keyword("OR"):
                every[-1].append(self.one(path, operator, kind))
            else:
                self.keyword("AND")
                every.append([self.one(path, operator, kind)])
        return lambda entry: all(any(test(entry) for test in tests) for tests in every)

    def one(self, path: list[str], operator: str, kind: Kind | None) -> Predicate:
        negated = self.keyword("NOT") or self.take("-")
        test = self.compared(path, operator, kind)
        return (lambda entry: not test(entry)) if negated else test

    def compared(self, path: list[str], operator: str, kind: Kind | None) -> Predicate:
        at = self.at
        value, quoted = self.value()
        self.alone = (".".join(path), operator, value)
        try:
            test = _test(operator, value, kind, severity=path == ["severity"], quoted=quoted)
        except ValueError as error:
            self.at = at
            self.fail(str(error))
        if operator in ("!=", "!~"):
            return lambda entry: not any(test(found) for found in _at(entry, path))
        return lambda entry: any(test(found) for found in _at(entry, path))

    def call(self, name: str, start: int) -> Predicate:
        self.take("(")
        arguments = []
        while not self.take(")"):
            arguments.append(self.value()[0])
            if not self.take(",") and not self.text.startswith(")", self.at):
                self.fail("a parenthesis is not closed")
        if name == "log_id" and len(arguments) == 1:
            ending = "/logs/" + quote(arguments[0], safe="")
            self.read.add("logName")
            return lambda entry: str(entry.get("logName", "")).endswith(ending)
        if name.upper() != "SEARCH" or len(arguments) != 1:
            self.at = start
            self.fail(
                f"{name}({', '.join(arguments)}) is not known here; there are log_id(ID) and SEARCH(TEXT)"
            )
        self.read.add("")
        words = [_anywhere(word) for word in arguments[0].split()]
        return lambda entry: all(word(entry) for word in words)

    def narrow(self, path: str, operator: str, value: str) -> None:
        if operator == "=":
            self.query.equal.setdefault(path, value)
        if path == "timestamp" and operator in _ORDER and operator != ":":
            moment = parse_rfc3339(value)
            if operator in ("=", ">", ">="):
                self.query.since = max(self.query.since, moment)
            if operator in ("=", "<", "<="):
                self.query.until = min(self.query.until, moment)

    def path(self) -> list[str]:
        """The names of a field; none where something else stands here."""
        names: list[str] = []
        while True:
            quoted = names and _STRING.match(self.text, self.at)
            found = quoted or _SEGMENT.match(self.text, self.at)
            if not found or (not names and _KEYWORD.match(self.text, self.at)):
                return names
            self.at = found.end()
            names.append(_unescaped(quoted) if quoted else found[0])
            if not self.text.startswith(".", self.at):
                return names
            self.at += 1

    def kind_of(self, path: list[str], start: int) -> Kind | None:
        """
        Raises:
            InvalidArgument: no entry has such a field.
        """
        message: FieldTypes | None = self.fields
        for position, name in enumerate(path):
            found = message.get(name) if message else None
            if found is None:
                if position == 0 or message:
                    self.at = start
                    self.fail(f"an entry has no field {'.'.join(path[: position + 1])!r}")
                return None
            if position == len(path) - 1:
                return found.kind
            message = found.message
        return None

    def value(self) -> tuple[str, bool]:
        """A value, and whether it stood in quotes."""
        if found := _STRING.match(self.text, self.at):
            self.at = found.end()
            self.space()
            return _unescaped(found), True
        bare = None if _KEYWORD.match(self.text, self.at) else _BARE.match(self.text, self.at)
        if not bare:
            self.fail("a value is expected")
        self.at = bare.end()
        self.space()
        return bare[0], False

    def take(self, symbol: str) -> bool:
        if not self.text.startswith(symbol, self.at):
            return False
        self.at += len(symbol)
        self.space()
        return True

    def keyword(self, word: str) -> bool:
        found = _KEYWORD.match(self.text, self.at)
        if not found or found[0] != word:
            return False
        self.at = found.end()
        self.space()
        return True

    def space(self) -> None:
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def fail(self, reason: str) -> NoReturn:
        raise InvalidArgument(f"Invalid filter at position {self.at + 1}: {reason}.", field="filter")


def _test(operator: str, value: str, kind: Kind | None, *, severity: bool, quoted: bool) -> Predicate:
    """Of one value that a field has.

    Raises:
        ValueError: `value` is none of the field's.
    """
    if operator == ":" and value == "*" and not quoted:
        return lambda found: True
    if operator in ("=~", "!~"):
        return _matches(value)
    if severity:
        level = _level(value)
        order = _ORDER[operator]
        return lambda found: order(SEVERITIES.index(str(found)), level)
    if kind is Kind.TIME:
        moment = parse_rfc3339(value)
        order = _ORDER[operator]
        return lambda found: order(parse_rfc3339(str(found)), moment)
    if operator == ":":
        part = value.casefold()
        return lambda found: part in _word(found).casefold()
    if operator in ("=", "!="):
        whole = value.casefold()
        return lambda found: _word(found).casefold() == whole or _number(found, value)
    ordered = _ORDER[operator]

    def test(found: Any) -> bool:
        try:
            return ordered(float(found), float(value))
        except (TypeError, ValueError):
            return isinstance(found, str) and ordered(found, value)

    return test


def _level(value: str) -> int:
    if value.upper() in SEVERITIES:
        return SEVERITIES.index(value.upper())
    if value.isdigit():
        return min(int(value) // 100, len(SEVERITIES) - 1)
    raise ValueError(f"{value!r} is no severity; there are {', '.join(SEVERITIES)}")


def _matches(pattern: str) -> Predicate:
    """RE2, which takes no time that grows with the pattern's tricks."""
    import pyarrow as pa
    import pyarrow.compute as pc

    match: Callable[..., Any] = pc.match_substring_regex
    scalar: Callable[..., Any] = pa.scalar

    def test(found: Any) -> bool:
        return bool(match(scalar(_word(found)), pattern=pattern).as_py())

    try:
        test("")
    except pa.ArrowInvalid as error:
        raise ValueError(f"{pattern!r} is no regular expression ({error})") from None
    return test


def _number(found: Any, value: str) -> bool:
    try:
        return not isinstance(found, (str, bool)) and float(found) == float(value)
    except (TypeError, ValueError):
        return False


def _word(found: Any) -> str:
    return str(found).lower() if isinstance(found, bool) else str(found)


def _anywhere(text: str) -> Predicate:
    part = text.casefold()
    return lambda entry: any(part in _word(leaf).casefold() for leaf in _leaves(entry))


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value


def _at(value: Any, path: list[str]) -> list[Any]:
    """What stands at `path`, several where it crosses a list. An entry without a severity has the default one."""
    found = [value]
    for name in path:
        inner = [
            one[key_of(one, name)] for one in found if isinstance(one, Mapping) and key_of(one, name) in one
        ]
        found = [each for one in inner for each in (one if isinstance(one, list) else [one])]
    return found or ([SEVERITIES[0]] if path == ["severity"] else [])


def _unescaped(found: re.Match[str]) -> str:
    inner = found[1] if found[1] is not None else found[2]
    return re.sub(r"\\(.)", lambda one: one[1] if one[1] in "\"'\\" else one[0], inner, flags=re.DOTALL)
