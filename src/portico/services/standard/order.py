"""`orderBy` of list methods: AIP-132's language."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from portico.errors import InvalidArgument
from portico.services.standard.comparing import parse
from portico.services.standard.fields import FieldTypes, Kind, Resource, camel, key_of

_TERM = re.compile(r"([A-Za-z_]\w*(?:\.[\w-]+)*)(?:\s+(asc|desc))?", re.IGNORECASE)
_ORDERED = (Kind.STRING, Kind.NUMBER, Kind.BOOL, Kind.TIME, Kind.DURATION, Kind.ENUM)


@dataclass(frozen=True, slots=True)
class Term:
    """One field to order by; `path` is camelCase."""

    path: tuple[str, ...]
    descending: bool = False
    kind: Kind | None = None


def parse_order(
    text: str, fields: FieldTypes | None = None, *, sortable: Collection[str] | None = None
) -> list[Term]:
    """`text` ("create_time desc, display_name") as terms, most important first.

    `fields` makes unknown names errors; `sortable` (camelCase) narrows what a collection orders by.

    Raises:
        InvalidArgument: on `orderBy`.
    """
    terms = [_term(part.strip(), fields, sortable) for part in text.split(",")] if text.strip() else []
    paths = [term.path for term in terms]
    for path in paths:
        if paths.count(path) > 1:
            raise InvalidArgument(f"orderBy names {'.'.join(path)!r} twice.", field="orderBy")
    return terms


def compile_order(
    text: str, fields: FieldTypes | None = None
) -> Callable[[Iterable[Resource]], list[Resource]]:
    """`text` as a stable sort; absent values come first ascending, last descending.

    Raises:
        InvalidArgument: as `parse_order`.
    """
    terms = parse_order(text, fields)

    def sort(resources: Iterable[Resource]) -> list[Resource]:
        ordered = list(resources)
        for term in reversed(terms):
            ordered.sort(key=lambda resource, term=term: _key(resource, term), reverse=term.descending)  # type: ignore[misc]
        return ordered

    return sort


def _term(text: str, fields: FieldTypes | None, sortable: Collection[str] | None) -> Term:
    found = _TERM.fullmatch(text)
    if not found:
        raise InvalidArgument(
            f"orderBy has {text!r} where a field name, with asc or desc, is expected.", field="orderBy"
        )
    names = found[1].split(".")
    path = (camel(names[0]), *names[1:])
    kind = None
    if sortable is not None and ".".join(path) not in sortable:
        known = ", ".join(sorted(sortable))
        raise InvalidArgument(f"Cannot order by {found[1]!r}; orderBy takes {known}.", field="orderBy")
    message = fields
    for position, segment in enumerate(path):
        field = message.get(segment) if message else None
        if message is not None and field is None:
            raise InvalidArgument(f"There is no field {found[1]!r} to order by.", field="orderBy")
        kind, message = (field.kind, field.message) if field else (None, None)
        if field and position == len(path) - 1 and (field.kind not in _ORDERED or field.repeated):
            raise InvalidArgument(f"{found[1]!r} has no order.", field="orderBy")
    return Term(path, (found[2] or "asc").lower() == "desc", kind)


def _key(resource: Resource, term: Term) -> tuple[int, Any]:
    value: Any = resource
    for segment in term.path:
        value = value.get(key_of(value, segment)) if isinstance(value, dict) else None
    if value is None:
        return (0, 0)
    kind = term.kind
    if kind is None and isinstance(value, str) and term.path[-1].endswith("Time"):
        kind = Kind.TIME
    if isinstance(value, (bool, int, float)):
        return (1, value)
    try:
        parsed = parse(value, kind)
    except ValueError:
        parsed = str(value)
    return (2, parsed) if isinstance(parsed, str) else (1, parsed)
