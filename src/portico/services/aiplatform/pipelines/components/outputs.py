"""What a task wrote for those after it: executor_output.json and the files of its output parameters.

A file holds one parameter as text, executor_output.json any, and the metadata of artifacts. All of them are below /gcs,
of which the changes are read here, without following a link.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from portico.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from portico.services.aiplatform.pipelines import older

_PARAMETER = 128 << 10  # bytes of one parameter
_OUTPUT = 4 << 20  # bytes of executor_output.json
_DEPTH = 100  # of lists and objects in each other: as protobuf reads JSON
_ROOT = "/gcs/"


def bucket_of(executor_input: Mapping[str, Any]) -> str:
    """The bucket that a task writes to; empty where it writes nothing."""
    told = (executor_input.get("outputs") or {}).get("outputFile") or ""
    return str(told).removeprefix(_ROOT).partition("/")[0] if str(told).startswith(_ROOT) else ""


Stored = Callable[[str], Path | None]


def read(
    changes: Path, executor_input: Mapping[str, Any], stored: Stored = lambda path: None
) -> dict[str, Any]:
    """The parameters and artifacts of an ExecutorOutput (`parameterValues`, `artifacts`) by what lies in `changes`, the
    task's own below /gcs, or else by the file that `stored` knows of one there. Parameters from files are text.

    Raises:
        FailedPrecondition: what was written is no such thing, or names what is not the task's.
        ResourceExhausted: it is too large.
    """
    asked = executor_input.get("outputs") or {}
    parameters: dict[str, Any] = {}
    for name in asked.get("parameters") or {}:
        if (told := parameter(changes, executor_input, name, stored)) is not None:
            parameters[name] = told
    found = _executor_output(changes, str(asked.get("outputFile") or ""), stored)
    for name, value in found.get("parameterValues", {}).items():
        if name not in (asked.get("parameters") or {}):
            raise FailedPrecondition(
                f"executor_output.json names the output parameter {name!r}, which the component does not have."
            )
        if len(json.dumps(value)) > _PARAMETER:
            raise _too_large(f"the output parameter {name}", _PARAMETER)
        parameters[name] = value
    return {"parameterValues": parameters, "artifacts": _artifacts(found.get("artifacts", {}), asked)}


def parameter(
    changes: Path, executor_input: Mapping[str, Any], name: str, stored: Stored = lambda path: None
) -> str | None:
    """The text of the output parameter `name`; None where it was not written.

    Raises:
        FailedPrecondition, ResourceExhausted: see `read`.
    """
    one = ((executor_input.get("outputs") or {}).get("parameters") or {}).get(name) or {}
    told = _file(
        changes, str(one.get("outputFile") or ""), _PARAMETER, f"the output parameter {name}", stored
    )
    return None if told is None else _text(told, f"The output parameter {name}")


def _executor_output(changes: Path, path: str, stored: Stored) -> dict[str, Any]:
    told = _file(changes, path, _OUTPUT, "executor_output.json", stored)
    if told is None:
        return {}
    try:
        found = json.loads(told)
    except (ValueError, RecursionError) as error:
        raise FailedPrecondition(f"The component's executor_output.json is no JSON: {error}.") from None
    if isinstance(found, dict) and isinstance(
        typed := found.pop("parameters", None), dict
    ):  # of kfp before 2.0
        try:
            found.setdefault("parameterValues", older.plain(typed, "executor_output.json: parameters"))
        except InvalidArgument as error:
            raise FailedPrecondition(error.message) from None
    kinds = {"parameterValues": dict, "artifacts": dict}
    if not isinstance(found, dict) or any(
        not isinstance(found.get(key) or {}, kind) for key, kind in kinds.items()
    ):
        raise FailedPrecondition(
            "The component's executor_output.json is no ExecutorOutput: an object with parameterValues and artifacts."
        )
    for key in kinds:
        for name, value in (found.get(key) or {}).items():
            _check_value(value, f"The output {name} in executor_output.json")
    return {key: found.get(key) or {} for key in kinds}


def _check_value(value: Any, what: str) -> None:
    """
    Raises:
        FailedPrecondition: what JSON can say and no message of Google's: it is nested too deeply, or no text in UTF-8.
    """
    if not _is_flat(value, _DEPTH):
        raise FailedPrecondition(f"{what} is nested too deeply: at most {_DEPTH} levels are taken.")
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half a surrogate pair
        raise FailedPrecondition(f"{what} is no text in UTF-8.") from None


def _is_flat(value: Any, levels: int) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_flat(one, levels - 1) for one in inside)


def _artifacts(told: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    own = asked.get("artifacts") or {}
    made: dict[str, Any] = {}
    for key, listed in told.items():
        if key not in own:
            raise FailedPrecondition(
                f"executor_output.json names the output artifact {key!r}, which the component does not have."
            )
        given = listed.get("artifacts") if isinstance(listed, dict) else None
        if not isinstance(given, list) or not all(map(_is_artifact, given)):
            raise FailedPrecondition(
                f"The output artifact {key!r} in executor_output.json is no list of artifacts."
            )
        names = {one.get("name") for one in own[key].get("artifacts") or ()}
        for one in given:
            if one.get("name") and one["name"] not in names:
                raise FailedPrecondition(
                    f"The output artifact {key!r} in executor_output.json names {one['name']!r}, another's artifact."
                )
        made[key] = {"artifacts": given}
    return made


def _is_artifact(one: object) -> bool:
    return (
        isinstance(one, dict)
        and isinstance(one.get("name") or "", str)
        and isinstance(one.get("uri") or "", str)
        and isinstance(one.get("metadata") or {}, dict)
    )


def _text(told: bytes, whose: str) -> str:
    try:
        return told.decode()
    except UnicodeDecodeError:
        raise FailedPrecondition(f"{whose} is no text in UTF-8.") from None


def _file(changes: Path, path: str, most: int, what: str, stored: Stored) -> bytes | None:
    """The bytes of a file below /gcs; None where it was not written.

    Raises:
        FailedPrecondition: it is a link, or no file. ResourceExhausted: it has more than `most` bytes.
    """
    if not path.startswith(_ROOT):
        return None
    *folders, name = path.removeprefix(_ROOT).split("/")
    if not name or any(step in ("", ".", "..") for step in folders):
        return None
    try:
        at = os.open(changes, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:  # it ended before it could write anything
        return None
    try:
        for step in folders:
            below = os.open(step, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = below
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
    except FileNotFoundError:
        if (kept := stored(path)) is None:
            return None
        file = os.open(kept, os.O_RDONLY)
    except OSError:  # a link on the way there, or a file where a folder should be
        raise FailedPrecondition(
            f"{what[0].upper()}{what[1:]} is not in a file of its own at {path}."
        ) from None
    finally:
        os.close(at)
    with os.fdopen(file, "rb") as reader:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise FailedPrecondition(f"{what[0].upper()}{what[1:]} is not in a file of its own at {path}.")
        told = reader.read(most + 1)
    if len(told) > most:
        raise _too_large(what, most)
    return told


def _too_large(what: str, most: int) -> ResourceExhausted:
    return ResourceExhausted(
        f"What the component wrote as {what} is too large: at most {most >> 10:,} KiB are taken. Write it into an "
        "output artifact, and pass that on."
    )
