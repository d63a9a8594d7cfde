"""Where an image's own web server runs as a replica: its files, variables and command, at paths of this machine.

It runs behind the walls of a custom job: it may start processes and has the network, with which it fetches its
artifacts. It listens nowhere: `worker_web` calls its application.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portico.sandbox.clients import pointed_here
from portico.sandbox.isolation import Limits
from portico.store.replicas import ReplicaSet

_DISK = 16 << 30  # bytes that it may write, for the artifacts that it fetches
_LISTS = ("PATH", "PYTHONPATH")  # ours, and then the image's


@dataclass(frozen=True, slots=True)
class Place:
    """`settings` for `worker_web`, and what its process gets."""

    settings: dict[str, Any]
    environment: dict[str, str]
    readable: list[Path]


def place(home: Path, told: Mapping[str, Any], python: Path, scratch: Path) -> Place:
    """Lays the image out in `scratch`; `told` is `ReplicaSet.container`.

    Raises:
        Unavailable: the server's address is not known yet. OSError: the files can't be laid out.
    """
    root = scratch / "root"
    given = Path(told["root"])
    if given.is_dir():
        shutil.copytree(given, root, symlinks=True, dirs_exist_ok=True)
    workdir = root / told["workdir"].lstrip("/")
    workdir.mkdir(parents=True, exist_ok=True)
    environment, readable = pointed_here(home, python, [Path(one) for one in told["paths"]])
    for name, value in told["environment"].items():
        inside = here(value, root)
        environment[name] = f"{environment[name]}:{inside}" if name in _LISTS else inside
    settings = {
        "workdir": str(workdir),
        "command": [here(word, root) for word in told["command"]],
        "predict": told["predict"],
        "health": told["health"],
    }
    return Place(settings, environment, readable)


def limits(spec: ReplicaSet) -> Limits:
    """What each replica of `spec` may use of this machine."""
    if not spec.container:
        return Limits(spec.memory)
    return Limits(spec.memory, files=65_536, file_size=_DISK, disk=_DISK, processes=512, server=True)


def here(text: str, root: Path) -> str:
    """`text` with the paths of the image's files as they are here: of a word, an option's value, or a list of paths."""
    option, equals, value = text.partition("=")
    if equals and option.startswith("-"):
        return f"{option}={here(value, root)}"
    return ":".join(
        str(root / one.lstrip("/"))
        if one.startswith("/") and one != "/" and (root / one.lstrip("/")).exists()
        else one
        for one in text.split(":")
    )
