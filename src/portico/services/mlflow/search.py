"""MLflow's language of filters and orders, and its page tokens.

https://mlflow.org/docs/latest/ml/search/search-runs
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson

from portico.errors import InvalidArgument

T = TypeVar("T")
Value = Callable[[Any, str, str], Any]
"""What a thing has under a kind and a key ("metric", "loss"): text, a number, a list of texts any of which may be
meant, or None."""

_IDENTIFIER = r'(?:\w+\s*\.\s*)?(?:`[^`]+`|"[^"]+")|[\w.\-/:]+'
_QUOTED = r"'(?:[^']|'')*'|\"[^\"]*\""
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_CLAUSE = re.compile(
    rf"\s*(?P<of>{_IDENTIFIER})\s*(?:(?P<null>\bIS\s+(?:NOT\s+)?NULL\b)"
    rf"|(?P<op>!=|>=|<=|=|>|<|\bI?LIKE\b|\b(?:NOT\s+)?IN\b)\s*"
    rf"(?P<value>{_QUOTED}|{_NUMBER}|\(\s*(?:(?:{_QUOTED})\s*(?:,\s*)?)*\)))\s*(?P<and>\bAND\b|$)",
    re.IGNORECASE,
)
_ORDER = re.compile(rf"\s*(?P<of>{_IDENTIFIER})(?:\s+(?P<way>asc|desc))?\s*", re.IGNORECASE)
_LONGEST = 10_000  # characters of a filter
_NUMBERS = ("=", "!=", ">", ">=", "<", "<=")
_WORDS = ("=", "!=", "LIKE", "ILIKE", "IN", "NOT IN")
_KINDS = {
    **dict.fromkeys(("metric", "metrics"), "metric"),
    **dict.fromkeys(("param", "params", "parameter", "parameters"), "param"),
    **dict.fromkeys(("tag", "tags"), "tag"),
    **dict.fromkeys(("dataset", "datasets"), "dataset"),
    **dict.fromkeys(("attr", "attribute", "attributes", "run"), "attribute"),
}


@dataclass(frozen=True)
class Language:
    """What may be asked of one kind of things.

    attributes: their names, and what else these are called; `numbers` of them are such.
    kinds: what they have beside them: "metric", "param", "tag", "dataset".
    """

    attributes: Mapping[str, str]
    value: Value
    numbers: frozenset[str] = frozenset()
    kinds: frozenset[str] = field(default=frozenset({"tag"}))

    def named(self, text: str) -> tuple[str, str]:
        """Kind and key of an identifier, such as metrics.loss, tags.`a b` or start_time.

        Raises:
            InvalidArgument: there is no such thing.
        """
        head, dot, key = text.partition(".")
        kind = _KINDS.get(head.strip().lower()) if dot else "attribute"
        key = (key if dot else text).strip().strip('`"')
        if kind == "attribute" and key in self.attributes:
            return kind, self.attributes[key]
        if kind in self.kinds and key:
            return kind, key
        raise InvalidArgument(
            f"There is no {text!r} to search by; there are {', '.join(sorted(set(self.attributes)))}"
            + "".join(f", {kind}s.KEY" for kind in sorted(self.kinds))
            + "."
        )

    def filter(self, text: str) -> Callable[[Any], bool]:
        """Whether a thing is meant by `text`, of clauses that AND joins.

        Raises:
            InvalidArgument: it can't be read.
        """
        if len(text) > _LONGEST:
            raise InvalidArgument(f"A filter has at most {_LONGEST:,} characters.", field="filter")
        tests: list[Callable[[Any], bool]] = []
        at, joined = 0, bool(text.strip())
        while joined:
            found = _CLAUSE.match(text, at)
            if found is None:
                raise InvalidArgument(
                    f"The filter can't be read from {text[at : at + 60].strip()!r} on. It is made of clauses such as "
                    "metrics.loss < 0.5, params.depth = '3' or tags.owner LIKE 'a%', joined by AND.",
                    field="filter",
                )
            tests.append(self._clause(found))
            at, joined = found.end(), bool(found["and"])
        return lambda thing: all(test(thing) for test in tests)

    def _clause(self, found: re.Match[str]) -> Callable[[Any], bool]:
        kind, key = self.named(found["of"])
        if found["null"]:
            wanted = "NOT" not in found["null"].upper()
            return lambda thing: (self.value(thing, kind, key) is None) is wanted
        operator = " ".join(found["op"].upper().split())
        numeric = kind == "metric" or (kind == "attribute" and key in self.numbers)
        if operator not in (_NUMBERS if numeric else _WORDS):
            raise InvalidArgument(
                f"{found['of']} can't be compared by {operator}; by {', '.join(_NUMBERS if numeric else _WORDS)}.",
                field="filter",
            )
        test = _test(operator, _operand(found, numeric, operator))

        def passes(thing: Any) -> bool:
            held = self.value(thing, kind, key)
            if isinstance(held, list):
                return any(test(one) for one in held)
            return held is not None and test(held)

        return passes

    def sorted(self, things: Iterable[T], orders: Iterable[str]) -> list[T]:
        """Things by "metrics.loss DESC" and so on, the first weighing most; what has no such value comes last.

        Raises:
            InvalidArgument: an order can't be read.
        """
        ordered = list(things)
        for text in reversed(list(orders)):
            found = _ORDER.fullmatch(text) if len(text) <= _LONGEST else None
            if found is None:
                raise InvalidArgument(
                    f"{text[:60]!r} is no order; one looks like metrics.loss DESC.", field="order_by"
                )
            kind, key = self.named(found["of"])
            ordered = self.by(ordered, kind, key, descending=(found["way"] or "").lower() == "desc")
        return ordered

    def by(self, things: Iterable[T], kind: str, key: str, *, descending: bool) -> list[T]:
        """Things by one of their values; NaN, and then what has none, come last."""
        held: list[tuple[Any, T]] = [(self.value(thing, kind, key), thing) for thing in things]
        good = [pair for pair in held if pair[0] is not None and not _is_nan(pair[0])]
        good.sort(key=lambda pair: pair[0], reverse=descending)
        return [
            thing
            for some in (
                good,
                [pair for pair in held if _is_nan(pair[0])],
                [pair for pair in held if pair[0] is None],
            )
            for _, thing in some
        ]


def _operand(found: re.Match[str], numeric: bool, operator: str) -> Any:
    text = found["value"]
    several = text.startswith("(")
    if numeric:
        try:
            return float(text)
        except ValueError:
            pass
    elif several and operator.endswith("IN"):
        return [_unquoted(one) for one in re.findall(_QUOTED, text)]
    elif not several and not operator.endswith("IN") and text[0] in "'\"":
        return _unquoted(text)
    wanted = (
        "a number" if numeric else "a list such as ('a', 'b')" if operator.endswith("IN") else "in quotes"
    )
    raise InvalidArgument(f"The value {text!r} of {found['of']} must be {wanted}.", field="filter")


def _unquoted(text: str) -> str:
    return text[1:-1].replace("''", "'") if text[0] == "'" else text[1:-1]


def _test(operator: str, wanted: Any) -> Callable[[Any], bool]:
    if operator.endswith("LIKE"):
        return _like(wanted, operator == "ILIKE")
    tests: dict[str, Callable[[Any], bool]] = {
        "=": lambda held: held == wanted,
        "!=": lambda held: held != wanted,
        ">": lambda held: held > wanted,
        ">=": lambda held: held >= wanted,
        "<": lambda held: held < wanted,
        "<=": lambda held: held <= wanted,
        "IN": lambda held: held in wanted,
        "NOT IN": lambda held: held not in wanted,
    }
    return tests[operator]


def _like(pattern: str, any_case: bool) -> Callable[[Any], bool]:
    """`%` is any characters, `_` is one. What stands between two `%` is looked for from left to right: a regular
    expression of them all would try every place for each."""
    parts = pattern.split("%")
    flags = re.DOTALL | (re.IGNORECASE if any_case else 0)
    first, *between = [
        re.compile("".join("." if c == "_" else re.escape(c) for c in part), flags) for part in parts
    ]

    def passes(held: Any) -> bool:
        text = str(held)
        if not between:
            return first.fullmatch(text) is not None
        found = first.match(text)
        for part in between[:-1]:
            found = found and part.search(text, found.end())
        end = len(text) - len(parts[-1])
        return found is not None and end >= found.end() and between[-1].fullmatch(text, end) is not None

    return passes


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def page(
    things: list[T], asked: Mapping[str, Any], default: int, most: int
) -> tuple[list[T], dict[str, str]]:
    """A page of things by `max_results` and `page_token`, and what tells of the next one.

    Raises:
        InvalidArgument: on either of the two.
    """
    limit = int(asked.get("max_results") or default)
    if not 0 < limit <= most:
        raise InvalidArgument(f"max_results is {limit}; it goes from 1 to {most:,}.", field="max_results")
    start = offset(str(asked.get("page_token") or ""))
    more = {"next_page_token": token(start + limit)} if len(things) > start + limit else {}
    return things[start : start + limit], more


def token(start: int) -> str:
    return base64.b64encode(orjson.dumps({"offset": start})).decode()


def offset(given: str) -> int:
    """
    Raises:
        InvalidArgument: it is no token of ours.
    """
    if not given:
        return 0
    try:
        start = orjson.loads(base64.b64decode(given, validate=True))["offset"]
        if isinstance(start, int) and 0 <= start < 2**62:
            return start
    except (binascii.Error, ValueError, KeyError, TypeError):
        pass
    raise InvalidArgument(f"The page token {given[:60]!r} was not made here.", field="page_token")
