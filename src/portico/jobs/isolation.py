"""Running what is not ours (user code, pickles) where it can reach only what it was given.

Under bubblewrap, where it can be had: its own empty world with the system's libraries and the named folders
read-only, one writable scratch folder, its own processes, no capabilities and no network. Elsewhere a plain
process with a cleaned environment and resource limits, which can still read what this user can read;
`isolation()` says which of the two is in force.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

# What a dynamic loader and a Python need of the system, when it is there.
_SYSTEM = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"]
_SETTINGS = [
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
    "/etc/localtime",
]
_NETWORK = ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/ssl", "/etc/ca-certificates"]
# No core dumps, at most 1,024 open files, no single file beyond 1 GiB (`-f` counts blocks of 512 bytes).
_LIMITS = 'ulimit -c 0; ulimit -n 1024; ulimit -f 2097152; exec "$@"'


@dataclass(frozen=True, slots=True)
class Isolation:
    """Which isolation is in force, and why."""

    name: Literal["bubblewrap", "process"]
    detail: str


@functools.lru_cache(maxsize=1)
def isolation() -> Isolation:
    """What `start` uses on this machine, found out once by really running it."""
    found = shutil.which("bwrap")
    if found is None:
        return Isolation(
            "process", "bubblewrap (the command bwrap) is not installed: user code runs unconfined"
        )
    probe = [found, *_walls([], None, network=False), "/bin/sh", "-c", "true"]
    try:
        told = subprocess.run(probe, capture_output=True, text=True, timeout=20, env={"PATH": os.defpath})
    except (OSError, subprocess.TimeoutExpired) as error:
        return Isolation("process", f"bubblewrap does not run here ({error}): user code runs unconfined")
    if told.returncode != 0:
        reason = " ".join(told.stderr.split()) or f"it exits with {told.returncode}"
        return Isolation("process", f"bubblewrap does not work here ({reason}): user code runs unconfined")
    return Isolation("bubblewrap", f"{found}: no network, only its own files")


def start(
    command: Sequence[str],
    *,
    readable: Sequence[Path],
    scratch: Path,
    log: IO[bytes],
    environment: Mapping[str, str] | None = None,
    network: bool = False,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Starts `command` isolated, in a session of its own, with pipes for stdin and stdout and `log` as stderr.

    It sees `readable` (read-only) and `scratch` (writable: its working folder, HOME and TMPDIR), at their own
    paths, and of the environment only `environment` and what every program needs. `pass_fds` stay open.
    Under bubblewrap it dies with the *thread* that calls this (the kernel's parent-death signal), so call it
    from one that lives as long as the command should.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    walls: list[str] = []
    if isolation().name == "bubblewrap":
        bwrap = shutil.which("bwrap") or "bwrap"
        walls = [bwrap, *_walls(readable, scratch, network=network)]
    return subprocess.Popen(
        ["/bin/sh", "-c", _LIMITS, "sh", *walls, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        cwd=scratch,
        env=clean_environment(scratch) | dict(environment or {}),
        pass_fds=tuple(pass_fds),
        start_new_session=True,
    )


def clean_environment(scratch: Path) -> dict[str, str]:
    """The environment that isolated commands get: nothing of ours, so no token and no path of ours either."""
    folder = str(scratch)
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": folder, "TMPDIR": folder}


def _walls(readable: Sequence[Path], scratch: Path | None, *, network: bool) -> list[str]:
    """bubblewrap's options, in the order in which it applies them."""
    walls = ["--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL"]
    walls += ["--die-with-parent", "--new-session"]
    if network:
        walls.append("--share-net")
    walls += ["--hostname", "portico", "--proc", "/proc", "--dev", "/dev"]
    for path in _SYSTEM:
        if os.path.islink(path):
            walls += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            walls += ["--ro-bind", path, path]
    for path in [*_SETTINGS, *(_NETWORK if network else [])]:
        walls += ["--ro-bind-try", path, path]
    for folder in readable:
        walls += ["--ro-bind", str(folder), str(folder)]
    if scratch is not None:
        walls += ["--bind", str(scratch), str(scratch), "--chdir", str(scratch)]
    return [*walls, "--remount-ro", "/"]
