"""Which types GoogleSQL's common functions and operators take, and its words for what they do not.

A line of the table has functions and, behind the colon, the types that they take, one way after the other; an argument
in brackets may be left out, the last with `...` may be there more than once. Where a type is not known, any may be.
https://cloud.google.com/bigquery/docs/reference/standard-sql/conversion_rules
"""

from __future__ import annotations

from collections.abc import Sequence

LITERAL = "'STRING"
"""The type of a STRING that is written out: a date or a time may be read from it."""
ANY = "NULL"
"""The type of a NULL, which is of any."""
NUMBERS = frozenset(["INT64", "NUMERIC", "BIGNUMERIC", "FLOAT64"])

_TABLE = """
LENGTH BYTE_LENGTH OCTET_LENGTH LOWER UPPER REVERSE MD5 SHA1 SHA256 SHA512
  FARM_FINGERPRINT TO_CODE_POINTS: STRING | BYTES
STARTS_WITH ENDS_WITH STRPOS REGEXP_CONTAINS REGEXP_EXTRACT_ALL: STRING, STRING | BYTES, BYTES
CONCAT: STRING, STRING... | BYTES, BYTES...
INSTR REGEXP_EXTRACT REGEXP_SUBSTR: STRING, STRING, [INT64], [INT64] | BYTES, BYTES, [INT64], [INT64]
REGEXP_INSTR: STRING, STRING, [INT64], [INT64], [INT64] | BYTES, BYTES, [INT64], [INT64], [INT64]
SUBSTR SUBSTRING: STRING, INT64, [INT64] | BYTES, INT64, [INT64]
LEFT RIGHT REPEAT: STRING, INT64 | BYTES, INT64
LPAD RPAD: STRING, INT64, [STRING] | BYTES, INT64, [BYTES]
TRIM LTRIM RTRIM: STRING, [STRING] | BYTES, BYTES
REPLACE TRANSLATE REGEXP_REPLACE: STRING, STRING, STRING | BYTES, BYTES, BYTES
SPLIT: STRING, [STRING] | BYTES, BYTES
INITCAP: STRING, [STRING]
CHAR_LENGTH CHARACTER_LENGTH ASCII UNICODE SOUNDEX FROM_HEX FROM_BASE64 FROM_BASE32 ERROR: STRING
TO_HEX TO_BASE64 TO_BASE32 SAFE_CONVERT_BYTES_TO_STRING: BYTES
CHR DATE_FROM_UNIX_DATE TIMESTAMP_SECONDS TIMESTAMP_MILLIS TIMESTAMP_MICROS: INT64
BIT_COUNT: INT64 | BYTES
ABS SIGN SAFE_NEGATE: INT64 | NUMERIC | BIGNUMERIC | FLOAT64
SQRT EXP LN LOG10 CEIL CEILING FLOOR: FLOAT64 | NUMERIC | BIGNUMERIC
LOG: FLOAT64, [FLOAT64] | NUMERIC, [NUMERIC] | BIGNUMERIC, [BIGNUMERIC]
POW POWER SAFE_DIVIDE: FLOAT64, FLOAT64 | NUMERIC, NUMERIC | BIGNUMERIC, BIGNUMERIC
ROUND: FLOAT64, [INT64] | NUMERIC, [INT64], [STRING] | BIGNUMERIC, [INT64], [STRING]
TRUNC: FLOAT64, [INT64] | NUMERIC, [INT64] | BIGNUMERIC, [INT64]
MOD DIV: INT64, INT64 | NUMERIC, NUMERIC | BIGNUMERIC, BIGNUMERIC
SAFE_ADD SAFE_SUBTRACT SAFE_MULTIPLY:
  INT64, INT64 | NUMERIC, NUMERIC | BIGNUMERIC, BIGNUMERIC | FLOAT64, FLOAT64
SIN COS TAN ASIN ACOS ATAN SINH COSH TANH ASINH ACOSH ATANH CSC SEC COT CSCH SECH COTH CBRT IS_NAN IS_INF: FLOAT64
ATAN2 IEEE_DIVIDE: FLOAT64, FLOAT64
UNIX_DATE: DATE
UNIX_SECONDS UNIX_MILLIS UNIX_MICROS: TIMESTAMP
PARSE_DATE PARSE_DATETIME PARSE_TIME: STRING, STRING
PARSE_TIMESTAMP: STRING, STRING, [STRING]
FORMAT_TIME: STRING, TIME
FORMAT_DATE FORMAT_DATETIME FORMAT_TIMESTAMP: STRING, DATE, [STRING] | STRING, DATETIME, [STRING] |
  STRING, TIMESTAMP, [STRING]
COUNTIF LOGICAL_AND LOGICAL_OR: BOOL
SUM AVG: INT64 | NUMERIC | BIGNUMERIC | FLOAT64 | INTERVAL
STDDEV STDDEV_SAMP STDDEV_POP VARIANCE VAR_SAMP VAR_POP: FLOAT64 | NUMERIC | BIGNUMERIC
CORR COVAR_POP COVAR_SAMP: FLOAT64, FLOAT64 | NUMERIC, NUMERIC | BIGNUMERIC, BIGNUMERIC
BIT_AND BIT_OR BIT_XOR: INT64
JSON_VALUE JSON_QUERY JSON_EXTRACT JSON_EXTRACT_SCALAR JSON_QUERY_ARRAY JSON_VALUE_ARRAY JSON_EXTRACT_ARRAY
  JSON_EXTRACT_STRING_ARRAY: STRING, [STRING] | JSON, [STRING]
ARRAY_TO_STRING: ARRAY<STRING>, STRING, [STRING] | ARRAY<BYTES>, BYTES, [BYTES]
|| LIKE: STRING, STRING | BYTES, BYTES
AND OR: BOOL, BOOL...
NOT: BOOL
"""
_COERCED = {
    "INT64": ("NUMERIC", "BIGNUMERIC", "FLOAT64"), "NUMERIC": ("BIGNUMERIC", "FLOAT64"), "BIGNUMERIC": ("FLOAT64",),
    "FLOAT64": (), "DATE": ("DATETIME",),
    LITERAL: ("STRING", "BYTES", "DATE", "DATETIME", "TIME", "TIMESTAMP"),
}  # fmt: skip


def _read() -> dict[str, list[list[str]]]:
    found: dict[str, list[list[str]]] = {}
    for line in _TABLE.replace("\n  ", " ").strip().splitlines():
        names, _, ways = line.partition(": ")
        each = [[one.strip() for one in way.split(",")] for way in ways.split("|")]
        found |= dict.fromkeys(names.split(), each)
    return found


WAYS = _read()


def refusal(name: str, types: Sequence[str | None], numbers: Sequence[bool] = ()) -> str:
    """GoogleSQL's words where a function, or an operator by its sign, takes no arguments of these types; "" where it
    does, or may. `numbers`: which are written out with a point, and so of any type of numbers."""
    ways = WAYS.get(name)
    if ways is None or any(_fits(way, types, numbers) for way in ways):
        return ""
    kind = (
        "function"
        if name.replace("_", "").isalnum() and name not in ("AND", "OR", "NOT", "LIKE")
        else "operator"
    )
    told = f"for argument types: {', '.join(map(shown, types))}" if types else "with no arguments"
    said = f"No matching signature for {kind} {name} {told}"
    for way in ways:
        said += f"\n  Signature: {name}({', '.join(way)})\n    {_why(way, types, numbers)}"
    return said


def shown(kind: str | None) -> str:
    """As GoogleSQL names a type of an argument."""
    return {None: "?", LITERAL: "STRING", ANY: "INT64"}.get(kind, str(kind))


def _bounds(way: list[str]) -> tuple[int, int]:
    required = sum(not one.startswith("[") and not one.endswith("...") for one in way)
    return required, 1 << 16 if way[-1].endswith("...") else len(way)


def _fits(way: list[str], types: Sequence[str | None], numbers: Sequence[bool]) -> bool:
    least, most = _bounds(way)
    return least <= len(types) <= most and all(
        _takes(way, place, one, numbers) for place, one in enumerate(types)
    )


def _wanted(way: list[str], place: int) -> str:
    return way[min(place, len(way) - 1)].strip("[]").removesuffix("...")


def _takes(way: list[str], place: int, kind: str | None, numbers: Sequence[bool]) -> bool:
    wanted = _wanted(way, place)
    if kind in (None, ANY, wanted) or "?" in str(kind) or getattr(kind, "element", None) == ANY:
        return True
    if place < len(numbers) and numbers[place] and wanted in NUMBERS - {"INT64"}:
        return True
    return wanted in _COERCED.get(str(kind), ())


def _why(way: list[str], types: Sequence[str | None], numbers: Sequence[bool]) -> str:
    least, most = _bounds(way)
    has = len(types)
    if has < least:
        return f"Signature requires at least {least} argument{'s' * (least > 1)}, found {has} arguments"
    if has > most:
        return f"Signature accepts at most {most} argument{'s' * (most > 1)}, found {has} arguments"
    place = next(i for i, one in enumerate(types) if not _takes(way, i, one, numbers))
    wanted = _wanted(way, place)
    return f"Argument {place + 1}: Unable to coerce type {shown(types[place])} to expected type {wanted}"
