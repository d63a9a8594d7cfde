"""What Google publishes of its permissions: which there are, which a predefined role holds, which a method checks."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

FILE: Final = Path(__file__).with_name("facts.json")


def unpacked(permissions: Sequence[str], has: Sequence[Any]) -> Iterator[str]:
    """The permissions at these places, each a number or the first and last of several."""
    for one in has:
        first, last = one if isinstance(one, list) else (one, one)
        yield from permissions[first : last + 1]


@functools.cache
def _all() -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(FILE.read_bytes())
    return found


@functools.cache
def permissions() -> frozenset[str]:
    return frozenset(_all()["permissions"])


def roles() -> Mapping[str, str]:
    """The predefined roles' titles, by name ("roles/aiplatform.user")."""
    return {name: role["title"] for name, role in _all()["roles"].items()}


@functools.cache
def of_role(name: str) -> frozenset[str] | None:
    """What a predefined role holds; None where there is no such role."""
    role = _all()["roles"].get(name)
    return None if role is None else frozenset(unpacked(_all()["permissions"], role["has"]))


def of_method(api: str, method: str) -> tuple[str, ...] | None:
    """What a method checks, where that is published."""
    found = _all()["methods"].get(api, {}).get(method)
    return None if found is None else tuple(found)
