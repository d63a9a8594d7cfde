"""What the code of a job prints, line by line, beside the job's log: with its time, whose it is, and how severe it is.

A file of JSON lines, `[seconds since the epoch, task, severity, text]`, that only grows; times in it never go back, so
a reader finds a time in it by halving.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import orjson

_TICK = 1e-6  # seconds between two lines at the least: their time tells their order
_PIECE = 1 << 16


class Line(NamedTuple):
    """`at` is where in the file it begins."""

    time: float
    task: str
    severity: str
    text: str
    at: int


def path_of(folder: Path) -> Path:
    """The file, in the folder of a job."""
    return folder / "lines.jsonl"


class Writer:
    """Appends to the file in `folder`; what an earlier attempt wrote stays. Not thread-safe."""

    def __init__(self, folder: Path) -> None:
        path = path_of(folder)
        self._last = 0.0
        self._cut = False  # whether the disk was full in the midst of a line
        if path.exists():
            with path.open("rb+") as file:
                size = os.fstat(file.fileno()).st_size
                if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
                    os.pwrite(file.fileno(), b"\n", size)  # a line that a crash cut is passed over
            self._last = max((line.time for line in _from(path, max(0, size - _PIECE))), default=0.0)
        self._file = path.open("ab", buffering=0)

    def write(self, task: str, severity: str, text: str) -> None:
        """
        Raises:
            OSError: the disk is full.
        """
        self._last = max(round(time.time(), 6), round(self._last + _TICK, 6))
        line = orjson.dumps([self._last, task, severity, text]) + b"\n"
        if self._cut:
            line = b"\n" + line
        written = self._file.write(line)
        self._cut = written < len(line)

    def close(self) -> None:
        self._file.close()


def read(folder: Path, since: float = 0.0) -> Iterator[Line]:
    """The lines from the time `since` on, oldest first; none where there is no file."""
    path = path_of(folder)
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return
    low, high = 0, size  # the first line of that time begins in between, or after `low`'s
    while high - low > _PIECE:
        middle = (low + high) // 2
        first = next(_from(path, middle), None)
        if first is None or first.time >= since:
            high = middle
        else:
            low = middle
    yield from (line for line in _from(path, low) if line.time >= since)


def _from(path: Path, at: int) -> Iterator[Line]:
    """Whole lines; the first one that begins at `at` or after it."""
    with path.open("rb") as file:
        if at:
            file.seek(at - 1)
            at += len(file.readline()) - 1
        for line in file:
            if not line.endswith(b"\n"):
                return
            with contextlib.suppress(ValueError):  # it was cut: by a crash, or a full disk
                moment, task, severity, text = orjson.loads(line)
                yield Line(moment, task, severity, text, at)
            at += len(line)
