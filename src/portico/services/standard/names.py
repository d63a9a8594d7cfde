"""Resource names below a location, and the ids a caller may choose."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from portico.errors import InvalidArgument

_LOCATION = re.compile(r"projects/[^/]+/locations/[^/]+")
_ALIAS = re.compile(r"[a-z](?:[a-zA-Z0-9-]{0,126}[a-zA-Z0-9])?")


@dataclass(frozen=True)
class IdRule:
    """What the documents let a caller choose as an id, and that in words."""

    pattern: str
    words: str


MODEL_ID = IdRule(
    r"[a-z_][a-z0-9_-]{0,62}",
    "at most 63 of lower-case letters, digits, '-' and '_', beginning with a letter or '_'",
)
ANY_ID = IdRule(
    r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,127}",
    "at most 128 of letters, digits, '-' and '_', beginning with a letter or a digit",
)
LABEL_ID = IdRule(
    r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?",
    "at most 63 of lower-case letters, digits and '-', beginning with a letter and not ending with '-'",
)
ENDPOINT_ID = IdRule(
    rf"{LABEL_ID.pattern}|[0-9]{{1,10}}", f"{LABEL_ID.words}, or a number of at most ten digits"
)
DEPLOYED_MODEL_ID = IdRule(r"[0-9]{1,10}", "one to ten digits")


def location_of(name: str) -> str:
    """`projects/P/locations/L` of the resource `name`."""
    return "/".join(name.split("/")[:4])


def own_id(given: str | None, made: str, field: str, rule: IdRule) -> str:
    """The id that the caller chose by `rule`, or the one made for it.

    Raises:
        InvalidArgument: the chosen id is not allowed.
    """
    if not given:
        return made
    if not re.fullmatch(rule.pattern, given, re.ASCII):
        raise InvalidArgument(f"{field} {given!r} is not allowed: {rule.words}.", field=field)
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
