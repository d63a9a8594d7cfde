"""What feeds monitoring: the hot path hands over records, which are written to the spool (`prediction.spool`) a few
dozen at once. Nothing is held back longer than `_LATEST`. Where the watcher does not keep up a front's folder grows to
`_FILES` files, and where the disk is full not at all; then records are dropped and counted."""

from __future__ import annotations

import logging
import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from portico.prediction.spool import COUNT, FRAME, START, SUFFIX, Row, files

log = logging.getLogger(__name__)

_MANY: Final = 128 * 1024  # bytes that are written at once
_LATEST: Final = 0.05  # seconds that a record waits
_FILE_BYTES: Final = 16 * 2**20
_FILES: Final = 16

_time = time.time
_encode = msgspec.msgpack.Encoder().encode
Later = Callable[[float, Callable[[], None]], object]


class Tap:
    """Belongs to one event loop, whose `call_later` it is given. `dropped` counts the records that found no room."""

    def __init__(self, folder: Path, index: int = 0, later: Later | None = None) -> None:
        self.dropped = 0
        self._folder = folder
        self._index = index % 64
        self._later = later
        self._rows: list[Row] = []
        self._held = 0  # bytes of theirs
        self._waited_for = False
        self._last = self._now()  # the last id
        self._file = -1
        self._count = memoryview(bytearray(COUNT.size)).cast("Q")  # of the file's records
        self._before = 0  # records of files before this one
        self._full = False
        self._refused = False  # by the disk, the last time
        folder.mkdir(parents=True, exist_ok=True)
        for old in [*folder.glob("*.block"), *folder.glob("*.copy")]:  # of an earlier Portico
            old.unlink()
        self._begin()

    def put(
        self, at: float, names: bytes, request: bytes, answer: bytes, seconds: float, method: int = 0,
        holdout: bool = False, caller_id: str = "",
    ) -> bytes:  # fmt: skip
        """Keeps a request and its answer (or just the list of its predictions); `names` as of `names_of`.

        Returns its id in digits, or nothing when the spool is full and it was dropped.
        """
        if self._full:
            self.dropped += 1
            return b""
        self._last = made = self._last + 64
        self._rows.append((made, at, names, request, answer, seconds, method, holdout, caller_id))
        self._count[0] += 1
        self._held += len(request) + len(answer)
        if self._held > _MANY:
            self.flush()
        elif not self._waited_for and self._later is not None:
            self._waited_for = True
            self._later(_LATEST, self._wait_no_longer)
        return b"%d" % made

    def _wait_no_longer(self) -> None:
        self._waited_for = False
        self.flush()

    def flush(self) -> None:
        """Writes what was put."""
        rows = self._rows
        if not rows:
            return
        self._rows, self._held = [], 0
        packed = _encode(rows)
        frame = FRAME.pack(len(packed), len(rows)) + packed
        try:
            written = os.pwrite(self._file, frame, self._end)
            if written < len(frame):
                raise OSError(f"only {written} of {len(frame)} bytes were written")
        except OSError as error:
            self._refuse(error)
            self.dropped += len(rows)
            self._count[0] -= len(rows)
            os.ftruncate(self._file, self._end)
            return
        self._refused = False
        self._end += len(frame)
        if self._end >= _FILE_BYTES:
            self._begin()

    def _begin(self) -> None:
        """Goes on in a new file, where there may be another one."""
        there = files(self._folder)
        self._full = len(there) >= _FILES
        if self._full:
            return
        number = max([int(_time() * 1e6), *(number + 1 for number, _ in there)])
        try:
            file = os.open(
                self._folder / f"{number}{SUFFIX}", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
            )
            try:
                os.posix_fallocate(file, 0, START) if hasattr(os, "posix_fallocate") else os.write(
                    file, bytes(START)
                )
                count = memoryview(mmap.mmap(file, COUNT.size)).cast("Q")
            except OSError:
                os.close(file)
                raise
        except OSError as error:
            self._refuse(error)
            self._full = True
            return
        self._leave()
        self._file, self._end, self._count = file, START, count

    def _refuse(self, error: OSError) -> None:
        if not self._refused:
            log.error("the spool can't be written, so predictions may not be logged: %s", error)
        self._refused = True

    def _leave(self) -> None:
        self._before += self._count[0]
        self._count = memoryview(bytearray(COUNT.size)).cast("Q")
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _now(self) -> int:
        """An id of this moment: microseconds and the front's number, unique without asking anybody."""
        return int(_time() * 1e6) * 64 + self._index

    def tick(self) -> None:
        """Keeps ids close to the time, and sees whether there is room again. The loop calls it a few times a second."""
        self._last = max(self._last, self._now())
        if self._full:
            self._begin()

    def close(self) -> None:
        """Writes what was put. What is in the spool stays there."""
        self.flush()
        self._leave()
        self._full = True

    @property
    def report(self) -> dict[str, Any]:
        return {"tap_taken": self._before + self._count[0], "tap_dropped": self.dropped}
