"""What feeds monitoring: the hot path appends to a bounded buffer, a thread behind it writes batches to a spool.

The spool is `HOME/spool/front-N/`: files of records, each its length (4 bytes, big endian) and a MessagePack array
`[number, time, endpoint, deployed model id, request, answer, seconds]`. A file is written as `.part` and renamed to
`.tap` when it is whole; a reader takes and deletes `.tap` files, the oldest name first. What a front left as `.part`
when it died becomes a `.tap` at its next start: its last record may be cut off.
"""

from __future__ import annotations

import io
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import msgspec

Record = tuple[int, float, str, str, bytes, bytes, float]

_MAX_RECORDS: Final = 20_000
_MAX_BYTES: Final = 64 * 2**20
_FILE_BYTES: Final = 16 * 2**20
_FILE_SECONDS: Final = 5.0
_SPOOL_BYTES: Final = 256 * 2**20  # unread files beyond this: new batches are dropped and counted
_SLICE: Final = 64  # records encoded at once; between slices the thread lets the loop run


class Tap:
    """Belongs to one event loop. `dropped` counts the records that found the buffer or the spool full."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._records: list[Record] = []
        self._bytes = 0
        self._number = 0
        self.dropped = 0
        self._writer = _Writer(folder)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tap")

    def put(
        self, at: float, endpoint: str, deployed_model: str, request: bytes, answer: bytes, seconds: float
    ) -> None:
        """Keeps a request and its answer; drops it when the buffer is full."""
        size = self._bytes + len(request) + len(answer)
        if len(self._records) >= _MAX_RECORDS or size > _MAX_BYTES:
            self.dropped += 1
            return
        self._bytes = size
        self._number = number = self._number + 1
        self._records.append((number, at, endpoint, deployed_model, request, answer, seconds))

    def flush(self) -> None:
        """Hands what has gathered to the writer's thread. The loop calls it a few times a second."""
        records, self._records, self._bytes = self._records, [], 0
        self._thread.submit(self._writer.write, records)

    def close(self) -> None:
        """Writes what is left. Blocks until it is on disk."""
        self.flush()
        self._thread.submit(self._writer.finish)
        self._thread.shutdown(wait=True)

    @property
    def report(self) -> dict[str, Any]:
        return {"tap_taken": self._number, "tap_dropped": self.dropped + self._writer.dropped}


class _Writer:
    """The spool's files. Only the tap's own thread calls it."""

    def __init__(self, folder: Path) -> None:
        self.dropped = 0
        self._folder = folder
        self._encode = msgspec.msgpack.Encoder().encode
        self._file: io.FileIO | None = None
        self._part = folder
        self._size = 0
        self._opened = 0.0
        for part in folder.glob("*.part"):
            part.rename(part.with_suffix(".tap"))

    def write(self, records: list[Record]) -> None:
        if self._file is None and records:
            self._file = self._open()
        if self._file is None:
            self.dropped += len(records)
            return
        for start in range(0, len(records), _SLICE):
            encoded = [self._encode(record) for record in records[start : start + _SLICE]]
            batch = b"".join([part for one in encoded for part in (len(one).to_bytes(4, "big"), one)])
            self._size += self._file.write(batch)
        if self._size > _FILE_BYTES or time.monotonic() - self._opened > _FILE_SECONDS:
            self.finish()

    def _open(self) -> io.FileIO | None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if sum(file.stat().st_size for file in os.scandir(self._folder)) > _SPOOL_BYTES:
            return None
        self._part = self._folder / f"{time.time_ns()}.part"
        self._size, self._opened = 0, time.monotonic()
        return io.FileIO(self._part, "xb")

    def finish(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._part.rename(self._part.with_suffix(".tap"))


def read_spool_file(path: Path) -> list[Record]:
    """The records of a spool file, without a last one that was cut off."""
    data = path.read_bytes()
    records: list[Record] = []
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if at + 4 + size > len(data):
            break
        records.append(msgspec.msgpack.decode(data[at + 4 : at + 4 + size], type=Record))
        at += 4 + size
    return records
