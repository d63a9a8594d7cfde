"""What feeds monitoring: the hot path gathers records, encodes them by the batch, and writes many batches at once.

The spool is `HOME/spool/front-N/`: files of batches. A batch is a head (`_HEAD`), its records as a MessagePack array
(`_Row` each), and the names that these have by number. A file is written as `.part` and renamed to `.tap` when it is
whole; a reader takes and deletes `.tap` files, the oldest name first. Written records are on disk within a second. What
a front left as `.part` when it died becomes a `.tap` at its next start: its last batch may be cut off. `count` beside
them holds how many records were taken and how many were written, shared with the page cache, so that the next start
knows how many were lost and says so in a `.lost` file.

A record costs the hot path about a microsecond. It is appended to a list; every 32 are encoded in one call into a
buffer (few, because what is held back makes the processor's cache cold for the next requests), from where one `write`
copies about a hundred into the page cache. Opening, syncing and renaming files, which may have to wait for the disk, is
for a thread.
"""

from __future__ import annotations

import asyncio
import io
import logging
import mmap
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import Any, Final

import msgspec

log = logging.getLogger(__name__)

_BATCH: Final = 32  # records that are encoded at once, while they are warm in the processor's cache
_LARGE: Final = 8 * 1024  # bytes of a request that waits for no others
_BUFFER: Final = 64 * 1024  # bytes that are written at once
_FILE_BYTES: Final = 16 * 2**20
_FILE_SECONDS: Final = 1.0
_SYNC_SECONDS: Final = 0.5
_SPOOL_BYTES: Final = 256 * 2**20  # unread files beyond this: new records are dropped and counted

# Of a batch: its size, the id of its first record (the next one's is 64 more), how many of its bytes are names.
_HEAD: Final = Struct(">QQI")
_ROOM: Final = bytes(_HEAD.size)

_time = time.time  # found sooner: the hot path
_encode_into = msgspec.msgpack.Encoder().encode_into


class _Row(msgspec.Struct, array_like=True, gc=False):
    """A record on the wire, written as a tuple; `names` is the number of its names in the batch."""

    at: float
    names: int
    request: bytes
    answer: bytes
    seconds: float
    method: int
    holdout: bool
    caller_id: str


_rows = msgspec.msgpack.Decoder(list[_Row]).decode


class Record(msgspec.Struct, frozen=True, gc=False):
    """One answered request. `id` is unique and grows with time; `at` is domain time (seconds since the epoch);
    `caller_id` is what the caller sent as X-Request-Id, or empty; `method` is the router's number; `answer` the body,
    or of a prediction just the list of its predictions; `seconds` the time from the parsed head to the answer;
    `holdout` whether the answer says that it must not be acted upon."""

    id: int
    at: float
    endpoint: str
    deployed_model: str
    model: str
    model_version: str
    method: int
    caller_id: str
    request: bytes
    answer: bytes
    seconds: float
    holdout: bool = False


def names_of(endpoint: str, deployed_model: str, model: str, model_version: str) -> bytes:
    """What a record says of who answered."""
    return "\0".join((endpoint, deployed_model, model, model_version)).encode()


class Tap:
    """Belongs to one event loop. `dropped` counts the records that found the spool full."""

    def __init__(self, folder: Path, index: int = 0) -> None:
        self.dropped = 0
        self._taken: list[tuple[Any, ...]] = []
        self._names: dict[bytes, int] = {}  # of what was taken
        self._buffer = bytearray()  # batches that wait to be written
        self._index = index % 64
        self._first = self._last = 0  # ids: of the first and the last that was taken
        self._spool = _Spool(folder)
        self._counts = _Counts(folder)
        self._numbers = self._counts.numbers
        self._before = self._count = self._numbers[0]
        self._file: _File | None = self._spool.opened()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tap")

    def put(
        self, at: float, names: bytes, request: bytes, answer: bytes, seconds: float, method: int = 0,
        holdout: bool = False, caller_id: str = "",
    ) -> int:  # fmt: skip
        """Keeps a request and its answer (or just the list of its predictions); `names` as of `names_of`.

        Returns its id, or 0 when the spool is full and it was dropped.
        """
        number = self._names.get(names)
        if number is None and (number := self._met(names)) < 0:
            self.dropped += 1
            return 0
        taken = self._taken
        taken.append((at, number, request, answer, seconds, method, holdout, caller_id))
        self._numbers[0] = self._count = self._count + 1
        self._last = made = self._last + 64
        if len(taken) >= _BATCH or len(request) > _LARGE:
            self._encode()
        return made

    def _encode(self) -> None:
        """Copies what was taken to the buffer, as a batch."""
        buffer, start, told = self._buffer, len(self._buffer), b"\n".join(self._names)
        buffer += _ROOM
        _encode_into(self._taken, buffer, -1)
        buffer += told
        _HEAD.pack_into(buffer, start, len(buffer) - start, self._first, len(told))
        self._taken.clear()
        self._names.clear()
        if len(buffer) > _BUFFER:
            self._write()

    def _met(self, names: bytes) -> int:
        """The number of names that are new to the batch; -1 where the spool is full."""
        if not self._names:
            if self._spool.full:
                return -1
            # Microseconds and the front's number: unique without asking anybody, also after a restart.
            self._first = max(int(_time() * 1e6) * 64 + self._index, self._last + 64)
            self._last = self._first - 64
        number = self._names[names] = len(self._names)
        return number

    def _write(self) -> None:
        """Writes what was taken, into a file that lies ready: nothing here waits for the disk."""
        if self._taken:
            self._encode()
        buffer = self._buffer
        held = self._count - self._numbers[1]
        try:
            if self._file is None:
                self._file = self._spool.opened()
            self._file.write(buffer)
        except OSError:
            log.exception("%d predictions can't be logged", held)
            self.dropped += held
            self._spool.full = True  # until it is looked at again
            self._end_file()  # its last batch may be cut off
        else:
            if self._file.size > _FILE_BYTES:
                self._end_file()
        self._numbers[1] = self._count
        buffer.clear()

    def _end_file(self) -> None:
        file, self._file = self._file, self._spool.next()
        if file is not None:
            self._thread.submit(self._spool.end, file)

    def flush(self) -> None:
        """Writes what has gathered; has old files synced and ended. The loop calls it a few times a second."""
        if self._taken or self._buffer:
            self._write()
        file = self._file
        if file is None or not file.size:
            if self._spool.full:
                self._thread.submit(self._spool.look)
        elif time.monotonic() - file.begun > _FILE_SECONDS:
            self._end_file()
        else:
            self._thread.submit(file.sync)

    async def sync(self) -> None:
        """Returns when everything taken so far lies in `.tap` files, if not on the disk: their reader need not wait."""
        if self._taken or self._buffer:
            self._write()
        file = self._file
        if file is not None and file.size:
            renamed = self._thread.submit(file.rename)
            self._end_file()
        else:
            renamed = self._thread.submit(self._spool.look)
        await asyncio.wrap_future(renamed)

    def close(self) -> None:
        """Writes what is left. Blocks until it is on disk."""
        if self._taken or self._buffer:
            self._write()
        self._end_file()
        self._thread.shutdown(wait=True)
        self._spool.close()

    @property
    def report(self) -> dict[str, Any]:
        return {"tap_taken": self._count - self._before, "tap_dropped": self.dropped}


class _Counts:
    """Two numbers that outlive a killed process: records taken, records written."""

    def __init__(self, folder: Path) -> None:
        with (folder / "count").open("a+b") as file:
            file.truncate(16)
            self._map = mmap.mmap(file.fileno(), 16)
        self.numbers = memoryview(self._map).cast("Q")
        lost = max(0, self.numbers[0] - self.numbers[1])
        if lost:
            (folder / f"{time.time_ns()}.lost").write_text(str(lost))
        self.numbers[1] = self.numbers[0]


class _File:
    """A `.part`, named by the time when it was made. Written by the loop, synced and ended by the thread."""

    def __init__(self, folder: Path, name: int) -> None:
        self._path = folder / f"{name}.part"
        self._file = io.FileIO(self._path, "xb")
        self.begun = self._synced = 0.0  # when its first records came, when they were on the disk last
        self.size = 0
        self._whole = False

    def write(self, data: bytearray) -> None:
        if not self.size:
            self._synced = self.begun = time.monotonic()
        with memoryview(data) as view:
            written = 0
            while written < len(data):
                written += self._file.write(view[written:])
        self.size += len(data)

    def sync(self) -> None:
        """Brings it to the disk, now and then."""
        now = time.monotonic()
        if now - self._synced > _SYNC_SECONDS and not self._file.closed:
            os.fdatasync(self._file.fileno())
            self._synced = now

    def end(self) -> None:
        """Becomes a `.tap` on the disk; an empty one goes."""
        if self.size:
            os.fdatasync(self._file.fileno())
            self.rename()
        else:
            self._path.unlink(missing_ok=True)
        self._file.close()

    def rename(self) -> None:
        """Becomes a `.tap`. Idempotent."""
        if not self._whole:
            self._path.rename(self._path.with_suffix(".tap"))
            self._whole = True


class _Spool:
    """The folder. `next` and `opened` are the loop's; `prepare` and `end` the thread's."""

    def __init__(self, folder: Path) -> None:
        self.full = False
        self._folder = folder
        self._spare: _File | None = None
        self._last = 0
        folder.mkdir(parents=True, exist_ok=True)
        for part in folder.glob("*.part"):
            if part.stat().st_size:
                part.rename(part.with_suffix(".tap"))
            else:
                part.unlink()

    def next(self) -> _File | None:
        """A file that lies ready, if one does."""
        spare = self._spare
        if spare is not None:  # else the thread may be about to put one there
            self._spare = None
        return spare

    def opened(self) -> _File:
        """A new file."""
        self._last = max(time.time_ns(), self._last + 1)
        return _File(self._folder, self._last)

    def look(self) -> None:
        """Looks how full it is."""
        size = 0
        for entry in os.scandir(self._folder):
            with suppress(FileNotFoundError):  # it has just been read
                size += entry.stat().st_size
        self.full = size > _SPOOL_BYTES

    def prepare(self) -> None:
        """Looks how full it is, and has a file ready."""
        self.look()
        if self._spare is None:
            self._spare = self.opened()

    def end(self, file: _File) -> None:
        try:
            file.end()
            self.prepare()
        except OSError:
            log.exception("the spool can't be written")

    def close(self) -> None:
        if self._spare is not None:
            self._spare.end()


def read_spool_file(path: Path) -> list[Record]:
    """The records of a spool file, without a last batch that was cut off."""
    data = path.read_bytes()
    records: list[Record] = []
    start = 0
    while start + _HEAD.size <= len(data):
        size, made, named = _HEAD.unpack_from(data, start)
        end = start + size
        if end > len(data) or size < _HEAD.size + named:
            break
        try:
            names = [told.split("\0") for told in data[end - named : end].decode().split("\n")]
            rows = _rows(data[start + _HEAD.size : end - named])
        except ValueError:  # msgspec's errors are ValueErrors, too
            log.warning(
                "%s can't be read from byte %d on: the machine went down before it was on the disk",
                path,
                start,
            )
            break
        for row in rows:
            endpoint, deployed_model, model, version = names[row.names]
            records.append(
                Record(made, row.at, endpoint, deployed_model, model, version, row.method, row.caller_id,
                       row.request, row.answer, row.seconds, row.holdout)
            )  # fmt: skip
            made += 64
        start = end
    return records
