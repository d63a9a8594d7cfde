"""GoogleSQL as sqlglot parses it, with every function as it was written: what it means is told in `functions`."""

from __future__ import annotations

from typing import Any, ClassVar

from sqlglot import exp
from sqlglot.dialects.bigquery import BigQuery
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokenizer_core import TokenType

from portico.errors import InvalidArgument
from portico.warehouse.models.syntax import readable

_SPACES = ("HLL_COUNT", "KLL_QUANTILES", "NET", "KEYS", "AEAD", "DETERMINISTIC_ENCRYPT")


class GoogleSQL(BigQuery):
    class Parser(BigQuery.Parser):  # type: ignore[misc, valid-type]
        FUNCTIONS: ClassVar[dict[str, Any]] = {}
        FUNCTION_PARSERS = {
            name: parser for name, parser in BigQuery.Parser.FUNCTION_PARSERS.items()
            if name in ("CAST", "SAFE_CAST", "EXTRACT", "ARRAY", "STRING_AGG")
        }  # fmt: skip

        def _parse_lambda(self, alias: bool = False) -> exp.Expr | None:
            """An argument of a function; `TABLE name` is all of that table."""
            if self._curr.text.upper() == "TABLE" and self._next.token_type not in (
                TokenType.COMMA, TokenType.R_PAREN, TokenType.DOT,
            ):  # fmt: skip
                self._advance()
                return exp.Subquery(
                    this=exp.Select(expressions=[exp.Star()], from_=exp.From(this=self._parse_table()))
                )
            found: exp.Expr | None = super()._parse_lambda(alias=alias)
            return found


def parse(text: str, after: tuple[int, int] = (1, 1)) -> list[exp.Expr]:
    """The statements of a text, which begins at line and column `after` of what was sent.

    Raises:
        InvalidArgument: it is no GoogleSQL, with line and column.
    """
    try:
        found = GoogleSQL().parse(readable(text, BigQuery.Tokenizer))
    except (ParseError, TokenError) as error:
        where = error.errors[0] if isinstance(error, ParseError) and error.errors else {}
        line, column = int(where.get("line") or 0), int(where.get("col") or 0)
        shifted = column + after[1] - 1 if line == 1 else column
        place = f" at [{line + after[0] - 1}:{shifted}]" if line else ""
        said = where.get("description") or str(error).splitlines()[0]
        raise InvalidArgument(f"Syntax error: {said.rstrip('.')}{place}", reason="invalidQuery") from None
    statements = [one for one in found if one is not None and not isinstance(one, exp.Semicolon)]
    for statement in statements:
        _name_spaces(statement)
        for called in list(statement.find_all(exp.Anonymous)):
            path, _, name = called.name.rpartition(".")
            # Upper case is what was written, lower case what the translation makes of it: DuckDB's own.
            called.set("this", name.upper())
            if path:
                _of_dataset(called, path)
    return statements


def _name_spaces(statement: exp.Expr) -> None:
    """`HLL_COUNT.INIT` and its like are functions of one name, which has `__` for the dot."""
    for spaced in list(statement.find_all(exp.Dot, exp.NetFunc)):
        called = spaced.this if isinstance(spaced, exp.NetFunc) else spaced.expression
        space = "NET" if isinstance(spaced, exp.NetFunc) else spaced.this.name.upper()
        if isinstance(called, exp.Anonymous) and space in _SPACES and not isinstance(spaced.this, exp.Dot):
            spaced.replace(exp.Anonymous(this=f"{space}__{called.name}", expressions=called.expressions))


def _of_dataset(called: exp.Anonymous, path: str) -> None:
    """`a.b.f`(x), quoted as a whole, is `a.b`.f(x)."""
    dataset = exp.to_identifier(path, quoted=True)
    if isinstance(called.parent, exp.Table):
        called.parent.set("db", dataset)
    else:
        called.replace(exp.Dot(this=dataset, expression=called.copy()))
