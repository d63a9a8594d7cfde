"""List filters: AIP-160's language, compiled to a predicate over a resource's JSON.

The grammar is https://google.aip.dev/assets/misc/ebnf-filtering.txt: OR binds more tightly than AND, and two
restrictions side by side are joined by AND. Decisions where the proposal leaves them to a service:

- `=` and `:` on strings match the whole value, `*` standing for any run of characters.
- A field that is absent compares as its type's default (`""`, 0, false), as in proto3; an absent time,
  duration, map key or nested field matches nothing but `NOT`.
- On a repeated field a comparison holds when it holds for any element (`!=`: for none).
- A bare word is an error: a forgotten comparison must not look like an empty list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from portico.errors import InvalidArgument
from portico.services.standard.comparing import Comparison, comparison, is_time
from portico.services.standard.fields import FieldTypes, Kind, Resource, camel, key_of

Predicate = Callable[[Resource], bool]
Function = Callable[[Resource, tuple[str, ...]], bool]

MAX_DEPTH = 20
MAX_LENGTH = 20_000

_SPACE = re.compile(r"\s*")
_KEYWORD = re.compile(r"(AND|OR|NOT)(?=[\s(\"'-]|$)")
_NAME = re.compile(r"[^\s()\"'.,:=<>!]+")
_BARE_VALUE = re.compile(r"[^\s()\"',=<>!]+")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\.)*)\'', re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
# `=!` is not in the grammar, but in the examples of google-cloud-aiplatform's Endpoint.list.
_COMPARATOR = re.compile(r"[=!]~|<=|>=|!=|=!|=|<|>|:")
# The arms of google.protobuf.Value, by which filters reach into metadata: `metadata.rate.number_value`.
_VALUE_ARMS = frozenset({"number_value", "string_value", "bool_value"})


def compile_filter(
    text: str,
    fields: FieldTypes | None = None,
    *,
    virtual: Mapping[str, Callable[[Resource], Any]] | None = None,
    functions: Mapping[str, Function] | None = None,
) -> Predicate:
    """`text` as a predicate; an empty filter lets all pass.

    `fields`, where known, makes unknown names and values of the wrong type errors; without it types are read
    off the values. `virtual` holds fields that a filter knows and the JSON does not, such as `model` (the id)
    in models.list, by camelCase name. `functions` holds what may be called, such as `in_context`.

    Raises:
        InvalidArgument: on `filter`, with the position of what is wrong, counted from 1.
    """
    if len(text) > MAX_LENGTH:
        raise InvalidArgument(f"The filter is longer than {MAX_LENGTH} characters.", field="filter")
    return _Parser(text, fields, virtual or {}, functions or {}).parse()


def wanted(
    text: str,
    fields: FieldTypes | None,
    virtual: Mapping[str, Callable[[Resource], Any]] | None = None,
    functions: Mapping[str, Function] | None = None,
) -> dict[str, str]:
    """Strings that whatever passes the filter must have, by field: what it compares by `=` and does not leave open by
    OR or NOT. A call with one argument stands as "name()", `has:"…"` as "has:". For a database to narrow by; a filter
    that can't be compiled wants nothing."""
    parser = _Parser(text, fields, virtual or {}, functions or {})
    try:
        parser.parse()
    except InvalidArgument:
        return {}
    return parser.wanted


@dataclass(slots=True)
class _Parser:
    text: str
    fields: FieldTypes | None
    virtual: Mapping[str, Callable[[Resource], Any]]
    functions: Mapping[str, Function]
    at: int = 0
    depth: int = 0
    wanted: dict[str, str] = field(default_factory=dict)
    compared: tuple[str, str] | None = None  # by the restriction that was read last

    def parse(self) -> Predicate:
        self.skip_space()
        if self.at == len(self.text):
            return lambda resource: True
        predicate = self.expression()
        if self.at < len(self.text):
            self.fail("unexpected " + repr(self.text[self.at]))
        return predicate

    def expression(self) -> Predicate:
        """Factors joined by AND, or by nothing."""
        parts = [self.factor()]
        while self.at < len(self.text) and self.text[self.at] != ")":
            self.take_keyword("AND")
            parts.append(self.factor())
        return parts[0] if len(parts) == 1 else lambda resource: all(part(resource) for part in parts)

    def factor(self) -> Predicate:
        """Terms joined by OR."""
        self.compared = None
        parts = [self.term()]
        while self.take_keyword("OR"):
            parts.append(self.term())
        if len(parts) == 1 and self.compared and not self.depth:
            self.wanted.setdefault(*self.compared)
        return parts[0] if len(parts) == 1 else lambda resource: any(part(resource) for part in parts)

    def term(self) -> Predicate:
        negated = self.take_keyword("NOT") or self.take("-")
        grouped = self.take("(")
        inner = self.composite() if grouped else self.restriction()
        if grouped or negated:
            self.compared = None
        return (lambda resource: not inner(resource)) if negated else inner

    def composite(self) -> Predicate:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail(f"parentheses nest deeper than {MAX_DEPTH}")
        inner = self.expression()
        if not self.take(")"):
            self.fail("a parenthesis is not closed")
        self.depth -= 1
        return inner

    def restriction(self) -> Predicate:
        start = self.at
        path = [self.segment()]
        while self.take(".", space=False):
            path.append(self.segment())
        name_end = self.at
        if self.text.startswith("(", self.at):
            return self.call(".".join(path), start)
        self.skip_space()
        found = _COMPARATOR.match(self.text, self.at)
        if not found:
            self.at = start
            self.fail(f"{self.text[start:name_end]!r} is not compared with anything; write FIELD=VALUE")
        if found[0].endswith("~"):
            self.fail("regular expressions are not taken; write = and a value with *")
        self.at = found.end()
        self.skip_space()
        operator = {"=!": "!="}.get(found[0], found[0])
        return self.compare(path, operator, start)

    def compare(self, path: list[str], operator: str, start: int) -> Predicate:
        try:
            kind, names = self.kind_of(path)
        except LookupError as error:
            self.at = start
            self.fail(str(error.args[0]))
        tests = [self.test(path, operator, kind, names)]
        while operator == ":" and self.take(","):  # parent_contexts:"a","b" in google-cloud-aiplatform
            tests.append(self.test(path, operator, kind, names))
        read, test = self.reader(path), tests[0]
        if len(tests) > 1:
            self.compared = None
        if len(tests) == 1:
            return lambda resource: test(read(resource))
        return lambda resource: any(test(read(resource)) for test in tests)

    def test(self, path: list[str], operator: str, kind: Kind | None, names: frozenset[str]) -> Comparison:
        at = self.at
        value, quoted = self.value()
        if operator == "=":
            self.compared = self.exactly(path, value, kind)
        elif operator == ":" and quoted and len(path) == 1 and "*" not in value:
            self.compared = (f"{camel(path[0])}:", value)
        if operator == ":" and len(path) == 1 and kind in (Kind.MAP, Kind.ANY, Kind.MESSAGE, None):
            return _has(value, quoted)
        try:
            return comparison(operator, value, kind, names, quoted=quoted)
        except ValueError as error:
            self.at = at
            self.fail(str(error))

    def exactly(self, path: list[str], value: str, kind: Kind | None) -> tuple[str, str] | None:
        """The field and the one string that it must be, where only that string passes."""
        first = self.fields.get(path[0]) if self.fields else None
        if first is None or key_of(self.virtual, path[0]) in self.virtual or not value:
            return None
        if "*" in value or is_time(value):  # times are compared as times
            return None
        if len(path) == 2 and first.kind is Kind.MAP:
            return f"{first.name}.{path[1]}", value
        if len(path) == 1 and kind in (Kind.STRING, Kind.ENUM) and not first.repeated:
            return first.name, value
        return None

    def kind_of(self, path: list[str]) -> tuple[Kind | None, frozenset[str]]:
        """The declared type of `path`, None where none is declared.

        Raises:
            LookupError: there is no such field.
        """
        if len(path) == 1 and key_of(self.virtual, path[0]) in self.virtual:
            return Kind.STRING, frozenset()
        message = self.fields
        for position, segment in enumerate(path):
            if message is None:
                return None, frozenset()
            field = message.get(segment)
            if field is None:
                raise LookupError(f"there is no field {'.'.join(path[: position + 1])!r}")
            if position == len(path) - 1:
                return field.kind, field.values
            if field.kind not in (Kind.MAP, Kind.ANY, Kind.MESSAGE):
                raise LookupError(f"{'.'.join(path[: position + 1])!r} has no fields of its own")
            message = field.message
        return None, frozenset()

    def reader(self, path: list[str]) -> Callable[[Resource], list[Any] | None]:
        """Reads the values at `path`, several where it crosses a repeated field; None where there is none."""
        virtual = self.virtual.get(key_of(self.virtual, path[0])) if len(path) == 1 else None
        if virtual is not None:
            return lambda resource: _listed(virtual(resource))
        if len(path) > 2 and path[-1] in _VALUE_ARMS:
            return lambda resource: _values(resource, path) or _values(resource, path[:-1]) or []
        if len(path) > 1:
            return lambda resource: _values(resource, path) or []
        name = path[0]
        return lambda resource: _listed(resource.get(key_of(resource, name)))

    def call(self, name: str, start: int) -> Predicate:
        function = self.functions.get(name)
        if function is None:
            self.at = start
            known = ", ".join(sorted(self.functions)) or "none"
            self.fail(f"there is no function {name!r} here (known: {known})")
        self.take("(")
        arguments = []
        if not self.take(")"):
            arguments.append(self.value()[0])
            while self.take(","):
                arguments.append(self.value()[0])
            if not self.take(")"):
                self.fail("a parenthesis is not closed")
        self.compared = (f"{name}()", arguments[0]) if len(arguments) == 1 else None
        return lambda resource: function(resource, tuple(arguments))

    def segment(self) -> str:
        """One name of a field path."""
        if self.text.startswith(('"', "'"), self.at):
            return self.string(space=False)
        keyword, found = _KEYWORD.match(self.text, self.at), _NAME.match(self.text, self.at)
        if keyword or not found:
            self.fail("a field name is expected" + (f", not {keyword[0]}" if keyword else ""))
        self.at = found.end()
        return found[0]

    def value(self) -> tuple[str, bool]:
        """A value and whether it was quoted."""
        if self.text.startswith(('"', "'"), self.at):
            return self.string(), True
        found = _BARE_VALUE.match(self.text, self.at)
        if not found:
            self.fail("a value is expected")
        self.at = found.end()
        self.skip_space()
        return found[0], False

    def string(self, *, space: bool = True) -> str:
        found = _STRING.match(self.text, self.at)
        if not found:
            self.fail("a quoted string is not closed")
        self.at = found.end()
        if space:
            self.skip_space()
        inner = found[1] if found[1] is not None else found[2]
        return _ESCAPE.sub(_unescape, inner)

    def take(self, symbol: str, *, space: bool = True) -> bool:
        if not self.text.startswith(symbol, self.at):
            return False
        self.at += len(symbol)
        if space:
            self.skip_space()
        return True

    def take_keyword(self, word: str) -> bool:
        found = _KEYWORD.match(self.text, self.at)
        if not found or found[0] != word:
            return False
        self.at = found.end()
        self.skip_space()
        return True

    def skip_space(self) -> None:
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def fail(self, reason: str) -> NoReturn:
        raise InvalidArgument(f"Invalid filter at position {self.at + 1}: {reason}.", field="filter")


def _has(value: str, quoted: bool) -> Comparison:
    """`labels:key`: the map has the key; on a value that is no map what `:` always means."""
    plain = comparison(":", value, None, frozenset(), quoted=quoted)

    def test(values: list[Any] | None) -> bool:
        maps = [entry for entry in values or () if isinstance(entry, Mapping)]
        if not maps:
            return plain(values)
        if value == "*" and not quoted:
            return any(maps)
        return any(key_of(entry, value) in entry for entry in maps)

    return test


def _listed(value: Any) -> list[Any] | None:
    if value is None:
        return None
    return value if isinstance(value, list) else [value]


def _values(value: Any, path: list[str]) -> list[Any] | None:
    for position, segment in enumerate(path):
        if isinstance(value, list):
            return [found for each in value for found in _values(each, path[position:]) or []]
        if not isinstance(value, Mapping):
            return None
        whole = ".".join(path[position:])
        if whole in value:  # a key with dots: labels.aiplatform.googleapis.com/ml_use
            return _listed(value[whole])
        value = value.get(key_of(value, segment))
    return _listed(value)


def _unescape(found: re.Match[str]) -> str:
    code = found[1]
    return chr(int(code[1:], 16)) if len(code) == 5 else _ESCAPED.get(code, code)
