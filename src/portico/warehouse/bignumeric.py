"""BIGNUMERIC: numbers of 76 digits, 38 of them behind the point, which DuckDB's own decimals can't hold.

One is a struct of 32 bytes, which compare as the numbers do: the number times 10³⁸, a whole number of 256 bits, plus
2²⁵⁵, the highest byte first. So DuckDB orders, groups and joins them by itself; what is computed with them is here.
https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#decimal_types
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Any

import numpy as np
import pyarrow as pa

from portico.warehouse.types import BIG as TYPE
from portico.warehouse.types import BIG_PLACE as PLACE

_SCALE = 10**38
_HALF = 1 << 255
_WIDE = Context(prec=200, Emax=10**6, Emin=-(10**6))
_EXACT = Decimal(1).scaleb(-38)

Big = dict[str, bytes]


# --- as bytes -------------------------------------------------------------------------------------------------


def packed(scaled: int, operation: str = "") -> Big:
    """A number that is given times 10³⁸.

    Raises:
        ValueError: it is out of range; `operation` is what gave it.
    """
    if not -_HALF <= scaled < _HALF:
        shown = text(scaled)
        raise ValueError(f"BIGNUMERIC overflow{f': {operation}' if operation else ''}: {shown}")
    return {PLACE: (scaled + _HALF).to_bytes(32, "big")}


def scaled_of(value: Big | bytes) -> int:
    """The number times 10³⁸."""
    data = value[PLACE] if isinstance(value, dict) else value
    return int.from_bytes(data, "big") - _HALF


def decimal_of(value: Big | bytes) -> Decimal:
    return Decimal(scaled_of(value)).scaleb(-38, _WIDE)


def text(scaled: int) -> str:
    """As GoogleSQL writes it: no zeros at the end."""
    whole, part = divmod(abs(scaled), _SCALE)
    shown = f"{whole}.{part:038d}".rstrip("0").rstrip(".") if part else str(whole)
    return f"-{shown}" if scaled < 0 else shown


def _rounded(value: Decimal) -> int:
    """A number as whole 10⁻³⁸, half away from zero."""
    return int(value.quantize(_EXACT, ROUND_HALF_UP, _WIDE).scaleb(38, _WIDE))


def read(written: str) -> Big:
    """
    Raises:
        ValueError: it is no number, or one out of range.
    """
    try:
        value = Decimal(written.strip())
    except InvalidOperation:
        raise ValueError(f"Invalid BIGNUMERIC value: {written}") from None
    if not value.is_finite() or value.adjusted() > 40:
        raise ValueError(f"Invalid BIGNUMERIC value: {written}")
    found = _rounded(value) if value.adjusted() > -45 else 0
    if not -_HALF <= found < _HALF:
        raise ValueError(f"Invalid BIGNUMERIC value: {written}")
    return packed(found)


# --- what is computed -----------------------------------------------------------------------------------------


def _halved(number: int, by: int) -> int:
    """A quotient of whole numbers, half away from zero."""
    found = (2 * abs(number) + abs(by)) // (2 * abs(by))
    return -found if (number < 0) != (by < 0) else found


def add(a: Big, b: Big) -> Big:
    return packed(scaled_of(a) + scaled_of(b), "+")


def subtract(a: Big, b: Big) -> Big:
    return packed(scaled_of(a) - scaled_of(b), "-")


def multiply(a: Big, b: Big) -> Big:
    return packed(_halved(scaled_of(a) * scaled_of(b), _SCALE), "*")


def divide(a: Big, b: Big) -> Big:
    if not (by := scaled_of(b)):
        raise ValueError(f"division by zero: {text(scaled_of(a))} / 0")
    return packed(_halved(scaled_of(a) * _SCALE, by), "/")


def whole_divide(a: Big, b: Big) -> Big:
    """DIV: the quotient without its fraction."""
    left, right = scaled_of(a), scaled_of(b)
    if not right:
        raise ValueError(f"division by zero: DIV({text(left)}, 0)")
    found = abs(left) // abs(right) * _SCALE
    return packed(-found if (left < 0) != (right < 0) else found)


def modulo(a: Big, b: Big) -> Big:
    left, right = scaled_of(a), scaled_of(b)
    if not right:
        raise ValueError(f"division by zero: MOD({text(left)}, 0)")
    found = abs(left) % abs(right)
    return packed(-found if left < 0 else found)


def negate(a: Big) -> Big:
    return packed(-scaled_of(a))


def absolute(a: Big) -> Big:
    return packed(abs(scaled_of(a)))


def sign(a: Big) -> Big:
    found = scaled_of(a)
    return packed(((found > 0) - (found < 0)) * _SCALE)


def rounded(a: Big, places: int, mode: str) -> Big:
    """`mode`: HALF_AWAY, HALF_EVEN, DOWN, UP (towards infinity), FLOOR; or a ROUNDING_MODE of GoogleSQL's."""
    found = scaled_of(a)
    if places >= 38:
        return a
    unit = 10 ** (38 - places)
    whole, rest = divmod(abs(found), unit)
    negative = found < 0
    up = {
        "DOWN": False, "CEIL": bool(rest) and not negative, "FLOOR": bool(rest) and negative,
        "HALF_AWAY": 2 * rest >= unit, "ROUND_HALF_AWAY_FROM_ZERO": 2 * rest >= unit,
        "ROUND_HALF_EVEN": 2 * rest > unit or (2 * rest == unit and whole % 2 == 1),
    }  # fmt: skip
    if mode not in up:
        raise ValueError(f'Could not cast literal "{mode}" to type ROUNDING_MODE')
    made = (whole + up[mode]) * unit
    return packed(-made if negative else made)


def sized(a: Big, precision: int, scale: int) -> Big:
    """As BIGNUMERIC(precision, scale) holds it."""
    found = rounded(a, scale, "HALF_AWAY")
    if abs(scaled_of(found)) >= 10 ** (38 + precision - scale):
        raise ValueError(
            f"BIGNUMERIC({precision}, {scale}) has precision {precision} and scale {scale} but got a value that is "
            f"not in range of ±{10 ** (precision - scale)}: {text(scaled_of(a))}"
        )
    return found


def computed(name: str, a: Big, b: Big) -> Big:
    """pow, log (to a base), sqrt, exp, ln and log10; the last four of `a` alone."""
    left, right = decimal_of(a), decimal_of(b)
    try:
        with_words: dict[str, Callable[[], Decimal]] = {
            "pow": lambda: _WIDE.power(left, right), "sqrt": lambda: _WIDE.sqrt(left), "exp": lambda: _WIDE.exp(left),
            "ln": lambda: _WIDE.ln(left), "log10": lambda: _WIDE.log10(left),
            "log": lambda: _WIDE.divide(_WIDE.ln(left), _WIDE.ln(right)),
        }  # fmt: skip
        found = with_words[name]()
        if not found.is_finite() or found.adjusted() > 40:
            raise ValueError(f"BIGNUMERIC overflow: {name.upper()}")
        return packed(_rounded(found) if found.adjusted() > -45 else 0, name.upper())
    except ArithmeticError:
        raise ValueError(f"Floating point error in function: {name.upper()}") from None


def total(values: list[Big | None]) -> Big | None:
    """SUM; NULLs don't count."""
    known = [scaled_of(one) for one in values if one is not None]
    return packed(sum(known), "SUM") if known else None


def mean(values: list[Big | None]) -> Big | None:
    known = [scaled_of(one) for one in values if one is not None]
    return packed(_halved(sum(known), len(known))) if known else None


# --- from and to other types ----------------------------------------------------------------------------------


def of_float(value: float) -> Big:
    """The number that a FLOAT64 is exactly, rounded to 38 places."""
    if not math.isfinite(value):
        raise ValueError(f"Illegal conversion of non-finite floating point number to BIGNUMERIC: {value}")
    numerator, denominator = value.as_integer_ratio()
    found = _halved(numerator * _SCALE, denominator)
    if not -_HALF <= found < _HALF:
        raise ValueError(f"BIGNUMERIC out of range: {value}")
    return packed(found)


def shown(a: Big | bytes) -> str:
    return text(scaled_of(a))


def as_float(a: Big) -> float:
    return scaled_of(a) / _SCALE


def as_integer(a: Big) -> int:
    found = _halved(scaled_of(a), _SCALE)
    if not -(1 << 63) <= found < 1 << 63:
        raise ValueError(f"int64 out of range: {shown(a)}")
    return found


def as_numeric(a: Big) -> str:
    """The text of a NUMERIC, for DuckDB to read."""
    found = _halved(scaled_of(a), 10**29)
    if abs(found) >= 10**38:
        raise ValueError(f"numeric out of range: {shown(a)}")
    return str(Decimal(found).scaleb(-9, _WIDE))


# --- columns --------------------------------------------------------------------------------------------------

_ARROW = pa.decimal256(76, 38)


def of_arrow(column: pa.Array) -> pa.Array:
    """A column of such structs as Arrow's decimals of 256 bits."""
    data = column.field(0)
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    cells = np.zeros((len(column), 32), np.uint8)
    if valid.any():
        joined = b"".join(one for one in data.filter(column.is_valid()).to_pylist())
        cells[valid] = np.frombuffer(joined, np.uint8).reshape(-1, 32)
        cells[valid, 0] ^= 0x80  # 2²⁵⁵ less: the two's complement
    bits = pa.py_buffer(np.packbits(valid, bitorder="little").tobytes())
    numbers = pa.py_buffer(np.ascontiguousarray(cells[:, ::-1]).tobytes())
    return pa.Array.from_buffers(_ARROW, len(column), [bits, numbers])


def widened(table: pa.Table, fields: list[dict[str, Any]]) -> pa.Table:
    """Rows of DuckDB's with such decimals for their structs; `fields` are the columns of the table's schema."""
    for place, one in enumerate(fields):
        kind = table.field(place).type
        if _holds(one) and kind != _arrow_type(kind):
            made = [_decimals(chunk, one) for chunk in table.column(place).chunks]
            column = pa.chunked_array(made, made[0].type if made else _arrow_type(kind))
            table = table.set_column(place, table.field(place).with_type(column.type), column)
    return table


def _arrow_type(kind: pa.DataType) -> pa.DataType:
    """What an empty column is instead."""
    if pa.types.is_struct(kind) and kind.num_fields == 1 and kind.field(0).name == PLACE:
        return _ARROW
    if pa.types.is_struct(kind):
        return pa.struct([one.with_type(_arrow_type(one.type)) for one in kind])
    return pa.list_(_arrow_type(kind.value_type)) if pa.types.is_list(kind) else kind


def _holds(one: dict[str, Any]) -> bool:
    return one["type"].upper() in ("BIGNUMERIC", "BIGDECIMAL") or any(map(_holds, one.get("fields") or ()))


def _decimals(column: pa.Array, one: dict[str, Any]) -> pa.Array:
    if not _holds(one):
        return column
    if str(one.get("mode", "")).upper() == "REPEATED":
        inner = _decimals(column.flatten(), {**one, "mode": "NULLABLE"})
        lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), inner, mask=column.is_null())
    fields = one.get("fields")
    if not fields:
        return of_arrow(column)
    made = [_decimals(column.field(place), each) for place, each in enumerate(fields)]
    return pa.StructArray.from_arrays(made, [each["name"] for each in fields], mask=column.is_null())


def narrowed(table: pa.Table) -> pa.Table:
    """Decimals of 256 bits, which DuckDB has not, as texts."""
    for place, one in enumerate(table.schema):
        kind = _narrow_type(one.type)
        if kind != one.type:
            table = table.set_column(place, one.name, table.column(place).cast(kind))
    return table


def _narrow_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_decimal256(kind):
        return pa.string()
    if pa.types.is_struct(kind):
        return pa.struct([one.with_type(_narrow_type(one.type)) for one in kind])
    return pa.list_(_narrow_type(kind.value_type)) if pa.types.is_list(kind) else kind


def plain(table: pa.Table) -> pa.Table:
    """Such columns of DuckDB's as FLOAT64, for what computes with no more."""
    for place, one in enumerate(table.schema):
        if _arrow_type(one.type) == _ARROW:
            values = [None if each is None else as_float(each) for each in table.column(place).to_pylist()]
            table = table.set_column(place, one.name, pa.array(values, pa.float64()))
    return table


_B, _T, _I = TYPE, "VARCHAR", "BIGINT"
BIG_FUNCTIONS: dict[str, tuple[Callable[..., Any], list[str], str]] = {
    "big_read": (read, [_T], _B), "big_of_float": (of_float, ["DOUBLE"], _B), "big_text": (shown, [_B], _T),
    "big_float": (as_float, [_B], "DOUBLE"), "big_integer": (as_integer, [_B], _I),
    "big_numeric": (as_numeric, [_B], _T), "big_add": (add, [_B, _B], _B), "big_sub": (subtract, [_B, _B], _B),
    "big_mul": (multiply, [_B, _B], _B), "big_div": (divide, [_B, _B], _B), "big_whole": (whole_divide, [_B, _B], _B),
    "big_mod": (modulo, [_B, _B], _B), "big_neg": (negate, [_B], _B), "big_abs": (absolute, [_B], _B),
    "big_sign": (sign, [_B], _B), "big_round": (rounded, [_B, _I, _T], _B), "big_sized": (sized, [_B, _I, _I], _B),
    "big_computed": (computed, [_T, _B, _B], _B), "big_total": (total, [f"{_B}[]"], _B),
    "big_mean": (mean, [f"{_B}[]"], _B),
}  # fmt: skip
"""By name: the function, the types that DuckDB gives it, and what it gives."""


# --- macros ---------------------------------------------------------------------------------------------------


def _macros() -> str:
    """What functions and operators mean for BIGNUMERIC, alone or beside another number; FLOAT64 beside one wins."""
    beside = {"BIGINT": "gs_cast_bignumeric({})", "DECIMAL(38,9)": "gs_cast_bignumeric({})"}
    lines = []
    for name, python in (
        ("add", "add"), ("sub", "sub"), ("mul", "mul"), ("div", "div"), ("integer_div", "whole"), ("mod", "mod"),
    ):  # fmt: skip
        found = [f"(a {TYPE}, b {TYPE}) AS gs_py_big_{python}(a, b)"]
        for kind, cast in beside.items():
            found.append(f"(a {TYPE}, b {kind}) AS gs_py_big_{python}(a, {cast.format('b')})")
            found.append(f"(a {kind}, b {TYPE}) AS gs_py_big_{python}({cast.format('a')}, b)")
        if name not in ("integer_div", "mod"):
            shown = {"add": "{} + {}", "sub": "{} - {}", "mul": "{} * {}"}.get(name, "gs_div({}, {})")
            found.append(f"(a {TYPE}, b DOUBLE) AS {shown.format('gs_py_big_float(a)', 'b')}")
            found.append(f"(a DOUBLE, b {TYPE}) AS {shown.format('a', 'gs_py_big_float(b)')}")
        lines.append(f"CREATE MACRO gs_{name}{', '.join(found)};\n")
    one = f"x {TYPE}"
    for name, made in _ONE.items():
        lines.append(f"CREATE MACRO gs_{name}({one}) AS {made};\n")
    two = f"CREATE MACRO gs_{{}}({one}, n BIGINT"
    lines += [
        two.format("round") + ") AS gs_py_big_round(x, n, 'HALF_AWAY'), "
        f"({one}, n BIGINT, mode VARCHAR) AS gs_py_big_round(x, n, mode);\n",
        two.format("trunc") + ") AS gs_py_big_round(x, n, 'DOWN');\n",
        f"CREATE MACRO gs_pow({one}, y {TYPE}) AS gs_py_big_computed('pow', x, y), ({one}, y BIGINT) AS "
        f"gs_py_big_computed('pow', x, gs_cast_bignumeric(y)), ({one}, y DOUBLE) AS gs_pow(gs_py_big_float(x), y);\n",
        f"CREATE MACRO gs_log({one}, b {TYPE}) AS gs_py_big_computed('log', x, b), ({one}, b BIGINT) AS "
        "gs_py_big_computed('log', x, gs_cast_bignumeric(b));\n",
        f"CREATE MACRO gs_lit({one}, t VARCHAR) AS gs_py_big_read(t);\n",
        f"CREATE MACRO gs_sized_bignumeric({one}, n, s) AS gs_py_big_sized(x, n, s);\n",
        f"CREATE MACRO gs_cast_text({one}, f VARCHAR, z VARCHAR) AS gs_py_format_number(f, gs_py_big_text(x));\n",
        f"CREATE MACRO gs_cast_bignumeric({one}) AS x, (x VARCHAR) AS gs_py_big_read(x), (x DOUBLE) AS "
        "gs_py_big_of_float(x), (x BIGINT) AS gs_py_big_read(CAST(x AS VARCHAR)), (x HUGEINT) AS "
        "gs_py_big_read(CAST(x AS VARCHAR)), (x DECIMAL(38,9)) AS gs_py_big_read(CAST(x AS VARCHAR));\n",
        "CREATE MACRO gs_parse_bignumeric(x VARCHAR) AS gs_py_big_read(gs_py_number(x, 'BIGNUMERIC'));\n",
    ]
    return "".join(lines)


_NONE = "gs_py_big_read('0')"
_ONE = {
    "neg": "gs_py_big_neg(x)", "abs": "gs_py_big_abs(x)", "sign": "gs_py_big_sign(x)",
    "round": "gs_py_big_round(x, 0, 'HALF_AWAY')", "trunc": "gs_py_big_round(x, 0, 'DOWN')",
    "ceil": "gs_py_big_round(x, 0, 'CEIL')", "floor": "gs_py_big_round(x, 0, 'FLOOR')",
    **{name: f"gs_py_big_computed('{name}', x, {_NONE})" for name in ("sqrt", "exp", "ln", "log10")},
    "log": f"gs_py_big_computed('ln', x, {_NONE})", "to_string": "gs_py_big_text(x)",
    "cast_int64": "gs_py_big_integer(x)", "cast_float64": "gs_py_big_float(x)",
    "cast_numeric": "CAST(gs_py_big_numeric(x) AS DECIMAL(38,9))", "fmt": "'N' || gs_py_big_text(x)",
}  # fmt: skip
MACROS = _macros()
"""As `functions.sql` has them: overloads of the same macros."""
