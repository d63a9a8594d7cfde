"""What DuckDB refuses, in BigQuery's words."""

from __future__ import annotations

import re

import duckdb

from portico.errors import InvalidArgument, PorticoError


def refused(error: duckdb.Error) -> PorticoError:
    """A DuckDB error as BigQuery tells it."""
    if isinstance(error, duckdb.OutOfMemoryException):
        return InvalidArgument(
            "Resources exceeded during query execution: the query needs more memory than the warehouse may hold. Give "
            "it more (portico up --warehouse-memory) or the query less to hold at once.",
            reason="resourcesExceeded",
        )
    text = str(error).split("\n\nLINE ")[0]
    text = text.split("UDF: ValueError: ")[-1] if "UDF: ValueError" in text else text.split(" Error: ", 1)[-1]
    first = text.split("\n")[0].replace("GS_", "").replace("gs_", "").replace("$with ", "")
    if isinstance(error, duckdb.TransactionException) and "onflict" in first:
        first = (
            "Transaction is aborted due to a concurrent update of the same table by another transaction; roll it back "
            "and run it again"
        )
    if missing := re.match(r"NOT NULL constraint failed: [^.]*\.(.*)", first):
        first = f"Required field {missing[1]} cannot be null"
    if "does not support the supplied arguments" in first:
        name = first.split("(")[0].removeprefix("Macro ").upper()
        first = f"No matching signature for function or operator {name} for these argument types"
    return InvalidArgument(first, reason="invalidQuery")
