"""What a training was pinned to, as its job's result keeps it under "record"; whether that still holds here; and how
what a repetition made compares with what the first has made.

Of every training a record has

    machine   what may decide the last bits of a number
    outputs   the files that it made -> their sha256

of AutoML (`training.automl`) also `python` and `versions`, `threads`, `data` (pinned sources) and the `plan` of its
candidates; of users' code (`custom.record`) its `environments`, `seeds`, `code` and `inputs` with their generations,
and when it `saw` what was below /gcs.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import subprocess
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_WORDS = {"cores": "number of processors", "libc": "C library"}


@functools.cache
def machine() -> dict[str, str]:
    """This machine, as far as it may decide what a computation gives."""
    told: list[str] = []
    with contextlib.suppress(OSError):
        told = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in told if line.startswith("model name")]
    return {
        "architecture": platform.machine(),
        "processor": names[0] if names else platform.processor(),  # for which a command is run
        "cores": str(os.cpu_count() or 1),
        "libc": " ".join(platform.libc_ver()).strip(),
        "system": platform.system(),
    }


def python_version(python: str | Path) -> str:
    """Of an interpreter; "" where it can't be asked."""
    code = "import platform; print(platform.python_version())"
    try:
        told = subprocess.run(
            [str(python), "-I", "-S", "-c", code], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return told.stdout.strip()


def changed(record: Mapping[str, Any]) -> list[str]:
    """What of this machine is not as it was, in words."""
    now = machine()
    found = [
        f"the {_WORDS.get(key, key)} was {was} and is {now.get(key) or 'unknown'}"
        for key, was in record["machine"].items()
        if now.get(key) != was
    ]
    for name, was in (record.get("versions") or {}).items():
        if (here := _version(name)) != was:
            found.append(f"{name} was {was} and is {here or 'not installed'}")
    asked = [(one["interpreter"], one["python"]) for one in record.get("environments") or ()]
    if not asked:
        here = platform.python_version()
        return found + _python(here, record["python"])
    for interpreter, was in dict.fromkeys(asked):
        found += _python(python_version(interpreter), was)
    return found


def _python(here: str, was: str) -> list[str]:
    return [f"Python was {was} and is {here or 'not there any more'}"] if here != was else []


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hashes(folder: Path) -> dict[str, str]:
    """sha256 by the name below `folder`, of all files there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}


def compared(first: str, before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, Any]:
    """How what was made `now` compares with what `first` made `before`: {"first", "identical", "files": [{"name",
    "first", "again"}]}. Where there is a folder `model`, its files alone decide; a hash is "" where a file is not
    there."""
    names = sorted({*before, *now}, key=lambda name: (not name.startswith("model/"), name))
    files = [{"name": one, "first": before.get(one, ""), "again": now.get(one, "")} for one in names]
    deciding = [one for one in files if one["name"].startswith("model/")] or files
    return {
        "first": first,
        "identical": bool(deciding) and all(one["first"] == one["again"] for one in deciding),
        "files": files,
    }


def outcome(
    again: Mapping[str, Any], record: Mapping[str, Any], say: Callable[[str], None]
) -> dict[str, Any]:
    """What the result of a job has beside its `record`, where it repeats another: `again` says which ("first", with its
    "record"), and is empty where it repeats none. `say` is told what came out."""
    if not again:
        return {}
    found = compared(again["first"], again["record"]["outputs"], record["outputs"])
    for line in in_words(found):
        say(line)
    return {"rerun": found}


def in_words(found: Mapping[str, Any]) -> Iterator[str]:
    for one in found["files"]:
        was, now = (one[key][:16] for key in ("first", "again"))
        if was == now:
            yield f"{one['name']}: the same ({now})"
        elif not now:
            yield f"{one['name']}: not made again (the first: {was})"
        elif not was:
            yield f"{one['name']}: not made by the first ({now})"
        else:
            yield f"{one['name']}: differs (the first: {was}, again: {now})"
    if not found["files"]:
        yield "Neither made files, so there is nothing to compare."
    elif found["identical"]:
        yield f"The model's files are the same as those of {found['first']}."
    else:
        yield f"The model's files are not the same as those of {found['first']}."


def folder_of(rerun: str) -> str:
    """Where the rerun of that name writes, below where the first did."""
    return f"reruns/{rerun.rpartition('/')[2]}"
