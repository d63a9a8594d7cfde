"""CREATE, ALTER, DROP and EXPORT MODEL, read from their words; ML functions made readable for sqlglot."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlglot import exp
from sqlglot.errors import TokenError
from sqlglot.tokenizer_core import Token, TokenType

from portico.errors import InvalidArgument

if TYPE_CHECKING:
    from portico.warehouse.tokens import Tokens

PREFIXES = ("ML__", "AI__")  # of a function of BigQuery ML, as the parser is given it
_CALL = re.compile(r"\b(?:ML|AI)\s*\.\s*\w+\s*\(", re.IGNORECASE)
_INNER = re.compile(r"\b(?:ML|AI)__", re.IGNORECASE)


@dataclass(slots=True)
class Creation:
    """A CREATE MODEL, read. Queries and expressions are GoogleSQL's text: they are parsed where they are used."""

    path: list[str]
    replace: bool = False
    exists_ok: bool = False
    transform: str = ""
    options: list[tuple[str, str]] = field(default_factory=list)
    query: str = ""
    named: dict[str, str] = field(default_factory=dict)  # AS (training_data AS (…), …)
    remote: str = ""  # the connection of a model that calls an endpoint
    columns: tuple[str, str] = ("", "")  # INPUT (…) and OUTPUT (…)


def read_creation(tokens: Tokens) -> Creation:
    """
    Raises:
        InvalidArgument: its syntax is wrong, with line and column.
    """
    tokens.expect("CREATE")
    replace = tokens.take("OR", "REPLACE")
    tokens.expect("MODEL")
    exists_ok = tokens.take("IF", "NOT", "EXISTS")
    made = Creation(tokens.path(), replace, exists_ok)
    if tokens.take("TRANSFORM"):
        made.transform = _within(tokens)
    if tokens.sees("INPUT"):
        tokens.at += 1
        given = _within(tokens)
        tokens.expect("OUTPUT")
        made.columns = (given, _within(tokens))
    if tokens.take("REMOTE", "WITH", "CONNECTION"):
        made.remote = ".".join(tokens.path())
    if tokens.take("OPTIONS"):
        made.options = _options(tokens)
    if tokens.take("AS"):
        if tokens.sees("(") and tokens.word(2) == "AS":
            made.named = _named(tokens)
        else:
            made.query = tokens.until(())
    if tokens and tokens.word() != ";":
        raise tokens.error("Expected end of statement")
    return made


def _within(tokens: Tokens) -> str:
    """The text in the brackets that come next."""
    tokens.expect("(")
    text = "" if tokens.sees(")") else tokens.until((")",))
    tokens.expect(")")
    return text


def _options(tokens: Tokens) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    tokens.expect("(")
    while not tokens.take(")"):
        name = tokens.name().lower()
        if any(name == one for one, _ in found):
            raise InvalidArgument(f"Duplicate option {name.upper()}", reason="invalidQuery")
        tokens.expect("=")
        found.append((name, tokens.until((",",), (")",))))
        if not tokens.take(",") and not tokens.sees(")"):
            raise tokens.error("Expected , or )")
    return found


def _named(tokens: Tokens) -> dict[str, str]:
    found: dict[str, str] = {}
    tokens.expect("(")
    while not tokens.take(")"):
        name = tokens.name().lower()
        tokens.expect("AS")
        found[name] = _within(tokens)
        if not tokens.take(",") and not tokens.sees(")"):
            raise tokens.error("Expected , or )")
    return found


def read_options(tokens: Tokens, *words: str) -> list[tuple[str, str]]:
    """SET OPTIONS (…) of ALTER MODEL, or what comes after other `words`."""
    tokens.expect(*(words or ("SET", "OPTIONS")))
    return _options(tokens)


def readable(text: str, tokenize: type) -> str:
    """GoogleSQL whose ML and AI functions sqlglot reads as any other: `ML.PREDICT(MODEL a.b, TABLE c)` becomes
    `ML__PREDICT('a.b', (SELECT * FROM c))`. Lines stay what they are.

    Raises:
        InvalidArgument: somebody writes it so himself.
    """
    inner = _INNER.search(text)
    if not (inner or _CALL.search(text)):
        return text
    try:
        tokens: list[Token] = tokenize().tokenize(text)
    except TokenError:
        return text  # the parser says what is wrong
    if inner:
        _refuse_inner(tokens)
    pieces: list[str] = []
    done, place, depth = 0, 0, 0
    inside: list[int] = []  # depths of the brackets of ML functions

    def word(at: int) -> str:
        quoted = (TokenType.STRING, TokenType.IDENTIFIER, TokenType.RAW_STRING)
        return "" if at >= len(tokens) or tokens[at].token_type in quoted else tokens[at].text.upper()

    def put(new: str, first: int, last: int) -> None:
        nonlocal done
        old = text[tokens[first].start : tokens[last].end + 1]
        pieces.append(text[done : tokens[first].start] + new + "\n" * (old.count("\n") - new.count("\n")))
        done = tokens[last].end + 1

    while place < len(tokens):
        here = word(place)
        if (
            here in ("ML", "AI")
            and word(place + 1) == "."
            and word(place + 3) == "("
            and word(place - 1) != "."
        ):
            put(f"{here}__{tokens[place + 2].text.upper()}(", place, place + 3)
            depth += 1
            inside.append(depth)
            place += 4
            continue
        begins = bool(inside) and inside[-1] == depth and word(place - 1) in ("(", ",")
        if begins and here in ("MODEL", "TABLE") and word(place + 1) not in (",", ")", ".", "=>"):
            last = _path_end(tokens, place + 1)
            path = text[tokens[place + 1].start : tokens[last].end + 1]
            if here == "MODEL":
                put(exp.Literal.string(path.replace("`", "").strip()).sql("bigquery"), place, last)
            else:
                put(f"(SELECT * FROM {path})", place, last)
            place = last + 1
            continue
        depth += (here == "(") - (here == ")")
        if inside and depth < inside[-1]:
            inside.pop()
        place += 1
    return "".join(pieces) + text[done:]


def _refuse_inner(tokens: list[Token]) -> None:
    """
    Raises:
        InvalidArgument: a function is called by the name that `readable` gives it.
    """
    for one, then in itertools.pairwise(tokens):
        named = one.token_type not in (TokenType.STRING, TokenType.RAW_STRING)
        if named and then.text == "(" and one.text.upper().startswith(PREFIXES):
            raise InvalidArgument(f"Function not found: {one.text}", reason="invalidQuery")


def _path_end(tokens: list[Token], first: int) -> int:
    """The last token of the name that begins at `first`."""
    last = first
    while last + 2 < len(tokens) and tokens[last + 1].text in (".", "-"):
        last += 2
    return last


def written(text: str) -> str:
    """`readable`'s text as who wrote it has it: ML.PREDICT(MODEL `a.b`, …)."""
    text = re.sub(r"\b(ML|AI)__(\w+)\('([^']*)'", r"\1.\2(MODEL `\3`", text)
    return re.sub(r"\b(ML|AI)__(\w+)\(", r"\1.\2(", text)


def path_of(shown: str) -> list[str]:
    return [piece for piece in shown.split(".") if piece]
