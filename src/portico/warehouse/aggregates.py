"""GoogleSQL's aggregate and window functions as DuckDB's, where their form differs."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from portico.errors import InvalidArgument, Unimplemented
from portico.warehouse.geography import functions as geography
from portico.warehouse.macros import Form, Made, call

KLL_AGGREGATES = frozenset([
    "kll_quantiles__merge_partial",
    *(f"kll_quantiles__{name}_{kind}" for name in ("init", "merge", "merge_point") for kind in ("int64", "float64")),
])  # fmt: skip
AGGREGATES = frozenset([
    "count", "sum", "avg", "min", "max", "any_value", "logical_and", "logical_or", "bit_and", "bit_or", "bit_xor",
    "corr", "covar_pop", "covar_samp", "stddev", "stddev_samp", "stddev_pop", "variance", "var_samp", "var_pop",
    "approx_count_distinct", "approx_quantiles", "approx_top_count", "approx_top_sum", "hll_count__init",
    "hll_count__merge", "hll_count__merge_partial", "countif", "array_agg", "string_agg", "array_concat_agg",
    "grouping", "max_by", "min_by", "$big_sum", "$big_avg", "$interval_sum",
    "$interval_avg", "$float_min", "$range_min", "$range_max", "$float_max_by", "$float_min_by", *KLL_AGGREGATES,
    *geography.AGGREGATES,
])  # fmt: skip


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
    condition = arguments[0]
    if isinstance(condition, exp.Distinct):
        [condition] = condition.expressions
        one = exp.If(this=condition, true=exp.Literal.number(1))
        return call("count", exp.Distinct(expressions=[one])), None
    return call("count", exp.If(this=condition, true=exp.Literal.number(1))), None


def array_agg(arguments: list[exp.Expr]) -> Made:
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
    return made, lambda whole: _first(whole, bound)


def _first(whole: exp.Expr, bound: exp.Expr) -> exp.Expr:
    """An array's first elements; of none NULL, as of no rows."""
    found = call("list_slice", whole, exp.Literal.number(1), bound)
    return call("if", exp.GT(this=bound.copy(), expression=exp.Literal.number(0)), found, exp.Null())


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
        listed, _ = array_agg([exp.Limit(this=exp.IgnoreNulls(this=inner), expression=bound)])
        return listed, lambda whole: call("array_to_string", _first(whole, bound), separator)
    last = exp.Order(this=separator, expressions=order) if order else separator
    return call("string_agg", argument, last), None


def _any_value(arguments: list[exp.Expr]) -> Made:
    having = arguments[0]
    if isinstance(having, exp.HavingMax):
        name = "arg_max_null" if having.args.get("max") else "arg_min_null"
        return call(name, having.this, having.expression), None
    return call("any_value", *arguments), None


def _alone(name: str) -> Callable[..., exp.Expr]:
    return lambda values: call(name, values)


_OF_VALUES: dict[str, Callable[..., exp.Expr]] = {  # of an array, what an aggregate is of rows
    "sum": lambda values: call("gs_int", call("list_sum", values)), "count": _alone("list_count"),
    "avg": lambda values: call("gs_avg", call("list_sum", values), call("list_count", values.copy())),
    "min": _alone("list_min"), "max": _alone("list_max"), "array_agg": lambda values: values,
    "logical_and": _alone("list_bool_and"), "logical_or": _alone("list_bool_or"),
}  # fmt: skip


def of_extreme(name: str, arguments: list[exp.Expr]) -> tuple[list[exp.Expr], Callable[..., exp.Expr]] | None:
    """AGGREGATE(x HAVING MAX y), and MIN: of the rows with the greatest or the least y alone; None for all else.

    Raises:
        Unimplemented: the aggregate has another clause beside it, or is one that Portico has not built this for.
    """
    having = arguments[0] if arguments else None
    if not any(one.find(exp.HavingMax) for one in arguments) or name.lower() == "any_value":
        return None
    of_values = _OF_VALUES.get(name.lower())
    if not isinstance(having, exp.HavingMax) or of_values is None or isinstance(having.this, exp.IgnoreNulls):
        raise Unimplemented(f"{name} with HAVING MAX or MIN in this form is not built in Portico yet.")
    value, by = having.this, having.expression
    distinct = isinstance(value, exp.Distinct)
    if isinstance(value, exp.Distinct):
        [value] = value.expressions
    pair = exp.Struct(
        expressions=[
            exp.PropertyEQ(this=exp.to_identifier(key), expression=one.copy())
            for key, one in (("v", value), ("w", by))
        ]
    )

    def made(pairs: exp.Expr, best: exp.Expr) -> exp.Expr:
        chosen = call("gs_of_extreme", pairs, best)
        values = call("list_distinct", chosen) if distinct else chosen
        return of_values(values)

    return [call("array_agg", pair), call("max" if having.args.get("max") else "min", by.copy())], made


def _array_concat_agg(arguments: list[exp.Expr]) -> Made:
    innermost = _bare(arguments[0])
    if innermost is not arguments[0]:
        innermost.replace(exp.IgnoreNulls(this=innermost.copy()))
        made, around = array_agg(arguments)
    else:
        made, around = array_agg([exp.IgnoreNulls(this=innermost)])
    return made, lambda whole: call("flatten", around(whole) if around else whole)


def _quantiles(arguments: list[exp.Expr]) -> Made:
    respecting = any(isinstance(one, exp.RespectNulls) for one in arguments)
    while isinstance(arguments[0], exp.IgnoreNulls | exp.RespectNulls):
        arguments = [arguments[0].this, *arguments[1:]]
    value = arguments[0]
    if isinstance(value, exp.Distinct) and len(value.expressions) == 2:  # DISTINCT x, number
        arguments = [exp.Distinct(expressions=value.expressions[:1]), value.expressions[1]]
        respecting |= isinstance(arguments[1], exp.RespectNulls)
    value, number = (
        arguments[0] if isinstance(arguments[0], exp.Distinct) else _bare(arguments[0]),
        _bare(arguments[1]),
    )
    if respecting:
        return call("array_agg", value), lambda whole: call("gs_quantiles_disc", whole, number)
    count = int(number.name) if isinstance(number, exp.Literal) else 2
    shares = exp.Array(expressions=[exp.Literal.number(repr(i / count)) for i in range(count + 1)])
    return call("quantile_disc", value, shares), None


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


def _of_list(macro: str) -> Form:
    """An aggregate that is a macro of all the values."""

    def made(arguments: list[exp.Expr]) -> Made:
        return call("array_agg", arguments[0]), lambda whole: call(macro, whole, *arguments[1:])

    return made


def clustered(arguments: list[exp.Expr]) -> tuple[list[exp.Expr], Callable[..., exp.Expr]]:
    """ST_CLUSTERDBSCAN's two window functions, and what is made of their columns: all rows of the window, and which of
    them this one is.

    Raises:
        InvalidArgument: it has other arguments.
    """
    geography.require_spherely("ST_CLUSTERDBSCAN")
    if len(arguments) != 3:
        raise InvalidArgument(
            "No matching signature for function ST_CLUSTERDBSCAN: it takes a geography, epsilon and "
            "minimum_geographies",
            reason="invalidQuery",
        )
    shape, *settings = (one.copy() for one in arguments)
    return [call("array_agg", shape), call("row_number")], lambda whole, place: call(
        "list_extract", call("gs_py_st_clusterdbscan", whole, *settings), place
    )


def _percentile(native: str) -> Form:
    """With RESPECT NULLS (behind either argument), NULLs are the least values: what falls among them is NULL."""

    def made(arguments: list[exp.Expr]) -> Made:
        value, share = (_bare(one) for one in arguments)
        if any(isinstance(one, exp.RespectNulls) for one in arguments):
            return call("array_agg", value), lambda whole: call(f"gs_{native}", whole, share)
        return call(native, value, share), None

    return made


def of_floats(name: str, arguments: list[exp.Expr]) -> tuple[list[exp.Expr], Callable[..., exp.Expr]] | None:
    """Aggregates of FLOAT64s where NaN may be among them, and what is made of their columns; None for all else.

    NaN is less than all numbers: the least and what a percentile falls upon first. No value is equal to it, so that
    nothing is chosen by it.
    """
    if name == "$float_min":  # NaN where any is, which DuckDB has for the greatest
        return [call("min", *arguments), call("max", *arguments)], lambda low, high: call(
            "gs_least_float", low, high
        )
    if name in ("$float_max_by", "$float_min_by"):
        value, by = arguments
        chosen = call("arg_max_null" if "max" in name else "arg_min_null", value, by)
        return [chosen, call("max", by.copy())], lambda found, greatest: exp.Case(
            ifs=[exp.If(this=exp.Not(this=call("gs_is_nan", greatest)), true=found)]
        )
    if name in ("$float_cont", "$float_disc"):
        value, share = (_bare(one) for one in arguments)
        native = name.replace("$float", "quantile")
        if any(isinstance(one, exp.RespectNulls) for one in arguments):
            return [call("array_agg", value)], lambda whole: call(f"gs_float_{native}", whole, share)
        nan = call("isnan", value.copy())
        found = call(native, exp.If(this=nan, true=_LEAST.copy(), false=value), share)
        nans = call("count", exp.If(this=nan.copy(), true=exp.Literal.number(1)))
        return [found, nans, call("count", value.copy())], lambda found, nans, count: call(
            f"gs_float_{name[7:]}", found, nans, count, share.copy()
        )
    return None


_LEAST = exp.Cast(this=exp.Literal.string("-inf"), to=exp.DataType.build("DOUBLE"))


def _of_ranges(native: str) -> Form:
    """The least or the greatest RANGE."""
    return lambda arguments: (call(native, arguments[0], call("gs_range_key", arguments[0].copy())), None)


def _of_order(kind: type[exp.Expr]) -> Form:
    """FIRST_VALUE and its like; IGNORE NULLS may stand behind any argument. DuckDB's writer knows it of these alone."""

    def made(arguments: list[exp.Expr]) -> Made:
        ignoring = any(isinstance(one, exp.IgnoreNulls) for one in arguments)
        value, *place = map(_bare, arguments)
        called = kind(this=value, **({"offset": place[0]} if place else {}))
        return (exp.IgnoreNulls(this=called) if ignoring else called), None

    return made


def _kll_init(arguments: list[exp.Expr]) -> list[exp.Expr]:
    """INIT's arguments with its precision.

    Raises:
        Unimplemented: values are weighed.
    """
    if any(isinstance(one, exp.Kwarg) for one in arguments) or len(arguments) > 2:
        raise Unimplemented("KLL_QUANTILES.INIT with weights is not built in Portico yet.")
    return [*arguments, exp.Literal.number(1000)] if len(arguments) == 1 else arguments


def _kll(name: str) -> Form:
    macro = name.replace("kll_quantiles__", "gs_py_kll_")
    plain = _of_list(macro)
    return (lambda arguments: plain(_kll_init(arguments))) if "__init_" in name else plain


AGGREGATE_FORMS: dict[str, Form] = {
    "any_value": _any_value, "sum": _sum, "avg": _avg, "countif": _countif, "count_if": _countif,
    "array_agg": array_agg, "string_agg": _string_agg, "array_concat_agg": _array_concat_agg,
    "approx_quantiles": _quantiles, "approx_top_count": _top_count, "approx_top_sum": _top_sum,
    "hll_count__init": _of_list("gs_hll_init"), "hll_count__merge": _of_list("gs_hll_merge"),
    "hll_count__merge_partial": _of_list("gs_py_hll_merge_partial"),
    "$interval_sum": _of_list("gs_interval_sum"), "$interval_avg": _of_list("gs_interval_avg"),
    "$big_sum": _of_list("gs_py_big_total"), "$big_avg": _of_list("gs_py_big_mean"),
    **{name: _kll(name) for name in KLL_AGGREGATES},
    "$range_min": _of_ranges("arg_min"), "$range_max": _of_ranges("arg_max"),
    "first_value": _of_order(exp.FirstValue), "last_value": _of_order(exp.LastValue),
    "nth_value": _of_order(exp.NthValue), "percentile_cont": _percentile("quantile_cont"),
    "percentile_disc": _percentile("quantile_disc"),
}  # fmt: skip
