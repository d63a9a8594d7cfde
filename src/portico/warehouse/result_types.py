"""Which type an operator, or a function of scalars, gives: one of its own, or that of its first argument."""

from __future__ import annotations

from sqlglot import exp

from portico.warehouse.multilevel import Grouped

_GIVES = {
    "STRING": (
        "FORMAT FORMAT_DATE FORMAT_DATETIME FORMAT_TIME FORMAT_TIMESTAMP TO_JSON_STRING JSON_VALUE "
        "JSON_EXTRACT_SCALAR STRING CHR TO_HEX TO_BASE64 INITCAP STRING_AGG SOUNDEX GENERATE_UUID SESSION_USER"
    ),
    "INT64": (
        "LENGTH CHAR_LENGTH CHARACTER_LENGTH BYTE_LENGTH OCTET_LENGTH STRPOS INSTR COUNT COUNTIF DATE_DIFF "
        "DATETIME_DIFF TIMESTAMP_DIFF TIME_DIFF UNIX_DATE UNIX_SECONDS UNIX_MILLIS UNIX_MICROS FARM_FINGERPRINT ASCII "
        "UNICODE ROW_NUMBER RANK DENSE_RANK NTILE ARRAY_LENGTH APPROX_COUNT_DISTINCT"
    ),
    "FLOAT64": "RAND EXP LN LOG LOG10 SQRT POW POWER SIN COS TAN STDDEV VARIANCE CORR PERCENT_RANK CUME_DIST",
    "BOOL": (
        "STARTS_WITH ENDS_WITH REGEXP_CONTAINS IS_NAN IS_INF LOGICAL_AND LOGICAL_OR CONTAINS_SUBSTR SEARCH "
        "ARRAY_INCLUDES"
    ),
    "DATE": "CURRENT_DATE DATE PARSE_DATE DATE_FROM_UNIX_DATE LAST_DAY",
    "DATETIME": "CURRENT_DATETIME DATETIME PARSE_DATETIME",
    "TIME": "CURRENT_TIME TIME PARSE_TIME",
    "TIMESTAMP": "CURRENT_TIMESTAMP TIMESTAMP PARSE_TIMESTAMP TIMESTAMP_MICROS TIMESTAMP_MILLIS TIMESTAMP_SECONDS",
    "JSON": "PARSE_JSON TO_JSON",
    "NUMERIC": "PARSE_NUMERIC",
    "BIGNUMERIC": "PARSE_BIGNUMERIC",
}  # fmt: skip
GIVEN = {name: kind for kind, names in _GIVES.items() for name in names.split()}
AS_FIRST = frozenset([
    "MIN", "MAX", "SUM", "AVG", "ANY_VALUE", "ABS", "SIGN", "ROUND", "TRUNC", "CEIL", "FLOOR", "MOD", "LAG", "LEAD",
    "FIRST_VALUE", "LAST_VALUE", "DATE_ADD", "DATE_SUB", "DATE_TRUNC", "DATETIME_ADD", "DATETIME_SUB", "DATETIME_TRUNC",
    "TIMESTAMP_ADD", "TIMESTAMP_SUB", "TIMESTAMP_TRUNC", "TIME_ADD", "TIME_SUB", "TIME_TRUNC", "SUBSTR",
    "SUBSTRING", "TRIM", "LTRIM", "RTRIM", "REPLACE", "REVERSE", "LPAD", "RPAD", "REPEAT", "LEFT", "RIGHT",
    "REGEXP_EXTRACT", "REGEXP_REPLACE",
])  # fmt: skip
SPREAD = frozenset(["STDDEV", "STDDEV_SAMP", "STDDEV_POP", "VARIANCE", "VAR_SAMP", "VAR_POP", "CORR"])
ROOTS = frozenset(["POW", "POWER", "SQRT", "EXP", "LN", "LOG", "LOG10"])
COMMON = frozenset(["COALESCE", "IFNULL", "GREATEST", "LEAST"])
COMPARED: dict[type[exp.Expr], str] = {
    exp.EQ: "=", exp.NEQ: "!=", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">=",
}  # fmt: skip
SIGNS: dict[type[exp.Expr], str] = {
    exp.DPipe: "||", exp.Like: "LIKE", exp.And: "AND", exp.Or: "OR", exp.Not: "NOT",
}  # fmt: skip
BOOLEANS = (
    *COMPARED, exp.And, exp.Or, exp.Not, exp.Like, exp.In, exp.Between, exp.Is, exp.Exists, exp.Boolean,
)  # fmt: skip
AROUND = (
    exp.Paren, exp.Neg, exp.Window, exp.Alias, exp.Filter, exp.Distinct, exp.IgnoreNulls, exp.RespectNulls, exp.Order,
    exp.Limit, exp.HavingMax, Grouped,
)  # fmt: skip
NOW: dict[type[exp.Expr], str] = {
    exp.CurrentDate: "DATE", exp.CurrentTime: "TIME", exp.CurrentDatetime: "DATETIME",
    exp.CurrentTimestamp: "TIMESTAMP",
}  # fmt: skip
