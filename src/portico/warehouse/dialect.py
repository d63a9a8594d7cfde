"""GoogleSQL as sqlglot parses it, with every function as it was written: what it means is told in `functions`."""

from __future__ import annotations

from typing import Any, ClassVar

from sqlglot import exp
from sqlglot.dialects.bigquery import BigQuery
from sqlglot.errors import ParseError, TokenError

from portico.errors import InvalidArgument


class GoogleSQL(BigQuery):
    class Parser(BigQuery.Parser):  # type: ignore[misc, valid-type]
        FUNCTIONS: ClassVar[dict[str, Any]] = {}
        FUNCTION_PARSERS = {
            name: parser for name, parser in BigQuery.Parser.FUNCTION_PARSERS.items()
            if name in ("CAST", "SAFE_CAST", "EXTRACT", "ARRAY", "STRING_AGG")
        }  # fmt: skip


def parse(text: str) -> list[exp.Expr]:
    """The statements of a text.

    Raises:
        InvalidArgument: it is no GoogleSQL, with line and column.
    """
    try:
        found = GoogleSQL().parse(text)
    except (ParseError, TokenError) as error:
        where = error.errors[0] if isinstance(error, ParseError) and error.errors else {}
        place = f" at [{where['line']}:{where['col']}]" if where.get("line") else ""
        said = where.get("description") or str(error).splitlines()[0]
        raise InvalidArgument(f"Syntax error: {said.rstrip('.')}{place}", reason="invalidQuery") from None
    statements = [one for one in found if one is not None and not isinstance(one, exp.Semicolon)]
    for statement in statements:
        for called in statement.find_all(exp.Anonymous):
            # Upper case is what was written, lower case what the translation makes of it: DuckDB's own.
            called.set("this", str(called.this).upper())
    return statements
