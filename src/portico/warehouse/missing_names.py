"""Which name is not there, where it stands, and which one may be meant."""

from __future__ import annotations

import re

import duckdb
from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse.catalog import Cursor
from portico.warehouse.refusals import place_of, refused

_UNKNOWN = "Unrecognized name: "


def told(
    cursor: Cursor, statement: exp.Expr, query: exp.Expr | None, error: duckdb.Error
) -> InvalidArgument | duckdb.Error:
    """What is said of a name that a statement has and nobody knows; of other errors what DuckDB says. `query` is the
    query, as DuckDB's, that was refused."""
    error = _named(cursor, query, error)
    message = refused(error).message
    if not message.startswith(_UNKNOWN):
        return error
    name = message.removeprefix(_UNKNOWN)
    if meant := _closest(
        name, re.findall(r'"(?:[^"]*\.)?([^".]+)"', str(error).partition("Candidate bindings:")[2])
    ):
        message += f"; Did you mean {meant}?"
    begins = [one.parts[0] for one in statement.find_all(exp.Column)]
    standing = [one for one in begins if one.name.lower() == name.lower()]
    if len(standing) == 1:
        message += place_of(standing[0])
    return InvalidArgument(message, reason="invalidQuery")


def _named(cursor: Cursor, query: exp.Expr | None, error: duckdb.Error) -> duckdb.Error:
    """The error itself; or where DuckDB could choose no macro for an argument whose name is not there, or tells a
    SELECT's own name instead of those that are there, the error of that name."""
    own = re.search('Column "(.*?)" referenced that exists in the SELECT clause', str(error))
    if query is None or (own is None and "multiple overloads that match" not in str(error)):
        return error
    tree = query.copy()
    for one in list(tree.find_all(exp.Anonymous, exp.Alias)):
        if isinstance(one, exp.Alias):
            if own is not None and one.alias.lower() == own[1].lower():
                one.set("alias", exp.to_identifier("_own"))
        elif one.name.startswith("gs_") and one.expressions:
            one.set("this", "row")  # takes whatever there is
    try:
        cursor.sql(tree.sql("duckdb", identify=False))
    except duckdb.BinderException as other:
        if re.search("not found (in|because the) FROM clause|does not have a column", str(other)):
            return other
    except duckdb.Error:
        pass
    return error


def _closest(name: str, known: list[str]) -> str:
    """The name that is meant most likely; "" where none is near enough. How near that is was measured of GoogleSQL's
    analyzer, by names of 3 to 15 letters."""
    found = min(((_distance(name, one), one) for one in known), default=(len(name), ""))
    return found[1] if found[0] <= min(len(name) // 5 + 2, len(name) - 2) else ""


def _distance(first: str, second: str) -> int:
    """Levenshtein's: how many letters are put in, left out or changed."""
    row = list(range(len(second) + 1))
    for number, letter in enumerate(first, 1):
        above, row[0] = row[0], number
        for column, other in enumerate(second, 1):
            above, row[column] = (
                row[column],
                min(row[column] + 1, row[column - 1] + 1, above + (letter != other)),
            )
    return row[-1]
