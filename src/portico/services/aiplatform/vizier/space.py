"""The space that a study searches: its parameters, the scales of their values, and those that depend on others.

A `ParameterSpec` is as its message has it; a parameter's value is a float, an int or a string.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from portico.errors import InvalidArgument

Spec = Mapping[str, Any]
Value = float | int | str
Kind = Literal["double", "integer", "categorical", "discrete"]

_KINDS: tuple[Kind, ...] = ("double", "integer", "categorical", "discrete")
_CONDITIONS = {
    "integer": "parentIntValues",
    "categorical": "parentCategoricalValues",
    "discrete": "parentDiscreteValues",
}
_CLOSE = 1e-10  # what a discrete value may be off, as the documents say
_MOST = 1000  # values of a discrete or categorical parameter
_DEPTH = 20  # of parameters that depend on others
_FAR = 1e300  # an end of a range: beyond it floats can't be reckoned with


def kind_of(spec: Spec) -> Kind:
    return next(kind for kind in _KINDS if f"{kind}ValueSpec" in spec)


def values_of(spec: Spec) -> Sequence[Value]:
    """All values of a parameter that is not a double."""
    if kind_of(spec) == "integer":
        low, high = bounds(spec)
        return range(int(low), int(high) + 1)
    told: list[Value] = spec[f"{kind_of(spec)}ValueSpec"]["values"]
    return [float(value) for value in told] if kind_of(spec) == "discrete" and _has_words(told) else told


def bounds(spec: Spec) -> tuple[float, float]:
    """The least and the greatest value of a double or an integer."""
    told = spec[f"{kind_of(spec)}ValueSpec"]
    number = int if kind_of(spec) == "integer" else float
    return number(told.get("minValue") or 0), number(told.get("maxValue") or 0)


def below(spec: Spec, value: Value) -> list[Spec]:
    """The parameters that there are beside `spec` when it has `value`."""
    return [
        one["parameterSpec"]
        for one in spec.get("conditionalParameterSpecs") or []
        if any(_same(value, other) for other in _parents(spec, one))
    ]


def walk(specs: Sequence[Spec], choose: Callable[[str, Spec], Value]) -> list[tuple[str, Value]]:
    """The id and value of each parameter that there is, when `choose(path, spec)` says the values; `path` tells
    parameters of one id apart."""
    found: list[tuple[str, Value]] = []

    def visit(specs: Sequence[Spec], above: str) -> None:
        for spec in specs:
            path = f"{above}/{spec['parameterId']}"
            value = choose(path, spec)
            found.append((spec["parameterId"], value))
            visit(below(spec, value), f"{path}={value}" if spec.get("conditionalParameterSpecs") else path)

    visit(specs, "")
    return found


def every(specs: Sequence[Spec]) -> Iterator[Spec]:
    """All parameters, with those that depend on others."""
    for spec in specs:
        yield spec
        yield from every([one["parameterSpec"] for one in spec.get("conditionalParameterSpecs") or []])


def grid(specs: Sequence[Spec], fixed: Mapping[str, Any]) -> Iterator[list[tuple[str, Value]]]:
    """Every combination of values, the last parameter's changing first; `fixed` has the only value of some."""
    if not specs:
        yield []
        return
    first, *others = specs
    name = first["parameterId"]
    for value in [value_in(first, fixed[name], "contexts")] if name in fixed else values_of(first):
        for rest in grid([*below(first, value), *others], fixed):
            yield [(name, value), *rest]


def at(spec: Spec, unit: float) -> Value:
    """The value of a double or an integer at the place `unit`, from 0 to 1, of its scale."""
    low, high = _ends(spec)
    scale = spec.get("scaleType", "")
    if low == high:
        value = low
    elif scale == "UNIT_LOG_SCALE":
        value = _between(low, high, unit)
    elif scale == "UNIT_REVERSE_LOG_SCALE":
        value = high + low - _between(low, high, 1 - unit)
    else:
        value = low * (1 - unit) + high * unit
    least, most = bounds(spec)
    if kind_of(spec) == "integer":
        return int(min(max(round(value), least), most))
    return min(max(value, least), most)


def place(spec: Spec, value: float) -> float:
    """Where on its scale, from 0 to 1, a value is: the inverse of `at`."""
    low, high = _ends(spec)
    scale = spec.get("scaleType", "")
    if low == high:
        return 0.0
    if scale == "UNIT_LOG_SCALE":
        return _share(low, high, value)
    if scale == "UNIT_REVERSE_LOG_SCALE":
        return 1 - _share(low, high, high + low - value)
    return (value - low) / (high - low)


def _between(low: float, high: float, unit: float) -> float:
    return math.exp(math.log(low) + unit * (math.log(high) - math.log(low)))


def _share(low: float, high: float, value: float) -> float:
    return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))


def first(spec: Spec) -> Value:
    """Where a search begins: the default, or the middle."""
    kind = kind_of(spec)
    default = spec[f"{kind}ValueSpec"].get("defaultValue")
    if default is not None:
        return int(default) if kind == "integer" else default if kind == "categorical" else float(default)
    if kind in ("double", "integer"):
        return at(spec, 0.5)
    values = values_of(spec)
    return values[0] if kind == "categorical" else values[(len(values) - 1) // 2]


def read(specs: Sequence[Spec], given: Sequence[Mapping[str, Any]], field: str) -> list[dict[str, Any]]:
    """The parameters of a trial that a caller made, in the order of the space.

    Raises:
        InvalidArgument: one is missing, too many, or has no value of its own.
    """
    told = {one.get("parameterId", ""): one.get("value") for one in given}

    def choose(path: str, spec: Spec) -> Value:
        name = spec["parameterId"]
        if name not in told:
            raise InvalidArgument(f"The parameter {name!r} has no value.", field=field)
        return value_in(spec, told[name], field)

    found = walk(specs, choose)
    if left := sorted(told.keys() - {name for name, _ in found}):
        raise InvalidArgument(
            f"The study has no parameter {left[0]!r}, or none beside these values.", field=field
        )
    return shown(found)


def value_in(spec: Spec, value: Any, field: str) -> Value:
    """`value` as the parameter has it.

    Raises:
        InvalidArgument: it is not one of its values.
    """
    kind, name = kind_of(spec), spec["parameterId"]
    if kind == "categorical":
        if value not in values_of(spec):
            raise InvalidArgument(f"{value!r} is no value of {name!r}: {values_of(spec)}.", field=field)
        return str(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidArgument(f"{value!r} is no number, as {name!r} has.", field=field)
    if kind == "discrete":
        near = [one for one in values_of(spec) if _same(value, one)]
        if not near:
            raise InvalidArgument(f"{value} is no value of {name!r}: {values_of(spec)}.", field=field)
        return near[0]
    low, high = bounds(spec)
    if not low <= value <= high or (kind == "integer" and value != int(value)):
        raise InvalidArgument(f"{value} is no {kind} from {low:g} to {high:g}, as {name!r} is.", field=field)
    return int(value) if kind == "integer" else float(value)


def shown(values: Sequence[tuple[str, Value]]) -> list[dict[str, Any]]:
    """As a trial's `parameters`."""
    return [{"parameterId": name, "value": value} for name, value in values]


def check(specs: Sequence[Spec], field: str, *, grid: bool = False) -> None:
    """Checks a study's parameters; those of a `grid` must be countable.

    Raises:
        InvalidArgument: naming the field.
    """
    if not specs:
        raise InvalidArgument("A study needs a parameter.", field=field)
    _check_level(specs, field, grid, 0)
    names = [spec["parameterId"] for spec in specs]
    if len(set(names)) < len(names):
        raise InvalidArgument("parameterIds must be unique.", field=field)


def _check_level(specs: Sequence[Spec], field: str, grid: bool, depth: int) -> None:
    if depth > _DEPTH:
        raise InvalidArgument(f"Parameters depend on each other in more than {_DEPTH} steps.", field=field)
    for number, spec in enumerate(specs):
        where = f"{field}[{number}]"
        _check_one(spec, where, grid)
        for index, one in enumerate(spec.get("conditionalParameterSpecs") or []):
            place = f"{where}.conditionalParameterSpecs[{index}]"
            parents = _parents(spec, one)
            if not parents:
                wanted = _CONDITIONS.get(kind_of(spec))
                said = f"Give {wanted}" if wanted else "Nothing can depend on a DOUBLE parameter"
                raise InvalidArgument(
                    f"{said}: {spec['parameterId']!r} is of type {kind_of(spec).upper()}.", field=place
                )
            for value in parents:
                value_in(spec, value, place)
            _check_level([one.get("parameterSpec") or {}], f"{place}.parameterSpec", grid, depth + 1)


def _check_one(spec: Spec, field: str, grid: bool) -> None:
    name = spec.get("parameterId", "")
    if not name or not name.isprintable() or " " in name:
        raise InvalidArgument(
            f"{name!r} is no parameterId: it has no spaces and no control characters.",
            field=f"{field}.parameterId",
        )
    kinds = [kind for kind in _KINDS if f"{kind}ValueSpec" in spec]
    if len(kinds) != 1:
        raise InvalidArgument(
            f"{name!r} needs one of doubleValueSpec, integerValueSpec, categoricalValueSpec and discreteValueSpec.",
            field=field,
        )
    kind, where = kinds[0], f"{field}.{kinds[0]}ValueSpec"
    if grid and kind == "double":
        raise InvalidArgument(
            f"GRID_SEARCH needs parameters of type INTEGER, DISCRETE or CATEGORICAL; {name!r} is a DOUBLE.",
            field=where,
        )
    if kind in ("categorical", "discrete"):
        values = list(values_of(spec)) if spec[where.rpartition(".")[2]].get("values") else []
        if not values or len(values) > _MOST or len(set(values)) < len(values):
            raise InvalidArgument(f"{name!r} needs 1 to {_MOST} different values.", field=f"{where}.values")
        least = 1.0
        if kind == "categorical" and any("\0" in str(value) for value in values):
            raise InvalidArgument(f"A value of {name!r} has a NUL character.", field=f"{where}.values")
        if kind == "discrete":
            numbers = [float(value) for value in values]
            for number, value in enumerate(numbers):
                _check_size(value, f"{where}.values[{number}]")
            if numbers != sorted(numbers):
                raise InvalidArgument(
                    f"The values of {name!r} must be in increasing order.", field=f"{where}.values"
                )
            least = numbers[0]
    else:
        least, most = bounds(spec)
        for key, end in (("minValue", least), ("maxValue", most)):
            _check_size(end, f"{where}.{key}")
        if least > most:
            raise InvalidArgument(f"The minValue of {name!r} is above its maxValue.", field=where)
    if "LOG" in spec.get("scaleType", "") and least <= 0:
        raise InvalidArgument(
            f"A logarithmic scale needs values above 0; {name!r} begins at {least:g}.",
            field=f"{field}.scaleType",
        )
    if "defaultValue" in spec[f"{kind}ValueSpec"]:
        value_in(spec, first(spec), f"{where}.defaultValue")


def _check_size(value: float, field: str) -> None:
    if not abs(value) <= _FAR:
        raise InvalidArgument(f"{value:g} is not from {-_FAR:g} to {_FAR:g}.", field=field)


def _has_words(values: Sequence[Value]) -> bool:
    """Whether numbers are written as strings, as proto3 JSON allows."""
    return any(isinstance(value, str) for value in values)


def _ends(spec: Spec) -> tuple[float, float]:
    """Of the scale: an integer has as much room as the others, also the first and the last."""
    low, high = bounds(spec)
    if kind_of(spec) == "integer" and low < high:
        return low - 0.5, high + 0.5
    return low, high


def _parents(spec: Spec, condition: Spec) -> list[Value]:
    key = _CONDITIONS.get(kind_of(spec), "")
    values = (condition.get(key) or {}).get("values") or []
    return [int(value) for value in values] if kind_of(spec) == "integer" else list(values)


def _same(one: Value, other: Value) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return abs(one - other) <= _CLOSE
