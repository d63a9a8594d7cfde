"""What the search query of SEARCH asks for: terms, phrases in double quotes, exact texts in backticks, and how they are
put together.

Terms beside each other, or with AND between them, must all be there; OR, which binds more tightly, asks for one of
its sides; a dash before a term asks for none of it; brackets hold together. A backslash takes its meaning from what
follows.
https://cloud.google.com/bigquery/docs/reference/standard-sql/search_functions#search_query_rules
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_PIECES = re.compile(
    r'\s+|`(?P<exact>[^`]*)`|"(?P<phrase>(?:\\.|[^"\\])*)"|(?P<sign>[()]|-(?=[^\s-]))|(?P<open>[`"])'
)
_WORD = re.compile(r"(?:\\.|[^\s\\()])(?:\\.|[^\s\\)])*|\\")

Texts = Sequence[tuple[str, list[str]]]
"""Each text of a value, as it is compared, with its terms in order."""
Wanted = Callable[[Texts], bool]


@dataclass(frozen=True, slots=True)
class _Piece:
    kind: str  # word, exact, phrase, or a sign itself
    text: str = ""


def read(
    query: str, terms_of: Callable[[str], list[str]], exactly: Callable[[str], re.Pattern[str]]
) -> Wanted:
    """Whether texts have what is asked for. `terms_of` analyses a text; `exactly` finds one as it is.

    Raises:
        ValueError: nothing is asked for, or a quote or a bracket has no other.
    """
    reader = _Reader(_pieces(query), terms_of, exactly)
    found = reader.conjunction()
    if reader.left:
        raise ValueError("SEARCH: the search query has a bracket that nothing opens")
    if found is None:
        raise ValueError("SEARCH: the search query has no tokens")
    return found


def _pieces(query: str) -> list[_Piece]:
    found: list[_Piece] = []
    place = 0
    while place < len(query):
        if one := _PIECES.match(query, place):
            place = one.end()
            if one["open"]:
                raise ValueError(
                    f"SEARCH: {one[0]} in the search query has no end; a backslash before it makes it a text"
                )
            if one["exact"] is not None:
                found.append(_Piece("exact", one["exact"]))
            elif one["phrase"] is not None:
                found.append(_Piece("phrase", _plain(one["phrase"])))
            elif one["sign"]:
                found.append(_Piece(one["sign"]))
            continue
        word = _WORD.match(query, place)
        assert word is not None
        place = word.end()
        found.append(_Piece(word[0] if word[0] in ("AND", "OR") else "word", _plain(word[0])))
    return found


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


class _Reader:
    def __init__(
        self,
        left: list[_Piece],
        terms_of: Callable[[str], list[str]],
        exactly: Callable[[str], re.Pattern[str]],
    ) -> None:
        self.left, self._terms_of, self._exactly = left, terms_of, exactly

    def _next(self) -> str:
        return self.left[0].kind if self.left else ""

    def conjunction(self) -> Wanted | None:
        """None where there is no token in it."""
        sides: list[Wanted] = []
        while self._next() not in ("", ")"):
            if self._next() == "AND" and sides and len(self.left) > 1:
                self.left.pop(0)
                continue
            if (one := self._disjunction()) is not None:
                sides.append(one)
        if len(sides) < 2:
            return sides[0] if sides else None
        return lambda texts: all(one(texts) for one in sides)

    def _disjunction(self) -> Wanted | None:
        sides = [self._term()]
        while self._next() == "OR" and len(self.left) > 1 and self.left[1].kind != ")":
            self.left.pop(0)
            sides.append(self._term())
        known = [one for one in sides if one is not None]
        if len(known) < 2:
            return known[0] if known else None
        return lambda texts: any(one(texts) for one in known)

    def _term(self) -> Wanted | None:
        piece = self.left.pop(0)
        if piece.kind == "-":
            return None if (other := self._term()) is None else _not(other)
        if piece.kind == "(":
            inner = self.conjunction()
            if self._next() != ")":
                raise ValueError("SEARCH: a bracket in the search query has no end")
            self.left.pop(0)
            return inner
        if piece.kind == "exact":
            if not piece.text:
                return None
            pattern = self._exactly(piece.text)
            return lambda texts: any(pattern.search(shown) for shown, _ in texts)
        terms = self._terms_of(piece.text or piece.kind)
        if not terms:
            return None
        if piece.kind == "phrase":
            return lambda texts: any(_has_phrase(found, terms) for _, found in texts)
        wanted = set(terms)
        return lambda texts: not wanted.difference(*(found for _, found in texts))


def _not(wanted: Wanted) -> Wanted:
    return lambda texts: not wanted(texts)


def _has_phrase(found: list[str], phrase: list[str]) -> bool:
    return any(found[place : place + len(phrase)] == phrase for place in range(len(found) - len(phrase) + 1))
