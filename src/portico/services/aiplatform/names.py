"""Resource names of Vertex AI, and the ids a caller may choose."""

from __future__ import annotations

import re
from typing import Any

from portico.errors import InvalidArgument

_LOCATION = re.compile(r"projects/[^/]+/locations/[^/]+")
_ID = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")
_ALIAS = re.compile(r"[a-z](?:[a-zA-Z0-9-]{0,126}[a-zA-Z0-9])?")


def location_of(name: str) -> str:
    """`projects/P/locations/L` of the resource `name`."""
    return "/".join(name.split("/")[:4])


def own_id(given: str | None, made: str, field: str) -> str:
    """The id that the caller chose, or the one made for it.

    Raises:
        InvalidArgument: the chosen id is not allowed.
    """
    if not given:
        return made
    if not _ID.fullmatch(given):
        raise InvalidArgument(
            f"{given!r} is not a valid id: at most 63 of lower-case letters, digits, '-' and '_', "
            "beginning and ending with a letter or digit.",
            field=field,
        )
    return given


def check_aliases(aliases: list[str]) -> None:
    """
    Raises:
        InvalidArgument: one is not allowed.
    """
    for alias in aliases:
        if not _ALIAS.fullmatch(alias):
            raise InvalidArgument(
                f"{alias!r} is not a valid version alias: it begins with a lower-case letter, followed by "
                "letters, digits and '-', and doesn't end with '-'.",
                field="versionAliases",
            )


def check_same_location(parent: str, name: str, field: str) -> None:
    """
    Raises:
        InvalidArgument: `name` is malformed, or a resource of another location.
    """
    if not _LOCATION.match(name):
        raise InvalidArgument(f"{name!r} is not a full resource name such as {parent}/…/ID.", field=field)
    if location_of(name) != location_of(parent):
        raise InvalidArgument(f"{name!r} is not in {location_of(parent)}.", field=field)


def message(value: Any, field: str) -> dict[str, Any]:
    """A message inside an `any` value, which no schema has checked; absent is empty.

    Raises:
        InvalidArgument: it is no object.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidArgument(f"{field} must be an object.", field=field)
    return value


def canonical(value: Any) -> Any:
    """An `any` value with its messages' field names in camelCase: clients write them both ways."""
    from portico.services.standard.fields import camel

    if isinstance(value, dict):
        return {camel(key): canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [canonical(item) for item in value]
    return value
