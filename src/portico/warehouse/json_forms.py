"""GoogleSQL's functions of JSON as DuckDB's, where their form differs."""

from __future__ import annotations

from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse.macros import Form, Made, call


def _json_object(arguments: list[exp.Expr]) -> Made:
    if len(arguments) == 2 and not isinstance(arguments[0], exp.Array | exp.Literal | exp.Null):
        return call("gs_json_object", *arguments), None  # of a key and a value, or of arrays of them
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
    if any(isinstance(key, exp.Null) for key in arguments[::2]):
        raise InvalidArgument("Invalid input to JSON_OBJECT: A key cannot be NULL", reason="invalidQuery")
    for key, value in zip(arguments[::2], arguments[1::2], strict=True):
        kept.setdefault(key.sql("bigquery"), (key, value))  # the first of a name counts
    return call(
        "json_object",
        *(one for _, (key, value) in sorted(kept.items()) for one in (key, _to_json([value])[0])),
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


def _by_name(macro: str, *defaults: tuple[str, exp.Expr]) -> Form:
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


def _to_json(arguments: list[exp.Expr]) -> Made:
    wide = _named(arguments, "stringify_wide_numbers")
    return call("gs_to_json", arguments[0], wide if wide is not None else exp.false()), None


def _to_json_string(arguments: list[exp.Expr]) -> Made:
    return call("gs_to_json_string", arguments[0], arguments[1] if len(arguments) > 1 else exp.false()), None


def _json_change(python: str, flag: str = "") -> Form:
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


JSON_FORMS: dict[str, Form] = {
    "json_object": _json_object, "json_array": _json_array, "to_json": _to_json, "to_json_string": _to_json_string,
    "json_set": _json_change("gs_py_json_set", "create_if_missing"),
    "json_remove": _json_change("gs_py_json_remove"),
    "json_array_insert": _json_change("gs_py_json_insert", "insert_each_element"),
    "json_array_append": _json_change("gs_py_json_append", "append_each_element"),
    "float64": _by_name("gs_float64", ("wide_number_mode", exp.Literal.string("exact"))),
    "json_keys": _by_name(
        "gs_json_keys", ("max_depth", exp.cast(exp.Literal.number(1 << 30), "BIGINT", dialect="duckdb")),
        ("mode", exp.Literal.string("strict")),
    ),
    "json_strip_nulls": _by_name(
        "gs_json_strip_nulls", ("json_path", exp.Literal.string("$")), ("include_arrays", exp.true()),
        ("remove_empty", exp.false()),
    ),
}  # fmt: skip
