"""Which processes are behind walls and have the network, or fetch what others name: their connections must not be taken
for those of the user whose they are, too.

The keeper of each (`keeper.py`) notes itself in a folder of the home, outside the walls, by a file with its pid for a
name and when it began in it. Where one died without taking that back, what it kept is below the supervisor still, which
takes in what has lost its parent; or nobody's child any more, where the keeper was not below that. Of such processes
those count that are under more seccomp filters than who asks, which nobody ever gets rid of. Containers, which are not
below their keeper, are told by that, too.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path
from typing import Final

_VARIABLE: Final = "PORTICO_WALLED"
_SUPERVISOR: Final = "PORTICO_SUPERVISOR"
VARIABLES: Final = (_VARIABLE, _SUPERVISOR)  # of this server's own processes, on this machine
_CHILD_SUBREAPER: Final = 36  # linux/prctl.h
_AGAIN: Final = 3  # looks at a process whose parents change meanwhile


def note_in(run: Path) -> None:
    """Where this process, and those that it starts, note what they put behind walls: below a home's folder of
    sockets."""
    os.environ[_VARIABLE] = str(folder(run))


def take_in() -> None:
    """Makes this process the parent of what is below it and loses its own: that stays below it then."""
    if sys.platform == "linux" and ctypes.CDLL(None).prctl(_CHILD_SUBREAPER, 1, 0, 0, 0) == 0:
        os.environ[_SUPERVISOR] = str(os.getpid())


def supervisor() -> int:
    """The pid of the process above this one that has asked to `take_in`; 0 without one."""
    pid = int(os.environ.get(_SUPERVISOR, "0"))
    try:
        return pid if pid in _lineage(os.getpid()) else 0
    except OSError:
        return 0


def folder(run: Path) -> Path:
    return run / "walled"


def clear(run: Path) -> None:
    """Before a server puts anything behind walls. What goes on from one before it, as jobs on a cluster do, stays
    noted."""
    folder(run).mkdir(parents=True, exist_ok=True)
    for file in folder(run).iterdir():
        began = file.read_text().partition(" ")[0]
        if not (file.name.isdigit() and began and began == started(int(file.name))):
            file.unlink()


def noted() -> str:
    """The folder that a keeper is told; "" where nothing was said, as in a program that serves nobody."""
    place = os.environ.get(_VARIABLE, "")
    if place:
        os.makedirs(place, exist_ok=True)
    return place


def noting() -> dict[str, object]:
    """What a keeper is told of this (see there)."""
    return {"walled": noted(), "taker": supervisor()}


def notes(run: Path) -> list[str]:
    """The names of what is noted now. A socket that is open after this was asked is held by something behind walls only
    if that is among them: it was noted before it could open one, and stays so until it has ended."""
    try:
        return os.listdir(folder(run))
    except FileNotFoundError:
        return []


def holds(run: Path, names: list[str], inode: int) -> bool:
    """Whether what holds the socket with this inode is one of the noted `names`, or below it; also where it can't be
    found out what does. It looks through all processes: some milliseconds."""
    for _ in range(_AGAIN):
        try:
            holder = _holder(inode)
            found = holder is None or _is_walled(folder(run), names, holder)
            if found or _has(holder, inode):  # it was that one all the time
                return found
        except OSError:  # it ends, or one of its parents does
            continue
    return True


def _is_walled(place: Path, names: list[str], holder: int) -> bool:
    lineage = _lineage(holder)  # before it is asked whether the keepers live: one that does then was in it
    keepers: set[int] = set()
    above: set[int] = set()  # what the lost may be below; 0 where they may be anywhere
    for name in names:
        try:
            began, _, taker = (place / name).read_text().partition(" ")
        except FileNotFoundError:  # what it kept has ended
            continue
        if name.isdigit() and began == started(int(name)):
            keepers.add(int(name))
        else:
            above.add(int(taker) if taker.isdigit() and int(taker) == supervisor() else 0)
    lost = 0 in above or not above.isdisjoint(lineage)
    if lost and _filters(holder) > _filters(os.getpid()):
        return True
    return not keepers.isdisjoint(lineage)


def _holder(inode: int) -> int | None:
    """A process of this user's that has the socket open, the youngest first: it is mostly a short-lived one that has
    just begun to connect."""
    own = os.geteuid()
    for pid in sorted((int(name) for name in os.listdir("/proc") if name.isdigit()), reverse=True):
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{pid}").st_uid == own and _has(pid, inode):
                return pid
    return None


def _has(pid: int | None, inode: int) -> bool:
    wanted = f"socket:[{inode}]"
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(f"/proc/{pid}/fd/{name}") == wanted:
                return True
    return False


def _lineage(pid: int) -> set[int]:
    """The process and all that it is below."""
    found = set()
    while pid > 1 and pid not in found:
        found.add(pid)
        pid = int(_stat(pid)[1])
    return found


def started(pid: int) -> str:
    """When a process began, as the kernel counts; "" where there is none, or it has ended and nobody has asked how."""
    try:
        told = _stat(pid)
    except OSError:
        return ""
    return "" if told[0] in "ZX" else told[19]


def _stat(pid: int) -> list[str]:
    """What follows a process's name: its state, its parent, …: proc_pid_stat(5)."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()


def _filters(pid: int) -> int:
    """How many seccomp filters a process is under; where the kernel does not say that, 1 for any."""
    with open(f"/proc/{pid}/status") as file:
        told = {name: value.strip() for name, _, value in (line.partition(":") for line in file)}
    return int(told.get("Seccomp_filters") or int(told.get("Seccomp", "0") == "2"))
