"""Which functions GoogleSQL has here, and what DuckDB is asked for each: nothing else of DuckDB can be called.

A function is a macro `gs_NAME` of `functions.sql` with the arguments as they stand, an aggregate or window function of
DuckDB's own by another name, or one of `_SPECIAL` where its form differs.
"""

from __future__ import annotations

import functools

from sqlglot import exp

from portico.errors import InvalidArgument, Unimplemented
from portico.warehouse.aggregates import AGGREGATE_FORMS, array_agg
from portico.warehouse.geography import functions as geography
from portico.warehouse.json_forms import JSON_FORMS
from portico.warehouse.kll import KLL_FUNCTIONS
from portico.warehouse.macros import MACROS, Made, call, overloads
from portico.warehouse.net_functions import NET_FUNCTIONS
from portico.warehouse.value_forms import VALUE_FORMS

# Macros that only other macros and operators use.
_INNER = frozenset([
    "int", "numeric_div", "scaled", "finite", "wrap", "float_text", "decimal_text", "utf8", "int_of_float",
    "shift_of", "local", "instant", "offset", "week", "trunc_date", "day_diff", "trunc_local", "unit", "part",
    "slice", "at", "at_safe", "subscript", "path", "json_array", "to_json", "to_json_string", "json_scalars",
    "json_elements", "fraction", "zone_text", "interval_div", "numeric_steps", "in_range", "in_list",
    "bit_and", "bit_or", "bit_xor", "bit_not", "shift_left", "shift_right", "add", "sub", "mul", "neg", "to_string",
    "integer_div", "avg", "top", "range_of", "range_checked", "range_text", "range_low", "range_high", "range_meet",
    "range_key", "range_has", "range_holds", "range_steps", "range_half", "top_sum", "months", "micros", "interval_of",
    "justified", "hll_init", "hll_merge", "dense", "vectors_checked", "sparse_checked", "nulls_sorted",
    "quantile_disc", "quantiles_disc", "quantile_cont", "between_places", "corr", "json_object", "interval_sum",
    "interval_avg", "least_float", "bucket_of", "of_extreme",
]) | {name for name in MACROS if name.startswith(("cast_", "read_range", "sized_"))}  # fmt: skip

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
    "grouping": "grouping", "max_by": "arg_max_null", "min_by": "arg_min_null",
}  # fmt: skip
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
_KLL = "kll_quantiles__"
_UNITS_OF = {
    "date": {"DAY", "WEEK", "MONTH", "QUARTER", "YEAR"},
    "timestamp": {"MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR", "DAY"},
    "time": {"MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR"},
}


def function(name: str, arguments: list[exp.Expr]) -> Made:
    """DuckDB's call for GoogleSQL's function, and what goes around it and its OVER clause.

    Raises:
        InvalidArgument: there is no such function.
    """
    try:
        return _function(name, arguments)
    except IndexError:
        given = "no arguments" if not arguments else f"{len(arguments)} arguments"
        raise InvalidArgument(
            f"No matching signature for function {name.replace('__', '.')} with {given}",
            reason="invalidQuery",
        ) from None


def _function(name: str, arguments: list[exp.Expr]) -> Made:
    lower = name.lower()
    lower = _ALIASES.get(lower, lower)
    if lower in _BY_PLACE:
        arguments = [one.expression if isinstance(one, exp.Kwarg) else one for one in arguments]
    if special := _SPECIAL.get(lower):
        return special(arguments)
    if lower in NET_FUNCTIONS:
        return call(f"gs_py_{lower}", *arguments), None
    if lower.startswith(_KLL) and (python := f"kll_{lower.removeprefix(_KLL)}") in KLL_FUNCTIONS:
        return call(f"gs_py_{python}", *arguments), None
    if lower in geography.FUNCTIONS:
        return _geography(lower, arguments)
    if lower in _DIRECT:
        return call(_DIRECT[lower], *arguments), None
    if lower in MACROS and lower not in _INNER:
        return call(f"gs_{lower}", *_nulls_as_texts(lower, arguments)), None
    if lower in ("net__reg_domain", "net__public_suffix"):
        raise Unimplemented(
            f"{name.upper().replace('__', '.')} is not built in Portico: it has no list of public suffixes."
        )
    check_built(name.upper().replace("__", "."))
    raise InvalidArgument(f"Function not found: {name.replace('__', '.')}", reason="invalidQuery")


_NOT_BUILT = {
    "keys of Cloud KMS": (
        "KEYS.KEYSET_CHAIN", "KEYS.NEW_WRAPPED_KEYSET", "KEYS.REWRAP_KEYSET", "KEYS.ROTATE_WRAPPED_KEYSET",
    ),
    "Sensitive Data Protection": (
        "DLP_DETERMINISTIC_DECRYPT", "DLP_DETERMINISTIC_ENCRYPT", "DLP_KEY_CHAIN",
    ),
    "references to objects": (
        "OBJ.FETCH_METADATA", "OBJ.GET_ACCESS_URL", "OBJ.GET_READ_URL", "OBJ.MAKE_REF", "EXTERNAL_OBJECT_TRANSFORM",
    ),
    "property graphs": (
        "DESTINATION_NODE_ID", "EDGES", "ELEMENT_ID", "GRAPH_EXPAND", "LABELS", "NODES", "PATH_FIRST", "PATH_LAST",
        "PATH_LENGTH", "SOURCE_NODE_ID",
    ),
    "measures": ("AGG",),
    "Google Earth Engine": ("ST_REGIONSTATS",),
    "cells of S2": ("S2_COVERINGCELLIDS",),
    "vector indexes' statistics": ("VECTOR_INDEX.STATISTICS",),
}  # fmt: skip


def check_built(name: str) -> None:
    """
    Raises:
        Unimplemented: GoogleSQL has this function, by its name in upper case, and Portico has not.
    """
    for what, known in _NOT_BUILT.items():
        if name in known:
            raise Unimplemented(f"{name} is not built in Portico: it has no {what}.")


@functools.cache
def _takes_text_or_bytes(macro: str) -> bool:
    heads = [one[: one.index(")")] for one in overloads()[macro]]
    return any("x BLOB" in one for one in heads) and any("x VARCHAR" in one for one in heads)


def _nulls_as_texts(macro: str, arguments: list[exp.Expr]) -> list[exp.Expr]:
    """A NULL without a type is a STRING where BYTES would do as well, unless BYTES are beside it."""
    if not any(isinstance(one, exp.Null) for one in arguments) or not _takes_text_or_bytes(macro):
        return arguments
    bytes_ = any(isinstance(one, exp.Anonymous) and str(one.this) == "unhex" for one in arguments)
    if not bytes_ and not isinstance(arguments[0], exp.Null):
        return arguments
    first = 3 if bytes_ else 1  # how many may be meant
    kind = "BLOB" if bytes_ else "VARCHAR"
    return [
        exp.cast(one, kind, dialect="duckdb") if place < first and isinstance(one, exp.Null) else one
        for place, one in enumerate(arguments)
    ]


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
    last = called.expressions[-1] if called.expressions else None
    step = last.args.get("unit") if name == "generate_date_array" and isinstance(last, exp.Interval) else None
    if isinstance(step, exp.Var) and step.name.upper() not in _UNITS_OF["date"]:
        raise InvalidArgument(
            f"GENERATE_DATE_ARRAY does not support the {step.name.upper()} date part", reason="invalidQuery"
        )
    if name in _TOLD and isinstance(unit, exp.Var):
        called.append("expressions", exp.Literal.string(unit.name.upper()))


_TOLD = frozenset(["date_add", "date_sub", "datetime_add", "datetime_sub"])  # which say how much is too much
_BY_PLACE = frozenset(["edit_distance", "parse_json"])  # their last argument may have a name


def _geography(name: str, arguments: list[exp.Expr]) -> Made:
    geography.require_spherely(name.upper())
    _, takes, _, defaults = geography.FUNCTIONS[name]
    if name in geography.AGGREGATES:
        made, around = array_agg(arguments)
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
    return call(f"gs_{name}" if name in MACROS else f"gs_py_{name}", *given), None


_SPECIAL = AGGREGATE_FORMS | VALUE_FORMS | JSON_FORMS
