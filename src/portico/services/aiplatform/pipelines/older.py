"""What TFX and kfp 1.8 compile (schemaVersion 2.0.0), in the words of 2.1.0, and what its components read and write.

There a parameter is a text, an integer or a double, and its value says which: {"stringValue": "…"}. Lists, objects and
booleans are texts of JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from portico.errors import InvalidArgument

_VERSIONS = re.compile(r"2\.0\.\d+")
_TYPES = {"STRING": "STRING", "INT": "NUMBER_INTEGER", "DOUBLE": "NUMBER_DOUBLE"}
_KINDS = {"NUMBER_INTEGER": "intValue", "NUMBER_DOUBLE": "doubleValue"}
_CONDITION = re.compile(r"inputs\.parameters\[('[^']*')\]\.(?:string|int|double)_value")


def is_one(spec: Mapping[str, Any]) -> bool:
    """Whether kfp before 2.0 has compiled the spec."""
    return _VERSIONS.fullmatch(str(spec.get("schemaVersion") or "")) is not None


def rewrite(spec: dict[str, Any], deployment: dict[str, Any]) -> None:
    """Puts a spec and its deploymentSpec, as `ir` has parsed them, into the words of 2.1.0."""
    for component in [*(spec.get("components") or {}).values(), spec.get("root") or {}]:
        for side in ("inputDefinitions", "outputDefinitions"):
            for one in ((component.get(side) or {}).get("parameters") or {}).values():
                if "type" in one:
                    one["parameterType"] = _TYPES.get(one.pop("type"), "STRING")
        for task in ((component.get("dag") or {}).get("tasks") or {}).values():
            for one in ((task.get("inputs") or {}).get("parameters") or {}).values():
                _constant(one.get("runtimeValue"))
            trigger = task.get("triggerPolicy") or {}
            if trigger.get("condition"):
                trigger["condition"] = _CONDITION.sub(r"inputs.parameter_values[\1]", trigger["condition"])
    for executor in (deployment.get("executors") or {}).values():
        importer = executor.get("importer") or {}
        _constant(importer.get("artifactUri"))
        for key in ("properties", "customProperties"):
            for name, one in (importer.pop(key, None) or {}).items():
                _constant(one)
                importer["metadata"] = {**(importer.get("metadata") or {}), name: one.get("constant")}


def _constant(value: dict[str, Any] | None) -> None:
    if value and "constantValue" in value:
        value["constant"] = _plain(value.pop("constantValue"))


def plain(values: Mapping[str, Any], field: str) -> dict[str, Any]:
    """Parameters by name, of which each says its type, without it.

    Raises:
        InvalidArgument: one is no such value.
    """
    made = {}
    for name, one in values.items():
        try:
            made[name] = _plain(one)
        except (TypeError, ValueError, AttributeError):
            raise InvalidArgument(
                f"{field}[{name}] must be an object with stringValue, intValue or doubleValue.", field=field
            ) from None
    return made


def _plain(value: Mapping[str, Any]) -> Any:
    if "intValue" in value:
        return int(value["intValue"])
    if "doubleValue" in value:
        return float(value["doubleValue"])
    text = value.get("stringValue", "")
    if not isinstance(text, str):
        raise TypeError
    return text


def typed(values: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Parameters as a component of kfp 1.8 reads them in its ExecutorInput."""
    for name, one in values.items():
        kind = _KINDS.get((definitions.get(name) or {}).get("parameterType", ""), "stringValue")
        yield name, {kind: str(one) if kind == "intValue" else one}
