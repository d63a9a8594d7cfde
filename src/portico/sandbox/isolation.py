"""Running what is not ours (user code, pickles) where it can reach only what it was given, and use only so much.

Under bubblewrap, where it can be had: its own empty world with the system's libraries and the named folders
read-only, one writable scratch folder and no network. Elsewhere by what the kernel itself offers (Landlock, since
5.13): the same, but that names and sizes of other files can still be seen. In both, `confine` takes away what is
left: other processes, sockets, capabilities, and whatever is beyond the limits. Where neither works nothing is run,
unless Portico was started with --unconfined. `isolation()` says what is in force.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import IO, Literal

from portico.errors import FailedPrecondition
from portico.sandbox import confine, walled

UNCONFINED = "PORTICO_UNCONFINED"  # in the environment of a server that was started with --unconfined
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
_NETWORK += ["/etc/host.conf", "/etc/gai.conf", "/etc/services", "/etc/protocols", "/etc/mime.types"]
_NETWORK += ["/etc/passwd", "/etc/group", "/etc/os-release"]
# Where torch.distributed looks for interfaces.
_NETWORK += ["/sys/class/net", "/sys/bus/pci", "/sys/devices"]
# Under Landlock these are seen to be there, so that libraries fail where they can't be read.
_SEEN = [
    "/etc/ssl/openssl.cnf",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/sys/devices/system",
    "/sys/fs/cgroup",
]
_DEVICES = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"]
_PYTHON = Path(os.path.realpath(sys.executable))
_CONFINE, _KEEPER = (Path(__file__).with_name(f"{name}.py") for name in ("confine", "keeper"))
_GRACE = 3.0  # seconds that processes have to end after SIGTERM
_MIB = 1 << 20
TMP = "tmp"  # the folder in a command's own that it sees as /tmp


@dataclass(frozen=True, slots=True)
class Limits:
    """How much confined code may use. Bytes; `seconds` for one answer of a replica, or for all of a job.

    A replica is one process, so `memory` and `files` (open ones) are those of all that it runs. A job and a `server`
    may have several: each is held to them by the kernel, and `memory` and `processes` are watched for all together.
    """

    memory: int
    files: int = 1024
    file_size: int = 1 << 30
    disk: int = 2 << 30
    seconds: int = 60
    processes: int = 1
    server: bool = False

    def __str__(self) -> str:
        alone = self.processes == 1
        processes = "one process" if alone else f"{self.processes:,} processes"
        return (
            f"at most {self.memory // _MIB:,} MiB of memory, {processes}, {self.files:,} open files, "
            f"{self.disk // _MIB:,} MiB on the disk ({self.file_size // _MIB:,} MiB a file), "
            f"{self.seconds:,} s {'a request' if alone or self.server else 'in all'}"
        )


@dataclass(frozen=True, slots=True)
class View:
    """A folder that a command sees at `/NAME`: what `lower` holds, and its own changes, which are kept in `changes`.

    `lower` is never changed. `folder` is for what mounting needs; it and `changes` are on the file system of `lower`.
    Where several commands one after another have a `part` of a view each, `lower` is that of the part. `beside` are
    other folders that are seen (name as "var/hypertune" -> folder), and written, as they are.
    """

    name: str
    lower: Path
    folder: Path
    part: str = ""
    beside: Mapping[str, Path] = field(default_factory=dict)

    @property
    def changes(self) -> Path:
        return self.folder / "changes" / self.part

    @property
    def mounted(self) -> Path:
        """A file that is there once the first command sees the view, or can't."""
        return self.folder / "mounted"

    @property
    def opened(self) -> Path:
        """A folder in whose files it is told what commands have opened (see `opened.Opened`)."""
        return self.folder / "opened"

    def make(self) -> None:
        for name in ("changes", "work", "merged", "root", "opened"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for folder in self.beside.values():
            if folder.is_symlink():  # of code that ran before in the folder above
                folder.unlink()
            folder.mkdir(parents=True, exist_ok=True)


@dataclass(frozen=True, slots=True)
class Isolation:
    """Which isolation is in force, and why. With "none" user code is refused."""

    name: Literal["bubblewrap", "landlock", "unconfined", "none"]
    detail: str

    def require(self) -> None:
        """
        Raises:
            FailedPrecondition: nothing here confines user code.
        """
        if self.name == "none":
            raise FailedPrecondition(
                f"This model's code can't be run: nothing confines it on this machine ({self.detail}). Install "
                "bubblewrap (apt-get install bubblewrap, dnf install bubblewrap) and deploy again, or start "
                "Portico with `portico up --unconfined` to run it with all that your user may do."
            )


def isolation(unconfined: bool = False) -> Isolation:
    """What `start` uses in this process; or what a server that is `unconfined` uses."""
    if unconfined or os.environ.get(UNCONFINED):
        return Isolation(
            "unconfined", "portico up --unconfined: user code can read and write whatever this user can"
        )
    return walls()


@functools.lru_cache(maxsize=1)
def walls() -> Isolation:
    """What this machine has to confine user code, found out once by really using it."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        reason = "bubblewrap (the command bwrap) is not installed"
    elif reason := _failure("bubblewrap"):
        reason = f"bubblewrap does not work here ({reason})"
    else:
        return Isolation("bubblewrap", f"{bwrap}: no network, no other processes, only its own files")
    if failure := _failure("landlock"):
        return Isolation("none", f"{reason}, nor does Landlock ({failure})")
    return Isolation(
        "landlock",
        f"the kernel's Landlock and seccomp: no network, no other processes, only its own files; {reason}",
    )


def can_wall_in() -> bool:
    """Whether `wall_in` does anything here."""
    return not os.environ.get(UNCONFINED) and confine.landlock_abi() >= 1


def wall_in(readable: Sequence[Path]) -> bool:
    """Puts this process itself behind the kernel's walls, once it has imported what it needs: of what is not Python's
    or the system's it reads `readable`. False where the kernel has none, or Portico was started with --unconfined.
    """
    if not can_wall_in():
        return False
    ours = [sys.prefix, sys.base_prefix, str(Path(__file__).parents[1])]
    confine.wall_in([*_SYSTEM, *_SETTINGS, *_SEEN, *ours, *map(str, readable)])
    return True


def in_words(limits: Limits) -> str:
    """How user code runs here, for people: a model's in replicas, or a job's."""
    in_force = isolation()
    how = "UNCONFINED" if in_force.name == "unconfined" else f"confined by {in_force.name}"
    whose, each = ("model", "each replica ") if limits.processes == 1 or limits.server else ("job", "")
    more = " As an image's own server it has the network and may start processes." if limits.server else ""
    more = more or (" As a job it has the network and may start processes." if whose == "job" else "")
    return f"The {whose}'s code runs {how} ({in_force.detail}), {each}with {limits}.{more}"


def start(
    command: Sequence[str],
    *,
    readable: Sequence[Path],
    scratch: Path,
    log: IO[bytes],
    limits: Limits,
    environment: Mapping[str, str] | None = None,
    network: bool = False,
    pass_fds: Sequence[int] = (),
    processes: bool = False,
    merged: bool = False,
    view: View | None = None,
    beside: int | None = None,
) -> subprocess.Popen[bytes]:
    """Starts `command` isolated, in a session of its own, with pipes for stdin and stdout and `log` as stderr, or
    `merged` into stdout.

    It sees `readable` (read-only) and `scratch` (writable: its working folder, HOME and TMPDIR; with a `view` its own
    /tmp too, which is `TMP` there), at their own paths, and of the environment only `environment` and what every
    program needs. `pass_fds` stay open.
    With `processes` it may start others, which end with it (see `keeper`), and see a `view`: with `beside`, the pid
    of another that was started so and runs, the very same.
    It dies with the *thread* that calls this (the kernel's parent-death signal), so call it from one that lives as
    long as the command should. `limits.disk` and `limits.seconds` are for the caller to watch.

    Raises:
        FailedPrecondition: nothing confines it here.
    """
    in_force = isolation()
    in_force.require()
    scratch.mkdir(parents=True, exist_ok=True)
    if view:
        own = scratch / TMP
        # What code that ran here before left in its place, bubblewrap would follow.
        if own.is_symlink() or not own.is_dir():
            own.unlink(missing_ok=True)
        own.mkdir(exist_ok=True)
    return subprocess.Popen(
        [
            *(_kept(in_force.name, view, beside, scratch, network) if processes else []),
            *_confined(
                in_force.name, readable, scratch, limits, network=network, processes=processes, view=view
            ),
            *command,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if merged else log,
        cwd=scratch,
        env=clean_environment(scratch) | dict(environment or {}),
        pass_fds=tuple(pass_fds),
        start_new_session=True,
    )


def _kept(name: str, view: View | None, beside: int | None, scratch: Path, network: bool) -> list[str]:
    """The keeper, before what confines."""
    settings: dict[str, object] = {"layers": None, "root": None, "beside": beside, "tmp": None}
    settings["bubblewrap"] = name == "bubblewrap"
    if network and name != "unconfined":
        settings |= walled.noting()
    if view:
        view.make()
        folders = {part: str(view.folder / part) for part in ("work", "merged")}
        settings |= {"mounted": str(view.mounted), "opened": str(view.opened)}
        settings["layers"] = {"lower": str(view.lower), "upper": str(view.changes), **folders}
        if name != "bubblewrap":  # which makes a root of its own
            beside_it = {inside: str(folder) for inside, folder in view.beside.items()}
            settings["root"] = {"root": str(view.folder / "root"), "name": view.name, "beside": beside_it}
            settings["tmp"] = str(scratch / TMP)
    return keeping(settings)


def keeping(settings: Mapping[str, object] = MappingProxyType({"layers": None})) -> list[str]:
    """What a command is to be preceded by, so that all that comes of it ends with it, or with this process."""
    if sys.platform != "linux":
        return []
    told = {"grace": _GRACE, "parent": os.getpid(), **settings}
    return [str(_PYTHON), "-I", "-S", "-B", str(_KEEPER), json.dumps(told)]


def clean_environment(scratch: Path) -> dict[str, str]:
    """The environment that isolated commands get: nothing of ours, so no token and no path of ours either."""
    folder = str(scratch)
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": folder, "TMPDIR": folder}


def _failure(name: str) -> str:
    """Why a command can't be confined by `name`; empty where it can."""
    probe = [*_confined(name, [], None, Limits(1 << 30), network=False), "/bin/sh", "-c", ":"]
    try:
        told = subprocess.run(probe, capture_output=True, text=True, timeout=20, env={"PATH": os.defpath})
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if told.returncode == 0:
        return ""
    return " ".join(told.stderr.split()) or f"it exits with {told.returncode}"


def _confined(
    name: str,
    readable: Sequence[Path],
    scratch: Path | None,
    limits: Limits,
    *,
    network: bool,
    processes: bool = False,
    view: View | None = None,
) -> list[str]:
    """What a command is to be preceded by."""
    landlock: dict[str, list[str]] | None = None
    before: list[str] = []
    if name == "bubblewrap":
        ours = [_CONFINE, Path(sys.base_prefix), _PYTHON.parent.parent]
        before = [
            shutil.which("bwrap") or "bwrap",
            *_bwrap([*readable, *ours], scratch, view is not None, network=network),
        ]
        if view:
            before[-2:-2] = ["--bind", str(view.folder / "merged"), f"/{view.name}"]
            for inside, folder in view.beside.items():
                before[-2:-2] = ["--bind", str(folder), f"/{inside}"]
    elif name == "landlock":
        read = [*_SYSTEM, *_SETTINGS, *_SEEN, *(_NETWORK if network else []), *map(str, readable)]
        shared = ["/dev/shm"] if processes else []  # what processes that work together need
        shared += [f"/{inside}" for inside in (view.name, *view.beside)] if view else []
        landlock = {
            "read": read,
            # A child reads of itself there too (TensorFlow and the JVM end where they can't). Of others it learns their
            # names: what is in their memory, files and environment the kernel shows to no process behind Landlock.
            "data": ["/proc"] if processes else [],
            "write": [*([str(scratch)] if scratch else []), *shared],
            "devices": _DEVICES,
        }
    settings = {
        "limits": {"memory": limits.memory, "files": limits.files, "file_size": limits.file_size},
        "walls": name != "unconfined",
        "network": network,
        "processes": processes,
        "landlock": landlock,
    }
    return [*before, str(_PYTHON), "-I", "-S", "-B", str(_CONFINE), json.dumps(settings)]


def _bwrap(readable: Sequence[Path], scratch: Path | None, tmp: bool, *, network: bool) -> list[str]:
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
    if tmp and scratch is not None:
        walls += ["--bind", str(scratch / TMP), "/tmp"]
    for folder in readable:
        walls += ["--ro-bind", str(folder), str(folder)]
    if scratch is not None:
        walls += ["--bind", str(scratch), str(scratch), "--chdir", str(scratch)]
    return [*walls, "--remount-ro", "/"]
