"""SEARCH: whether what a query asks for is among the texts of a value.

https://cloud.google.com/bigquery/docs/reference/standard-sql/search_functions#search and text-analysis. Every row is
looked at: there is no index.
"""

from __future__ import annotations

import functools
import json
import re
import string
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

from portico.warehouse.search_queries import Wanted, read
from portico.warehouse.text_functions import normalize

_BREAKERS = (
    *"[]<>(){}|!;,'\"*&?+/:=@.-$%\\_\n\r \t",
    *("%21", "%26", "%2526", "%3B", "%3b", "%7C", "%7c", "%20", "%2B", "%2b", "%3D", "%3d", "%2520", "%5D", "%5d",
      "%5B", "%5b", "%3A", "%3a", "%0A", "%0a", "%2C", "%2c", "%28", "%29"),
)  # fmt: skip
_SCOPES = {"JSON_VALUES": (False, True), "JSON_KEYS": (True, False), "JSON_KEYS_AND_VALUES": (True, True)}
_LOG, _WHOLE, _PATTERN = "LOG_ANALYZER", "NO_OP_ANALYZER", "PATTERN_ANALYZER"
_ASCII = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_WORDS = r"\b\w{2,}\b"


class _Analyzer:
    """How texts become terms: taken apart first, then filtered, filter by filter."""

    def __init__(self, name: str, options: str) -> None:
        if name not in (_LOG, _WHOLE, _PATTERN):
            raise ValueError(f"SEARCH: analyzer must be {_LOG}, {_WHOLE} or {_PATTERN}, not {name!r}")
        self._name = name
        told = _options(name, options)
        each = sorted(map(re.escape, told.get("delimiters") or _BREAKERS), key=len, reverse=True)
        self._break = re.compile("|".join(each), re.IGNORECASE)
        patterns = told.get("patterns") or [_WORDS]
        try:
            [pattern] = patterns
            self._pattern = re.compile(pattern)
        except (re.error, ValueError) as error:
            raise ValueError(f"SEARCH: the pattern of analyzer_options is wrong: {error}") from None
        self._filters = _filters(told.get("token_filters", [{"normalizer": {"mode": "LOWER"}}]))

    def plain(self, text: str) -> str:
        """A text as it is compared."""
        if self._name != _WHOLE:
            for normalized, _ in self._filters:
                text = normalized(text)
        return text

    def in_order(self, text: str) -> list[str]:
        """The terms of a text."""
        if self._name == _WHOLE:
            return [text]
        found = (
            self._break.split(text)
            if self._name == _LOG
            else [one[0] for one in self._pattern.finditer(text)]
        )
        for normalized, stopped in self._filters:
            found = [normalized(one) for one in found if one not in stopped]
        return [one for one in found if one]

    def exactly(self, text: str) -> re.Pattern[str]:
        """What finds a text as it is, with breakers around it."""
        around = self._break.pattern
        return re.compile(f"(?:^|(?<=[^\\w])|(?:{around})){re.escape(self.plain(text))}(?=$|{around})")

    def query(self, text: str) -> Wanted:
        """
        Raises:
            ValueError: there is no term, or the query is put together wrongly.
        """
        if self._name == _WHOLE:
            if not text:
                raise ValueError("SEARCH: the search query has no tokens")
            return lambda texts: any(text == shown for shown, _ in texts)
        if self._name == _PATTERN:
            text = text.replace("`", " ")
        return read(text, self.in_order, self.exactly)


def _filters(told: Any) -> list[tuple[Callable[[str], str], frozenset[str]]]:
    """What each filter makes of a term, and which terms it takes away before that.

    Raises:
        ValueError: there is no such filter.
    """
    found: list[tuple[Callable[[str], str], frozenset[str]]] = []
    for one in told if isinstance(told, list) else [None]:
        if not isinstance(one, dict) or set(one) not in ({"normalizer"}, {"stop_words"}):
            raise ValueError("SEARCH: each of token_filters has either normalizer or stop_words")
        if "stop_words" in one:
            found.append((str, frozenset(map(str, one["stop_words"]))))
        else:
            found.append((_normalizer(one["normalizer"]), frozenset()))
    return found


def _ascii_lower(text: str) -> str:
    return text.translate(_ASCII)


def _normalizer(told: Any) -> Callable[[str], str]:
    known = ("mode", "icu_normalize_mode", "icu_case_folding")
    if not isinstance(told, dict) or set(told) - set(known):
        raise ValueError(f"SEARCH: a normalizer has {', '.join(known)}")
    mode = str(told.get("mode", "")).upper()
    if mode not in ("NONE", "LOWER", "UNICODE_LOWER", "ICU_NORMALIZE"):
        raise ValueError(
            f"SEARCH: the mode of a normalizer is NONE, LOWER, UNICODE_LOWER or ICU_NORMALIZE, not {mode!r}"
        )
    if mode != "ICU_NORMALIZE":
        return {"LOWER": _ascii_lower, "UNICODE_LOWER": str.lower}.get(mode, str)
    form = str(told.get("icu_normalize_mode", "NFKC")).upper()
    if form not in ("NFC", "NFKC", "NFD", "NFKD"):
        raise ValueError(f"SEARCH: icu_normalize_mode is NFC, NFKC, NFD or NFKD, not {form!r}")
    folds = bool(told.get("icu_case_folding", True))
    return lambda text: unicodedata.normalize(form, text.casefold() if folds else text)  # type: ignore[arg-type]


def _options(name: str, options: str) -> dict[str, Any]:
    if not options:
        return {}
    if name == _WHOLE:
        raise ValueError(f"SEARCH: {_WHOLE} has no analyzer_options")
    try:
        found = json.loads(options)
    except ValueError as error:
        raise ValueError(f"SEARCH: analyzer_options are no JSON: {error}") from None
    known = {"delimiters" if name == _LOG else "patterns", "token_filters"}
    if not isinstance(found, dict) or set(found) - known:
        raise ValueError(f"SEARCH: analyzer_options of {name} are {', '.join(sorted(known))}")
    return found


@functools.lru_cache(256)
def _read(query: str, analyzer: str, options: str) -> tuple[_Analyzer, Wanted]:
    made = _Analyzer(analyzer.upper(), options)
    return made, made.query(query)


def _texts(value: Any, kind: str, keys: bool, values: bool) -> Iterator[str]:
    """The texts of a value that DuckDB wrote as JSON; only STRING and JSON are looked at."""
    from portico.warehouse.types import members

    if value is None:
        return
    if kind.endswith("[]"):
        for one in value:
            yield from _texts(one, kind[:-2], keys, values)
    elif kind.startswith(("STRUCT(", "TUPLE(")):
        inner = value.values() if isinstance(value, dict) else value
        for one, (_, each) in zip(inner, members(kind), strict=False):
            yield from _texts(one, each, keys, values)
    elif kind == "JSON":
        yield from _of_json(value, keys, values)
    elif kind == "VARCHAR":
        yield str(value)


def _of_json(value: Any, keys: bool, values: bool) -> Iterator[str]:
    for named, one in _parts(value):
        wanted = keys if named else values and isinstance(one, str)
        if wanted:
            yield one


def _parts(value: Any) -> Iterator[tuple[bool, Any]]:
    """The names of a JSON value's members, told by True, and what is no object and no list in it."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield True, name
            yield from _parts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _parts(one)
    else:
        yield False, value


def search(value: str | None, kind: str, query: str | None, scope: str, analyzer: str, options: str) -> bool:
    """`value` is JSON of DuckDB's type `kind`; FALSE of a NULL.

    Raises:
        ValueError: the query is NULL or has no term, or an argument is none.
    """
    if query is None:
        raise ValueError("SEARCH: the search query must not be NULL")
    if scope not in _SCOPES:
        raise ValueError(f"SEARCH: json_scope must be {', '.join(_SCOPES)}, not {scope!r}")
    analyzed_by, wanted = _read(query, analyzer, options)
    if value is None:
        return False
    texts = _texts(json.loads(value), kind, *_SCOPES[scope])
    return wanted([(analyzed_by.plain(one), analyzed_by.in_order(one)) for one in texts])


@functools.lru_cache(256)
def _analyzer(name: str, options: str) -> _Analyzer:
    return _Analyzer(name.upper(), options)


def analyzed(text: str, analyzer: str, options: str) -> list[str]:
    """TEXT_ANALYZE: the terms of a text, in order.

    Raises:
        ValueError: there is no such analyzer, or an option is none of its.
    """
    return _analyzer(analyzer, options).in_order(text)


def contains(value: str, kind: str, needle: str, scope: str) -> bool | None:
    """CONTAINS_SUBSTR of a value of any type, which comes as DuckDB's JSON: whether a text in it has `needle`; NULL
    where none has and one is NULL.

    Raises:
        ValueError: there is no such scope.
    """
    if scope not in _SCOPES:
        raise ValueError(f"CONTAINS_SUBSTR: json_scope must be {', '.join(_SCOPES)}, not {scope!r}")
    keys, values = _SCOPES[scope]
    wanted = normalize(needle, "NFKC_CASEFOLD")
    found = list(_all_texts(json.loads(value), kind == "JSON" and keys, values or kind != "JSON"))
    if any(wanted in normalize(one, "NFKC_CASEFOLD") for one in found if one is not None):
        return True
    return None if None in found and kind != "JSON" else False


def _all_texts(value: Any, keys: bool, values: bool) -> Iterator[str | None]:
    for named, one in _parts(value):
        if named:
            if keys:
                yield one
        elif one is None or isinstance(one, str):
            yield one if values else None
        elif values:
            yield json.dumps(one)


SEARCH_FUNCTIONS: dict[str, tuple[Callable[..., Any], list[str], str]] = {
    "text_analyze": (analyzed, ["VARCHAR", "VARCHAR", "VARCHAR"], "VARCHAR[]"),
    "contains_value": (contains, ["VARCHAR", "VARCHAR", "VARCHAR", "VARCHAR"], "BOOLEAN"),
    "search": (search, ["VARCHAR", "VARCHAR", "VARCHAR", "VARCHAR", "VARCHAR", "VARCHAR"], "BOOLEAN"),
}
"""By name: the function, the types that DuckDB gives it, and what it gives."""
