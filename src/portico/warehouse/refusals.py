"""What DuckDB refuses, in BigQuery's words."""

from __future__ import annotations

import re

import duckdb
from sqlglot import exp

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
    *_, told = re.split("UDF: (?:ValueError|DataError): ", text)
    text = told if told != text else text.split(" Error: ", 1)[-1]
    first = text.split("\n")[0].replace("GS_", "").replace("gs_", "").replace("$with ", "")
    if isinstance(error, duckdb.TransactionException) and "onflict" in first:
        first = (
            "Transaction is aborted due to a concurrent update of the same table by another transaction; roll it back "
            "and run it again"
        )
    if missing := re.match(r"NOT NULL constraint failed: [^.]*\.(.*)", first):
        first = f"Required field {missing[1]} cannot be null"
    if "does not support the supplied arguments" in first:
        first = _unmatched(first.split("(")[0].removeprefix("Macro ").upper())
    for pattern, said in _WORDS:
        if found := re.search(pattern, first):
            first = found.expand(said)
            break
    first = re.sub(r"(?<=-)(\d)(?=-|$)", r"0\1", first) if "invalid date: " in first else first
    return InvalidArgument(first, reason="invalidQuery")


def place_of(name: exp.Expr) -> str:
    """Where a name begins, as BigQuery ends its sentences; "" where the parser has not noted its end."""
    meta = name.meta
    return f" at [{meta['line']}:{meta['col'] - meta['end'] + meta['start']}]" if "col" in meta else ""


def _unmatched(name: str) -> str:
    """What a macro is called by, and finds no arguments for that it takes."""
    if name.startswith("CAST_"):
        return f"Invalid cast to {name.removeprefix('CAST_')}"
    kind = f"operator {_OPERATORS[name]}" if name in _OPERATORS else f"function {name.replace('__', '.')}"
    return f"No matching signature for {kind} for these argument types"


_OPERATORS = {
    "ADD": "+", "SUB": "-", "MUL": "*", "DIV": "/", "NEG": "-", "BIT_AND": "&", "BIT_OR": "|", "BIT_XOR": "^",
    "BIT_NOT": "~", "SHIFT_LEFT": "<<", "SHIFT_RIGHT": ">>", "SUBSCRIPT": "[]",
}  # fmt: skip
# DuckDB's sentences, and BigQuery's for the same.
_WORDS = (
    (r"Overflow in subtraction of INT64 \(0 - (.*)\)!", r"int64 overflow: -\1"),
    (r"Overflow in \w+ of INT(?:64|128) \((.*)\)!", r"int64 overflow: \1"),
    (r"Overflow on abs\((.*)\)", r"int64 overflow: -\1"),
    (r"Type INT128 with value (-?\d+) can't be cast", r"int64 overflow: \1"),
    (r"Overflow in \w+ of DECIMAL", r"numeric overflow"),
    (r"Overflow in HUGEINT addition", r"numeric overflow: SUM"),
    (r'Casting value "(.*)" to type DECIMAL\(38,9\) failed', r"numeric overflow: \1"),
    (r"Could not convert string [\"'](.*)[\"'] to DECIMAL\(38,(?:9|18)\)", r"numeric out of range: \1"),
    (r"Could not convert string '(.*)' to (\w+)", r'Could not cast literal "\1" to type \2'),
    (r'Column "(.*?)" referenced that exists in the SELECT clause', r"Unrecognized name: \1"),
    (r'Referenced (?:table|column) "(.*?)" (?:was )?not found', r"Unrecognized name: \1"),
    (r'(?:Table|Values list|Subquery) "(.*?)" does not have a column named "(.*?)"', r"Name \2 not found inside \1"),
    (r'Ambiguous reference to column name "(.*?)"', r"Column name \1 is ambiguous"),
    (r'Column "(.*?)" does not exist on (left|right) side', r"Column \1 in USING clause not found on \2 side of join"),
    (r'column "(.*?)" must appear in the GROUP BY', r"Expression references column \1 which is neither grouped nor "
     r"aggregated"),
    (r"(WHERE|HAVING|GROUP BY|JOIN) clause cannot contain (aggregate|window)", r"A \2 function is not "
     r"allowed in the \1 clause"),
    (r"Frame starting from current row cannot have preceding rows", r"Starting window framing expression cannot be "
     r"CURRENT ROW when the ending window framing expression is OFFSET PRECEDING"),
    (r"RANGE frames must have only one ORDER BY", r"A RANGE-based window including an OFFSET PRECEDING or OFFSET "
     r"FOLLOWING window frame boundary requires an ORDER BY"),
    (r"Subquery returns \d+ columns - expected 1", r"Scalar subquery cannot have more than one column unless "
     r"using SELECT AS STRUCT to build STRUCT values"),
    (r"More than one row returned by a subquery", r"Scalar subquery produced more than one element"),
    (r"Set operations can only apply to expressions with the same number", r"Queries in a set operation have "
     r"mismatched column count"),
    (r'Ambiguous reference to table "(.*?)" \(duplicate', r"Duplicate table alias \1 in the same FROM clause"),
    (r'Duplicate CTE name "(.*?)"', r"Duplicate alias \1 for WITH subquery"),
    (r"Second argument in REPEAT\(\) cannot be negative", r"Second argument (repeat count) for REPEAT cannot be "
     r"negative"),
    (r"Second argument in [LR]PAD\(\) cannot be negative", r"Second argument (output size) for LPAD/RPAD cannot be "
     r"negative"),
    (r"aggregate function calls cannot be nested", r"Aggregations of aggregations are not allowed"),
    (r"SELECT clause without selection list", r"Syntax error: SELECT list must not be empty"),
    (r"LIMIT/OFFSET cannot be negative", r"Limit requires non-negative count and offset"),
    (r'Could not find key "(.*?)" in struct', r"Field name \1 does not exist in STRUCT"),
    (r'Column "(.*?)" in (?:EXCLUDE|EXCEPT) list not found', r"Column \1 in SELECT * EXCEPT list does not exist"),
    (r'Column "(.*?)" in REPLACE list not found', r"Column \1 in SELECT * REPLACE list does not exist"),
    (r"missing \), unterminated subpattern.*", r"Cannot parse regular expression: missing )"),
    (r"\* expression without FROM clause", r"SELECT * must have a FROM clause"),
    (r"Date out of range: (.*)", r"Input calculates to invalid date: \1"),
    (r"Time out of range: (.*)", r"Input calculates to invalid time: \1"),
    (r"Adding the interval overflows: (.*)", r"Adding the interval causes overflow: \1"),
    (r"Could not decode string .* as base64", r"Failed to decode invalid base64 string"),
    (r"Invalid input for hex digit: (.*)", r"Failed to decode invalid hexadecimal string: \1"),
    (r"Invalid UTF8 Codepoint (.*)", r"Invalid codepoint \1"),
    (r"^((?:missing|unexpected|invalid|bad|no argument|trailing) .*: .*)", r"Cannot parse regular expression: \1"),
    (r"Invalid replacement string for regexp_replace: (.*)", r"Invalid REGEXP_REPLACE pattern: \1"),
    (r"Like pattern must not end with escape character", r"LIKE pattern ends with a backslash"),
    (r"list dimensions must be equal, got left length '(\d+)' and right length '(\d+)'", r"Array length mismatch: \1 "
     r"and \2"),
    (r'function call "(\w+)\(', r"No matching signature for function \1 for these argument types"),
    (r"No function matches the given name and argument types '(?:gs_)?(\w+)\(", r"No matching signature for function "
     r"\1 for these argument types"),
)  # fmt: skip
