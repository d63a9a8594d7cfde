"""What feeds monitoring: the hot path appends to a bounded buffer, a thread behind it writes batches to a spool.

The spool is `HOME/spool/front-N/`: files of records, each its length (4 bytes, big endian) and a MessagePack array
(see `Record`). A file is written as `.part` and renamed to `.tap` when it is whole; a reader takes and deletes
`.tap` files, the oldest name first. Written records are on disk within a second. What a front left as `.part` when
it died becomes a `.tap` at its next start: its last record may be cut off. `count` beside them holds how many
records were taken and how many were written, shared with the page cache, so that the next start knows how many
were lost and says so in a `.lost` file.
"""

from __future__ import annotations

import asyncio
import io
import mmap
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import msgspec

_MAX_RECORDS: Final = 20_000
_MAX_BYTES: Final = 64 * 2**20
_FILE_BYTES: Final = 16 * 2**20
_FILE_SECONDS: Final = 1.0
_SYNC_SECONDS: Final = 0.5
_SPOOL_BYTES: Final = 256 * 2**20  # unread files beyond this: new batches are dropped and counted
_SLICE: Final = 64  # records encoded at once; between slices the thread lets the loop run


class Record(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One answered request. `id` is unique and grows with time; `at` is domain time (seconds since the epoch);
    `caller_id` is what the caller sent as X-Request-Id, or empty; `method` is the router's number; `seconds` the
    time from the parsed head to the answer; `holdout` whether the answer says that it must not be acted upon."""

    id: int
    at: float
    endpoint: str
    deployed_model: str
    method: int
    caller_id: str
    request: bytes
    answer: bytes
    seconds: float
    holdout: bool = False


class Tap:
    """Belongs to one event loop. `dropped` counts the records that found the buffer or the spool full."""

    def __init__(self, folder: Path, index: int = 0) -> None:
        self._records: list[Record] = []
        self._bytes = 0
        self._index = index % 64
        self._last = 0
        self._taken = 0
        self.dropped = 0
        self._counts = _Counts(folder)
        self._writer = _Writer(folder, self._counts)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tap")

    def put(
        self,
        at: float,
        endpoint: str,
        deployed_model: str,
        request: bytes,
        answer: bytes,
        seconds: float,
        method: int = 0,
        caller_id: str = "",
        holdout: bool = False,
    ) -> int:
        """Keeps a request and its answer; returns its id, or 0 when the buffer is full and it was dropped."""
        size = self._bytes + len(request) + len(answer)
        if len(self._records) >= _MAX_RECORDS or size > _MAX_BYTES:
            self.dropped += 1
            return 0
        self._bytes = size
        # Microseconds and the front's number: unique without asking anybody, also after a restart.
        made = int(time.time() * 1e6) * 64 + self._index
        if made <= self._last:
            made = self._last + 64
        self._last = made
        self._taken += 1
        self._counts.numbers[0] += 1
        self._records.append(
            Record(made, at, endpoint, deployed_model, method, caller_id, request, answer, seconds, holdout)
        )
        return made

    def flush(self) -> None:
        """Hands what has gathered to the writer's thread. The loop calls it a few times a second."""
        records, self._records, self._bytes = self._records, [], 0
        self._thread.submit(self._writer.write, records)

    async def sync(self) -> None:
        """Returns when everything taken so far lies in `.tap` files."""
        self.flush()
        await asyncio.wrap_future(self._thread.submit(self._writer.finish))

    def close(self) -> None:
        """Writes what is left. Blocks until it is on disk."""
        self.flush()
        self._thread.submit(self._writer.finish)
        self._thread.shutdown(wait=True)

    @property
    def report(self) -> dict[str, Any]:
        return {"tap_taken": self._taken, "tap_dropped": self.dropped + self._writer.dropped}


class _Counts:
    """Two numbers that outlive a killed process: records taken, records written or dropped."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "count").open("a+b") as file:
            file.truncate(16)
            self._map = mmap.mmap(file.fileno(), 16)
        self.numbers = memoryview(self._map).cast("Q")
        lost = max(0, self.numbers[0] - self.numbers[1])
        if lost:
            (folder / f"{time.time_ns()}.lost").write_text(str(lost))
        self.numbers[1] = self.numbers[0]


class _Writer:
    """The spool's files. Only the tap's own thread calls it."""

    def __init__(self, folder: Path, counts: _Counts) -> None:
        self.dropped = 0
        self._folder = folder
        self._counts = counts
        self._encode = msgspec.msgpack.Encoder().encode
        self._file: io.FileIO | None = None
        self._part = folder
        self._size = 0
        self._opened = self._synced = 0.0
        for part in folder.glob("*.part"):
            part.rename(part.with_suffix(".tap"))

    def write(self, records: list[Record]) -> None:
        if self._file is None and records:
            self._file = self._open()
        if self._file is None:
            self.dropped += len(records)
            self._counts.numbers[1] += len(records)
            return
        for start in range(0, len(records), _SLICE):
            slice_ = records[start : start + _SLICE]
            encoded = [self._encode(record) for record in slice_]
            batch = b"".join([part for one in encoded for part in (len(one).to_bytes(4, "big"), one)])
            self._size += self._file.write(batch)
            self._counts.numbers[1] += len(slice_)
        now = time.monotonic()
        if self._size > _FILE_BYTES or now - self._opened > _FILE_SECONDS:
            self.finish()
        elif now - self._synced > _SYNC_SECONDS:
            os.fdatasync(self._file.fileno())
            self._synced = now

    def _open(self) -> io.FileIO | None:
        if sum(file.stat().st_size for file in os.scandir(self._folder)) > _SPOOL_BYTES:
            return None
        self._part = self._folder / f"{time.time_ns()}.part"
        self._size, self._opened = 0, time.monotonic()
        self._synced = self._opened
        return io.FileIO(self._part, "xb")

    def finish(self) -> None:
        if self._file is not None:
            os.fdatasync(self._file.fileno())
            self._file.close()
            self._file = None
            self._part.rename(self._part.with_suffix(".tap"))


_decode = msgspec.msgpack.Decoder(Record).decode


def read_spool_file(path: Path) -> list[Record]:
    """The records of a spool file, without a last one that was cut off."""
    data = path.read_bytes()
    records: list[Record] = []
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if at + 4 + size > len(data):
            break
        records.append(_decode(data[at + 4 : at + 4 + size]))
        at += 4 + size
    return records
