"""The Common Expression Language, by the package common-expression-language."""

from __future__ import annotations

import functools
import importlib.util
import re
from importlib.machinery import PathFinder
from typing import Any, Final

from portico.errors import InvalidArgument

_MACRO: Final = re.compile(
    r"\b(all|exists|exists_?one|filter|map|transform\w*)\s*(//[^\n]*\n\s*)*\(", re.IGNORECASE
)
_LONGEST: Final = 12_000  # characters


@functools.cache
def library() -> Any:
    """The package's compiled part alone: its `__init__` loads a command line of 400 modules."""
    package = importlib.util.find_spec("cel")
    found = PathFinder.find_spec("cel", package.submodule_search_locations) if package else None
    if found is None or found.loader is None:
        raise ModuleNotFoundError("common-expression-language is not installed")
    library = importlib.util.module_from_spec(found)
    found.loader.exec_module(library)
    return library


def loops(expression: str) -> bool:
    """Whether a macro goes through a list, or seems to: in each other they take as long as their writer likes."""
    return bool(_MACRO.search(expression))


def check(expression: str, field: str) -> None:
    """Of a condition of a binding.

    Raises:
        InvalidArgument: it can't be parsed, or has what IAM's conditions have not.
    """
    if loops(expression):
        raise InvalidArgument(
            "Conditions go through no lists: IAM has neither all, exists, exists_one, filter nor map.",
            field=field,
        )
    try:
        if not expression or len(expression) > _LONGEST:
            raise ValueError(f"it has between 1 and {_LONGEST} characters")
        compiled(expression)
    except ValueError as error:
        first = str(error).partition("\n")[0]
        raise InvalidArgument(
            f"The condition {expression[:200]!r} can't be parsed: {first}.", field=field
        ) from None


@functools.lru_cache(1024)
def compiled(expression: str) -> Any:
    """A program with a method `execute(values)`.

    Raises:
        ValueError: it can't be parsed.
    """
    return library().compile(expression)
