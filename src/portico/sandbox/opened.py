"""Notes which files below a folder are opened to be read, by inotify: by whom does not matter, nor how they are read.

Self-contained, for `keeper` imports it where nothing else of Portico is. Folders that are made later are not watched:
what is in them was not there before.
"""

from __future__ import annotations

import ctypes
import os
import struct

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLOSE_NOWRITE, _Q_OVERFLOW, _ISDIR = 0x10, 0x4000, 0x40000000  # linux/inotify.h
_EVENT = struct.Struct("iIII")
_READ = 1 << 16
# Where a name would stand: all folders that there are are watched from here on; some names are missing.
WATCHED, MISSED = "", "\0"


class Opened:
    """Writes the name below `top` of each file that was opened, and not to be written, once, into the file `told`: on
    a line of its own, as Python's `ascii`."""

    def __init__(self, top: str, told: str) -> None:
        self._top = top
        self._told = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._folders: dict[int, str] = {}
        self._known: set[str] = set()
        self.descriptor = _LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self.watch()

    def watch(self) -> None:
        """Watches the folders that there are now."""
        for folder, _, _ in os.walk(self._top):
            watch = _LIBC.inotify_add_watch(self.descriptor, os.fsencode(folder), _CLOSE_NOWRITE)
            if watch < 0:  # more folders than a user may watch
                self._note(MISSED)
                return
            self._folders[watch] = os.path.relpath(folder, self._top)
        self._write(WATCHED)

    def watch_on(self) -> None:
        """The same, once what has happened is taken."""
        self.take()
        self.watch()

    def take(self) -> None:
        """Takes what has happened since."""
        while True:
            try:
                read = os.read(self.descriptor, _READ)
            except OSError:
                return
            at = 0
            while at < len(read):
                watch, mask, _, length = _EVENT.unpack_from(read, at)
                name = read[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
                at += _EVENT.size + length
                if mask & _Q_OVERFLOW:
                    self._note(MISSED)
                elif name and not mask & _ISDIR:
                    self._note(os.path.join(self._folders[watch], os.fsdecode(name)))

    def _note(self, name: str) -> None:
        if name not in self._known:
            self._known.add(name)
            self._write(name)

    def _write(self, name: str) -> None:
        os.write(self._told, f"{name!a}\n".encode())
