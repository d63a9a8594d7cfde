"""Which functions GoogleSQL has here, and what DuckDB is asked for each: nothing else of DuckDB can be called.

A function is a macro `gs_NAME` of `functions.sql` with the arguments as they stand, an aggregate or window function of
DuckDB's own by another name, or one of `_SPECIAL` where its form differs.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from graphlib import TopologicalSorter
from importlib.resources import files
from typing import Any

import duckdb
from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse import geography
from portico.warehouse.hll import HLL_FUNCTIONS
from portico.warehouse.javascript import javascript
from portico.warehouse.net_functions import NET_FUNCTIONS
from portico.warehouse.text_functions import NULLS_GO_IN, TEXT_FUNCTIONS
from portico.warehouse.time_functions import TIME_FUNCTIONS

_SOURCE = files("portico.warehouse").joinpath("functions.sql").read_text()
MACROS = frozenset(re.findall(r"^CREATE MACRO gs_(\w+)", _SOURCE, re.MULTILINE))

# Macros that only other macros and operators use.
_INNER = frozenset(
    [
        "int",
        "numeric_div",
        "scaled",
        "finite",
        "wrap",
        "float_text",
        "decimal_text",
        "utf8",
        "int_of_float",
        "shift_of",
        "local",
        "instant",
        "offset",
        "week",
        "trunc_date",
        "day_diff",
        "trunc_local",
        "unit",
        "part",
        "slice",
        "at",
        "at_safe",
        "subscript",
        "path",
        "json_array",
        "json_of",
        "add",
        "sub",
        "mul",
        "neg",
        "to_string",
        "integer_div",
        "avg",
        "top",
        "range_of",
        "range_checked",
        "range_text",
        "range_low",
        "range_high",
        "range_meet",
        "range_has",
        "range_holds",
        "range_steps",
        "range_half",
        "top_sum",
        "months",
        "micros",
        "interval_of",
        "justified",
        "hll_init",
        "hll_merge",
    ]
) | {name for name in MACROS if name.startswith(("cast_", "read_range"))}

_ALIASES = {
    "power": "pow", "ceiling": "ceil", "character_length": "length", "char_length": "length", "substring": "substr",
    "octet_length": "byte_length", "json_extract": "json_query", "json_extract_scalar": "json_value",
    "json_extract_array": "json_query_array", "json_extract_string_array": "json_value_array", "lcase": "lower",
    "ucase": "upper", "regexp_substr": "regexp_extract",
}  # fmt: skip
_DIRECT = {
    "min": "min", "max": "max", "count": "count", "any_value": "any_value", "logical_and": "bool_and",
    "logical_or": "bool_or", "bit_and": "bit_and", "bit_or": "bit_or", "bit_xor": "bit_xor", "corr": "corr",
    "covar_pop": "covar_pop", "covar_samp": "covar_samp", "stddev": "stddev_samp", "stddev_samp": "stddev_samp",
    "stddev_pop": "stddev_pop", "variance": "var_samp", "var_samp": "var_samp", "var_pop": "var_pop",
    "approx_count_distinct": "approx_count_distinct", "row_number": "row_number", "rank": "rank",
    "dense_rank": "dense_rank", "percent_rank": "percent_rank", "cume_dist": "cume_dist", "ntile": "ntile",
    "lag": "lag", "lead": "lead", "first_value": "first_value", "last_value": "last_value", "nth_value": "nth_value",
    "coalesce": "coalesce", "ifnull": "coalesce", "nullif": "nullif", "greatest": "greatest", "least": "least",
    "grouping": "grouping", "max_by": "max_by", "min_by": "min_by",
}  # fmt: skip
AGGREGATES = frozenset(
    [
        "count",
        "sum",
        "avg",
        "min",
        "max",
        "any_value",
        "logical_and",
        "logical_or",
        "bit_and",
        "bit_or",
        "bit_xor",
        "corr",
        "covar_pop",
        "covar_samp",
        "stddev",
        "stddev_samp",
        "stddev_pop",
        "variance",
        "var_samp",
        "var_pop",
        "approx_count_distinct",
        "approx_quantiles",
        "approx_top_count",
        "approx_top_sum",
        "hll_count__init",
        "hll_count__merge",
        "hll_count__merge_partial",
        "countif",
        "array_agg",
        "string_agg",
        "array_concat_agg",
        "grouping",
        "max_by",
        "min_by",
        *geography.AGGREGATES,
    ]
)
_PARTS_AT = {  # which argument is a part of a date
    "date_trunc": 1, "datetime_trunc": 1, "timestamp_trunc": 1, "time_trunc": 1, "date_diff": 2, "datetime_diff": 2,
    "timestamp_diff": 2, "time_diff": 2, "last_day": 1, "normalize": 1, "normalize_and_casefold": 1,
}  # fmt: skip


_ARROW: Any = "arrow"  # rows come in batches


def install(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes the functions of GoogleSQL known to a database."""
    made: dict[str, tuple[Callable[..., Any], list[str], str]] = {
        **TEXT_FUNCTIONS, **TIME_FUNCTIONS, **HLL_FUNCTIONS,
        **NET_FUNCTIONS,
        **{name: one[:3] for name, one in geography.FUNCTIONS.items()},
    }  # fmt: skip
    for name, (function, takes, gives) in made.items():
        wrapped = function if name in NULLS_GO_IN else _null_of_null(function)
        connection.create_function(  # type: ignore[call-overload]
            f"gs_py_{name}", wrapped, takes, gives, null_handling="special"
        )
    connection.create_function(
        "gs_py_javascript", javascript, ["VARCHAR"] * 2, "VARCHAR", type=_ARROW, side_effects=True
    )
    _make_macros(connection)


def _null_of_null(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is not asked where an argument is NULL, and may itself answer NULL."""

    @functools.wraps(function)
    def wrapped(*arguments: Any) -> Any:
        return None if None in arguments else function(*arguments)

    return wrapped


def _make_macros(connection: duckdb.DuckDBPyConnection) -> None:
    """DuckDB binds a macro when it is made: each comes behind those that it uses, and where it calls itself for other
    types, its overloads do, one by one."""
    overloads = _overloads()
    uses = {
        name: {used for one in mine for used in re.findall(r"\bgs_(\w+)\(", one)}
        for name, mine in overloads.items()
    }
    for name in TopologicalSorter(
        {name: (used & overloads.keys()) - {name} for name, used in uses.items()}
    ).static_order():
        made, waiting = [], overloads[name]
        if name not in uses[name]:
            made, waiting = waiting, []
            connection.execute(f"CREATE MACRO gs_{name}{', '.join(made)}")
        while waiting:
            left = []
            for one in waiting:
                try:
                    connection.execute(f"CREATE OR REPLACE MACRO gs_{name}{', '.join([*made, one])}")
                    made = [*made, one]
                except duckdb.Error as error:
                    left.append(one)
                    said = str(error)
            if len(left) == len(waiting):
                raise RuntimeError(f"gs_{name}: {said}")
            waiting = left


@functools.cache
def _overloads() -> dict[str, list[str]]:
    """The overloads of each macro, each as `(parameters) AS body`."""
    found: dict[str, list[str]] = {}
    source = re.sub(r"^--.*\n", "", _SOURCE, flags=re.MULTILINE)
    for name, rest in re.findall(r"CREATE MACRO gs_(\w+)(.*?);\n", source, re.DOTALL):
        depth, start, quoted = 0, 0, False
        for place, character in enumerate(rest + ","):
            quoted ^= character == "'"
            depth += 0 if quoted else (character in "([{") - (character in ")]}")
            if character == "," and depth == 0 and not quoted:
                found.setdefault(name, []).append(rest[start:place].strip())
                start = place + 1
    return found


def call(name: str, *arguments: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this=name, expressions=list(arguments))


def function(name: str, arguments: list[exp.Expr]) -> tuple[exp.Expr, Callable[[exp.Expr], exp.Expr] | None]:
    """DuckDB's call for GoogleSQL's function, and what goes around it and its OVER clause.

    Raises:
        InvalidArgument: there is no such function.
    """
    lower = name.lower()
    lower = _ALIASES.get(lower, lower)
    if special := _SPECIAL.get(lower):
        return special(arguments)
    if lower in NET_FUNCTIONS:
        return call(f"gs_py_{lower}", *arguments), None
    if lower in geography.FUNCTIONS:
        return _geography(lower, arguments)
    if lower in _DIRECT:
        return call(_DIRECT[lower], *arguments), None
    if lower in MACROS and lower not in _INNER:
        return call(f"gs_{lower}", *arguments), None
    raise InvalidArgument(f"Function not found: {name.replace('__', '.')}", reason="invalidQuery")


def is_function(name: str) -> bool:
    """Whether GoogleSQL has a function of this name here."""
    lower = name.lower()
    lower = _ALIASES.get(lower, lower)
    return (
        lower in _SPECIAL
        or lower in _DIRECT
        or lower in {**geography.FUNCTIONS, **NET_FUNCTIONS}
        or (lower in MACROS and lower not in _INNER)
    )


def name_parts(called: exp.Anonymous) -> None:
    """Makes a part of a date (DAY, WEEK(MONDAY)) among the arguments a string: it is no column."""
    place = _PARTS_AT.get(str(called.this).lower())
    if place is not None and len(called.expressions) > place:
        written = called.expressions[place].sql("bigquery").upper().replace(" ", "").replace("`", "")
        called.expressions[place].replace(exp.Literal.string(written))


Made = tuple[exp.Expr, Callable[[exp.Expr], exp.Expr] | None]


def _bare(argument: exp.Expr) -> exp.Expr:
    """An aggregate's argument without what orders, limits or makes it distinct."""
    while isinstance(
        argument, exp.Limit | exp.Order | exp.IgnoreNulls | exp.RespectNulls | exp.Distinct | exp.HavingMax
    ):
        argument = argument.expressions[0] if isinstance(argument, exp.Distinct) else argument.this
    return argument


def _sum(arguments: list[exp.Expr]) -> Made:
    return call("sum", *arguments), lambda made: call("gs_int", made)


def _avg(arguments: list[exp.Expr]) -> Made:
    return call("sum", *arguments), None  # `levels` counts beside it and divides


def _countif(arguments: list[exp.Expr]) -> Made:
    return call("count", exp.If(this=arguments[0], true=exp.Literal.number(1))), None


def _array_agg(arguments: list[exp.Expr]) -> Made:
    argument, bound, order, filtered = arguments[0], None, None, None
    if isinstance(argument, exp.Limit):
        argument, bound = argument.this, argument.expression
    if isinstance(argument, exp.Order):
        order, argument = argument.expressions, argument.this
    ignoring = isinstance(argument, exp.IgnoreNulls)
    if isinstance(argument, exp.IgnoreNulls | exp.RespectNulls):
        argument = argument.this
    if ignoring:
        filtered = exp.Not(this=exp.Is(this=_bare(argument).copy(), expression=exp.Null()))
    inner = exp.Order(this=argument, expressions=order) if order else argument
    made: exp.Expr = call("array_agg", inner)
    if filtered is not None:
        made = exp.Filter(this=made, expression=exp.Where(this=filtered))
    if bound is None:
        return made, None
    return made, lambda whole: call("list_slice", whole, exp.Literal.number(1), bound)


def _string_agg(arguments: list[exp.Expr]) -> Made:
    argument, bound, order = arguments[0], None, None
    separator = arguments[1] if len(arguments) > 1 else exp.Literal.string(",")
    if isinstance(separator, exp.Limit):
        separator, bound = separator.this, separator.expression
    if isinstance(separator, exp.Order):
        separator, order = separator.this, separator.expressions
    if isinstance(argument, exp.Limit):
        argument, bound = argument.this, argument.expression
    if isinstance(argument, exp.Order):
        argument, order = argument.this, argument.expressions
    if bound is not None:
        inner = exp.Order(this=argument, expressions=order) if order else argument
        listed, _ = _array_agg([exp.Limit(this=exp.IgnoreNulls(this=inner), expression=bound)])
        return listed, lambda whole: call(
            "array_to_string", call("list_slice", whole, exp.Literal.number(1), bound), separator
        )
    last = exp.Order(this=separator, expressions=order) if order else separator
    return call("string_agg", argument, last), None


def _any_value(arguments: list[exp.Expr]) -> Made:
    having = arguments[0]
    if isinstance(having, exp.HavingMax):
        return call("max_by" if having.args.get("max") else "min_by", having.this, having.expression), None
    return call("any_value", *arguments), None


_INTERVAL_PARTS = ("year", "month", "day", "hour", "minute", "second")


def _make_interval(arguments: list[exp.Expr]) -> Made:
    """Parts by place or by name; what is not given is 0."""
    given: dict[str, exp.Expr] = dict.fromkeys(_INTERVAL_PARTS, exp.Literal.number(0))
    for place, one in enumerate(arguments):
        name = one.this.name.lower() if isinstance(one, exp.Kwarg) else _INTERVAL_PARTS[min(place, 5)]
        if place > 5 or name not in given:
            raise InvalidArgument(f"MAKE_INTERVAL takes {', '.join(_INTERVAL_PARTS)}", reason="invalidQuery")
        given[name] = one.expression if isinstance(one, exp.Kwarg) else one
    return call("gs_make_interval", *given.values()), None


def _array_concat_agg(arguments: list[exp.Expr]) -> Made:
    made, around = _array_agg(arguments)
    return made, lambda whole: call("flatten", around(whole) if around else whole)


def _quantiles(arguments: list[exp.Expr]) -> Made:
    number = int(arguments[1].name) if isinstance(arguments[1], exp.Literal) else 2
    shares = exp.Array(expressions=[exp.Literal.number(repr(i / number)) for i in range(number + 1)])
    return call("quantile_disc", _bare(arguments[0]), shares), None


def _top_count(arguments: list[exp.Expr]) -> Made:
    return call("array_agg", arguments[0]), lambda whole: call("gs_top", whole, arguments[1])


def _top_sum(arguments: list[exp.Expr]) -> Made:
    pair = exp.Struct(
        expressions=[
            exp.PropertyEQ(this=exp.to_identifier(name), expression=one)
            for name, one in zip(("value", "weight"), arguments, strict=False)
        ]
    )
    return call("array_agg", pair), lambda whole: call("gs_top_sum", whole, arguments[2])


def _of_list(macro: str) -> Callable[[list[exp.Expr]], Made]:
    """An aggregate that is a macro of all the values."""

    def made(arguments: list[exp.Expr]) -> Made:
        return call("array_agg", arguments[0]), lambda whole: call(macro, whole, *arguments[1:])

    return made


def _collate(arguments: list[exp.Expr]) -> Made:
    return collated(arguments[0], arguments[1]), None


def collated(value: exp.Expr, collation: exp.Expr) -> exp.Expr:
    """A STRING that compares by a collation.

    Raises:
        InvalidArgument: there is none such.
    """
    if collation.name in ("", "und:cs"):
        return exp.Collate(this=value, expression=exp.to_identifier("BINARY"))
    if collation.name != "und:ci":
        raise InvalidArgument(f"Collation '{collation.name}' is not supported", reason="invalidQuery")
    return exp.Collate(this=value, expression=exp.to_identifier("NOCASE"))


def _concat(arguments: list[exp.Expr]) -> Made:
    made = arguments[0]
    for argument in arguments[1:]:
        made = exp.DPipe(this=made, expression=argument)
    return exp.Paren(this=made), None


def _array_concat(arguments: list[exp.Expr]) -> Made:
    made = arguments[0]
    for argument in arguments[1:]:
        made = call("gs_array_concat", made, argument)
    return made, None


def _div(arguments: list[exp.Expr]) -> Made:
    return call("gs_integer_div", *arguments), None


def _format(arguments: list[exp.Expr]) -> Made:
    shown = [call("gs_fmt", argument) for argument in arguments[1:]]
    return call(
        "gs_py_format", arguments[0], exp.cast(exp.Array(expressions=shown), "VARCHAR[]", dialect="duckdb")
    ), None


def _json_object(arguments: list[exp.Expr]) -> Made:
    shown = [call("gs_json_of", one) if i % 2 else one for i, one in enumerate(arguments)]
    return call("json_object", *shown), None


def _json_array(arguments: list[exp.Expr]) -> Made:
    return call("json_array", *(call("gs_json_of", one) for one in arguments)), None


def _safe(macro: str) -> Callable[[list[exp.Expr]], Made]:
    def made(arguments: list[exp.Expr]) -> Made:
        return call("TRY", call(macro, *arguments)), None

    return made


def _to_json(arguments: list[exp.Expr]) -> Made:
    return call("to_json", call("gs_json_of", arguments[0])), None


def _to_json_string(arguments: list[exp.Expr]) -> Made:
    text = exp.cast(_to_json(arguments)[0], "VARCHAR", dialect="duckdb")
    return call("gs_py_compact", text, arguments[1] if len(arguments) > 1 else exp.false()), None


def _json_change(python: str) -> Callable[[list[exp.Expr]], Made]:
    """JSON_SET and its like: a document, then paths, each with a value where `python` takes one."""

    def made(arguments: list[exp.Expr]) -> Made:
        step = 1 if python == "gs_py_json_remove" else 2
        text: exp.Expr = exp.cast(arguments[0], "VARCHAR", dialect="duckdb")
        for place in range(1, len(arguments), step):
            given = arguments[place : place + step]
            if len(given) > 1 and not isinstance(given[1], exp.Literal | exp.Array):
                given[1] = call("gs_json_of", given[1])
            shown = [exp.cast(call("to_json", one), "VARCHAR", dialect="duckdb") for one in given[1:]]
            text = call(python, text, given[0], *shown)
        return exp.cast(text, "JSON", dialect="duckdb"), None

    return made


def _geography(name: str, arguments: list[exp.Expr]) -> Made:
    geography.require_spherely(name.upper())
    _, takes, _, defaults = geography.FUNCTIONS[name]
    if name in geography.AGGREGATES:
        made, around = _array_agg(arguments)
        return made, lambda whole: call(f"gs_py_{name}", around(whole) if around else whole)
    named = {one.this.name.lower(): one.expression for one in arguments if isinstance(one, exp.Kwarg)}
    given = [one for one in arguments if not isinstance(one, exp.Kwarg)]
    if takes == ["GEOMETRY[]"] and len(given) == 2:  # two of them, or an array
        given = [exp.Array(expressions=given)]
    required = len(takes) - len(defaults)
    if unknown := named.keys() - defaults.keys():
        raise InvalidArgument(
            f"Named argument {unknown.pop()} not found in {name.upper()}", reason="invalidQuery"
        )
    if not required <= len(given) <= len(takes):
        raise InvalidArgument(
            f"No matching signature for function {name.upper()}: it takes {required} to {len(takes)} arguments",
            reason="invalidQuery",
        )
    for place, (key, default) in enumerate(defaults.items(), required):
        if place >= len(given):
            given.append(
                named[key] if key in named else exp.cast(exp.convert(default), takes[place], dialect="duckdb")
            )
    return call(f"gs_py_{name}", *given), None


def _ieee_divide(arguments: list[exp.Expr]) -> Made:
    return exp.Div(this=exp.cast(arguments[0], "DOUBLE"), expression=exp.cast(arguments[1], "DOUBLE")), None


def _percentile(native: str) -> Callable[[list[exp.Expr]], Made]:
    def made(arguments: list[exp.Expr]) -> Made:
        return call(native, *arguments), None

    return made


def _struct(arguments: list[exp.Expr]) -> Made:
    """Without any name, DuckDB's tuple, which becomes whatever struct it meets by its fields' places."""
    if arguments and not any(isinstance(one, exp.Alias | exp.Column | exp.Dot) for one in arguments):
        return call("row", *arguments), None
    pairs = []
    for number, argument in enumerate(arguments, 1):
        if isinstance(argument, exp.Alias):
            name, value = argument.alias, argument.this
        elif isinstance(argument, exp.Column | exp.Dot):
            name, value = argument.name, argument
        else:
            name, value = f"_field_{number}", argument
        pairs.append(exp.PropertyEQ(this=exp.to_identifier(name, quoted=True), expression=value))
    return exp.Struct(expressions=pairs), None


_SPECIAL: dict[str, Callable[[list[exp.Expr]], Made]] = {
    "any_value": _any_value, "make_interval": _make_interval,
    "sum": _sum, "avg": _avg, "countif": _countif, "count_if": _countif, "array_agg": _array_agg,
    "string_agg": _string_agg, "array_concat_agg": _array_concat_agg, "approx_quantiles": _quantiles,
    "approx_top_count": _top_count, "approx_top_sum": _top_sum, "collate": _collate,
    "hll_count__init": _of_list("gs_hll_init"), "hll_count__merge": _of_list("gs_hll_merge"),
    "hll_count__merge_partial": _of_list("gs_py_hll_merge_partial"),
    "concat": _concat, "array_concat": _array_concat, "div": _div, "format": _format,
    "json_object": _json_object, "json_array": _json_array, "struct": _struct,
    "safe_divide": _safe("gs_div"), "safe_add": _safe("gs_add"), "safe_subtract": _safe("gs_sub"),
    "safe_multiply": _safe("gs_mul"), "safe_negate": _safe("gs_neg"), "to_json": _to_json,
    "to_json_string": _to_json_string, "json_set": _json_change("gs_py_json_set"),
    "json_remove": _json_change("gs_py_json_remove"), "json_array_insert": _json_change("gs_py_json_insert"),
    "json_array_append": _json_change("gs_py_json_append"), "ieee_divide": _ieee_divide,
    "percentile_cont": _percentile("quantile_cont"), "percentile_disc": _percentile("quantile_disc"),
}  # fmt: skip
