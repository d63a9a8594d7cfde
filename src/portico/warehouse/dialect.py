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
            if name in ("EXTRACT", "ARRAY", "STRING_AGG")
        } | {
            "CAST": lambda self: self._parse_written_cast(exp.Cast),
            "SAFE_CAST": lambda self: self._parse_written_cast(exp.TryCast),
        }  # fmt: skip

        PIPE_SYNTAX_TRANSFORM_PARSERS: ClassVar[dict[str, Any]] = {
            **BigQuery.Parser.PIPE_SYNTAX_TRANSFORM_PARSERS,
            "SET": lambda self, query: self._parse_pipe_set(query),
            "RENAME": lambda self, query: self._parse_pipe_rename(query),
            "DROP": lambda self, query: self._parse_pipe_drop(query),
            "WINDOW": lambda self, query: self._parse_pipe_window(query),
            "ASSERT": lambda self, query: self._parse_pipe_assert(query),
        }

        def _piped(self, query: exp.Select, *shown: exp.Expr) -> exp.Expr:
            query.select(*shown, append=False, copy=False)
            made: exp.Expr = self._build_pipe_cte(query=query, expressions=[exp.Star()])
            return made

        def _parse_pipe_set(self, query: exp.Select) -> exp.Expr:
            """`|> SET a = e`: the column with another value."""
            self._advance()
            pairs = self._parse_csv(self._parse_disjunction)
            replaced = [exp.alias_(one.expression, one.this.name, quoted=True) for one in pairs]
            return self._piped(query, exp.Star(replace=replaced))

        def _parse_pipe_rename(self, query: exp.Select) -> exp.Expr:
            self._advance()
            renamed = self._parse_csv(self._parse_expression)
            return self._piped(query, exp.Star(rename=renamed))

        def _parse_pipe_drop(self, query: exp.Select) -> exp.Expr:
            self._advance()
            return self._piped(query, exp.Star(except_=self._parse_csv(self._parse_id_var)))

        def _parse_pipe_window(self, query: exp.Select) -> exp.Expr:
            self._advance()
            return self._piped(query, exp.Star(), *self._parse_expressions())

        def _parse_pipe_assert(self, query: exp.Select) -> exp.Expr:
            """`|> ASSERT condition, payload`: the rows as they are, or an error at the first that fails."""
            self._advance()
            condition, *told = self._parse_csv(self._parse_disjunction)
            said: exp.Expr = exp.Literal.string(f"Assert failed: {condition.sql('bigquery')}")
            for one in told:
                text = exp.cast(one, "STRING", dialect="bigquery")
                said = exp.DPipe(
                    this=exp.DPipe(this=said, expression=exp.Literal.string("; ")), expression=text
                )
            failed = exp.Cast(
                this=exp.Anonymous(this="ERROR", expressions=[said]), to=exp.DataType.build("BOOLEAN")
            )
            query.where(exp.If(this=condition, true=exp.true(), false=failed), copy=False)
            made: exp.Expr = self._build_pipe_cte(query=query, expressions=[exp.Star()])
            return made

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

        def _parse_written_cast(self, made: type[exp.Expr]) -> Any:
            """CAST, whose FORMAT stays as it was written."""
            value = self._parse_disjunction()
            if not self._match(TokenType.ALIAS):
                self.raise_error("Expected AS after CAST")
            kind = self._parse_types()
            if kind is None:
                self.raise_error("Expected TYPE after CAST")
            pattern = None
            if self._match(TokenType.FORMAT):
                pattern = self._parse_at_time_zone(self._parse_string())
            return self.expression(made(this=value, to=kind, format=pattern))


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
        _literals_first(statement)
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


def _literals_first(statement: exp.Expr) -> None:
    """`JSON '…'.a[0]` reads a field of the literal; EXTRACT's `WEEK(MONDAY)` is a word, no function."""
    for literal in list(statement.find_all(exp.ParseJSON)):
        inner = literal.this
        while isinstance(inner, exp.Dot | exp.Bracket):
            inner = inner.this
        if literal.args.get("is_literal") and inner is not literal.this:
            whole = literal.this
            inner.replace(exp.ParseJSON(this=inner.copy(), is_literal=True))
            literal.replace(whole)
    for extract in statement.find_all(exp.Extract):
        if isinstance(extract.this, exp.Anonymous):
            extract.set("this", exp.var(extract.this.sql("bigquery").upper()))


def _of_dataset(called: exp.Anonymous, path: str) -> None:
    """`a.b.f`(x), quoted as a whole, is `a.b`.f(x)."""
    dataset = exp.to_identifier(path, quoted=True)
    if isinstance(called.parent, exp.Table):
        called.parent.set("db", dataset)
    else:
        called.replace(exp.Dot(this=dataset, expression=called.copy()))
