"""GoogleSQL's functions of values as DuckDB's, where their form differs: of conditions, texts, arrays and structs."""

from __future__ import annotations

from sqlglot import exp

from portico.errors import InvalidArgument, Unimplemented
from portico.warehouse.macros import Form, Made, call
from portico.warehouse.types import told_apart

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


def _safe(macro: str) -> Form:
    def made(arguments: list[exp.Expr]) -> Made:
        return call("TRY", call(macro, *arguments)), None

    return made


def _if_null_is_null(native: str) -> Form:
    """GREATEST and LEAST: NULL where any argument is, unlike DuckDB's."""

    def made(arguments: list[exp.Expr]) -> Made:
        best = call(native, *arguments)
        if len(arguments) == 1 or all(isinstance(one, exp.Cast | exp.Literal) for one in arguments):
            absent = [one for one in arguments if isinstance(one.unnest(), exp.Null)]
            return (exp.Null() if absent else best), None
        nulls = exp.or_(*(exp.Is(this=one.copy(), expression=exp.Null()) for one in arguments))
        return exp.Case(ifs=[exp.If(this=nulls, true=exp.Null())], default=best), None

    return made


def _least_float(arguments: list[exp.Expr]) -> Made:
    """LEAST of FLOAT64: NaN where any is."""
    greatest = call("greatest", *(one.copy() for one in arguments))
    least, _ = _if_null_is_null("least")(arguments)
    return call("gs_least_float", least, greatest), None


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


def _with_lambda(native: str) -> Form:
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


def _ieee_divide(arguments: list[exp.Expr]) -> Made:
    return exp.Div(this=exp.cast(arguments[0], "DOUBLE"), expression=exp.cast(arguments[1], "DOUBLE")), None


def _struct(arguments: list[exp.Expr]) -> Made:
    """Without any name, DuckDB's tuple, which becomes whatever struct it meets by its fields' places."""
    if arguments and not any(isinstance(one, exp.Alias | exp.Column | exp.Dot) for one in arguments):
        return call("row", *arguments), None
    pairs: list[tuple[str, exp.Expr]] = []
    for number, argument in enumerate(arguments, 1):
        if isinstance(argument, exp.Alias):
            name, value = argument.alias, argument.this
        elif isinstance(argument, exp.Column | exp.Dot):
            name, value = argument.name, argument
        else:
            name, value = f"_field_{number}", argument
        pairs.append((name, value))
    return struct_of(pairs), None


def struct_of(pairs: list[tuple[str, exp.Expr]]) -> exp.Struct:
    """DuckDB's struct of values with the names of their fields, of which two may be one."""
    names = told_apart([name for name, _ in pairs])
    return exp.Struct(
        expressions=[
            exp.PropertyEQ(this=exp.to_identifier(name, quoted=True), expression=value)
            for name, (_, value) in zip(names, pairs, strict=True)
        ]
    )


def named(value: exp.Expr) -> exp.Expr:
    """A STRUCT whose fields have names for DuckDB, though none is written."""
    row = value.unnest()
    if isinstance(row, exp.Anonymous) and str(row.this) == "row":
        return struct_of([("", one) for one in row.expressions])
    return value


def _search(arguments: list[exp.Expr]) -> Made:
    """SEARCH: the data as JSON with its type, the query, and what is given by name."""
    defaults = {"json_scope": "JSON_VALUES", "analyzer": "LOG_ANALYZER", "analyzer_options": ""}
    named = {one.this.name.lower(): one.expression for one in arguments if isinstance(one, exp.Kwarg)}
    plain = [one for one in arguments if not isinstance(one, exp.Kwarg)]
    if len(plain) != 2 or set(named) - set(defaults):
        raise InvalidArgument(
            "No matching signature for function SEARCH: it takes data and a query, and by name json_scope, analyzer "
            "and analyzer_options",
            reason="invalidQuery",
        )
    data, query = plain
    if isinstance(data, exp.Tuple):
        data = call("row", *data.expressions)
    settings = [named.get(name, exp.Literal.string(default)) for name, default in defaults.items()]
    shown = exp.cast(call("to_json", data), "VARCHAR", dialect="duckdb")
    return call("gs_py_search", shown, call("typeof", data.copy()), query, *settings), None


def _text_analyze(arguments: list[exp.Expr]) -> Made:
    given = {one.this.name.lower(): one.expression for one in arguments if isinstance(one, exp.Kwarg)}
    plain = [one for one in arguments if not isinstance(one, exp.Kwarg)]
    if len(plain) != 1 or set(given) - {"analyzer", "analyzer_options"}:
        raise InvalidArgument(
            "No matching signature for function TEXT_ANALYZE: it takes a text, and by name analyzer and "
            "analyzer_options",
            reason="invalidQuery",
        )
    settings = [given.get("analyzer", exp.Literal.string("LOG_ANALYZER")), given.get("analyzer_options")]
    return call("gs_py_text_analyze", plain[0], settings[0], settings[1] or exp.Literal.string("")), None


def _contains_substr(arguments: list[exp.Expr]) -> Made:
    named = [one for one in arguments if isinstance(one, exp.Kwarg)]
    given = {one.this.name.lower(): one.expression for one in named}
    data, *more = [one for one in arguments if not isinstance(one, exp.Kwarg)]
    scope = [given.pop(name) for name in ("json_scope",) if name in given]
    if isinstance(data, exp.Tuple):
        data = call("row", *data.expressions)
    return call("gs_contains_substr", data, *more, *given.values(), *scope), None


def _raw_key(arguments: list[exp.Expr]) -> Made:
    if arguments[1].name == "AES_CBC_PKCS":
        raise Unimplemented(
            "KEYS.ADD_KEY_FROM_RAW_BYTES of AES_CBC_PKCS is not built in Portico: it has AES_GCM."
        )
    return call("gs_keys__add_key_from_raw_bytes", *arguments), None


VALUE_FORMS: dict[str, Form] = {
    "make_interval": _make_interval, "collate": _collate, "concat": _concat, "array_concat": _array_concat,
    "$range_key": lambda arguments: (call("gs_range_key", *arguments), None),
    "div": _div, "format": _format, "struct": _struct, "safe_divide": _safe("gs_div"), "safe_add": _safe("gs_add"),
    "safe_subtract": _safe("gs_sub"), "safe_multiply": _safe("gs_mul"), "safe_negate": _safe("gs_neg"),
    "ieee_divide": _ieee_divide, "greatest": _if_null_is_null("greatest"), "least": _if_null_is_null("least"),
    "$float_least": _least_float,
    "iserror": _is_error, "iferror": _if_error, "nulliferror": _null_if_error,
    "keys__add_key_from_raw_bytes": _raw_key,
    "text_analyze": _text_analyze, "contains_substr": _contains_substr, "search": _search,
    "array_transform": _with_lambda("list_transform"), "array_filter": _with_lambda("list_filter"),
}  # fmt: skip
