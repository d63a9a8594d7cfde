"""GoogleSQL as sqlglot parses it, with every function as it was written: what it means is told in `functions`."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from sqlglot import exp
from sqlglot.dialects.bigquery import BigQuery
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokenizer_core import TokenType

from portico.errors import InvalidArgument, Unimplemented
from portico.warehouse import multilevel, pipes, quantified_like, recursion
from portico.warehouse.aggregates import AGGREGATES
from portico.warehouse.models.syntax import readable
from portico.warehouse.name_spaces import SPACES, name_spaces
from portico.warehouse.names import whole_paths
from portico.warehouse.syntax_errors import in_words, unclosed

PLACE = "with_offset"
"""Of a table that is an array, the name of its elements' places."""


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

        RANGE_PARSERS: ClassVar[dict[Any, Any]] = BigQuery.Parser.RANGE_PARSERS | {
            TokenType.LIKE: quantified_like.parse
        }
        # without `::`, which is a cast elsewhere
        COLUMN_OPERATORS: ClassVar[dict[Any, Any]] = {
            kind: made for kind, made in BigQuery.Parser.COLUMN_OPERATORS.items() if kind != TokenType.DCOLON
        }  # fmt: skip

        def _parse_column(self) -> Any:  # in one pair of backticks is one name, with its dots: `whole_paths`
            return super(BigQuery.Parser, self)._parse_column()  # type: ignore[misc]

        def _parse_column_ops(self, this: Any) -> Any:
            spaced = str(getattr(self._next, "text", "")).upper() in SPACES
            if (
                isinstance(this, exp.Column)
                and this.sql().upper() == "SAFE"
                and spaced
                and self._match(TokenType.DOT)
            ):
                return exp.SafeFunc(this=self._parse_column())
            return super()._parse_column_ops(this)

        PIPE_SYNTAX_TRANSFORM_PARSERS: ClassVar[dict[str, Any]] = {
            **BigQuery.Parser.PIPE_SYNTAX_TRANSFORM_PARSERS,
            "AS": lambda self, query: self._parse_pipe_as(query),
            "SET": lambda self, query: self._parse_pipe_set(query),
            "RENAME": lambda self, query: self._parse_pipe_rename(query),
            "DROP": lambda self, query: self._parse_pipe_drop(query),
            "WINDOW": lambda self, query: self._parse_pipe_window(query),
            "ASSERT": lambda self, query: self._parse_pipe_assert(query),
            "EXTEND": lambda self, query: self._parse_pipe_extend(query),
            "SELECT": lambda self, query: self._parse_pipe_select(query),
            "WHERE": lambda self, query: self._parse_pipe_where(query),
            "AGGREGATE": lambda self, query: self._parse_pipe_aggregate(query),
            "WITH": lambda self, query: self._parse_pipe_with(query),
            "CALL": lambda self, query: self._parse_pipe_call(query),
        }

        def _parse_limit(self, *given: Any, **named: Any) -> exp.Expr | None:
            found: exp.Expr | None = super()._parse_limit(*given, **named)
            if isinstance(found, exp.Limit) and found.args.get("offset") is not None:
                self.raise_error('Expected end of input but got ","')
            return found

        def _parse_table(self, *given: Any, **named: Any) -> exp.Expr | None:
            """`t.items AS item WITH OFFSET AS place` is an array, as in UNNEST."""
            found: exp.Expr | None = super()._parse_table(*given, **named)
            if isinstance(found, exp.Table) and self._match_text_seq("WITH", "OFFSET"):
                self._match(TokenType.ALIAS)
                alias = self._parse_id_var(any_token=False)
                found.set(PLACE, alias.name if alias is not None else "offset")
                if named.get("joins"):
                    for join in self._parse_joins():
                        found.append("joins", join)
            return found

        def _implicit_unnests_to_explicit(self, this: Any) -> Any:
            places = [(join, join.this.args.get(PLACE)) for join in this.args.get("joins") or ()]
            made = super()._implicit_unnests_to_explicit(this)
            for join, place in places:
                if place and isinstance(join.this, exp.Unnest):
                    join.this.set("offset", exp.to_identifier(place))
            return made

        def _parse_generated_as_identity(self) -> Any:
            """GENERATED ALWAYS AS (expression) STORED."""
            found = super()._parse_generated_as_identity()
            self._match_text_seq("STORED")
            return found

        def _parse_pipe_as(self, query: exp.Select) -> exp.Expr:
            """`|> AS t`: what comes has this name."""
            self._advance()
            named = query.args.get("with_")
            inner = query.copy()
            inner.set("with_", None)
            made: exp.Select = exp.select("*").from_(
                exp.Subquery(this=inner, alias=exp.TableAlias(this=self._parse_id_var())), copy=False
            )
            made.set("with_", named)
            return made

        def _parse_primary(self) -> exp.Expr | None:
            """`WITH(a AS 1, b AS a + 1, a + b)` is the last with what the names stand for in it."""
            if self._curr.token_type != TokenType.WITH or self._next.token_type != TokenType.L_PAREN:
                found: exp.Expr | None = super()._parse_primary()
                return found
            self._advance(2)
            known: dict[str, exp.Expr] = {}
            while self._next.token_type == TokenType.ALIAS:
                name = self._curr.text.lower()
                self._advance(2)
                known[name] = pipes.put_in(self._parse_disjunction(), known)
                self._match(TokenType.COMMA)
            made = pipes.put_in(self._parse_disjunction(), known)
            self._match_r_paren()
            return exp.Paren(this=made)

        def _parse_pipe_syntax_query(self, query: Any) -> Any:
            """Operator by operator; before each, what it is not about goes into a query beneath."""
            if isinstance(query, exp.Subquery):
                query = exp.select("*").from_(query, copy=False)
            if not query.args.get("from_"):
                query = exp.select("*").from_(query.subquery(copy=False), copy=False)
            while self._match(TokenType.PIPE_GT):
                start, word = self._index, self._curr.text.upper()
                query = pipes.ready(self, query, word)
                name = pipes.name_of(query)
                parser = self.PIPE_SYNTAX_TRANSFORM_PARSERS.get(word)
                if parser is not None:
                    query = parser(self, query)
                else:
                    made = self._parse_pipe_syntax_set_operator(query) or self._parse_pipe_syntax_join(query)
                    if not made:
                        self._retreat(start)
                        self.raise_error(f"Unsupported pipe syntax operator: '{word}'.")
                        break
                    query = made
                if word in pipes.PASSING:
                    pipes.named(query, name)
                elif word in ("PIVOT", "UNPIVOT"):
                    pipes.named(query, pipes.name_of_pivot(query))
            return query

        def _piped(self, query: exp.Select, *shown: exp.Expr) -> exp.Expr:
            query.select(*shown, append=False, copy=False)
            made: exp.Expr = self._build_pipe_cte(query=query, expressions=[exp.Star()])
            return made

        def _changed(self, query: exp.Select, star: exp.Star, known: dict[str, exp.Expr]) -> exp.Expr:
            """The query with other columns. Where the table's name is used later on, by which its columns can still be
            read as they were, what is `known` of the others is put in their places."""
            name = pipes.name_of(query)
            later = zip(self._tokens[self._index :], self._tokens[self._index + 1 :], strict=False)
            if not name or not any(
                one.text.lower() == name.lower() and dot.token_type == TokenType.DOT for one, dot in later
            ):
                return self._piped(query, star)
            query.select(star, append=False, copy=False)
            pipes.note(query, known)
            return query

        def _parse_pipe_syntax_set_operator(self, query: Any) -> Any:
            made = super()._parse_pipe_syntax_set_operator(query)
            if made is not None:
                pipes.enclose_sides(made)
            return made

        def _parse_pipe_call(self, query: exp.Select) -> exp.Expr:
            """`|> CALL f(…)`: what the table function f makes of what comes, which is its first argument."""
            self._advance()
            called: Any = self._parse_table()
            if not isinstance(called, exp.Table) or not isinstance(called.this, exp.Func):
                self.raise_error("Expected a table-valued function after CALL")
            held = query.args.get("with_")
            query.set("with_", None)
            called.this.set("expressions", [exp.Subquery(this=query), *called.this.expressions])
            made = exp.select("*").from_(called, copy=False)
            made.set("with_", held)
            return made

        def _parse_pipe_extend(self, query: exp.Select) -> exp.Expr:
            self._advance()
            added = [pipes.filled(one, query) for one in self._parse_expressions()]
            if self._match(TokenType.WINDOW, advance=False):
                query.set("windows", self._parse_window_clause())
            if pipes.extend(query, added):
                return query
            return self._piped(query, *(query.expressions or [exp.Star()]), *added)

        def _parse_pipe_select(self, query: exp.Select) -> exp.Expr:
            select = self._parse_select(consume_pipe=False)
            if select is None:
                return query
            shown = [pipes.filled(one, query) for one in select.expressions]
            for key in ("windows", "distinct", "kind"):
                if select.args.get(key):
                    query.set(key, select.args[key])
            found: exp.Expr = self._piped(query, *shown)
            pipes.name_columns_of(found)
            return found

        def _parse_pipe_where(self, query: exp.Select) -> exp.Expr:
            condition = pipes.filled(self._parse_where().this, query)
            made: exp.Expr = query.where(condition, copy=False)
            return made

        def _parse_pipe_aggregate(self, query: exp.Select) -> exp.Expr:
            extended = pipes.extended(query)
            made: exp.Expr = self._parse_pipe_syntax_aggregate(query)
            pipes.settle_aggregate(made, extended)
            return made

        def _parse_pipe_with(self, query: exp.Select) -> exp.Expr:
            """`|> WITH t AS (…)`: names for what follows."""
            self._advance()
            made = [self._parse_cte()]
            while self._match(TokenType.COMMA) and not self._match(TokenType.PIPE_GT, advance=False):
                made.append(self._parse_cte())
            held = query.args.get("with_")
            query.set("with_", exp.With(expressions=[*(held.expressions if held else []), *made]))
            return query

        def _parse_pipe_set(self, query: exp.Select) -> exp.Expr:
            """`|> SET a = e`: the column with another value."""
            self._advance()
            pairs = self._parse_csv(self._parse_disjunction)
            replaced = [exp.alias_(one.expression, one.this.name, quoted=True) for one in pairs]
            return self._changed(
                query, exp.Star(replace=replaced), {one.alias.lower(): one.this for one in replaced}
            )

        def _parse_pipe_rename(self, query: exp.Select) -> exp.Expr:
            self._advance()
            renamed = self._parse_csv(self._parse_expression)
            known = {one.alias.lower(): one.this for one in renamed}
            return self._changed(query, exp.Star(rename=renamed), known)

        def _parse_pipe_drop(self, query: exp.Select) -> exp.Expr:
            self._advance()
            return self._changed(query, exp.Star(except_=self._parse_csv(self._parse_id_var)), {})

        def _parse_pipe_window(self, query: exp.Select) -> exp.Expr:
            self._advance()
            return self._piped(query, exp.Star(), *self._parse_expressions())

        def _parse_pipe_assert(self, query: exp.Select) -> exp.Expr:
            """`|> ASSERT condition, payload`: the rows as they are, or an error at the first that fails."""
            self._advance()
            condition, *told = self._parse_csv(self._parse_disjunction)
            said: exp.Expr = exp.Literal.string(f"Assert failed: {condition.sql('bigquery')}")
            for one in told:
                text: exp.Expr = exp.cast(one, "STRING", dialect="bigquery")
                text = exp.Anonymous(this="IFNULL", expressions=[text, exp.Literal.string("NULL")])
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

        def _parse_having_max(self, this: exp.Expr | None) -> exp.Expr | None:
            """What may stand behind an aggregate's arguments: HAVING MAX or MIN, or GROUP BY."""
            found: exp.Expr | None = super()._parse_having_max(this)
            if self._match(TokenType.GROUP_BY):
                found = multilevel.Grouped(this=found, expressions=self._parse_csv(self._parse_disjunction))
            return found

        def _parse_string_agg(self) -> exp.Expr:
            """STRING_AGG; what orders it stands with its first argument, what groups with the last."""
            distinct = self._match(TokenType.DISTINCT)
            value = self._parse_having_max(self._parse_disjunction())
            separator = None
            if self._match(TokenType.COMMA):
                separator = self._parse_having_max(self._parse_disjunction())
            if distinct:
                value = exp.Distinct(expressions=[value])
            value = self._parse_limit(self._parse_order(value)) if value is not None else None
            made: exp.Expr = self.expression(exp.GroupConcat(this=value, separator=separator))
            return made

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


_UNBUILT = re.compile(
    r"\bMATCH_RECOGNIZE\b|\bWITH\s+(?:DIFFERENTIAL_PRIVACY|AGGREGATION_THRESHOLD|ANONYMIZATION)\b",
    re.IGNORECASE,
)


def parse(text: str, after: tuple[int, int] = (1, 1)) -> list[exp.Expr]:
    """The statements of a text, which begins at line and column `after` of what was sent.

    Raises:
        InvalidArgument: it is no GoogleSQL, with line and column. Unimplemented: Portico has not all of it.
    """
    try:
        found = GoogleSQL().parse(readable(text, BigQuery.Tokenizer))
    except (ParseError, TokenError) as error:
        where = error.errors[0] if isinstance(error, ParseError) and error.errors else {}
        line, column = int(where.get("line") or 0), int(where.get("col") or 0)
        shifted = column + after[1] - 1 if line == 1 else column
        place = f" at [{line + after[0] - 1}:{shifted}]" if line else ""
        if isinstance(error, TokenError):
            raise unclosed(text) from None
        if clause := _UNBUILT.search(text):
            raise Unimplemented(f"{' '.join(clause[0].upper().split())} is not built in Portico.") from None
        said = in_words(where.get("description") or str(error).splitlines()[0])
        raise InvalidArgument(f"Syntax error: {said.rstrip('.')}{place}", reason="invalidQuery") from None
    statements = [one for one in found if one is not None and not isinstance(one, exp.Semicolon)]
    for statement in statements:
        _check(statement, piped="|>" in text)
        recursion.check(statement)
        multilevel.check(statement, AGGREGATES)
        name_spaces(statement)
        whole_paths(statement)
        _named_windows(statement)
        _literals_first(statement)
        _unchained(statement)
        for called in list(statement.find_all(exp.Anonymous)):
            path, _, name = called.name.rpartition(".")
            # Upper case is what was written, lower case what the translation makes of it: DuckDB's own.
            called.set("this", name.upper())
            if path:
                _of_dataset(called, path)
        quantified_like.rewrite(statement)
    return statements


# Window functions that need an order.
_ORDERED = frozenset(["RANK", "DENSE_RANK", "PERCENT_RANK", "CUME_DIST", "NTILE", "LAG", "LEAD"])


def _check(statement: exp.Expr, *, piped: bool) -> None:
    """
    Raises:
        InvalidArgument: a query is put together as GoogleSQL allows none.
    """
    for node in statement.find_all(exp.Select, exp.Window, exp.SetOperation, exp.Mod, exp.All, exp.Any):
        said = ""
        if isinstance(node, exp.Mod):
            said = 'Syntax error: Unexpected "%": GoogleSQL has MOD(a, b) for it'
        elif isinstance(node, exp.All | exp.Any):
            if not isinstance(node.parent, exp.Like):
                word = type(node).__name__.upper()
                said = f"Syntax error: Unexpected keyword {word}: it may stand behind LIKE alone"
        elif isinstance(node, exp.SetOperation):
            if not piped and any(_other(node, node.args[side]) for side in ("this", "expression")):
                said = (
                    "Syntax error: Different set operations cannot be used in the same query without using parentheses "
                    "for grouping"
                )
        elif isinstance(node, exp.Window):
            named = node.args.get("alias") is not None or not isinstance(node.this, exp.Anonymous)
            if not named and node.this.name.upper() in _ORDERED and node.args.get("order") is None:
                said = f"Window ORDER BY is required for analytic function {node.this.name.lower()}"
        elif node.args.get("from_") is None:
            if node.args.get("where") is not None:
                said = "Query without FROM clause cannot have a WHERE clause"
            elif node.args.get("group") is not None and node.args["group"].expressions != [exp.Tuple()]:
                said = "Query without FROM clause cannot have a GROUP BY clause"
            elif node.args.get("distinct") is not None and not isinstance(node.parent, exp.SetOperation):
                said = "Query without FROM clause cannot use SELECT DISTINCT"
        if said:
            raise InvalidArgument(said, reason="invalidQuery")


def _other(operation: exp.Expr, side: exp.Expr) -> bool:
    """Whether a side, without parentheses, is another set operation."""
    return isinstance(side, exp.SetOperation) and (
        type(side) is not type(operation)
        or bool(side.args.get("distinct")) != bool(operation.args.get("distinct"))
    )


def _named_windows(statement: exp.Expr) -> None:
    """`WINDOW a AS (…), b AS (a)`: b is all that a is, its frame, too."""
    for select in statement.find_all(exp.Select):
        known: dict[str, exp.Expr] = {}
        for window in select.args.get("windows") or ():
            same = known.get(str(window.alias).lower())
            if same is not None and not any(
                window.args.get(key) for key in ("partition_by", "order", "spec")
            ):
                for key, value in same.copy().args.items():
                    if key != "this":
                        window.set(key, value)
            known[window.name.lower()] = window


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


_INPUTS = (exp.Paren, exp.Literal, exp.Func, exp.Array, exp.Bracket, exp.ByteString, exp.RawString, exp.Tuple)


def _unchained(statement: exp.Expr) -> None:
    """`(value).f(x)` is f(value, x); EXISTS may have its query in parentheses of its own."""
    for chained in list(statement.find_all(exp.Dot))[::-1]:
        called, first = chained.expression, chained.this
        if isinstance(called, exp.Anonymous) and isinstance(first, _INPUTS):
            if isinstance(first, exp.Tuple) and len(first.expressions) == 1:
                [first] = first.expressions
            called.set("expressions", [first.pop(), *called.expressions])
            chained.replace(called.pop())
    for joined in list(statement.find_all(exp.Concat)):  # 'a' 'b'
        if all(isinstance(one, exp.Literal) and one.is_string for one in joined.expressions):
            joined.replace(exp.Literal.string("".join(one.name for one in joined.expressions)))
    for called in list(statement.find_all(exp.Anonymous)):
        if called.name.upper() == "EXISTS" and len(called.expressions) == 1:
            [inner] = called.expressions
            if isinstance(inner, exp.Subquery):
                called.replace(exp.Exists(this=inner.unnest()))


def _of_dataset(called: exp.Anonymous, path: str) -> None:
    """`a.b.f`(x), quoted as a whole, is `a.b`.f(x)."""
    dataset = exp.to_identifier(path, quoted=True)
    if isinstance(called.parent, exp.Table):
        called.parent.set("db", dataset)
    else:
        called.replace(exp.Dot(this=dataset, expression=called.copy()))
