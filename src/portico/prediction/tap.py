"""What feeds monitoring: the hot path packs records into a bounded buffer, a thread behind it writes that to a spool.

The spool is `HOME/spool/front-N/`: files of records, each a head (`_HEAD`: sizes, id, times, method) and then names
(endpoint, deployed model, the caller's id), request and answer as they are. A file is written as `.part` and renamed to
`.tap` when it is whole; a reader takes and deletes `.tap` files, the oldest name first. Written records are on disk
within a second. What a front left as `.part` when it died becomes a `.tap` at its next start: its last record may be
cut off. `count` beside them holds how many records were taken and how many were written, shared with the page cache,
so that the next start knows how many were lost and says so in a `.lost` file.

A record costs the hot path under a microsecond: it is copied at once, so that the memory of requests is used again
while it is warm, and the thread has nothing to do but to write.
"""

from __future__ import annotations

import asyncio
import io
import mmap
import os
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from struct import Struct
from typing import Any, Final

import msgspec

_MAX_BYTES: Final = 64 * 2**20
_CHUNK: Final = 2**18  # bytes of buffer that are written at once; a processor's cache holds them
_SPARE: Final = 4  # chunks that are kept to be used again
_FILE_BYTES: Final = 16 * 2**20
_FILE_SECONDS: Final = 1.0
_SYNC_SECONDS: Final = 0.5
_SPOOL_BYTES: Final = 256 * 2**20  # unread files beyond this: new batches are dropped and counted
_MANY: Final = 10_000  # names that are kept encoded

# Of the record its size, id, at, seconds, size of names, method, holdout, size of request.
_HEAD: Final = Struct("<IQddHB?I")
_HEAD_BYTES: Final = _HEAD.size
_pack, _time = _HEAD.pack, time.time  # found sooner: the hot path


class Record(msgspec.Struct, frozen=True, gc=False):
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
        self._chunk = memoryview(b"")  # which is filled; records end at `_at`
        self._at = self._room = 0
        self._begun = 0  # records taken before this chunk
        self._names: dict[tuple[str, str], bytes] = {}
        self._spare: list[memoryview] = []
        self._written: deque[memoryview] = deque()  # chunks that the writer gives back
        self._bytes = 0  # of all chunks that there are
        self._index = index % 64
        self._last = 0
        self.dropped = 0
        counts = _Counts(folder)
        self._numbers = counts.numbers
        self._before = self._count = self._begun = self._numbers[0]
        self._writer = _Writer(folder, counts, self._written)
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
        names = self._names.get((endpoint, deployed_model)) or self._encoded(endpoint, deployed_model)
        if caller_id:
            names += caller_id.encode()
        size = _HEAD_BYTES + len(names) + len(request) + len(answer)
        end = self._at + size
        if end > self._room:
            if not self._next_chunk(size):
                self.dropped += 1
                return 0
            end = size
        # Microseconds and the front's number: unique without asking anybody, also after a restart.
        made = int(_time() * 1e6) * 64 + self._index
        if made <= self._last:
            made = self._last + 64
        self._last = made
        head = _pack(size, made, at, seconds, len(names), method, holdout, len(request))
        self._chunk[self._at : end] = b"".join((head, names, request, answer))
        self._at = end
        self._numbers[0] = self._count = self._count + 1
        return made

    def _encoded(self, endpoint: str, deployed_model: str) -> bytes:
        if len(self._names) >= _MANY:
            self._names.clear()
        return self._names.setdefault((endpoint, deployed_model), f"{endpoint}\0{deployed_model}\0".encode())

    def _next_chunk(self, size: int) -> bool:
        """Hands the chunk over and begins one with room for `size` bytes; False when there is no memory left."""
        self._hand_over()
        self._take_back()
        if self._spare and size <= _CHUNK:
            self._chunk = self._spare.pop()
        else:
            size = max(size, _CHUNK)
            while self._spare and self._bytes + size > _MAX_BYTES:
                self._bytes -= len(self._spare.pop())
            if self._bytes + size > _MAX_BYTES:
                return False
            self._bytes += size
            self._chunk = memoryview(bytearray(size))
        self._room = len(self._chunk)
        return True

    def _hand_over(self) -> None:
        if self._room:
            self._thread.submit(self._writer.write, self._chunk, self._at, self._count - self._begun)
        self._chunk, self._at, self._room, self._begun = memoryview(b""), 0, 0, self._count

    def _take_back(self) -> None:
        while self._written:
            chunk = self._written.popleft()
            if len(chunk) == _CHUNK and len(self._spare) < _SPARE:
                self._spare.append(chunk)
            else:
                self._bytes -= len(chunk)

    def flush(self) -> None:
        """Hands what has gathered to the writer's thread. The loop calls it a few times a second."""
        self._hand_over()
        self._take_back()
        self._thread.submit(self._writer.tick)

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
        return {
            "tap_taken": self._count - self._before,
            "tap_dropped": self.dropped + self._writer.dropped,
        }


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

    def __init__(self, folder: Path, counts: _Counts, written: deque[memoryview]) -> None:
        self.dropped = 0
        self._folder = folder
        self._counts = counts
        self._written = written
        self._file: io.FileIO | None = None
        self._part = folder
        self._size = 0
        self._opened = self._synced = 0.0
        for part in folder.glob("*.part"):
            part.rename(part.with_suffix(".tap"))

    def write(self, chunk: memoryview, size: int, records: int) -> None:
        """Writes the first `size` bytes of `chunk`, which hold so many records, and gives it back."""
        try:
            if self._file is None:
                self._file = self._open()
            if self._file is None:
                self.dropped += records
            else:
                self._size += self._file.write(chunk[:size])
            self._counts.numbers[1] += records
        finally:
            self._written.append(chunk)
        if self._size > _FILE_BYTES:
            self.finish()

    def tick(self) -> None:
        """Syncs the file now and then, and ends it once it is old."""
        if self._file is None:
            return
        now = time.monotonic()
        if now - self._opened > _FILE_SECONDS:
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


def read_spool_file(path: Path) -> list[Record]:
    """The records of a spool file, without a last one that was cut off."""
    data = path.read_bytes()
    records: list[Record] = []
    start = 0
    while start + _HEAD_BYTES <= len(data):
        size, made, at, seconds, names, method, holdout, request = _HEAD.unpack_from(data, start)
        first, end = start + _HEAD_BYTES, start + size
        if size < _HEAD_BYTES or end > len(data):
            break
        second = first + names
        third = second + request
        endpoint, deployed_model, caller = data[first:second].decode().split("\0", 2)
        records.append(
            Record(made, at, endpoint, deployed_model, method, caller, data[second:third], data[third:end], seconds,
                   holdout)
        )  # fmt: skip
        start = end
    return records
