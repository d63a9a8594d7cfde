"""Field names and types of a resource, as its discovery document declares them.

Google takes names in snake_case and camelCase wherever a string names a field; JSON holds camelCase.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

Resource = Mapping[str, Any]

_FORMATS = {
    "google-datetime": "TIME",
    "date-time": "TIME",
    "google-duration": "DURATION",
    "int64": "NUMBER",
    "uint64": "NUMBER",
    "google-fieldmask": "STRING",
}


class Kind(Enum):
    STRING = "a string"
    NUMBER = "a number"
    BOOL = "true or false"
    TIME = "an RFC 3339 time"
    DURATION = "a duration in seconds, as in 3.5s"
    ENUM = "an enum value"
    MESSAGE = "a message"
    MAP = "a map"
    ANY = "any value"


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its camelCase name and type. `values` are an enum's names, `message` a message's fields."""

    name: str
    kind: Kind
    repeated: bool = False
    values: frozenset[str] = frozenset()
    message: FieldTypes | None = None


class FieldTypes:
    """The fields of the message `name` among a discovery document's `schemas`."""

    def __init__(self, schemas: Mapping[str, Any], name: str) -> None:
        self._schemas = schemas
        self._properties: Mapping[str, Any] = schemas[name].get("properties", {})

    def get(self, name: str) -> Field | None:
        """The field called `name` in either casing; None where there is none."""
        for candidate in (name, camel(name)):
            if candidate in self._properties:
                return self._field(candidate, self._properties[candidate])
        return None

    def __iter__(self) -> Iterator[str]:
        return iter(self._properties)

    def _field(self, name: str, declared: Mapping[str, Any]) -> Field:
        repeated = declared.get("type") == "array"
        if repeated:
            declared = declared.get("items", {})
        if "$ref" in declared:
            return Field(name, Kind.MESSAGE, repeated, message=FieldTypes(self._schemas, declared["$ref"]))
        if "enum" in declared:
            return Field(name, Kind.ENUM, repeated, frozenset(declared["enum"]))
        if declared.get("format") in _FORMATS:
            return Field(name, Kind[_FORMATS[declared["format"]]], repeated)
        if declared.get("type") == "object":
            known = declared.get("additionalProperties", {}).get("type") != "any"
            return Field(name, Kind.MAP if known else Kind.ANY, repeated)
        kinds = {"string": Kind.STRING, "integer": Kind.NUMBER, "number": Kind.NUMBER, "boolean": Kind.BOOL}
        return Field(name, kinds.get(declared.get("type", ""), Kind.ANY), repeated)


def camel(name: str) -> str:
    """`display_name` as `displayName`; what is camelCase stays."""
    return re.sub(r"(?<=[^_])_+([a-zA-Z0-9])", lambda found: found[1].upper(), name)


def key_of(value: Mapping[str, Any], segment: str) -> str:
    """The key that `segment` means in `value`: itself where it is there (map keys), else in camelCase."""
    return segment if segment in value else camel(segment)
