"""Values of parameters by their types (ParameterType)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_WORDS = {
    "STRING": "a string",
    "NUMBER_INTEGER": "an integer",
    "NUMBER_DOUBLE": "a number",
    "BOOLEAN": "true or false",
    "LIST": "a list",
    "STRUCT": "an object",
    "TASK_FINAL_STATUS": "a task's final status",
    "TASK_CONFIG": "a task's config",
}


def as_type(value: Any, wanted: str, what: str) -> Any:
    """`value` as a parameter of the type `wanted` ("NUMBER_INTEGER", …; "" takes anything).

    Raises:
        ValueError: it is none; the message begins with `what`.
    """
    match wanted:
        case "NUMBER_INTEGER":
            if isinstance(value, float) and value.is_integer():
                return int(value)
            fits = isinstance(value, int) and not isinstance(value, bool)
        case "NUMBER_DOUBLE":
            fits = isinstance(value, int | float) and not isinstance(value, bool)
            value = float(value) if fits else value
        case "STRING":
            fits = isinstance(value, str)
        case "BOOLEAN":
            fits = isinstance(value, bool)
        case "LIST":
            fits = isinstance(value, list)
        case "STRUCT" | "TASK_FINAL_STATUS" | "TASK_CONFIG":
            fits = isinstance(value, dict)
        case _:
            fits = True
    if not fits:
        raise ValueError(f"{what} must be {_WORDS[wanted]}, not {_short(value)}.")
    return whole(value) if isinstance(value, list | dict) else value


def whole(value: Any) -> Any:
    """Whole numbers inside a list or an object as integers: a client that sends a protobuf Struct has made them floats,
    and code that counts by them, `range(n)`, would not take these."""
    if isinstance(value, dict):
        return {name: whole(one) for name, one in value.items()}
    if isinstance(value, list):
        return [whole(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def from_text(text: str, wanted: str, what: str) -> Any:
    """What a component wrote into an output parameter's file.

    Raises:
        ValueError: it is no value of the type `wanted`; the message begins with `what`.
    """
    if wanted in ("STRING", ""):
        return text
    bare = text.strip()
    if wanted == "BOOLEAN" and bare.lower() in ("true", "false"):
        return bare.lower() == "true"
    try:
        value = json.loads(bare)
    except (ValueError, RecursionError):
        raise ValueError(f"{what} must be {_WORDS[wanted]}, not the text {text[:100]!r}.") from None
    return as_type(value, wanted, what)


def in_text(value: Any) -> str:
    """As a placeholder shows it in the middle of a text."""
    return value if isinstance(value, str) else json.dumps(value)


def given(
    definitions: Mapping[str, Any], values: Mapping[str, Any], field: str
) -> tuple[dict[str, Any], list[str]]:
    """Values for all parameters of `definitions`: those given, checked, then defaults. And the names that lack one.

    Raises:
        ValueError: one is unknown, of another type, or none of the literals.
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name not in definitions:
            known = ", ".join(definitions) or "none"
            raise ValueError(f"{field}[{name}] is no parameter of the pipeline; it has {known}.")
        if value is None and definitions[name].get("isOptional"):
            continue
        found[name] = as_type(value, definitions[name].get("parameterType", ""), f"{field}[{name}]")
        literals = definitions[name].get("literals")
        if literals and found[name] not in literals:
            raise ValueError(f"{field}[{name}] must be one of {literals}, not {_short(value)}.")
    lacking = []
    for name, one in definitions.items():
        if name in found:
            continue
        if "defaultValue" in one:
            found[name] = as_type(one["defaultValue"], one.get("parameterType", ""), f"{field}[{name}]")
        elif not one.get("isOptional"):
            lacking.append(name)
    return found, lacking


def _short(value: Any) -> str:
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"
