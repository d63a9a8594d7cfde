"""BigQuery ML's manual preprocessing functions, as expressions of GoogleSQL.

One with OVER () looks at all rows first: it is a few aggregates, its statistics, and an expression over them. In a
query they are window functions; in TRANSFORM they are computed once and kept as constants (`transforms`). Names in
lower case are macros of `preprocessing.sql`.
(https://cloud.google.com/bigquery/docs/manual-preprocessing)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import duckdb
from sqlglot import exp

from portico.errors import InvalidArgument
from portico.ml.bqml import describing
from portico.warehouse.macros import call
from portico.warehouse.models import names
from portico.warehouse.models.syntax import PREFIXES

_SOURCE = files("portico.warehouse.models").joinpath("preprocessing.sql").read_text()
_ALL = 1_000_000  # categories that are counted

Keep = Callable[[exp.Expr], exp.Expr]
"""What stands for a statistic: itself over a window, or the constant that it came to."""
Analytic = Callable[[list[exp.Expr], Keep], exp.Expr]
Scalar = Callable[[list[exp.Expr]], exp.Expr]


def install(connection: duckdb.DuckDBPyConnection) -> None:
    connection.create_function(
        "gs_py_tfdv_validate",
        describing.validate,
        ["VARCHAR", "VARCHAR", "VARCHAR", "DOUBLE", "VARCHAR", "DOUBLE", "VARCHAR", "VARCHAR"],
        "VARCHAR",
    )
    connection.execute(_SOURCE)


def analytic_of(window: exp.Expr) -> Analytic | None:
    """The function of `ML.NAME(…) OVER ()`; None for any other."""
    called = window.this if isinstance(window, exp.Window) else None
    if not isinstance(called, exp.Anonymous):
        return None
    name = called.name.upper().replace("__", ".", 1)
    if name == "TF_IDF":  # GoogleSQL's own, which tells terms by themselves
        found: Analytic = _terms_and_scores
    elif not called.name.upper().startswith(PREFIXES):
        return None
    elif name.removeprefix("ML.") not in ANALYTIC:
        raise _unknown(called)
    else:
        found = ANALYTIC[name.removeprefix("ML.")]
    spec = ("partition_by", "order", "spec")
    if any(window.args.get(one) for one in spec):
        raise InvalidArgument(f"{name} takes nothing within OVER ()", reason="invalidQuery")
    return found


def expand(tree: exp.Expr) -> exp.Expr:
    """Puts expressions for all preprocessing functions of a query.

    Raises:
        InvalidArgument: a function is not called as it must be. Unimplemented: Portico has no such function.
    """
    holder = exp.Paren(this=tree)
    for node in list(holder.find_all(exp.Window, exp.Anonymous))[::-1]:
        if (analytic := analytic_of(node)) is not None:
            node.replace(exp.Paren(this=checked(node, analytic, _window)))
        elif isinstance(node, exp.Anonymous) and is_scalar(node):
            node.replace(exp.Paren(this=scalar(node)))
    made: exp.Expr = holder.this
    return made.pop()


def is_scalar(node: exp.Anonymous) -> bool:
    return (
        node.name.upper().startswith(PREFIXES)
        and not isinstance(node.parent, exp.Window)
        and not (isinstance(node.parent, exp.Table) and node.arg_key == "this")
    )


def checked(window: exp.Expr, analytic: Analytic, keep: Keep) -> exp.Expr:
    called = window.this
    try:
        return analytic([one.copy() for one in called.expressions], keep)
    except (IndexError, ValueError):
        name = called.name.replace("__", ".", 1)
        raise _misused(name) from None


def scalar(called: exp.Anonymous) -> exp.Expr:
    name = called.name.upper()[4:]
    if name in ANALYTIC:
        raise InvalidArgument(f"ML.{name} needs OVER ()", reason="invalidQuery")
    if name not in SCALAR:
        raise _unknown(called)
    try:
        return SCALAR[name]([one.copy() for one in called.expressions])
    except (IndexError, ValueError):
        raise _misused(f"ML.{name}") from None


def _misused(name: str) -> InvalidArgument:
    return InvalidArgument(f"{name} takes ({_TAKES[name.removeprefix('ML.')]})", reason="invalidQuery")


def _unknown(called: exp.Expr) -> Exception:
    name = called.name.upper().replace("__", ".", 1)
    names.check(name)
    if name in names.OF_TABLES:
        return InvalidArgument(f"{name} answers a table: it stands in FROM", reason="invalidQuery")
    return names.unknown(name)


def _window(statistic: exp.Expr) -> exp.Expr:
    """A statistic over all rows: its aggregates become window functions."""
    for one in list(statistic.find_all(exp.Anonymous)):
        if one.name.isupper() and one.name in _AGGREGATES:
            over = exp.Window(this=one.copy(), over="OVER")
            if one is statistic:
                return over
            one.replace(over)
    return statistic


_TAKES = {
    "STANDARD_SCALER": "a number", "MIN_MAX_SCALER": "a number", "MAX_ABS_SCALER": "a number",
    "ROBUST_SCALER": "a number[, [low, high] in percent][, with_median][, with_quantile_range]",
    "IMPUTER": "a value, 'mean', 'median' or 'most_frequent'",
    "QUANTILE_BUCKETIZE": "a number, 2 to 10000 buckets[, output_format]",
    "LABEL_ENCODER": "a string[, top_k][, frequency_threshold]",
    "ONE_HOT_ENCODER": "a string[, 'none' or 'most_frequent'][, top_k][, frequency_threshold]",
    "MULTI_HOT_ENCODER": "an array of strings[, top_k][, frequency_threshold]",
    "BAG_OF_WORDS": "an array of strings[, top_k][, frequency_threshold]",
    "TF_IDF": "an array of strings[, top_k][, frequency_threshold]",
    "BUCKETIZE": "a number, an array of points in order, the lowest first[, exclude_boundaries][, output_format]",
    "POLYNOMIAL_EXPAND": "a STRUCT of named numbers[, a degree from 1 to 4]",
    "FEATURE_CROSS": "a STRUCT of named strings[, a degree from 1 to 4]",
    "NGRAMS": "an array of strings, an array [low, high] of sizes from 1[, separator]",
    "HASH_BUCKETIZE": "a string, a number of buckets from 0", "NORMALIZER": "an array of numbers[, p]",
    "TFDV_VALIDATE": "statistics in JSON, statistics in JSON[, 'SKEW' or 'DRIFT'][, categorical threshold]"
    "[, categorical metric][, numerical threshold][, numerical metric][, thresholds]: none of them by name",
    "LP_NORM": "an array of numbers, p", "DISTANCE": "an array, an array[, 'EUCLIDEAN', 'MANHATTAN' or 'COSINE']",
}  # fmt: skip
_AGGREGATES = (
    "AVG",
    "STDDEV",
    "MIN",
    "MAX",
    "APPROX_QUANTILES",
    "APPROX_TOP_COUNT",
    "ARRAY_CONCAT_AGG",
    "COUNT",
)


def _of(name: str, *arguments: exp.Expr | float | str) -> exp.Expr:
    """A call of GoogleSQL's or, in lower case, of DuckDB's."""
    given = [one if isinstance(one, exp.Expr) else literal(one) for one in arguments]
    return call(name, *given) if name.islower() else exp.Anonymous(this=name, expressions=given)


def literal(value: Any) -> exp.Expr:
    """A constant as GoogleSQL writes it."""
    if value is None:
        return exp.Null()
    if isinstance(value, bool):
        return exp.Boolean(this=value)
    if isinstance(value, int):
        return exp.Literal.number(value)
    if isinstance(value, float):
        finite = value == value and abs(value) != float("inf")
        return _cast(exp.Literal.number(repr(value)) if finite else literal(repr(value)), "FLOAT64")
    if isinstance(value, list):
        numbers = bool(value) and isinstance(value[0], float | int)
        array = exp.Array(expressions=[literal(one) for one in value])
        return _cast(array, "ARRAY<FLOAT64>" if numbers else "ARRAY<STRING>")
    return exp.Literal.string(str(value))


def _cast(value: exp.Expr, kind: str) -> exp.Expr:
    return exp.Cast(this=value, to=exp.DataType.build(kind, dialect="bigquery"))


def _number(one: exp.Expr) -> float:
    """
    Raises:
        ValueError: it is no constant number.
    """
    negative = isinstance(one, exp.Neg)
    inner = one.this if isinstance(one, exp.Neg) else one
    if not isinstance(inner, exp.Literal) or inner.is_string:
        raise ValueError("no number")
    return -float(inner.name) if negative else float(inner.name)


def _numbers(one: exp.Expr) -> list[float]:
    if not isinstance(one, exp.Array):
        raise ValueError("no array")
    return [_number(each) for each in one.expressions]


def _text(one: exp.Expr, choices: tuple[str, ...]) -> str:
    if not isinstance(one, exp.Literal) or not one.is_string or one.name.lower() not in choices:
        raise InvalidArgument(
            f"{one.sql('bigquery')} must be one of {', '.join(repr(each) for each in choices)}",
            reason="invalidQuery",
        )
    return str(one.name.lower())


def _flag(given: list[exp.Expr], place: int, default: bool) -> bool:
    if len(given) <= place:
        return default
    one = given[place]
    if not isinstance(one, exp.Boolean):
        raise ValueError("no TRUE or FALSE")
    return bool(one.this)


def _minus(one: exp.Expr, other: exp.Expr) -> exp.Expr:
    return exp.Paren(this=exp.Sub(this=exp.Paren(this=one), expression=exp.Paren(this=other)))


def _over(one: exp.Expr, other: exp.Expr) -> exp.Expr:
    """A quotient; 0 where all rows are alike."""
    return _of("IFNULL", _of("SAFE_DIVIDE", one, _of("NULLIF", other, 0)), exp.If(
        this=exp.Is(this=one.copy(), expression=exp.Null()), true=exp.Null(), false=literal(0.0)
    ))  # fmt: skip


# --- with OVER () ---


def _standard(given: list[exp.Expr], keep: Keep) -> exp.Expr:
    [x] = given
    return _over(_minus(x, keep(_of("AVG", x.copy()))), keep(_of("STDDEV", x.copy())))


def _min_max(given: list[exp.Expr], keep: Keep) -> exp.Expr:
    [x] = given
    low, high = keep(_of("MIN", x.copy())), keep(_of("MAX", x.copy()))
    share = _over(_minus(x, low), _minus(high, low.copy()))
    return _of("LEAST", _of("GREATEST", share, 0.0), 1.0)


def _max_abs(given: list[exp.Expr], keep: Keep) -> exp.Expr:
    [x] = given
    share = _over(x, keep(_of("MAX", _of("ABS", x.copy()))))
    return _of("LEAST", _of("GREATEST", share, -1.0), 1.0)


def _robust(given: list[exp.Expr], keep: Keep) -> exp.Expr:
    x = given[0]
    low, high = _numbers(given[1]) if len(given) > 1 else (25.0, 75.0)
    if not 0 <= low < high <= 100 or int(low) != low or int(high) != high:
        raise ValueError("no range of percents")

    def quantile(percent: float) -> exp.Expr:
        return keep(_of("list_extract", _of("APPROX_QUANTILES", x.copy(), 100), int(percent) + 1))

    made = _minus(x, quantile(50)) if _flag(given, 2, True) else x
    return _over(made, _minus(quantile(high), quantile(low))) if _flag(given, 3, True) else made


def _impute(given: list[exp.Expr], keep: Keep) -> exp.Expr:
    x, strategy = given[0], _text(given[1], ("mean", "median", "most_frequent"))
    if strategy == "mean":
        filled = keep(_of("AVG", x.copy()))
    elif strategy == "median":
        filled = keep(_of("list_extract", _of("APPROX_QUANTILES", x.copy(), 2), 2))
    else:
        filled = keep(
            _of("list_extract", _of("ml_vocabulary", _of("APPROX_TOP_COUNT", x.copy(), _ALL), 1, 0), 1)
        )
    return _of("IFNULL", x, filled)


def _quantile_bins(given: list[exp.Expr], keep: Keep) -> exp.Expr:
    x, number = given[0], int(_number(given[1]))
    if not 2 <= number <= 10_000:
        raise ValueError("no number of buckets")
    points = keep(_of("list_slice", _of("APPROX_QUANTILES", x.copy(), number), 2, number))
    return _binned(x, points, given[2:])


def _words(x: exp.Expr, given: list[exp.Expr], keep: Keep, *, in_arrays: bool = False) -> exp.Expr:
    """The vocabulary: the top_k most frequent values that are there frequency_threshold times."""
    most, least = _bounds(given)
    if in_arrays:
        counted = _counted(x)
    else:
        counted = _of("APPROX_TOP_COUNT", x.copy(), _ALL)
    return keep(_of("ml_vocabulary", counted, most, least))


def _label(given: list[exp.Expr], keep: Keep) -> exp.Expr:
    return _of("ml_label", given[0], _words(given[0], given[1:], keep))


def _one_hot(given: list[exp.Expr], keep: Keep) -> exp.Expr:
    x = given[0]
    drop = _text(given[1], ("none", "most_frequent")) if len(given) > 1 else "none"
    words = _words(x, given[2:], keep)
    dropped: exp.Expr = exp.Null()
    if drop == "most_frequent":
        dropped = keep(
            _of("list_extract", _of("ml_vocabulary", _of("APPROX_TOP_COUNT", x.copy(), _ALL), 1, 0), 1)
        )
    return _of("ml_one_hot", x, words, dropped)


def _multi_hot(given: list[exp.Expr], keep: Keep) -> exp.Expr:
    return _of("ml_multi_hot", given[0], _words(given[0], given[1:], keep, in_arrays=True))


def _bag(given: list[exp.Expr], keep: Keep) -> exp.Expr:
    return _of("ml_bag", given[0], _terms(given[0], given[1:], keep))


def _counted(x: exp.Expr) -> exp.Expr:
    return _of("ml_counted", _of("ARRAY_CONCAT_AGG", x.copy()))


def _terms(x: exp.Expr, given: list[exp.Expr], keep: Keep) -> exp.Expr:
    """The vocabulary: the top_k terms that are in most documents, and in frequency_threshold at least."""
    most, least = _bounds(given)
    return keep(_of("ml_vocabulary", _counted(_of("list_distinct", x)), most, least))


def _tf_idf(given: list[exp.Expr], keep: Keep) -> exp.Expr:
    """A term's share of its document, times log(1 + documents / (documents with it + ½)); of all unknown terms
    together, the mean of the vocabulary's logarithms."""
    x = given[0]
    most, least = _bounds(given[1:])
    documents = _counted(_of("list_distinct", x))
    rarities = keep(_of("ml_rarities", documents, most, least, _of("COUNT", x.copy())))
    return _of("ml_tf_idf", x, _terms(x, given[1:], keep), rarities)


def _terms_and_scores(given: list[exp.Expr], keep: Keep) -> exp.Expr:
    return _of("ml_terms", _tf_idf(given, keep), _terms(given[0].copy(), given[1:], keep))


def _bounds(given: list[exp.Expr]) -> tuple[int, int]:
    """top_k and frequency_threshold."""
    return (int(_number(given[0])) if given else 32_000, int(_number(given[1])) if len(given) > 1 else 5)


ANALYTIC: dict[str, Analytic] = {
    "STANDARD_SCALER": _standard, "MIN_MAX_SCALER": _min_max, "MAX_ABS_SCALER": _max_abs, "ROBUST_SCALER": _robust,
    "IMPUTER": _impute, "QUANTILE_BUCKETIZE": _quantile_bins, "LABEL_ENCODER": _label, "ONE_HOT_ENCODER": _one_hot,
    "MULTI_HOT_ENCODER": _multi_hot, "BAG_OF_WORDS": _bag, "TF_IDF": _tf_idf,
}  # fmt: skip


# --- of one row ---


def _binned(x: exp.Expr, points: exp.Expr, given: list[exp.Expr]) -> exp.Expr:
    formats = ("bucket_names", "bucket_ranges", "bucket_ranges_json")
    shown = _text(given[0], formats) if given else formats[0]
    place = _of("ml_bin", x, points)
    if shown == "bucket_names":
        return _of("ml_bin_name", place)
    return _of("ml_bin_range" if shown == "bucket_ranges" else "ml_bin_json", place, points.copy())


def _bucketize(given: list[exp.Expr]) -> exp.Expr:
    inner = _flag(given, 2, False)
    if not isinstance(given[1], exp.Array):  # GENERATE_ARRAY(…)
        made = _cast(given[1], "ARRAY<FLOAT64>")
        return _binned(given[0], _of("ml_inner", made) if inner else made, given[3:])
    points = _numbers(given[1])
    if points != sorted(points):
        raise ValueError("no order")
    return _binned(given[0], literal(points[1:-1] if inner else points), given[3:])


def _fields(one: exp.Expr) -> list[tuple[str, exp.Expr]]:
    """The fields of STRUCT(a, b AS c)."""
    if not isinstance(one, exp.Anonymous | exp.Struct) or (
        isinstance(one, exp.Anonymous) and one.name != "STRUCT"
    ):
        raise ValueError("no STRUCT")
    found = []
    for each in one.expressions:
        if isinstance(each, exp.Alias):
            found.append((each.alias, each.this))
        elif isinstance(each, exp.Column):
            found.append((each.name, each))
        else:
            raise ValueError("no name")
    return found


def _degree(given: list[exp.Expr]) -> int:
    degree = int(_number(given[1])) if len(given) > 1 else 2
    if not 1 <= degree <= 4:
        raise ValueError("no degree")
    return degree


def _struct(fields: list[tuple[str, exp.Expr]]) -> exp.Expr:
    return exp.Anonymous(
        this="STRUCT", expressions=[exp.alias_(value, name, quoted=True) for name, value in fields]
    )


def _polynomial(given: list[exp.Expr]) -> exp.Expr:
    fields, degree = _fields(given[0]), _degree(given)
    combinations = [
        one
        for size in range(1, degree + 1)
        for one in itertools.combinations_with_replacement(range(len(fields)), size)
    ]
    made = []
    for one in sorted(combinations):
        product: exp.Expr = _cast(fields[one[0]][1].copy(), "FLOAT64")
        for place in one[1:]:
            product = exp.Mul(this=product, expression=exp.Paren(this=fields[place][1].copy()))
        made.append(("_".join(fields[place][0] for place in one), product))
    return _struct(made)


def _cross(given: list[exp.Expr]) -> exp.Expr:
    fields, degree = _fields(given[0]), _degree(given)
    made = []
    for size in range(2, degree + 1):
        for one in itertools.combinations(fields, size):
            parts: list[exp.Expr] = []
            for _, value in one:
                parts += [literal("_"), _cast(value.copy(), "STRING")]
            made.append(("_".join(name for name, _ in one), _of("CONCAT", *parts[1:])))
    return _struct(made)


def _ngrams(given: list[exp.Expr]) -> exp.Expr:
    span = [int(one) for one in _numbers(given[1])]
    low, high = (span[0], span[-1])
    if not 1 <= low <= high or len(span) > 2:
        raise ValueError("no range")
    separator = given[2] if len(given) > 2 else literal(" ")
    return _of("ml_ngrams", given[0], low, high, separator)


def _hash(given: list[exp.Expr]) -> exp.Expr:
    number = int(_number(given[1]))
    hashed = _of("FARM_FINGERPRINT", given[0])
    return _of("MOD", _of("ABS", hashed), number) if number else hashed


def _power(given: list[exp.Expr]) -> exp.Expr:
    if len(given) < 2:
        return literal(2.0)
    one = given[1].unnest()
    return one if not isinstance(one, exp.Literal) or one.is_string else literal(float(one.name))


def _distance(given: list[exp.Expr]) -> exp.Expr:
    kind = _text(given[2], ("euclidean", "manhattan", "cosine")) if len(given) > 2 else "euclidean"
    return _of(f"ml_distance_{kind}", given[0], given[1])


def _tfdv_validate(given: list[exp.Expr]) -> exp.Expr:
    defaults = [literal(one) for one in ("SKEW", 0.3, "L_INFTY", 0.3, "JENSEN_SHANNON_DIVERGENCE")]
    defaults.append(exp.Array(expressions=[]))
    if not 2 <= len(given) <= 8 or any(isinstance(one, exp.Kwarg) for one in given):
        raise ValueError("not these")
    return _of("ml_tfdv_validate", *given, *defaults[len(given) - 2 :])


SCALAR: dict[str, Scalar] = {
    "BUCKETIZE": _bucketize, "POLYNOMIAL_EXPAND": _polynomial, "FEATURE_CROSS": _cross, "NGRAMS": _ngrams,
    "HASH_BUCKETIZE": _hash, "NORMALIZER": lambda given: _of("ml_normalized", given[0], _power(given)),
    "LP_NORM": lambda given: _of("ml_norm", given[0], _power(given)), "DISTANCE": _distance,
    "TFDV_VALIDATE": _tfdv_validate,
}  # fmt: skip
