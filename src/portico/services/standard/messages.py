"""Messages inside `any` values, which no door has checked."""

from __future__ import annotations

import re
from typing import Any, NoReturn

from portico.errors import InvalidArgument
from portico.services.standard.fields import Field, FieldTypes, Kind

_DURATION = re.compile(r"-?\d+(\.\d{1,9})?s")


def check(value: Any, types: FieldTypes, path: str) -> None:
    """Checks that `value` is a message of `types` in camelCase; null stands for what is absent.

    Raises:
        InvalidArgument: naming the field, also of a name that the message lacks.
    """
    if not isinstance(value, dict):
        _wrong(path, value, "an object")
    for name, one in value.items():
        field = types.get(name)
        if field is None:
            raise InvalidArgument(f"{path} has no field {name!r}.", field=f"{path}.{name}")
        if one is not None:
            _field(one, field, f"{path}.{name}")


def _field(value: Any, field: Field, path: str) -> None:
    if field.repeated and not isinstance(value, list):
        _wrong(path, value, "a list")
    for position, one in enumerate(value if field.repeated else [value]):
        _single(one, field, f"{path}[{position}]" if field.repeated else path)


def _single(value: Any, field: Field, path: str) -> None:
    if field.message is not None:
        if value is not None:  # a pool that is left out
            check(value, field.message, path)
    elif field.kind is Kind.NUMBER:
        if isinstance(value, bool) or not _is_number(value):
            _wrong(path, value, "a number")
    elif field.kind is Kind.BOOL:
        if not isinstance(value, bool):
            _wrong(path, value, "true or false")
    elif field.kind is Kind.DURATION:
        if not (isinstance(value, str) and _DURATION.fullmatch(value)):
            _wrong(path, value, "seconds, such as 3.5s")
    elif field.kind is Kind.ENUM:
        if value not in field.values and isinstance(value, str):
            _wrong(path, value, f"one of {', '.join(sorted(field.values))}")
    elif field.kind is Kind.MAP:
        if not isinstance(value, dict):
            _wrong(path, value, "an object")
    elif field.kind in (Kind.STRING, Kind.TIME) and not isinstance(value, str):
        _wrong(path, value, "a string")


def _is_number(value: Any) -> bool:
    try:
        return float(value) == int(float(value)) or not isinstance(value, str)
    except (TypeError, ValueError, OverflowError):
        return False


def _wrong(path: str, value: Any, wanted: str) -> NoReturn:
    raise InvalidArgument(f"Invalid value at {path}: {str(value)[:80]!r} is not {wanted}.", field=path)
