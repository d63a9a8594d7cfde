"""Conditions of tasks and selectors of parameters: CEL, evaluated by a library."""

from __future__ import annotations

import functools
import importlib.util
import json
import re
from collections.abc import Mapping
from importlib.machinery import PathFinder
from typing import Any

from portico.errors import FailedPrecondition, InvalidArgument

_VALUE = r"inputs\.parameter_values\[\s*'[^']*'\s*\]"
_OPERATOR = r"(?:==|!=|<=|>=|<|>)"
# Where a string of kfp's begins, and where it can end: it writes them between quotes as they are.
_OPENS = re.compile(rf"(?:{_OPERATOR} |^|\(|&& )'")
_CLOSES = re.compile(rf"'(?=$|\)| && | {_OPERATOR} )")


def check(condition: str, field: str) -> None:
    """
    Raises:
        InvalidArgument: it can't be parsed, also not as one whose strings kfp has not escaped.
    """
    try:
        _compiled(condition)
    except ValueError as error:
        first = str(error).partition("\n")[0]
        raise InvalidArgument(
            f"{field} can't be parsed: {condition!r} ({first}). kfp does not escape the quotes in a string that a "
            "condition compares with: compare with a pipeline parameter or a task's output that has this value.",
            field=field,
        ) from None


def check_selector(selector: str, field: str) -> None:
    """
    Raises:
        InvalidArgument: it is none.
    """
    try:
        _compiled(selector)
    except ValueError:
        raise InvalidArgument(f'{field} can\'t be parsed: {selector!r}; one looks like parseJson(string_value)["key"].',
                              field=field) from None  # fmt: skip


def holds(condition: str, values: Mapping[str, Any]) -> bool:
    """Whether a condition is true for the parameters `values`.

    Raises:
        FailedPrecondition: it can't be evaluated, or is neither true nor false.
    """
    try:
        found = _compiled(condition).execute({"inputs": {"parameter_values": dict(values)}})
    except KeyError as error:
        raise FailedPrecondition(f"The condition {condition} needs {error}, which has no value.") from None
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise FailedPrecondition(f"The condition {condition} can't be evaluated: {error}.") from None
    if not isinstance(found, bool):
        raise FailedPrecondition(f"The condition {condition} is {found!r}, neither true nor false.")
    return found


def select(selector: str, value: Any) -> Any:
    """What a selector such as `parseJson(string_value)["b"]` takes from a value.

    Raises:
        FailedPrecondition: there is no such thing in it.
    """
    text = value if isinstance(value, str) else json.dumps(value)
    context = _library().Context()
    context.add_variable("string_value", text)
    context.add_function("parseJson", json.loads)
    try:
        return _compiled(selector).execute(context)
    except (KeyError, IndexError, ValueError, TypeError, RuntimeError) as error:
        raise FailedPrecondition(f"{selector} can't be taken from {text[:200]}: {error}.") from None


@functools.lru_cache(4096)
def _compiled(expression: str) -> Any:
    try:
        return _library().compile(expression)
    except ValueError:
        repaired = repair(expression)
        if repaired == expression:
            raise
        return _library().compile(repaired)


def repair(condition: str) -> str:
    """The condition with what its strings hold escaped, which kfp does not do."""
    made, at = [], 0
    while opened := _OPENS.search(condition, at):
        closed = _end_of_string(condition, opened.end())
        if closed < 0:
            break
        inside = condition[opened.end() : closed].replace("\\", "\\\\").replace("'", "\\'")
        inside = inside.replace("\n", "\\n").replace("\r", "\\r")
        made += [condition[at : opened.end()], inside, "'"]
        at = closed + 1
    return "".join(made) + condition[at:]


def _end_of_string(condition: str, start: int) -> int:
    """Where the string that begins at `start` ends: at the first quote after which an operator comes, or nothing."""
    for closed in _CLOSES.finditer(condition, start):
        rest = condition[closed.end() :]
        if re.match(rf"\)*(?:$| && !?\(*(?:{_VALUE}|int\(|double\(|')| {_OPERATOR} )", rest):
            return closed.start()
    return -1


@functools.cache
def _library() -> Any:
    """The package's compiled part alone: its `__init__` loads a command line of 400 modules."""
    package = importlib.util.find_spec("cel")
    found = PathFinder.find_spec("cel", package.submodule_search_locations) if package else None
    if found is None or found.loader is None:
        raise ModuleNotFoundError("common-expression-language is not installed")
    library = importlib.util.module_from_spec(found)
    found.loader.exec_module(library)
    return library
