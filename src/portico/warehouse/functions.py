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
from portico.warehouse.cast_formats import CAST_FUNCTIONS
from portico.warehouse.hll import HLL_FUNCTIONS
from portico.warehouse.javascript import javascript
from portico.warehouse.json_functions import JSON_FUNCTIONS
from portico.warehouse.net_functions import NET_FUNCTIONS
from portico.warehouse.shown import SHOWN_FUNCTIONS
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
        "to_json",
        "to_json_string",
        "json_scalars",
        "json_elements",
        "fraction",
        "zone_text",
        "interval_div",
        "numeric_steps",
        "in_range",
        "in_list",
        "null_of_nan",
        "bit_and",
        "bit_or",
        "bit_xor",
        "bit_not",
        "shift_left",
        "shift_right",
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
) | {name for name in MACROS if name.startswith(("cast_", "read_range", "sized_"))}

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
    "lag": "lag", "lead": "lead",
    "coalesce": "coalesce", "ifnull": "coalesce", "nullif": "nullif",
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
_DATED = {  # which arguments, when they are texts, are of which type
    **{f"date_{name}": ("DATE", places) for name, places in {
        "diff": (0, 1), "trunc": (0,), "add": (0,), "sub": (0,), "bucket": (0, 2)}.items()},
    **{f"datetime_{name}": ("DATETIME", places) for name, places in {
        "diff": (0, 1), "trunc": (0,), "add": (0,), "sub": (0,), "bucket": (0, 2)}.items()},
    **{f"timestamp_{name}": ("TIMESTAMP", places) for name, places in {
        "diff": (0, 1), "trunc": (0,), "add": (0,), "sub": (0,), "bucket": (0, 2)}.items()},
    **{f"time_{name}": ("TIME", places) for name, places in {
        "diff": (0, 1), "trunc": (0,), "add": (0,), "sub": (0,)}.items()},
    "generate_date_array": ("DATE", (0, 1)), "generate_timestamp_array": ("TIMESTAMP", (0, 1)),
    "format_date": ("DATE", (1,)), "format_datetime": ("DATETIME", (1,)), "format_timestamp": ("TIMESTAMP", (1,)),
    "format_time": ("TIME", (1,)), "last_day": ("DATE", (0,)), "unix_date": ("DATE", (0,)),
    "unix_seconds": ("TIMESTAMP", (0,)), "unix_millis": ("TIMESTAMP", (0,)), "unix_micros": ("TIMESTAMP", (0,)),
}  # fmt: skip
_UNITS_OF = {
    "date": {"DAY", "WEEK", "MONTH", "QUARTER", "YEAR"},
    "timestamp": {"MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR", "DAY"},
    "time": {"MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR"},
}


_ARROW: Any = "arrow"  # rows come in batches


def install(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes the functions of GoogleSQL known to a database."""
    made: dict[str, tuple[Callable[..., Any], list[str], str]] = {
        **TEXT_FUNCTIONS, **TIME_FUNCTIONS, **HLL_FUNCTIONS, **JSON_FUNCTIONS, **SHOWN_FUNCTIONS, **CAST_FUNCTIONS,
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
    if lower in _BY_PLACE:
        arguments = [one.expression if isinstance(one, exp.Kwarg) else one for one in arguments]
    if special := _SPECIAL.get(lower):
        return special(arguments)
    if lower in NET_FUNCTIONS:
        return call(f"gs_py_{lower}", *arguments), None
    if lower in geography.FUNCTIONS:
        return _geography(lower, arguments)
    if lower in _DIRECT:
        return call(_DIRECT[lower], *arguments), None
    if lower in MACROS and lower not in _INNER:
        return call(f"gs_{lower}", *_nulls_as_texts(lower, arguments)), None
    raise InvalidArgument(f"Function not found: {name.replace('__', '.')}", reason="invalidQuery")


@functools.cache
def _takes_text_or_bytes(macro: str) -> bool:
    heads = [one[: one.index(")")] for one in _overloads()[macro]]
    return any("x BLOB" in one for one in heads) and any("x VARCHAR" in one for one in heads)


def _nulls_as_texts(macro: str, arguments: list[exp.Expr]) -> list[exp.Expr]:
    """A NULL without a type is a STRING where BYTES would do as well."""
    if not any(isinstance(one, exp.Null) for one in arguments[:1]) or not _takes_text_or_bytes(macro):
        return arguments
    return [exp.cast(arguments[0], "VARCHAR", dialect="duckdb"), *arguments[1:]]


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
    _dated(called)


def _dated(called: exp.Anonymous) -> None:
    """A text among the dates of a function becomes one; a part that its type lacks is refused.

    Raises:
        InvalidArgument: an INTERVAL is of such a part.
    """
    name = str(called.this).lower()
    kind, places = _DATED.get(name, ("", ()))
    for place in places:
        if place < len(called.expressions):
            argument = called.expressions[place]
            if isinstance(argument, exp.Literal) and argument.is_string:
                argument.replace(
                    exp.Cast(this=argument.copy(), to=exp.DataType.build(kind, dialect="bigquery"))
                )
    units = _UNITS_OF.get(name.removesuffix("_add").removesuffix("_sub"))
    interval = called.expressions[1] if len(called.expressions) == 2 else None
    unit = interval.args.get("unit") if isinstance(interval, exp.Interval) else None
    typed = called.expressions[0] if called.expressions else None
    if (
        name[-4:] in ("_add", "_sub")
        and units
        and isinstance(unit, exp.Var)
        and unit.name.upper() not in units
    ):
        told = typed.to.sql("bigquery") if isinstance(typed, exp.Cast) else kind
        if told == kind:
            raise InvalidArgument(
                f"{called.this} does not support the {unit.name.upper()} date part when the argument is {kind} type",
                reason="invalidQuery",
            )


_BY_PLACE = frozenset(
    ["edit_distance", "parse_json", "contains_substr"]
)  # their last argument may have a name

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
    innermost = _bare(arguments[0])
    if innermost is not arguments[0]:
        innermost.replace(exp.IgnoreNulls(this=innermost.copy()))
        made, around = _array_agg(arguments)
    else:
        made, around = _array_agg([exp.IgnoreNulls(this=innermost)])
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
    if any(isinstance(one, exp.Literal) for one in arguments):
        arguments = [
            exp.cast(one, "VARCHAR", dialect="duckdb") if isinstance(one, exp.Null) else one
            for one in arguments
        ]
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
    if len(arguments) == 2 and isinstance(arguments[0], exp.Array):
        names, values = arguments
        pairs = zip(names.expressions, values.expressions, strict=False)  # of one length, or it is refused
        if len(names.expressions) != len(values.expressions):
            raise InvalidArgument(
                "Invalid input to JSON_OBJECT: The number of keys and values must match",
                reason="invalidQuery",
            )
        arguments = [one for pair in pairs for one in pair]
    if len(arguments) % 2:
        raise InvalidArgument("JSON_OBJECT takes pairs of a key and a value", reason="invalidQuery")
    kept: dict[str, tuple[exp.Expr, exp.Expr]] = {}
    for key, value in zip(arguments[::2], arguments[1::2], strict=True):
        kept.setdefault(key.sql("bigquery"), (key, value))  # the first of a name counts
    return call(
        "json_object", *(one for key, value in kept.values() for one in (key, _to_json([value])[0]))
    ), None


def _json_array(arguments: list[exp.Expr]) -> Made:
    return call("json_array", *(_to_json([one])[0] for one in arguments)), None


def _named(arguments: list[exp.Expr], name: str) -> exp.Expr | None:
    """The argument that is given by its name, which it takes out."""
    for place, one in enumerate(arguments):
        if isinstance(one, exp.Kwarg) and one.this.name.lower() == name:
            value: exp.Expr = arguments.pop(place).expression
            return value
    return None


def _by_name(macro: str, *defaults: tuple[str, exp.Expr]) -> Callable[[list[exp.Expr]], Made]:
    """A macro whose last arguments may be given by name or left out."""

    def made(arguments: list[exp.Expr]) -> Made:
        given = {name: _named(arguments, name) for name, _ in defaults}
        free = len(arguments) - 1
        filled = [
            given[name]
            if given[name] is not None
            else arguments[place + 1]
            if place < free
            else default.copy()
            for place, (name, default) in enumerate(defaults)
        ]
        return call(macro, arguments[0], *(one for one in filled if one is not None)), None

    return made


def _safe(macro: str) -> Callable[[list[exp.Expr]], Made]:
    def made(arguments: list[exp.Expr]) -> Made:
        return call("TRY", call(macro, *arguments)), None

    return made


def _to_json(arguments: list[exp.Expr]) -> Made:
    wide = _named(arguments, "stringify_wide_numbers")
    return call("gs_to_json", arguments[0], wide if wide is not None else exp.false()), None


def _to_json_string(arguments: list[exp.Expr]) -> Made:
    return call("gs_to_json_string", arguments[0], arguments[1] if len(arguments) > 1 else exp.false()), None


def _json_change(python: str, flag: str = "") -> Callable[[list[exp.Expr]], Made]:
    """JSON_SET and its like: a document, then paths, each with a value where `python` takes one."""

    def made(arguments: list[exp.Expr]) -> Made:
        told = _named(arguments, flag)
        step = 2 if flag else 1
        text: exp.Expr = exp.cast(arguments[0], "VARCHAR", dialect="duckdb")
        for place in range(1, len(arguments), step):
            given = arguments[place : place + step]
            more: list[exp.Expr] = []
            if flag:
                more = [exp.cast(_to_json([given[1]])[0], "VARCHAR", dialect="duckdb"), told or exp.true()]
                if flag.endswith("each_element"):  # an array of GoogleSQL's, not one of JSON's
                    is_array = call("ends_with", call("typeof", given[1].copy()), exp.Literal.string("[]"))
                    more[1] = exp.And(this=exp.Paren(this=more[1]), expression=is_array)
            text = call(python, text, given[0], *more)
        return exp.cast(text, "JSON", dialect="duckdb"), None

    return made


def _if_null_is_null(native: str) -> Callable[[list[exp.Expr]], Made]:
    """GREATEST and LEAST: NULL where any argument is, unlike DuckDB's."""

    def made(arguments: list[exp.Expr]) -> Made:
        best = call(native, *arguments)
        if len(arguments) == 1 or all(isinstance(one, exp.Cast | exp.Literal) for one in arguments):
            absent = [one for one in arguments if isinstance(one.unnest(), exp.Null)]
            return (exp.Null() if absent else best), None
        nulls = exp.or_(*(exp.Is(this=one.copy(), expression=exp.Null()) for one in arguments))
        return exp.Case(ifs=[exp.If(this=nulls, true=exp.Null())], default=best), None

    return made


def _attempt(value: exp.Expr) -> exp.Expr:
    """A struct that holds a value, or NULL where computing it fails."""
    pair = exp.PropertyEQ(this=exp.to_identifier("v"), expression=value)
    return call("TRY", exp.Struct(expressions=[pair]))


def _is_error(arguments: list[exp.Expr]) -> Made:
    return exp.Paren(this=exp.Is(this=_attempt(arguments[0]), expression=exp.Null())), None


def _if_error(arguments: list[exp.Expr]) -> Made:
    other = exp.Struct(expressions=[exp.PropertyEQ(this=exp.to_identifier("v"), expression=arguments[1])])
    either = call("coalesce", _attempt(arguments[0]), other)
    return call("struct_extract", either, exp.Literal.string("v")), None


def _null_if_error(arguments: list[exp.Expr]) -> Made:
    return call("TRY", arguments[0]), None


def _with_lambda(native: str) -> Callable[[list[exp.Expr]], Made]:
    """ARRAY_TRANSFORM and ARRAY_FILTER; a second name of the lambda's is the place, from 0."""

    def made(arguments: list[exp.Expr]) -> Made:
        taken = arguments[1]
        if not isinstance(taken, exp.Lambda):
            raise InvalidArgument(f"{native} takes an array and a lambda", reason="invalidQuery")
        if len(taken.expressions) == 2:
            place = taken.expressions[1].name
            for one in list(taken.this.find_all(exp.Identifier)):
                if one.name.lower() == place.lower():
                    less = exp.Sub(this=exp.to_identifier(place), expression=exp.Literal.number(1))
                    (one.parent if isinstance(one.parent, exp.Column) else one).replace(exp.Paren(this=less))
        return call(native, arguments[0], taken), None

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
    """With RESPECT NULLS (behind either argument), NULLs are the least values: what falls among them is NULL."""

    def made(arguments: list[exp.Expr]) -> Made:
        plain = [_bare(one) for one in arguments]
        return call(native, *plain), None

    return made


def _of_order(kind: type[exp.Expr]) -> Callable[[list[exp.Expr]], Made]:
    """FIRST_VALUE and its like; IGNORE NULLS may stand behind any argument. DuckDB's writer knows it of these alone."""

    def made(arguments: list[exp.Expr]) -> Made:
        ignoring = any(isinstance(one, exp.IgnoreNulls) for one in arguments)
        value, *place = map(_bare, arguments)
        called = kind(this=value, **({"offset": place[0]} if place else {}))
        return (exp.IgnoreNulls(this=called) if ignoring else called), None

    return made


def _corr(arguments: list[exp.Expr]) -> Made:
    """NULL, not NaN, of a single pair."""
    return call("corr", *arguments), lambda made: call("gs_null_of_nan", made)


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
    "to_json_string": _to_json_string, "json_set": _json_change("gs_py_json_set", "create_if_missing"),
    "json_remove": _json_change("gs_py_json_remove"),
    "json_array_insert": _json_change("gs_py_json_insert", "insert_each_element"),
    "json_array_append": _json_change("gs_py_json_append", "append_each_element"), "ieee_divide": _ieee_divide,
    "greatest": _if_null_is_null("greatest"), "least": _if_null_is_null("least"), "iserror": _is_error,
    "iferror": _if_error, "nulliferror": _null_if_error, "array_transform": _with_lambda("list_transform"),
    "array_filter": _with_lambda("list_filter"),
    "float64": _by_name("gs_float64", ("wide_number_mode", exp.Literal.string("exact"))),
    "json_keys": _by_name(
        "gs_json_keys", ("max_depth", exp.cast(exp.Literal.number(1 << 30), "BIGINT", dialect="duckdb")),
        ("mode", exp.Literal.string("strict")),
    ),
    "json_strip_nulls": _by_name(
        "gs_json_strip_nulls", ("json_path", exp.Literal.string("$")), ("include_arrays", exp.true()),
        ("remove_empty", exp.false()),
    ),
    "first_value": _of_order(exp.FirstValue), "last_value": _of_order(exp.LastValue),
    "nth_value": _of_order(exp.NthValue), "corr": _corr,
    "percentile_cont": _percentile("quantile_cont"), "percentile_disc": _percentile("quantile_disc"),
}  # fmt: skip
