"""What replicas write, by line and time: the log `<number>.log` of a set's folder, and `<number>.times` beside it.

The log is the process's own, which knows of no times. So its keeper notes, several times a second, how far it has come:
an index of records of a time (seconds since the epoch) and a size (bytes), each of a change.
"""

from __future__ import annotations

import contextlib
import os
import struct
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_MARK: Final = struct.Struct("<dQ")
_LONGEST: Final = 10 << 20  # bytes of a log
_MOST: Final = 1 << 16  # records of its index


class Line(NamedTuple):
    """A line of a replica's log. `time` is when it was seen, `at` where it begins."""

    time: float
    at: int
    text: str


class Marks:
    """The index of a log, kept by the process's keeper. Not thread-safe."""

    def __init__(self, log: Path) -> None:
        self._log, self._path = log, log.with_suffix(".times")
        marks = _marks(self._path)
        self._size, self._count = marks[-1][1] if marks else 0, len(marks)

    def look(self, now: float) -> None:
        """Notes how far the log has come; one that has grown too long is emptied, and its process, which appends, goes
        on at the start."""
        with contextlib.suppress(OSError):
            size = self._log.stat().st_size
            if size > _LONGEST or self._count > _MOST:
                os.truncate(self._log, 0)
                size = 0
            if size != self._size:
                with self._path.open("ab" if size > self._size else "wb") as file:
                    file.write(_MARK.pack(now, size))
                self._count = self._count + 1 if size > self._size else 1
                self._size = size


def logs(folder: Path) -> list[tuple[int, Path]]:
    """The logs of a set, with their replicas' numbers."""
    return sorted((int(path.stem), path) for path in folder.glob("*.log") if path.stem.isdigit())


def read(log: Path, since: float, until: float) -> Iterator[Line]:
    """The lines that were written in [since, until], oldest first, but for what was not noted yet."""
    marks = _marks(log.with_suffix(".times"))
    try:
        written = log.read_bytes()[: marks[-1][1] if marks else 0]
    except FileNotFoundError:
        return
    at, ends = 0, [size for _, size in marks]
    for line in written.splitlines(keepends=True):
        time = marks[bisect_left(ends, at + len(line))][0]
        if since <= time <= until and (text := _plain(line)):
            yield Line(time, at, text)
        at += len(line)


def _marks(path: Path) -> list[tuple[float, int]]:
    try:
        told = path.read_bytes()
    except FileNotFoundError:
        return []
    return list(_MARK.iter_unpack(told[: len(told) // _MARK.size * _MARK.size]))


def _plain(line: bytes) -> str:
    text = line.decode(errors="replace")
    return "".join(one if one.isprintable() else " " for one in text).rstrip()
