"""Tokens of GoogleSQL, read from the left, and the expressions, types and queries between them."""

from __future__ import annotations

from sqlglot import exp
from sqlglot.dialects.bigquery import BigQuery
from sqlglot.errors import TokenError
from sqlglot.tokenizer_core import Token, TokenType

from portico.errors import InvalidArgument
from portico.warehouse.dialect import GoogleSQL, parse
from portico.warehouse.syntax_errors import unclosed

_TEXTS = {
    TokenType.STRING, TokenType.RAW_STRING, TokenType.BYTE_STRING, TokenType.HEREDOC_STRING,
    TokenType.NATIONAL_STRING, TokenType.IDENTIFIER, TokenType.NUMBER,
}  # fmt: skip


class _Tokenizer(BigQuery.Tokenizer):
    # Neither words that swallow what follows, nor two words as one.
    COMMANDS = set()
    KEYWORDS = {word: kind for word, kind in BigQuery.Tokenizer.KEYWORDS.items() if " " not in word}


class Tokens:
    """The tokens of a text, read from the left."""

    def __init__(self, text: str, tokens: list[Token] | None = None) -> None:
        if tokens is None:
            try:
                tokens = _Tokenizer().tokenize(text)
            except TokenError:
                raise unclosed(text) from None
        self.text = text
        self._tokens = tokens
        self.at = 0

    def __bool__(self) -> bool:
        return self.at < len(self._tokens)

    def word(self, ahead: int = 0) -> str:
        """What stands there in upper case; "" for a string, a quoted name, a number and past the end."""
        place = self.at + ahead
        if place >= len(self._tokens) or self._tokens[place].token_type in _TEXTS:
            return ""
        return self._tokens[place].text.upper()

    def sees(self, *words: str) -> bool:
        return all(self.word(number) == word for number, word in enumerate(words))

    def take(self, *words: str) -> bool:
        """Passes over these words where they come next; whether they did."""
        if not self.sees(*words):
            return False
        self.at += len(words)
        return True

    def expect(self, *words: str) -> None:
        if not self.take(*words):
            raise self.error(f"Expected {' '.join(words)}")

    def error(self, message: str) -> InvalidArgument:
        if self:
            message += f" but got {self._tokens[self.at].text!r}"
        else:
            message += " but got end of script"
        return InvalidArgument(f"Syntax error: {message} at [{self.place()}]", reason="invalidQuery")

    def place(self) -> str:
        """Where the next token stands, as "line:column"."""
        start = self._tokens[self.at].start if self else len(self.text)
        line = self.text.count("\n", 0, start) + 1
        return f"{line}:{start - (self.text.rfind(chr(10), 0, start) + 1) + 1}"

    def since(self, start: int) -> str:
        """The text from a token to before the next."""
        if start >= self.at:
            return ""
        return self.text[self._tokens[start].start : self._tokens[self.at - 1].end + 1]

    def rest(self, start: int) -> Tokens:
        """The tokens from `start` to before the next."""
        return Tokens(self.text, self._tokens[start : self.at])

    def string(self) -> str:
        """
        Raises:
            InvalidArgument: no string comes next.
        """
        kinds = (TokenType.STRING, TokenType.RAW_STRING)
        if not self or self._tokens[self.at].token_type not in kinds:
            raise self.error("Expected a string literal")
        self.at += 1
        [select] = parse(f"SELECT {self.since(self.at - 1)}")
        return str(select.expressions[0].name)

    def name(self) -> str:
        kinds = _TEXTS - {TokenType.IDENTIFIER}
        if not self or self._tokens[self.at].token_type in kinds:
            raise self.error("Expected an identifier")
        text = self._tokens[self.at].text
        if self._tokens[self.at].token_type is not TokenType.IDENTIFIER and not text.isidentifier():
            raise self.error("Expected an identifier")
        self.at += 1
        return text

    def names(self) -> list[str]:
        """(a, b)"""
        self.expect("(")
        found = [self.name()]
        while self.take(","):
            found.append(self.name())
        self.expect(")")
        return found

    def path(self) -> list[str]:
        """A name of several parts, however it is quoted: `a-b.c`.d, a-b.c.d."""
        parts = [self.name()]
        while self.word() in (".", "-"):
            dash = self.word() == "-"
            self.at += 1
            if dash:
                piece = self._tokens[self.at].text if self else ""
                self.at += 1
                parts[-1] += f"-{piece}"
            else:
                parts.append(self.name())
        return [piece for part in parts for piece in part.split(".")]

    def until(self, *ends: tuple[str, ...], angles: bool = False) -> str:
        """The text up to one of `ends`, which are words outside of brackets and of CASE … END; `angles` are brackets in
        a type.

        Raises:
            InvalidArgument: there is no such end, or no text.
        """
        start, brackets, cases = self.at, 0, 0
        while self:
            if brackets == cases == 0 and self._at(ends):
                break
            word = self.word()
            if word == ";":
                break
            brackets += (word in ("(", "[")) - (word in (")", "]"))
            brackets += angles and (word == "<") - (word == ">")
            if brackets < 0:
                break
            cases += (word == "CASE") - (word == "END" and cases > 0)
            self.at += 1
        ended = not self or self.word() == ";"
        if self.at == start or not (self._at(ends) or (ended and () in ends)):
            raise self.error(f"Expected {' or '.join(' '.join(end) for end in ends if end) or ';'}")
        return self.since(start)

    def _at(self, ends: tuple[tuple[str, ...], ...]) -> bool:
        return any(end and self.sees(*end) for end in ends)

    def expression(self, *ends: tuple[str, ...]) -> exp.Expr:
        """The expression up to one of `ends`; `()` is the end of the statement."""
        place = self.place()
        return expression(self.until(*ends), place)

    def kind(self, *ends: tuple[str, ...]) -> exp.DataType:
        """The type up to one of `ends`."""
        place = self.place()
        return data_type(self.until(*ends, angles=True), place)


def expression(text: str, place: str = "1:1") -> exp.Expr:
    """
    Raises:
        InvalidArgument: it is no expression.
    """
    line, _, column = place.partition(":")
    found = parse(f"SELECT {text}", after=(int(line), int(column) - 7))
    select = found[0] if len(found) == 1 else None
    if (
        not isinstance(select, exp.Select)
        or len(select.expressions) != 1
        or any(value for key, value in select.args.items() if key not in ("expressions", "kind"))
        or isinstance(select.expressions[0], exp.Alias | exp.Star)
    ):
        raise InvalidArgument(f"Syntax error: Expected an expression at [{place}]", reason="invalidQuery")
    found_one: exp.Expr = select.expressions[0]
    return found_one.pop()


def data_type(text: str, place: str = "1:1") -> exp.DataType:
    """
    Raises:
        InvalidArgument: it is no type.
    """
    try:
        return exp.DataType.build(text, dialect=GoogleSQL)
    except Exception:
        raise InvalidArgument(f"Type not found: {text} at [{place}]", reason="invalidQuery") from None


def query(text: str, place: str = "1:1") -> exp.Expr:
    """
    Raises:
        InvalidArgument: it is no query.
    """
    line, _, column = place.partition(":")
    found = parse(text, after=(int(line), int(column)))
    if len(found) != 1 or not isinstance(found[0], exp.Query):
        raise InvalidArgument(f"Syntax error: Expected a query at [{place}]", reason="invalidQuery")
    return found[0]
