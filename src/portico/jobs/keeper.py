"""Runs a command and keeps all that comes of it together: `python -I -S keeper.py GRACE command ...`.

Whatever the command starts, and leaves behind, becomes this process's child (PR_SET_CHILD_SUBREAPER) and ends with it.
It ends as the command does; at SIGTERM, or when who started it dies, everything is asked to end, and killed after
GRACE seconds. Self-contained: it imports nothing of Portico.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from typing import Any

_PDEATHSIG, _CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_EVERY = 0.02  # seconds


class _Asked(Exception):
    """SIGTERM came."""


def main() -> int:
    grace, command = float(sys.argv[1]), sys.argv[2:]
    libc = ctypes.CDLL(None)
    libc.prctl(_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _ask)
    status = -signal.SIGTERM
    try:
        child = os.fork()
        if child == 0:
            _become(command)
        status = os.waitstatus_to_exitcode(_wait_for(child))
    except _Asked:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _send(signal.SIGTERM)
        _until_none(time.monotonic() + grace)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while _send(signal.SIGKILL):
        _until_none(time.monotonic() + _EVERY)
    if status < 0:  # ends as the command did, so that whoever waits for this one sees it
        signal.signal(-status, signal.SIG_DFL) if -status not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -status)
    return status


def _ask(*_: Any) -> None:
    raise _Asked


def _become(command: list[str]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]} can't be run: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(127)


def _wait_for(child: int) -> int:
    """The status with which `child` ends; what else ends meanwhile is reaped."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            return status


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
