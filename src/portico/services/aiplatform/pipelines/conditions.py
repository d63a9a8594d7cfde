"""Conditions of tasks and selectors of parameters: CEL, evaluated by a library."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from typing import Any

from portico.errors import FailedPrecondition, InvalidArgument
from portico.services.standard import cel

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


def holds(condition: str, values: Mapping[str, Any], artifacts: Mapping[str, Any] | None = None) -> bool:
    """Whether a condition is true for the parameters `values` and the `artifacts` of a task, lists by name.

    Raises:
        FailedPrecondition: it can't be evaluated, or is neither true nor false.
    """
    inputs: dict[str, Any] = {"parameter_values": dict(values)}
    if "inputs.artifacts[" in condition:
        inputs["artifacts"] = {
            name: {"artifacts": [{**one, "metadata": _as_doubles(one["metadata"])} for one in some]}
            for name, some in (artifacts or {}).items()
        }
    try:
        found = _compiled(condition).execute({"inputs": inputs})
    except KeyError as error:
        raise FailedPrecondition(f"The condition {condition} needs {error}, which has no value.") from None
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise FailedPrecondition(f"The condition {condition} can't be evaluated: {error}.") from None
    if not isinstance(found, bool):
        raise FailedPrecondition(f"The condition {condition} is {found!r}, neither true nor false.")
    return found


def _as_doubles(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata with its numbers as a protobuf Struct has them: CEL does not compare integers with others."""
    return {
        name: float(one) if isinstance(one, int) and not isinstance(one, bool) else one
        for name, one in metadata.items()
    }


def select(selector: str, value: Any) -> Any:
    """What a selector such as `parseJson(string_value)["b"]` takes from a value.

    Raises:
        FailedPrecondition: there is no such thing in it.
    """
    text = value if isinstance(value, str) else json.dumps(value)
    context = cel.library().Context()
    context.add_variable("string_value", text)
    context.add_function("parseJson", json.loads)
    try:
        return _compiled(selector).execute(context)
    except (KeyError, IndexError, ValueError, TypeError, RuntimeError) as error:
        raise FailedPrecondition(f"{selector} can't be taken from {text[:200]}: {error}.") from None


@functools.lru_cache(4096)
def _compiled(expression: str) -> Any:
    try:
        return cel.library().compile(expression)
    except ValueError:
        repaired = repair(expression)
        if repaired == expression:
            raise
        return cel.library().compile(repaired)


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
