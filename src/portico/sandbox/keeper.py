"""Runs a command and keeps all that comes of it together: `python -I -S keeper.py SETTINGS command ...`.

Whatever the command starts, and leaves behind, becomes this process's child (PR_SET_CHILD_SUBREAPER) and ends with it.
It ends as the command does; at SIGTERM, or when who started it dies, everything is asked to end, and killed after a
while; at SIGUSR1 it looks for new folders in its layers. Self-contained: it imports nothing of Portico but the files
beside it. SETTINGS is JSON:

    grace   seconds that processes have to end after SIGTERM
    parent  the pid of who starts it: where that has died already, nothing is run
    layers  null, or {"lower", "upper", "work", "merged"}: folders for `mounts.show_layered`
    root    null, or {"root": an empty folder, "name": under which `merged` is seen in the root, "beside": {name of
            another there -> its folder}}
    beside  null, or the pid of another keeper whose layers are to be seen instead
    mounted where there are layers: a file to make when they are seen, or can't be
    tmp     null, or a folder that what is confined is to see as its own /tmp, where there are layers
    opened  where there are layers: a folder in which a file tells what was opened in `merged` (see `opened.Opened`)
    walled  null, or a folder in which a file tells that what is below this process is behind walls (see `walled`)
    bubblewrap whether that is the command, which adds 128 to the signal that ends what it runs
    taker   where there is such a folder: the pid of what takes in what this process leaves, 0 without one
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time
from typing import Any

_PDEATHSIG, _CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_BY_SIGNAL = 128
_EVERY = 0.02  # seconds


class _Asked(Exception):
    """SIGTERM came."""


def main() -> int:
    settings, command = json.loads(sys.argv[1]), sys.argv[2:]
    libc = ctypes.CDLL(None)
    libc.prctl(_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _ask)
    if os.getppid() != settings["parent"]:
        return -signal.SIGTERM
    noted = _note(settings["walled"], settings["taker"]) if settings.get("walled") else None
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    watching = _show(settings) if settings["layers"] else None
    if watching:
        signal.signal(signal.SIGUSR1, lambda *_: watching.watch_on())
    if settings["layers"] and not settings["beside"]:
        open(settings["mounted"], "w").close()
    status = -signal.SIGTERM
    try:
        child = os.fork()
        if child == 0:
            _become(command, settings.get("tmp") if watching else None)
        status = os.waitstatus_to_exitcode(_wait_for(child, watching))
        if settings.get("bubblewrap") and status - _BY_SIGNAL in signal.valid_signals():
            status = _BY_SIGNAL - status
    except _Asked:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _send(signal.SIGTERM)
        _until_none(time.monotonic() + settings["grace"])
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while _send(signal.SIGKILL):
        _until_none(time.monotonic() + _EVERY)
    if noted is not None:
        with contextlib.suppress(FileNotFoundError):  # the folder went with its home
            os.unlink(str(os.getpid()), dir_fd=noted)
    if watching:
        watching.take()
    if status < 0:  # ends as the command did, so that whoever waits for this one sees it
        signal.signal(-status, signal.SIG_DFL) if -status not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -status)
    return status


def _note(folder: str, taker: int) -> int:
    """Before anything runs; the folder, which may not be seen from here later on."""
    with open("/proc/self/stat") as file:
        began = file.read().rpartition(")")[2].split()[19]
    path = os.path.join(folder, str(os.getpid()))
    with open(f"{path}.new", "w") as note:
        note.write(f"{began} {taker}")
    os.rename(f"{path}.new", path)
    return os.open(folder, os.O_PATH | os.O_CLOEXEC)


def _show(settings: dict[str, Any]) -> Any:
    """Shows the layers; what watches them, if anything can."""
    layers, root, beside = settings["layers"], settings["root"], settings["beside"]
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import mounts
    import opened

    watching = None
    try:
        if beside:
            mounts.join(beside, root["root"] if root else None)
        else:
            mounts.own_namespace()
            mounts.show_layered(**layers)
            if root:
                mounts.add_to_root(root["root"], {root["name"]: layers["merged"], **root["beside"]})
        watching = opened.Opened(layers["merged"], os.path.join(settings["opened"], str(os.getpid())))
    except OSError as error:
        print(f"There is no view of Cloud Storage in this job: {error.strerror}", file=sys.stderr, flush=True)
    return watching


def _ask(*_: Any) -> None:
    raise _Asked


def _become(command: list[str], tmp: str | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        here = os.path.dirname(os.path.abspath(__file__))
        if command[:5] == [sys.executable, "-I", "-S", "-B", os.path.join(here, "confine.py")]:
            sys.path.insert(0, here)  # this Python is as good as another
            import confine

            sys.argv = command[4:]
            if tmp:
                sys.argv[1] = json.dumps(_with_own_tmp(json.loads(sys.argv[1]), tmp))
            confine.main()
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]} can't be run: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(127)


def _with_own_tmp(settings: dict[str, Any], tmp: str) -> dict[str, Any]:
    """The settings of `confine` for a process that has a /tmp of its own and may write there, and a /dev/shm of its
    own; as they were where it has none."""
    import mounts

    walls = settings["landlock"]
    try:
        if walls:
            mounts.own_tmp(tmp, walls["read"], walls["write"])
            walls["write"].append(mounts.TMP)
            if mounts.SHARED in walls["write"]:
                mounts.own_shared_memory(settings["limits"]["memory"])
    except OSError as error:
        print(
            f"There is no /tmp or /dev/shm of this job's own: {error.strerror}", file=sys.stderr, flush=True
        )
    return settings


def _wait_for(child: int, watching: Any) -> int:
    """The status with which `child` ends; what else ends meanwhile is reaped, and what is opened is noted."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    descriptors = [reading, *([watching.descriptor] if watching and watching.descriptor >= 0 else [])]
    while (status := _reap(child)) is None:
        ready, _, _ = select.select(descriptors, [], [])
        if reading in ready:
            os.read(reading, 4096)
        if len(ready) > (reading in ready):
            watching.take()
    return status


def _reap(child: int) -> int | None:
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            return status
        if pid == 0:
            return None


def _until_none(deadline: float) -> None:
    while time.monotonic() < deadline:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            time.sleep(_EVERY)


def _send(number: int) -> bool:
    """Sends the signal to everything below this process; whether there is anything."""
    below = _below(os.getpid())
    for pid in below:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    return bool(below)


def _below(top: int) -> list[int]:
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, ValueError), open(f"/proc/{entry}/stat") as file:
                parents[int(entry)] = int(file.read().rpartition(")")[2].split()[1])
    found = {top}
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found and pid not in found}
        found |= more
        grown = bool(more)
    return sorted(found - {top})


if __name__ == "__main__":
    sys.exit(main())
