"""Runs a container of a real image, by the engine that this machine has: Docker, or Podman.

The container has its image's files, what is mounted, this machine's network, by which it finds the server, and no
capabilities. What belongs to it ends with the process that `start` gives (`container_keeper.py`).
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from portico.sandbox import walled
from portico.sandbox.isolation import Limits, View

NEEDED = (
    "running it needs a container engine: Docker (apt-get install docker.io, and its daemon running, with this user in "
    "the group docker) or Podman (apt-get install podman)"
)
_ENGINES = {"docker": "{{.Server.Version}}", "podman": "{{.Client.Version}}"}
_ANSWER = 10.0  # seconds
_GRACE = 3  # seconds that a container has to end after SIGTERM
_USERS = 4_096  # processes of the user, all that run counted
_KEEPER = Path(__file__).with_name("container_keeper.py")


@dataclass(frozen=True, slots=True)
class Container:
    """`image` with the command that it has, or `command`, and `args`. What is `readable` is mounted, read-only."""

    engine: str
    image: str
    command: Sequence[str]
    args: Sequence[str]
    readable: Sequence[Path]


def engine() -> str | None:
    """The command of the engine that answers here; None where there is none."""
    for name, asked in _ENGINES.items():
        if found := shutil.which(name):
            try:
                told = subprocess.run(
                    [found, "version", "--format", asked], capture_output=True, timeout=_ANSWER
                )
            except (OSError, subprocess.TimeoutExpired):
                continue
            if told.returncode == 0:
                return found
    return None


def version(engine: str) -> str:
    told = subprocess.run([engine, "--version"], capture_output=True, text=True, timeout=_ANSWER)
    return told.stdout.strip()


def start(
    container: Container, *, name: str, environment: Mapping[str, str], scratch: Path, view: View, limits: Limits,
    log: IO[bytes],
) -> subprocess.Popen[bytes]:  # fmt: skip
    """Starts a container that is called `name`; one of that name is removed. `scratch` is mounted, writable, at its own
    path, and the `view` at `/NAME`; containers that have the same view share it."""
    scratch.mkdir(parents=True, exist_ok=True)
    view.make()
    files = min(limits.files, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    volume = f"{name.rpartition('-')[0]}-{view.name}"
    layers = {"lowerdir": view.lower, "upperdir": view.changes, "workdir": view.folder / "work"}
    run = ["run", f"--name={name}", f"--volume={volume}:/{view.name}", f"--volume={scratch}:{scratch}"]
    run += [f"--volume={folder}:/{path}" for path, folder in view.beside.items()]
    run += [f"--volume={path}:{path}:ro" for path in container.readable]
    run += ["--network=host", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
    run += [f"--memory={limits.memory}", f"--memory-swap={limits.memory}", f"--pids-limit={limits.processes}"]
    run += [f"--ulimit=nofile={files}:{files}", f"--ulimit=fsize={limits.file_size}:{limits.file_size}"]
    if Path(container.engine).name == "podman":  # which by itself asks for more than it has, in a container
        run.append(f"--ulimit=nproc={_USERS}:{_USERS}")
    if os.geteuid():
        run.append(f"--user={os.geteuid()}:{os.getegid()}")
    run += _environment(environment, view.folder / f"{name}.env")
    run += [f"--entrypoint={container.command[0]}"] if container.command else []
    place = walled.noted()
    settings = {
        "engine": container.engine, "name": name, "image": container.image, "volume": volume, "grace": _GRACE,
        "options": ",".join(f"{key}={path}" for key, path in layers.items()), "disk": limits.disk,
        "memory": limits.memory, "mounted": str(view.mounted), "walled": f"{place}/{name}" if place else "",
        "run": [*run, container.image, *container.command[1:], *container.args],
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", str(_KEEPER), json.dumps(settings)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
    )  # fmt: skip


def _environment(environment: Mapping[str, str], file: Path) -> list[str]:
    """The engine's options for it. What can be in a file is, for all users of the machine can read a command line."""
    lines = {key: value for key, value in environment.items() if "\n" not in value}
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as writer:
        writer.writelines(f"{key}={value}\n" for key, value in lines.items())
    others = [f"--env={key}={value}" for key, value in environment.items() if key not in lines]
    return [f"--env-file={file}", *others]
