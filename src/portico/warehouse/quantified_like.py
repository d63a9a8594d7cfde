"""LIKE ANY, SOME and ALL of patterns that an array or a subquery has.

https://github.com/google/googlesql/blob/master/docs/operators.md#like_operator_quantified
"""

from __future__ import annotations

from typing import Any

from sqlglot import exp
from sqlglot.dialects.bigquery import BigQuery
from sqlglot.tokenizer_core import TokenType

_plain = BigQuery.Parser.RANGE_PARSERS[TokenType.LIKE]
_QUANTIFIERS: dict[str, type[exp.Expr]] = {"ANY": exp.Any, "SOME": exp.Any, "ALL": exp.All}


def parse(parser: Any, value: exp.Expr) -> exp.Expr:
    """What stands behind `value LIKE`: sqlglot's parser does not know UNNEST(array) behind SOME and ALL."""
    quantifier = _QUANTIFIERS.get(parser._curr.text.upper()) if parser._curr else None
    following = _kind(parser, 1)
    if quantifier and following is TokenType.UNNEST:
        parser._advance()
        made: exp.Expr = parser.expression(
            exp.Like(this=value, expression=quantifier(this=parser._parse_bitwise()))
        )
        return made
    inside = _kind(parser, 2)
    if quantifier and (following is not TokenType.L_PAREN or inside is TokenType.R_PAREN):
        parser._advance()
        parser.raise_error("Expecting a list of patterns, a subquery or UNNEST in parentheses")
    if quantifier and inside in (TokenType.SELECT, TokenType.WITH):
        parser._advance()
        query = parser._parse_wrapped(lambda: parser._parse_set_operations(parser._parse_select()))
        found: exp.Expr = parser.expression(exp.Like(this=value, expression=quantifier(this=query)))
        return found
    plain: exp.Expr = _plain(parser, value)
    return plain


def _kind(parser: Any, ahead: int) -> TokenType | None:
    tokens = parser._tokens[parser._index + ahead : parser._index + ahead + 1]
    return tokens[0].token_type if tokens else None


def rewrite(statement: exp.Expr) -> None:
    """Makes functions of ours of those in a statement; a list of texts stays."""
    for like in list(statement.find_all(exp.Like)):
        quantifier = like.args["expression"]
        if not isinstance(quantifier, exp.Any | exp.All):
            continue
        patterns = _array(quantifier.this)
        if patterns is not None:
            word = type(quantifier).__name__.lower()
            name = f"gs_{'not_' if like.args.get('negate') else ''}like_{word}"
            like.replace(exp.Anonymous(this=name, expressions=[like.this.copy(), patterns.copy()]))


def _array(patterns: exp.Expr) -> exp.Expr | None:
    if (
        isinstance(patterns, exp.Anonymous)
        and patterns.name.upper() == "UNNEST"
        and len(patterns.expressions) == 1
    ):
        found: exp.Expr = patterns.expressions[0]
        return found
    if isinstance(patterns, exp.Query) and not isinstance(patterns, exp.Subquery):
        return exp.Array(expressions=[patterns.copy()], struct_name_inheritance=True)
    listed = patterns.expressions if isinstance(patterns, exp.Tuple) else [patterns.unnest()]
    if any(isinstance(one, exp.ByteString) for one in listed):  # which DuckDB's LIKE does not take
        return exp.Array(expressions=[one.copy() for one in listed])
    return None
