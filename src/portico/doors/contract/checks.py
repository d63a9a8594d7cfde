"""Checks requests against the contract and turns them into canonical proto3 JSON.

Canonical: camelCase names, enums by name, 64-bit integers as strings, no nulls, no output-only fields. What
stands inside an `any` value (google.protobuf.Value) is the caller's own and stays as it is.
https://protobuf.dev/programming-guides/json/
"""

from __future__ import annotations

import base64
import binascii
import functools
import math
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from portico.doors.contract.documents import Contract, Method, Parameter, Schema
from portico.errors import InvalidArgument, Violation
from portico.services.standard.apis import declared
from portico.services.standard.fields import camel

_NUMBER = re.compile(r"\d{1,10}", re.ASCII)
_DURATION = re.compile(r"-?\d{1,12}(\.\d{1,9})?s")
_INTEGERS = {
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}
# Query parameters of every Google API; the ones in the documents' own list and what clients add.
_SYSTEM_PARAMETERS = frozenset(
    [
        *("$.xgafv", "$alt", "$fields", "$key", "$outputDefaults", "$prettyPrint", "$userProject"),
        *("access_token", "alt", "callback", "fields", "key", "oauth_token", "prettyPrint", "project"),
        *("quotaUser", "uploadType", "upload_protocol", "userIp", "userProject"),
    ]
)
_MAX_DEPTH = 100
_NESTED = (dict, list)  # as JSON is read


class Checker:
    """Checks bodies and query parameters of one API version."""

    def __init__(self, contract: Contract, api: str, version: str) -> None:
        self._schema: Callable[[str], Schema] = lambda name: contract.schema(api, version, name)
        self._keep_nulls = declared()[api].keep_nulls
        self._numbers = declared()[api].numbers_as_texts
        self._lenient = declared()[api].lenient

    def body(self, method: Method, value: Any) -> dict[str, Any]:
        """The canonical body of a request to `method`.

        Raises:
            InvalidArgument: naming the field.
        """
        if not method.request:
            if value not in (None, {}):
                raise InvalidArgument(f"{method.id} takes no request body.", field="body")
            return {}
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise InvalidArgument(
                f"Invalid JSON payload received. The body must be a JSON object, not {_kind(value)}."
            )
        schema = self._schema(method.request)
        if method.request.endswith("Request"):  # a message of the method's own, with all its parameters in it
            known = schema.get("properties", {})
            value = {
                key: one for key, one in value.items() if key in known or f"{{+{key}}}" not in method.path
            }
        return self._object(schema, value, "", 0)

    def _value(self, schema: Schema, value: Any, path: str, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise _too_deep(path)
        if "$ref" in schema:
            schema = self._schema(schema["$ref"])
        kind = schema.get("type", "any")
        if kind == "any":
            _check_depth(value, depth, path)
            return value
        if kind == "object":
            if not isinstance(value, dict):
                raise _invalid(path, value, "an object")
            return self._object(schema, value, path, depth + 1)
        if kind == "array":
            if not isinstance(value, list):
                raise _invalid(path, value, "a list")
            items = schema["items"]
            return [self._element(items, item, f"{path}[{i}]", depth) for i, item in enumerate(value)]
        return scalar(schema, value, path)

    def _is_any(self, schema: Schema) -> bool:
        found = self._schema(schema["$ref"]) if "$ref" in schema else schema
        return bool(found.get("type", "any") == "any")

    def _element(self, schema: Schema, value: Any, path: str, depth: int) -> Any:
        if value is None and schema.get("type") != "any":
            raise _invalid(path, value, "a value; null can't stand in a list")
        return self._value(schema, value, path, depth + 1)

    def _object(self, schema: Schema, value: dict[str, Any], path: str, depth: int) -> dict[str, Any]:
        properties: dict[str, Schema] = schema.get("properties", {})
        extra: Schema | None = schema.get("additionalProperties")
        if extra is not None and not properties:
            if self._is_any(extra) and (self._keep_nulls or None not in value.values()):
                _check_depth(value, depth, path)
                return value
            if path.endswith(self._numbers):
                value = {
                    key: str(item).lower() if isinstance(item, int | float) else item
                    for key, item in value.items()
                }
            return {
                key: None
                if item is None
                else self._value(extra, item, f"{path}.{key}" if path else key, depth)
                for key, item in value.items()
                if item is not None or self._keep_nulls or extra.get("type", "") == "any"
            }
        checked: dict[str, Any] = {}
        unknown: list[Violation] = []
        for key, item in value.items():
            name = key if key in properties else camel(key)
            known = properties.get(name)
            where = f"{path}.{key}" if path else key
            if known is None:
                if key == "@type" or self._lenient:
                    continue
                unknown.append(
                    Violation(
                        path,
                        f'Invalid JSON payload received. Unknown name "{key}"{_at(path)}: Cannot find field.',
                    )
                )
            elif (item is None and known.get("type") != "any") or known.get("readOnly"):
                if self._keep_nulls:
                    checked[name] = None
            elif name in checked:
                raise InvalidArgument(
                    f"Invalid JSON payload received. '{name}' is given twice{_at(path)}.", field=where
                )
            else:
                if (
                    isinstance(item, int | float)
                    and not isinstance(item, bool)
                    and where.endswith(self._numbers)
                ):
                    item = str(item)
                checked[name] = self._value(known, item, where, depth)
        if unknown:
            raise InvalidArgument("\n".join(v.description for v in unknown), violations=unknown)
        return checked


def _check_depth(value: Any, depth: int, path: str) -> None:
    """Services walk through `any` values by recursion; orjson takes ten times as many levels."""
    level = [value]
    while level := [one for one in level if type(one) in _NESTED]:
        depth += 1
        if depth > _MAX_DEPTH:
            raise _too_deep(path)
        level = [item for outer in level for item in (outer.values() if type(outer) is dict else outer)]


def _too_deep(path: str) -> InvalidArgument:
    return InvalidArgument(
        f"Invalid JSON payload received. It is nested more than {_MAX_DEPTH} levels deep.", field=path
    )


def scalar(schema: Schema, value: Any, path: str) -> Any:
    """One string, number, boolean or enum value in canonical form."""
    kind, form = schema["type"], schema.get("format", "")
    if "enum" in schema:
        return _enum(schema["enum"], value, path)
    if form in _INTEGERS:
        number = _integer(value, form, path)
        return str(number) if kind == "string" else number
    if kind == "integer":
        return _integer(value, "int64", path)
    if kind == "number":
        return _number(value, form, path)
    if kind == "boolean":
        if not isinstance(value, bool):
            raise _invalid(path, value, "true or false")
        return value
    if not isinstance(value, str):
        raise _invalid(path, value, "a string")
    if any("\ud800" <= c <= "\udfff" for c in value):
        raise _invalid(path, value, "valid Unicode")
    check = _STRING_FORMATS.get(form)
    if check is not None and not check(value):
        raise _invalid(path, value, _FORMAT_WORDS[form])
    return value


@functools.cache
def _spoken() -> dict[str, tuple[str, ...]]:
    """The query parameters by API that its clients send, and its documents lack."""
    return {api.name: api.spoken for api in declared().values()}


def query(method: Method, pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """The typed query parameters of a request to `method`.

    Raises:
        InvalidArgument: naming the parameter.
    """
    known = {p.name: p for p in method.parameters}
    lenient = declared()[method.api].lenient
    found: dict[str, Any] = {}
    for key, text in pairs:
        name = key if key in known else camel(key)
        parameter = known.get(name)
        if parameter is None and lenient:
            continue
        if parameter is None:
            if key in _SYSTEM_PARAMETERS or name in _SYSTEM_PARAMETERS:
                if name in ("fields", "$fields"):
                    found["fields"] = text
                continue
            if key in _spoken().get(method.api, ()):
                continue
            message = (
                f'Invalid JSON payload received. Unknown name "{key}": Cannot bind query parameter. '
                f"Field '{key}' could not be found in request message."
            )
            raise InvalidArgument(message, violations=[Violation("", message)])
        value = _parameter(parameter, text)
        if parameter.repeated:
            found.setdefault(name, []).append(value)
        else:
            found[name] = value
    return found


def _parameter(parameter: Parameter, text: str) -> Any:
    if parameter.enum:
        # The documents give parameters' enums in numeric order or the client sends names.
        numbers = {name: number for number, name in enumerate(parameter.enum)}
        return _enum(numbers, int(text) if _NUMBER.fullmatch(text) else text, parameter.name)
    if parameter.type == "boolean":
        if text.lower() not in ("true", "false", "1", "0", ""):
            raise _invalid(parameter.name, text, "true or false")
        return text.lower() in ("true", "1", "")
    return scalar({"type": parameter.type, "format": parameter.format}, text, parameter.name)


def _enum(numbers: dict[str, int], value: Any, path: str) -> str:
    if isinstance(value, str) and value in numbers:
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        for name, number in numbers.items():
            if number == value:
                return name
    names = [name for name in numbers if not name.endswith("_UNSPECIFIED")]
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    raise _invalid(path, value, f"one of {shown}")


def _integer(value: Any, form: str, path: str) -> int:
    number: int | None = None
    if isinstance(value, bool):
        pass
    elif isinstance(value, int):
        number = value
    elif isinstance(value, float) and value.is_integer():
        number = int(value)
    elif isinstance(value, str) and re.fullmatch(r"-?\d{1,20}(\.0+)?", value, re.ASCII):
        number = int(value.partition(".")[0])
    low, high = _INTEGERS[form]
    if number is None or not low <= number <= high:
        raise _invalid(path, value, f"an integer ({form})")
    return number


def _number(value: Any, form: str, path: str) -> float | str:
    if isinstance(value, str):
        if value in ("NaN", "Infinity", "-Infinity"):
            return value
        try:
            value = float(value) if value.strip() == value and "_" not in value else None
        except ValueError:
            raise _invalid(path, value, "a number") from None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _invalid(path, value, "a number")
    try:
        number = float(value)
    except OverflowError:
        raise _invalid(path, value, "a number") from None
    if not math.isfinite(number) or (form == "float" and abs(number) > 3.4028235e38):
        raise _invalid(path, value, f"a number in the range of a {form or 'double'}")
    return value if isinstance(value, int) else number


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _is_field_mask(text: str) -> bool:
    return re.fullmatch(r"[^\s\x00]*( ?, ?[^\s\x00]*)*", text) is not None


_STRING_FORMATS: dict[str, Callable[[str], object]] = {
    "google-datetime": _is_time,
    "date-time": _is_time,
    "date": lambda text: re.fullmatch(r"\d{4}-\d\d-\d\d", text),
    "google-duration": _DURATION.fullmatch,
    "byte": _is_base64,
    "google-fieldmask": _is_field_mask,
}
_FORMAT_WORDS = {
    "google-datetime": "an RFC 3339 time such as 2026-01-31T12:00:00Z",
    "date-time": "an RFC 3339 time such as 2026-01-31T12:00:00Z",
    "date": "a date such as 2026-01-31",
    "google-duration": "a duration such as 3.5s",
    "byte": "base64",
    "google-fieldmask": "a comma-separated list of fields",
}


def _invalid(path: str, value: Any, wanted: str) -> InvalidArgument:
    shown = repr(value) if isinstance(value, str | int | float | bool) else _kind(value)
    if len(shown) > 80:
        shown = shown[:77] + "..."
    shown = shown.encode("utf-8", "replace").decode()
    message = f"Invalid value at '{path}': {shown} is not {wanted}."
    return InvalidArgument(message, violations=[Violation(path, message)])


def _kind(value: Any) -> str:
    return {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}.get(
        type(value), "a number"
    )


def _at(path: str) -> str:
    return f" at '{path}'" if path else ""
